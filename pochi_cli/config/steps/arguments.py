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

    def smallest_input(self, *, on_tensors: bool) -> Size:  # noqa: ARG002
        """Height and width that an input must have at least.

        Args:
            on_tensors: Whether the step stands behind ToTensor; torchvision's limits differ.
        """
        return (1, 1)

    def refusal(self, size: Size, *, on_tensors: bool) -> str | None:
        """Say why the step cannot take an input of this size.

        Args:
            size: Height and width.
            on_tensors: As for `smallest_input`.

        Returns:
            What it needs, to stand behind its name; `None` if the step can take it.
        """
        smallest = self.smallest_input(on_tensors=on_tensors)
        if size[0] >= smallest[0] and size[1] >= smallest[1]:
            return None
        return f"needs images of at least {show_size(smallest)}, but gets {show_size(size)}"


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


def show_size(size: Size) -> str:
    """Write height and width."""
    return f"{size[0]} x {size[1]} px"


def edges(padding: int | tuple[int, ...] | None) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of a padding argument."""
    given = (padding or 0,) if isinstance(padding, int | None) else padding
    left, top, right, bottom = (given * 4)[:4]
    return left, top, right, bottom


def smallest_padded(padding: int, mode: PaddingMode, *, on_tensors: bool) -> int:
    """Length that an edge must have at least to be padded that far; only on tensors is mirroring limited."""
    if not on_tensors or mode in ("constant", "edge"):
        return 1
    return padding + 1 if mode == "reflect" else max(padding, 1)


def both(size: int | Size) -> Size:
    """Height and width of a size argument."""
    return (size, size) if isinstance(size, int) else size
