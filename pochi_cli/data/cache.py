"""Decoded images that are kept, so that each is decoded once."""

from __future__ import annotations

import multiprocessing
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from pochi_cli.data.arenas import Arena, SharedBytes
from pochi_cli.data.cache_files import CacheFiles

_OFFSET, _HEIGHT, _WIDTH = range(3)


class ImageCache(Protocol):
    """Keeps images by their position in the data.

    Attributes:
        keeps: Whether it takes new ones.
    """

    @property
    def keeps(self) -> bool:
        """Whether it takes new ones."""

    def get(self, index: int) -> torch.Tensor | None:
        """Give an image, uint8 (3, height, width), which must not be changed; `None` where it is not kept."""

    def put(self, index: int, pixels: torch.Tensor) -> None:
        """Keep a copy of an image, uint8 (3, height, width), while there is room."""

    def flush(self) -> None:
        """Make what is kept outlast this process, where it is to."""


class NoCache:
    """Keeps nothing."""

    keeps = False

    def get(self, index: int) -> None:  # noqa: ARG002
        """Give nothing."""
        return

    def put(self, index: int, pixels: torch.Tensor) -> None:
        """Do nothing."""

    def flush(self) -> None:
        """Do nothing."""


class PixelCache:
    """Keeps the pixels of images where all processes that load find them.

    Each image is kept by the first process that decodes it: nothing waits for the cache to be filled.

    Args:
        images: How many there are.
        arena: Where pixels go.
        files: Where the cache outlasts the process; `None` where it does not.
        keeps: Whether it takes new images.
    """

    def __init__(
        self, images: int, arena: Arena, files: CacheFiles | None = None, *, keeps: bool = True
    ) -> None:
        self.keeps = keeps
        self._images = images
        self._arena = arena
        self._files = files
        self._rows = SharedBytes(images * 3 * 8)
        self._lock = multiprocessing.Lock()
        if files is not None:
            self._table[:] = files.read_table(images)
        self._on_disk = self.count

    @property
    def _table(self) -> NDArray[np.int64]:
        """Offset, height and width of each image, int64 (N, 3); a height of 0 where it is not kept."""
        return self._rows.values.view(np.int64).reshape(self._images, 3)

    @property
    def count(self) -> int:
        """How many images are kept."""
        return int(np.count_nonzero(self._table[:, _HEIGHT]))

    def get(self, index: int) -> torch.Tensor | None:
        """Give an image, if it is kept."""
        offset, height, width = self._table[index].tolist()
        if height == 0:
            return None
        try:
            pixels = self._arena.view(offset, height * width * 3).reshape(height, width, 3)
        except OSError:
            return None  # the cache was deleted in the meantime
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def stacked(self) -> tuple[NDArray[np.uint8], NDArray[np.int64]] | None:
        """Give all images at once, if all are kept and of one size.

        Returns:
            uint8 (M, height, width, 3), which must not be changed, and the position of each image in them,
            int64 (N,).
        """
        offsets, heights, widths = self._table.T
        height, width = int(heights[0]), int(widths[0])
        if height == 0 or (heights != height).any() or (widths != width).any():
            return None
        size = height * width * 3
        stored = self._arena.view(0, int(offsets.max()) + size)
        return stored.reshape(-1, height, width, 3), offsets // size

    def put(self, index: int, pixels: torch.Tensor) -> None:
        """Keep a copy of an image, if there is room."""
        _, height, width = pixels.shape
        size = height * width * 3
        with self._lock:
            # Another process may have been faster: an image can be drawn twice in an epoch.
            offset = None if self._table[index, _HEIGHT] else self._arena.take(size)
        if offset is None:
            return
        try:
            kept = self._arena.view(offset, size).reshape(height, width, 3)
        except OSError:
            return
        np.copyto(kept, pixels.permute(1, 2, 0).numpy())
        row = self._table[index]
        row[_OFFSET], row[_WIDTH] = offset, width
        row[_HEIGHT] = height  # last: from now on others see it

    def flush(self) -> None:
        """Write down what has been added since the last time."""
        if self._files is None or not self.keeps:
            return
        table = self._table.copy()  # what is added from now on may not be on the disk yet
        count = int(np.count_nonzero(table[:, _HEIGHT]))
        if count != self._on_disk:
            if self._arena.flush():
                self._files.write_table(table)
            self._on_disk = count
