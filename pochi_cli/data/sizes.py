"""The sizes of the images, held against what the transforms take and give. Free of torch."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import suppress
from itertools import islice
from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.image_sizes import TOO_SMALL_HELP
from pochi_cli.config.steps.arguments import Size, show_size
from pochi_cli.config.steps.nested import Pipeline, final_size
from pochi_cli.config.steps.refusals import Refusal, find_refusals
from pochi_cli.data.findings import counted
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import BadImageError
from pochi_cli.errors import DataError, Diagnostic, Note

SizedImage = tuple[Path, Size]
"""A file, and the height and width of its image."""


class SizeTally:
    """The different sizes of some images: the first image of each, and how many there are."""

    def __init__(self, images: Iterable[SizedImage] = ()) -> None:
        self._first: dict[Size, tuple[Path, int]] = {}
        for _ in self.noting(images):
            pass

    def noting(self, images: Iterable[SizedImage]) -> Iterator[SizedImage]:
        """Note images while they pass by."""
        for file, size in images:
            first, count = self._first.get(size, (file, 0))
            self._first[size] = (first, count + 1)
            yield file, size

    @property
    def different(self) -> Iterator[SizedImage]:
        """The first image of each size."""
        return ((file, size) for size, (file, _) in self._first.items())

    def find_refusals(self, steps: Pipeline, key: str, all_images: int | None = None) -> list[Diagnostic]:
        """Find the steps that cannot take some of the images, each once.

        Args:
            steps: The transform.
            key: Its config key.
            all_images: How many images there are; `None` where only some of them were noted.
        """
        first: dict[tuple[int, str], tuple[Refusal, SizedImage]] = {}
        counts: Counter[tuple[int, str]] = Counter()
        for size, (file, count) in self._first.items():
            refused = {(refusal.position, refusal.name): refusal for refusal in find_refusals(steps, size)}
            for step, refusal in refused.items():
                first.setdefault(step, (refusal, (file, size)))
                counts[step] += count
        return [
            _too_small(refusal, key, image, None if all_images is None else (counts[step], all_images))
            for step, (refusal, image) in first.items()
        ]


def _too_small(refusal: Refusal, key: str, image: SizedImage, share: tuple[int, int] | None) -> Diagnostic:
    file, size = image
    note = f"{printable(file)} is {show_size(size)}"
    if share is not None and share[1] > 1:
        note = f"{share[0]:,} of the {counted(share[1], 'image')} cannot be taken, such as this: {note}"
    return Diagnostic(
        "image-too-small",
        f"{refusal.name} in {key} {refusal.reason}",
        (key, refusal.position),
        help=TOO_SMALL_HELP,
        notes=(Note(note),),
    )


def output_size(index: FolderIndex, steps: Pipeline, key: str) -> tuple[Size, list[Diagnostic]]:
    """Find the one size that a transform gives for all images.

    Where it depends on the images, all their headers are read, else the first one's; files whose header
    cannot be read are passed over: whoever decodes them will report them.

    Args:
        index: The images.
        steps: The transform.
        key: The config key of the transform, for messages.

    Returns:
        Height and width, and which steps cannot take the images that were looked at.

    Raises:
        DataError: If the sizes differ.
    """
    images, tally = _image_sizes(index), SizeTally()
    size = final_size(steps)
    if size is not None:
        return size, SizeTally(islice(images, 1)).find_refusals(steps, key)
    if (size := common_size(tally.noting(images), steps, key)) is None:
        raise DataError(f"no image in {printable(index.root)} could be read", "see what the files are")
    return size, tally.find_refusals(steps, key, len(index))


def _image_sizes(index: FolderIndex) -> Iterator[SizedImage]:
    for i in range(len(index)):
        with suppress(BadImageError):
            yield index.file(i), index.read_size(i)


def common_size(images: Iterable[tuple[Path, Size]], steps: Pipeline, key: str) -> Size | None:
    """Find the one size that a transform gives for all of some images.

    Args:
        images: Each image's file, and its height and width; read no further than to the first that differs.
        steps: The transform.
        key: The config key of the transform, for messages.

    Returns:
        Height and width, or `None` without images.

    Raises:
        DataError: If the sizes differ.
    """
    first: tuple[Path, Size, Size] | None = None
    for file, image_size in images:
        output = final_size(steps, image_size)
        if output is None:
            raise DataError(f"{key} gives tensors of varying size", _remedy(key))
        if first is None:
            first = (file, image_size, output)
        elif output != first[2]:
            told = " and ".join(
                f"{printable(path)} ({height} x {width})"
                for path, (height, width) in (first[:2], (file, image_size))
            )
            raise DataError(
                f"{key} gives tensors of different sizes, because the images differ (height x width): {told}",
                _remedy(key),
            )
    return None if first is None else first[2]


def _remedy(key: str) -> str:
    return f"end the geometry of {key} with Resize and CenterCrop, Letterbox, or RandomResizedCrop"
