"""Every image of some folders is decoded once, as training would, and its content hashed. Free of torch."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pochi_cli.config.steps.arguments import Size
from pochi_cli.cores import usable_cores
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import BadImageError, decode, opened, without_pillow_warnings
from pochi_cli.data.splits import Split

Progress = Callable[[int, int], None]
"""Told how many images are done, and of how many."""

_CHUNK_BYTES = 1 << 20
_REPORT_INTERVAL_S = 0.1

# Below this the interpreter, which one thread at a time may use, takes longer than the decoding: two threads
# took 1.5 times as long as one for images of 64 x 64 px (4 kB), 0.7 times for 224 x 224 px (20 kB).
_SMALL_FILE_BYTES = 8 * 1024


class ImageFacts(NamedTuple):
    """What decoding an image showed.

    Attributes:
        size: Height and width, upright.
        mode: Pillow's name of what the file holds, before it became RGB.
        format: Pillow's name of the file's format; `array` of what was in memory.
        turned: Whether its EXIF orientation said to turn or mirror it.
        digest: BLAKE2b of the file's bytes, or of the values in memory, 16 bytes.
    """

    size: Size
    mode: str
    format: str
    turned: bool
    digest: bytes


@dataclass(frozen=True)
class DecodedSplit:
    """A part of the data, and what became of its images.

    Attributes:
        split: The part.
        outcomes: For each image what it is like, or why it cannot be decoded.
    """

    split: Split
    outcomes: tuple[ImageFacts | str, ...]

    @property
    def good(self) -> Iterator[tuple[int, ImageFacts]]:
        """Positions of the images that could be decoded, and what they are like."""
        return ((i, facts) for i, facts in enumerate(self.outcomes) if not isinstance(facts, str))

    @property
    def bad(self) -> Iterator[tuple[int, str]]:
        """Positions of the images that could not be decoded, and why."""
        return ((i, reason) for i, reason in enumerate(self.outcomes) if isinstance(reason, str))


def decode_splits(
    splits: Sequence[Split], progress: Progress = lambda _done, _total: None, threads: int | None = None
) -> list[DecodedSplit]:
    """Decode and hash every image; no more images are in memory at once than there are threads.

    Args:
        splits: The parts of the data.
        progress: Told a few times a second, in the calling thread; what it raises ends the work.
        threads: How many decode; by default as many as cores, at most 8, and one for small files.
    """
    images = [(split.index, i) for split in splits for i in range(len(split.index))]
    outcomes = _decode_all(images, progress, threads or _fitting_threads(splits))
    ends = [0]
    for split in splits:
        ends.append(ends[-1] + len(split.index))
    return [
        DecodedSplit(split, tuple(outcomes[start:end]))
        for split, start, end in zip(splits, ends, ends[1:], strict=False)
    ]


def _fitting_threads(splits: Sequence[Split]) -> int:
    file_bytes = [size for split in splits for size in split.index.file_bytes]
    if sum(file_bytes) < _SMALL_FILE_BYTES * len(file_bytes):
        return 1
    return min(usable_cores(), 8)


def _decode_all(
    images: Sequence[tuple[FolderIndex, int]], progress: Progress, threads: int
) -> list[ImageFacts | str]:
    outcomes: list[ImageFacts | str] = [""] * len(images)
    done = [0] * threads
    stopping = threading.Event()

    def work(thread: int) -> None:
        for position in range(thread, len(images), threads):
            if stopping.is_set():
                return
            index, i = images[position]
            outcomes[position] = _decode_one(index, i)
            done[thread] += 1

    with without_pillow_warnings(), ThreadPoolExecutor(threads) as pool:
        try:
            progress(0, len(images))
            pending = {pool.submit(work, thread) for thread in range(threads)}
            while pending:
                finished, pending = wait(pending, _REPORT_INTERVAL_S)
                progress(sum(done), len(images))
                for future in finished:
                    future.result()
        finally:
            stopping.set()
    return outcomes


def _decode_one(index: FolderIndex, i: int) -> ImageFacts | str:
    if (pixels := index.pixels) is not None:
        return ImageFacts(pixels.size, pixels.mode, "array", False, pixels.image_digest(i))
    return _decode_file(index.file(i))


def _decode_file(file: Path) -> ImageFacts | str:
    try:
        with opened(file) as stream:
            image, mode, file_format, turned = decode(stream, file)
            # The second reading comes from memory: the system has just read the file.
            stream.seek(0)
            digest = hashlib.blake2b(digest_size=16)
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    except BadImageError as error:
        return error.reason
    except OSError as error:  # the file became unreadable in between
        return (error.strerror or str(error)).lower()
    return ImageFacts((image.height, image.width), mode, file_format, turned, digest.digest())
