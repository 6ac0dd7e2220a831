"""Images that are all decoded and of one size: batches of them are made at once, where they are held."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pochi_cli.data.cache import PixelCache
from pochi_cli.data.datasets import Batch, ImageDataset
from pochi_cli.data.placing import Placements, placements
from pochi_cli.data.sampling import SampleKey

_SHARE = 0.25
_FIRST_SHARE = 0.05
"""Share of a GPU's free memory that images may take, before and after the first steps."""


@dataclass(frozen=True)
class Room:
    """Where images may be held.

    Attributes:
        device: The CPU, where the images are in any case, or a CUDA device, which gets a copy.
    """

    device: torch.device

    def has(self, size: int, *, has_trained: bool) -> bool:
        """Tell whether there are so many bytes for a copy.

        Args:
            size: How many.
            has_trained: Whether steps have taken what memory they need.
        """
        if self.device.type == "cpu":
            return True
        free, _ = torch.cuda.mem_get_info(self.device)
        return size <= free * (_SHARE if has_trained else _FIRST_SHARE)


class HeldImages:
    """All images of one part of the data.

    Args:
        pixels: uint8 (M, height, width, 3), on the device where batches are wanted.
        positions: Where each image lies in them, int64 (N,), on the CPU.
        labels: int64 (N,), on the CPU.
        steps: What is done with them.
        seed: Seed of the random steps.
    """

    def __init__(
        self, pixels: Tensor, positions: Tensor, labels: Tensor, steps: Placements, seed: int
    ) -> None:
        self._pixels = pixels
        self._positions = positions
        self._labels = labels
        self._steps = steps
        self._seed = seed

    def batch(self, keys: Sequence[SampleKey]) -> Batch:
        """Make the batch that `ImageDataset` and `collate` would make."""
        indices = torch.tensor([key.index for key in keys], dtype=torch.int64)
        images = self._steps.take(self._pixels, self._positions[indices], keys, self._seed)
        return Batch(images, self._labels[indices], indices)


def hold(dataset: ImageDataset, room: Room, *, has_trained: bool) -> HeldImages | None:
    """Hold the images of a data set, if all are decoded, of one size, and only moved about from now on.

    Args:
        dataset: The images.
        room: Where.
        has_trained: Whether steps have taken what memory they need.
    """
    found = _stacked(dataset)
    if found is None:
        return None
    pixels, positions = found
    _, height, width, _ = pixels.shape
    steps = (
        placements(dataset.pipeline.varied, (height, width)) if dataset.pipeline.finishes_batches else None
    )
    if steps is None or not room.has(pixels.numel(), has_trained=has_trained):
        return None
    labels = torch.tensor(dataset.index.labels, dtype=torch.int64)
    return HeldImages(pixels.to(room.device), positions, labels, steps, dataset.seed)


def _stacked(dataset: ImageDataset) -> tuple[Tensor, Tensor] | None:
    """Find the prepared images, uint8 (M, height, width, 3), and the position of each."""
    cache, pixels = dataset.cache, dataset.index.pixels
    if isinstance(cache, PixelCache):
        if (kept := cache.stacked()) is None:
            return None
        return torch.from_numpy(kept[0]), torch.from_numpy(kept[1])
    if pixels is None or pixels.mode != "RGB" or dataset.pipeline.prepares or not len(pixels):
        return None
    return torch.from_numpy(pixels.values), torch.arange(len(pixels))
