"""Whether images are kept once they are decoded, and where."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from pochi_cli.config.steps.nested import AnyStep, Pipeline, final_size
from pochi_cli.config.values import show_bytes
from pochi_cli.data.arenas import FREE_ON_DISK, DiskArena, MemoryArena
from pochi_cli.data.cache import ImageCache, NoCache, PixelCache
from pochi_cli.data.cache_files import CacheFiles, cache_key, end_of
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import BadImageError
from pochi_cli.data.transforms import fixed_steps
from pochi_cli.errors import DataError, StorageError

CacheMode = Literal["auto", "none", "ram", "disk"]

_OWN_SHARE = 0.25
"""Share of the free memory that is used unasked."""
_ASKED_SHARE = 0.8
"""Share of the free memory that is used at most."""
_RESERVE = 1.1
"""How much more is laid aside than was reckoned: sizes are taken from a few of the images."""
_LOOKED_AT = 64


@dataclass(frozen=True)
class Chosen:
    """What was chosen for one part of the data.

    Attributes:
        cache: It.
        place: Where images are kept.
        where: The same in words, with the directory on a disk.
        size: Bytes that they take, about; 0 where none are kept.
        claimed: Bytes of the free memory that others should not reckon with.
        note: What a user may want to know.
        warning: What is doubtful.
    """

    cache: ImageCache
    place: Literal["none", "ram", "disk"] = "none"
    where: str = ""
    size: int = 0
    claimed: int = 0
    note: str | None = None
    warning: str | None = None


NOTHING = Chosen(NoCache())


def choose_cache(
    mode: CacheMode,
    index: FolderIndex,
    steps: Pipeline,
    *,
    passes: int,
    free: int | None,
    directory: Path,
    fills: bool = True,
) -> Chosen:
    """Choose where the images of one part of the data are kept.

    Args:
        mode: As in the config. `auto`: in memory, if they fit into a quarter of what is free and are read
            more than once.
        index: The images.
        steps: The transform; those of its steps that are the same each time are done before.
        passes: How often each image is read.
        free: Bytes of memory that are free; `None` if unknown.
        directory: Where caches on the disk lie.
        fills: Whether this process adds to those.

    Raises:
        DataError: There is no memory for it at all.
        StorageError: The cache on the disk cannot be made.
    """
    fixed = fixed_steps(steps)
    is_decoded = index.pixels is not None and index.pixels.mode == "RGB"
    if mode == "none" or not len(index) or (is_decoded and not fixed):
        return NOTHING
    size = _expected_bytes(index, fixed)
    if mode == "disk":
        return _on_disk(index, fixed, size, directory, fills=fills)
    if mode == "auto":
        fits = free is not None and size * _RESERVE <= free * _OWN_SHARE
        return _in_memory(index, size, free, _OWN_SHARE) if fits and passes > 1 else NOTHING
    return _in_memory(index, size, free, _ASKED_SHARE)


def _in_memory(index: FolderIndex, size: int, free: int | None, share: float) -> Chosen:
    """Keep them in memory, or as many as fit into the free part of it."""
    capacity = int(size * _RESERVE) + _step(size)
    warning = None
    if free is not None and size * _RESERVE > free * share:
        capacity = int(free * share)
        warning = (
            f"cache ram: the images of {index.root} take about {show_bytes(size)}, and "
            f"{show_bytes(free)} are free: as many are kept as fit, the others are decoded each time"
        )
    try:
        cache = PixelCache(len(index), MemoryArena(capacity))
    except OSError as error:
        raise DataError(
            f"no room in memory for {show_bytes(size)} of decoded images: {error.strerror or error}",
            hint='set cache = "none", or "disk"',
        ) from error
    kept = min(size, capacity)
    return Chosen(cache, "ram", "in memory", kept, int(kept / share), warning=warning)


def _step(size: int) -> int:
    """Bytes by which a file grows, and that memory has beside what was reckoned, for a large image of few."""
    return max(1 << 20, min(size, 64 << 20))


def _on_disk(index: FolderIndex, fixed: Pipeline, size: int, directory: Path, *, fills: bool) -> Chosen:
    files = CacheFiles(directory / cache_key(index, fixed), fills=fills)
    note = warning = None
    table = files.read_table(len(index))
    kept = end_of(table)
    missing = len(index) - int(np.count_nonzero(table.any(1)))
    lack = f"{missing:,} of {len(index):,} images, which it has not, are decoded each time"
    if missing and files.is_read_only:
        warning = f"cache disk: {files.directory} is read-only: {lack}"
    elif missing and not files.is_ours:
        note = f"cache disk: {files.directory} is being filled elsewhere, and only read here: {lack}"
    free = max(0, shutil.disk_usage(files.directory).free - FREE_ON_DISK)
    if files.is_ours and size - kept > free:
        warning = (
            f"cache disk: the images of {index.root} take about {show_bytes(size)}, and {directory} has room "
            f"for {show_bytes(free)}: as many are kept as fit, the others are decoded each time"
        )
        if others := files.bytes_of_others():
            warning += f"; other caches there, of which not all may be needed, take {show_bytes(others)}"
    try:
        arena = DiskArena(files.pixels, kept, _step(size), is_read_only=not files.is_ours)
    except OSError as error:
        raise StorageError(f"cannot open {files.pixels}: {error.strerror or error}") from error
    return Chosen(
        PixelCache(len(index), arena, files, keeps=files.is_ours),
        "disk",
        f"in {directory}",
        min(size, kept + free) if files.is_ours else min(size, kept),
        note=note,
        warning=warning,
    )


def _expected_bytes(index: FolderIndex, fixed: Sequence[AnyStep]) -> int:
    """Reckon how many bytes the decoded images take, from the sizes of some of them."""
    areas = list(_areas(index, tuple(fixed)))
    if not areas:
        return 0
    return 3 * len(index) * sum(areas) // len(areas)


def _areas(index: FolderIndex, fixed: Pipeline) -> Iterator[int]:
    if fixed and (same := final_size(fixed)) is not None:
        yield same[0] * same[1]
        return
    count = min(_LOOKED_AT, len(index))
    for at in range(count):
        with suppress(BadImageError):
            size = index.read_size(at * len(index) // count)
            if (kept := final_size(fixed, size) if fixed else size) is not None:
                yield kept[0] * kept[1]


def cache_text(chosen: Sequence[Chosen]) -> tuple[str, ...]:
    """Tell where the parts of the data are kept, if they are."""
    places = dict.fromkeys(one.where for one in chosen if one.place != "none")
    size = show_bytes(sum(one.size for one in chosen))
    kept = (f"decoded images are kept {where}, {size} in all" for where in places)
    return (*kept, *(one.note for one in chosen if one.note))
