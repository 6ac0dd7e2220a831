"""Images as tensors: the data set, and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch.utils.data import Dataset

from pochi_cli.characters import printable
from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.cache import ImageCache, NoCache
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import BadImageError
from pochi_cli.data.placing import Placements, placements
from pochi_cli.data.sampling import SampleKey, derive_seed
from pochi_cli.data.shares import Portion
from pochi_cli.data.transfer import to_device
from pochi_cli.data.transforms import ImageLike, ImagePipeline, StepError, to_pixels

_SMALL_PIXELS = 64 * 64
"""Pixels of an image, before and after it is moved about, up to which a batch is made at once: decoded,
cropped and mirrored that takes 0.6 times as long as each by itself at 32 px, 0.8 at 64 px, 1.4 at 224 px."""


@dataclass(frozen=True, eq=False)
class Sample:
    """One image, (3, height, width), its label, and its position in the data.

    The image is uint8 where the pipeline has something left to do with whole batches, else float32.
    """

    image: torch.Tensor
    label: int
    index: int


@dataclass(frozen=True)
class BadImage:
    """An image that could not be turned into a tensor.

    It travels as a value: an exception that crosses processes loses its type.

    Attributes:
        path: The file.
        reason: Why.
        stage: `read` where a file that was there when the run began cannot be read any more; `decode` where
            the file is at fault; `transform` where a step cannot take an image like this, such as a crop
            larger than the image.
    """

    path: str
    reason: str
    stage: Literal["read", "decode", "transform"] = "decode"


@dataclass(frozen=True)
class MixedSizes:
    """Two images of a batch whose tensors differ in size.

    Attributes:
        indices: Their positions in the data.
        sizes: Height and width of each tensor.
    """

    indices: tuple[int, int]
    sizes: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size.

    Attributes:
        images: (N, 3, height, width), float32 once they are `finish`ed, uint8 or float32 before;
            (0, 3, 0, 0) where every image was bad.
        labels: int64 (N,).
        indices: int64 (N,), positions in the data.
        bad: The images that are missing from the batch.
        finish: What makes float32 of the images; `None` where that is done.
        portion: What they are of the batch that several processes share; `None`: all of it.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    bad: tuple[BadImage, ...] = ()
    finish: Callable[[torch.Tensor], torch.Tensor] | None = None
    portion: Portion | None = None

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def to(self, device: torch.device | str, *, channels_last: bool = False) -> Batch:
        """Copy to a device; there the images are finished, and with `channels_last` rearranged."""
        device = torch.device(device)
        images = to_device(self.images, device)
        if self.finish is not None:
            images = self.finish(images)
        layout = torch.channels_last if channels_last and images.ndim == 4 else torch.contiguous_format
        images = images.contiguous(memory_format=layout)
        labels, indices = to_device(self.labels, device), to_device(self.indices, device)
        return Batch(images, labels, indices, self.bad, portion=self.portion)

    def pin_memory(self) -> Batch:
        """Copy to page-locked memory; the loader calls it where a GPU is used."""
        return replace(
            self,
            images=self.images.pin_memory(),
            labels=self.labels.pin_memory(),
            indices=self.indices.pin_memory(),
        )


class ImageDataset(Dataset[Sample | BadImage]):
    """The images of a folder as tensors.

    A sample is a function of the seed and its key alone, whichever process makes it and in whatever order.

    Args:
        index: The images.
        pipeline: What turns an image into a tensor.
        seed: Seed of the random steps.
        cache: What keeps decoded images.
    """

    def __init__(
        self, index: FolderIndex, pipeline: ImagePipeline, seed: int, cache: ImageCache | None = None
    ) -> None:
        self.index = index
        self.pipeline = pipeline
        self.seed = seed
        self.cache = cache or NoCache()
        self._placements_of: dict[Size, Placements | None] = {}

    def __len__(self) -> int:
        """Count the images."""
        return len(self.index)

    def __getitem__(self, key: SampleKey) -> Sample | BadImage:
        """Decode and transform one image; what cannot be is returned as a `BadImage`."""
        return self.__getitems__([key])[0]

    def __getitems__(self, keys: Sequence[SampleKey]) -> list[Sample | BadImage]:
        """Decode and transform the images of a batch.

        Small ones of one size that are only moved about from now on are so together: one by one that takes
        as long as to decode them.
        """
        samples: dict[int, Sample | BadImage] = {}
        small: dict[int, ImageLike] = {}
        for at, key in enumerate(keys):
            try:
                image = self._prepared(key.index)
            except (BadImageError, StepError) as error:
                samples[at] = self._bad(key.index, error)
                continue
            if _is_small(_size(image)):
                small[at] = image
            else:
                samples[at] = self._varied(image, key)
        if steps := self._placements({_size(image) for image in small.values()}):
            pixels = _stacked([to_pixels(image) for image in small.values()]).permute(0, 2, 3, 1)
            placed = steps.take(pixels, torch.arange(len(small)), [keys[at] for at in small], self.seed)
            for at, tensor in zip(small, placed, strict=True):
                samples[at] = self._sample(tensor, keys[at])
        else:
            samples |= {at: self._varied(image, keys[at]) for at, image in small.items()}
        return [samples[at] for at in range(len(keys))]

    def _placements(self, sizes: set[Size]) -> Placements | None:
        """Find what moves the pixels of images of one size; `None` where each is transformed by itself."""
        if len(sizes) != 1 or not self.pipeline.varied:
            return None
        (size,) = sizes
        if size not in self._placements_of:
            found = placements(self.pipeline.varied, size)
            self._placements_of[size] = found if found and _is_small(found.size) else None
        return self._placements_of[size]

    def _varied(self, image: ImageLike, key: SampleKey) -> Sample | BadImage:
        try:
            return self._sample(self._vary(image, key), key)
        except StepError as error:
            return self._bad(key.index, error)

    def _sample(self, image: torch.Tensor, key: SampleKey) -> Sample:
        return Sample(image, self.index.labels[key.index], key.index)

    def _bad(self, index: int, error: BadImageError | StepError) -> BadImage:
        if isinstance(error, BadImageError):
            is_lost = error.is_unread and self.index.file_bytes[index] >= 0
            return BadImage(self._name(index), error.reason, "read" if is_lost else "decode")
        height, width = self.index.read_size(index)
        size = f"{height} x {width} (height x width)"
        return BadImage(self._name(index), f"the transform cannot take its {size}: {error}", "transform")

    def _name(self, index: int) -> str:
        return printable(self.index.file(index))

    def _prepared(self, index: int) -> ImageLike:
        """Take an image from the cache, or decode it and do what is the same each time."""
        if (kept := self.cache.get(index)) is not None:
            return kept
        prepared = self.pipeline.prepare(self._decoded(index))
        if self.cache.keeps:
            prepared = to_pixels(prepared)
            self.cache.put(index, prepared)
        return prepared

    def _decoded(self, index: int) -> ImageLike:
        pixels = self.index.pixels
        if pixels is not None and pixels.mode == "RGB":
            return torch.from_numpy(pixels.values[index]).permute(2, 0, 1)
        return self.index.read_rgb(index)

    def _vary(self, image: ImageLike, key: SampleKey) -> torch.Tensor:
        if not self.pipeline.is_random:
            return self.pipeline.vary(image)
        with seeded(derive_seed(self.seed, *key)):
            return self.pipeline.vary(image)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default CPU generator for a while, and leave it as it was found.

    It is the only one that torchvision's v2 transforms draw from; `random` and numpy stay untouched, whose
    states are forty times as expensive to save and restore.

    Args:
        seed: 64 bits.
    """
    # torch.manual_seed would seed the accelerators as well.
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


def collate(samples: Sequence[Sample | BadImage]) -> Batch | MixedSizes:
    """Make a batch of what the data set returned.

    Returns:
        The good images with the bad ones listed, or `MixedSizes` where the images cannot be stacked.
    """
    bad = tuple(sample for sample in samples if isinstance(sample, BadImage))
    good = [sample for sample in samples if isinstance(sample, Sample)]
    for sample in good:
        if sample.image.shape != good[0].image.shape:
            return MixedSizes((good[0].index, sample.index), (_size(good[0].image), _size(sample.image)))
    images = _stacked([sample.image for sample in good]) if good else torch.empty(0, 3, 0, 0)
    labels = torch.tensor([sample.label for sample in good], dtype=torch.int64)
    return Batch(images, labels, torch.tensor([sample.index for sample in good], dtype=torch.int64), bad)


def _stacked(images: Sequence[torch.Tensor]) -> torch.Tensor:
    """Copy images into one tensor; pixels with the channels innermost, as they mostly lie."""
    if images[0].dtype != torch.uint8:
        return torch.stack(list(images))
    _, height, width = images[0].shape
    stacked = torch.empty((len(images), height, width, 3), dtype=torch.uint8).permute(0, 3, 1, 2)
    torch.stack(list(images), out=stacked)
    return stacked


def _is_small(size: Size) -> bool:
    return size[0] * size[1] <= _SMALL_PIXELS


def _size(image: ImageLike) -> Size:
    if isinstance(image, torch.Tensor):
        height, width = image.shape[-2:]
        return (height, width)
    return (image.height, image.width)
