"""What the steps of an image pipeline have in common: their base and the types of their arguments.

The steps have torchvision's argument names, ranges and defaults. Each also knows the size of its output,
so that a pipeline's final size is known without running it.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, TypeVar

from pydantic import AfterValidator, Field, Strict

from pochi_cli.config.base import ByShape, Items, List, NonNegative, Number, Pair, PositiveInt, StrictModel
from pochi_cli.config.values import show

T = TypeVar("T")

Size = tuple[int, int]
"""Height and width in pixels."""


class Step(StrictModel):
    """One step of a pipeline."""

    is_random: ClassVar[bool] = False
    needs_tensor: ClassVar[bool] = False

    def output_size(self, size: Size | None) -> Size | None:
        """Size of the output for an input of this size; `None` where that differs between images."""
        return size


class RandomStep(Step):
    """A step whose result is drawn anew for each image and epoch."""

    is_random: ClassVar[bool] = True


def _ordered(low_high: tuple[float, float]) -> tuple[float, float]:
    if low_high[0] > low_high[1]:
        raise ValueError(f"must be [smaller, larger], not {show(low_high)}")
    return low_high


def _two_or_four(edges: tuple[int, ...]) -> tuple[int, ...]:
    if len(edges) not in (2, 4):
        raise ValueError(f"must have 2 or 4 entries, not {len(edges)}: {show(edges)}")
    return edges


Name = Annotated[T, Field(description="Name of the step.")]

Range = Annotated[tuple[T, T], Strict(False), AfterValidator(_ordered)]
"""[smallest, largest]."""
Edge = Annotated[int, Field(ge=0)]

SizeArgument = Annotated[Annotated[PositiveInt, Number] | Annotated[Pair[PositiveInt], List], ByShape]
"""An edge length, or [height, width]."""
Padding = Annotated[
    Annotated[Edge, Number] | Annotated[Items[Edge], AfterValidator(_two_or_four), List], ByShape
]
"""Pixels on every edge, [left and right, top and bottom], or [left, top, right, bottom]."""
Factor = Annotated[Annotated[NonNegative, Number] | Annotated[Range[NonNegative], List], ByShape]
"""A strength s, meaning [max(0, 1 - s), 1 + s], or the range itself."""
Degrees = Annotated[Annotated[NonNegative, Number] | Annotated[Range[float], List], ByShape]
"""A largest angle d, meaning [-d, d], or the range itself."""

Fill = Annotated[int, Field(ge=0, le=255)]
PaddingMode = Literal["constant", "edge", "reflect", "symmetric"]
Interpolation = Literal["nearest", "bilinear", "bicubic"]
SimpleInterpolation = Literal["nearest", "bilinear"]


def both(size: int | Size) -> Size:
    """Height and width of a size argument."""
    return (size, size) if isinstance(size, int) else size
