"""Cropping, padding and mirroring of whole batches: steps that only choose which pixel comes where."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torchvision.transforms import v2

from pochi_cli.config.steps.arguments import PaddingMode, Size
from pochi_cli.data.sampling import SampleKey, derive_seed
from pochi_cli.data.transfer import to_device
from pochi_cli.data.transforms import BuiltStep

_OUTSIDE = -1
"""Stands for a row or column beyond the edge of the image."""


class Placement(Protocol):
    """A step as it moves pixels.

    Attributes:
        size: Height and width behind it.
        fill: Value of what it adds; `None` where it adds nothing.
    """

    size: Size
    fill: int | None

    def draw(self, generator: torch.Generator) -> tuple[int, ...]:
        """Draw what is chosen for an image, as torchvision's own transform does."""

    def place(self, rows: Tensor, columns: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Move rows and columns.

        Args:
            rows: int64 (N, height): the row of the original that stands there.
            columns: int64 (N, width), likewise.
            drawn: int64 (N, numbers), as `draw` gave them.
        """


class Crop:
    """Pads, and cuts out a part at a random place.

    Args:
        before: Height and width of the image.
        size: Height and width of the part.
        padding: Left, top, right, bottom.
        fill: Value of the padding, where it is constant.
        mode: What the padding is: that, the edge's pixels, or the image mirrored without or with these.
        at: Top and left edge of the part in the padded image; `None` where they are drawn.
    """

    def __init__(
        self,
        before: Size,
        size: Size,
        padding: tuple[int, int, int, int],
        fill: int,
        mode: PaddingMode = "constant",
        at: tuple[int, int] | None = None,
    ) -> None:
        self.size = size
        self.fill = fill if any(padding) and mode == "constant" else None
        self._mode: PaddingMode = mode
        left, top, right, bottom = padding
        self._padding = (top, left)
        self._choices = (before[0] + top + bottom - size[0] + 1, before[1] + left + right - size[1] + 1)
        self._at = at

    def draw(self, generator: torch.Generator) -> tuple[int, ...]:
        """Draw the top and the left edge; where there is one choice nothing is drawn."""
        if self._at is not None:
            return self._at
        return tuple(
            int(torch.randint(0, choices, (), generator=generator)) if choices > 1 else 0
            for choices in self._choices
        )

    def place(self, rows: Tensor, columns: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Take those that begin there."""
        top, left = self._padding
        return (
            _cut(rows, drawn[:, :1] - top, self.size[0], self._mode),
            _cut(columns, drawn[:, 1:] - left, self.size[1], self._mode),
        )


def _cut(positions: Tensor, start: Tensor, length: int, mode: PaddingMode) -> Tensor:
    """Take so many from each row's start, int64 (N, 1), on; beyond the ends is what the padding is."""
    wanted, last = start + torch.arange(length), positions.shape[1] - 1
    match mode:
        case "constant":
            there = (wanted >= 0) & (wanted <= last)
            return torch.where(there, positions.gather(1, wanted.clamp(0, last)), _OUTSIDE)
        case "edge":
            return positions.gather(1, wanted.clamp(0, last))
        case "reflect":
            return positions.gather(1, last - (last - wanted.abs()).abs())
        case "symmetric":
            before = torch.where(wanted < 0, -1 - wanted, wanted)
            return positions.gather(1, torch.where(before > last, 2 * last + 1 - before, before))


class Mirror:
    """Mirrors at random.

    Args:
        size: Height and width.
        probability: That an image is mirrored.
        is_upright: Whether top and bottom change places, rather than left and right.
    """

    fill: int | None = None

    def __init__(self, size: Size, probability: float, *, is_upright: bool) -> None:
        self.size = size
        self._probability = probability
        self._is_upright = is_upright

    def draw(self, generator: torch.Generator) -> tuple[int, ...]:
        """Draw whether."""
        return (int(torch.rand(1, generator=generator) < self._probability),)

    def place(self, rows: Tensor, columns: Tensor, drawn: Tensor) -> tuple[Tensor, Tensor]:
        """Turn the order round."""
        is_mirrored = drawn.bool()
        if self._is_upright:
            return torch.where(is_mirrored, rows.flip(1), rows), columns
        return rows, torch.where(is_mirrored, columns.flip(1), columns)


class Placements:
    """Steps that follow one another.

    Args:
        before: Height and width of the images.
        steps: In their order.

    Attributes:
        size: Height and width behind them.
    """

    def __init__(self, before: Size, steps: Sequence[Placement]) -> None:
        self._before = before
        self._steps = tuple(steps)
        self._fill = next((step.fill for step in steps if step.fill is not None), 0)
        self.size = steps[-1].size if steps else before

    def take(self, pixels: Tensor, positions: Tensor, keys: Sequence[SampleKey], seed: int) -> Tensor:
        """Cut a batch out of images.

        Each image gets what the pipeline's own steps draw for it: a function of the seed and its key alone.

        Args:
            pixels: uint8 (M, height, width, 3), on any device.
            positions: Where each image of the batch lies in them, int64 (N,), on the CPU.
            keys: N keys.
            seed: Seed of the random steps.

        Returns:
            uint8 (N, 3, height, width) on the same device, the channels innermost in memory.
        """
        if not self._steps:
            return pixels.index_select(0, to_device(positions, pixels.device)).permute(0, 3, 1, 2)
        height, width = self._before
        rows = torch.arange(height).expand(len(keys), height)
        columns = torch.arange(width).expand(len(keys), width)
        for step, drawn in zip(self._steps, self._drawn(keys, seed), strict=True):
            rows, columns = step.place(rows, columns, drawn)
        # What no step has moved is one row for all images, which page-locked memory does not take.
        rows = to_device(rows.contiguous(), pixels.device)
        columns = to_device(columns.contiguous(), pixels.device)
        starts = to_device(positions * (height * width), pixels.device)
        index = (
            starts[:, None, None] + rows.clamp(min=0)[:, :, None] * width + columns.clamp(min=0)[:, None, :]
        )
        found = pixels.view(-1, 3).index_select(0, index.view(-1)).view(*index.shape, 3)
        if any(step.fill is not None for step in self._steps):
            outside = (rows == _OUTSIDE)[:, :, None] | (columns == _OUTSIDE)[:, None, :]
            found.masked_fill_(outside[..., None], self._fill)
        return found.permute(0, 3, 1, 2)

    def _drawn(self, keys: Sequence[SampleKey], seed: int) -> list[Tensor]:
        generator = torch.Generator()
        drawn: list[list[tuple[int, ...]]] = [[] for _ in self._steps]
        for key in keys:
            generator.manual_seed(derive_seed(seed, *key))
            for step, numbers in zip(self._steps, drawn, strict=True):
                numbers.append(step.draw(generator))
        return [torch.tensor(numbers, dtype=torch.int64) for numbers in drawn]


def placements(steps: Sequence[BuiltStep], before: Size) -> Placements | None:
    """Do steps with whole batches, if they only move pixels.

    Args:
        steps: Of a built pipeline, before ToTensor.
        before: Height and width of all images.

    Returns:
        `None` where a step does more, or cannot take images of that size.
    """
    found: list[Placement] = []
    size = before
    for step in steps:
        placed = _placement(step.transform, size)
        if placed is None:
            return None
        found.append(placed)
        size = placed.size
    fills = {step.fill for step in found if step.fill is not None}
    return Placements(before, found) if len(fills) < 2 else None


def _placement(transform: object, before: Size) -> Placement | None:
    match transform:
        case v2.RandomHorizontalFlip() | v2.RandomVerticalFlip():
            is_upright = isinstance(transform, v2.RandomVerticalFlip)
            return Mirror(before, transform.p, is_upright=is_upright)
        case v2.RandomCrop():
            return _random_crop(transform, before)
        case v2.CenterCrop():
            return _center_crop(transform, before)
        case _:
            return None


def _random_crop(transform: v2.RandomCrop, before: Size) -> Crop | None:
    height, width = transform.size
    left, right, top, bottom = transform.padding or (0, 0, 0, 0)
    if transform.pad_if_needed:
        above = max(0, height - before[0] - top - bottom)
        beside = max(0, width - before[1] - left - right)
        left, right, top, bottom = left + beside, right + beside, top + above, bottom + above
    fits = before[0] + top + bottom >= height and before[1] + left + right >= width
    if not fits or min(left, right, top, bottom) < 0:
        return None
    # An image that is mirrored more than once is left to torchvision, which may refuse it.
    shortest = min(before)
    most = {"reflect": shortest - 1, "symmetric": shortest}.get(transform.padding_mode)
    if most is not None and max(left, right, top, bottom) > most:
        return None
    padding = (left, top, right, bottom)
    return Crop(before, (height, width), padding, int(transform.fill), transform.padding_mode)


def _center_crop(transform: v2.CenterCrop, before: Size) -> Crop:
    height, width = transform.size
    above, beside = max(0, height - before[0]), max(0, width - before[1])
    padding = (beside // 2, above // 2, (beside + 1) // 2, (above + 1) // 2)
    # As torchvision does it, which rounds to even.
    top = round((before[0] + above - height) / 2)
    left = round((before[1] + beside - width) / 2)
    return Crop(before, (height, width), padding, 0, at=(top, left))
