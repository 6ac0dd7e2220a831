"""The steps that decide the size of an image: resizing, cropping, padding."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from pochi_cli.config.base import PositiveFloat, PositiveInt
from pochi_cli.config.steps.arguments import (
    Fill,
    Interpolation,
    Name,
    Padding,
    PaddingMode,
    RandomStep,
    Range,
    Size,
    SizeArgument,
    Step,
    both,
    edges,
    show_size,
    smallest_padded,
)
from pochi_cli.config.values import show

_SIZE = "Size of the output: [height, width] in pixels, or one number for a square."
_INTERPOLATION = "How values between pixels are found."
_ANTIALIAS = "Smooth when shrinking."
_FILL = "Grey value of the padding."
_PADDING = (
    "Pixels to add on every edge: one number, [left and right, top and bottom], or "
    "[left, top, right, bottom]."
)
_PADDING_MODE = (
    "What the padding shows: `fill`, the outermost pixels, or the image mirrored "
    "(`symmetric` repeats the outermost pixels)."
)


class Resize(Step):
    """Resize; with one number the shorter edge gets that length."""

    name: Name[Literal["Resize"]]
    size: SizeArgument = Field(description="[height, width] in pixels, or the length of the shorter edge.")
    interpolation: Interpolation = Field("bilinear", description=_INTERPOLATION)
    max_size: PositiveInt | None = Field(
        None, description="Largest length of the longer edge; above `size`, which must then be one number."
    )
    antialias: bool = Field(True, description=_ANTIALIAS)

    @field_validator("max_size")
    @classmethod
    def _above_size(cls, max_size: int | None, info: ValidationInfo) -> int | None:
        size = info.data.get("size")
        if max_size is None or size is None:  # an invalid size is reported by its own key
            return max_size
        if not isinstance(size, int):
            raise ValueError(f"{max_size} needs a size of one number, not {show(size)}")
        if max_size <= size:
            raise ValueError(f"must be above size, which is {size}, not {max_size}")
        return max_size

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        if not isinstance(self.size, int):
            return self.size
        if size is None:
            return None
        short, long = min(size), max(size)
        new_short, new_long = self.size, int(self.size * long / short)
        if self.max_size is not None and new_long > self.max_size:
            new_short, new_long = int(self.max_size * new_short / new_long), self.max_size
        return (new_short, new_long) if size[0] <= size[1] else (new_long, new_short)

    def refusal(self, size: Size, *, on_tensors: bool) -> str | None:  # noqa: D102, ARG002
        output = self.output_size(size)
        if output is None or min(output) > 0:
            return None
        return f"with max_size = {self.max_size} leaves no pixel of the shorter edge of {show_size(size)}"


class CenterCrop(Step):
    """Cut out the centre, padded with black where the image is smaller."""

    name: Name[Literal["CenterCrop"]]
    size: SizeArgument = Field(description=_SIZE)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return both(self.size)


class RandomCrop(RandomStep):
    """Cut out a random part."""

    name: Name[Literal["RandomCrop"]]
    size: SizeArgument = Field(description=_SIZE)
    padding: Padding | None = Field(None, description=f"{_PADDING[:-1]}; before the crop.")
    pad_if_needed: bool = Field(False, description="Pad images that are smaller than the crop.")
    fill: Fill = Field(0, description=_FILL)
    padding_mode: PaddingMode = Field("constant", description=_PADDING_MODE)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return both(self.size)

    def smallest_input(self, *, on_tensors: bool) -> Size:  # noqa: D102
        left, top, right, bottom = edges(self.padding)
        height, width = both(self.size)
        return (
            self._smallest_edge(height, top, bottom, on_tensors=on_tensors),
            self._smallest_edge(width, left, right, on_tensors=on_tensors),
        )

    def _smallest_edge(self, crop: int, before: int, after: int, *, on_tensors: bool) -> int:
        longest, missing = max(before, after), max(crop - before - after, 0)
        padded = smallest_padded(longest, self.padding_mode, on_tensors=on_tensors)
        if not self.pad_if_needed:
            return max(padded, missing)
        # Each end is padded by all that an edge lacks, and the shorter it is, the more it lacks.
        further = smallest_padded(longest + missing, self.padding_mode, on_tensors=on_tensors)
        return max(padded, -(-further // 2))


class RandomResizedCrop(RandomStep):
    """Cut out a random part of random area and aspect ratio, then resize it."""

    name: Name[Literal["RandomResizedCrop"]]
    size: SizeArgument = Field(description=_SIZE)
    scale: Range[Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.08, 1.0), description="[smallest, largest] area of the part, as a share of the image's."
    )
    ratio: Range[PositiveFloat] = Field(
        (3 / 4, 4 / 3), description="[smallest, largest] aspect ratio of the part, width to height."
    )
    interpolation: Interpolation = Field("bilinear", description=_INTERPOLATION)
    antialias: bool = Field(True, description=_ANTIALIAS)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return both(self.size)


class Pad(Step):
    """Add a border."""

    name: Name[Literal["Pad"]]
    padding: Padding = Field(description=_PADDING)
    fill: Fill = Field(0, description=_FILL)
    padding_mode: PaddingMode = Field("constant", description=_PADDING_MODE)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        if size is None:
            return None
        left, top, right, bottom = edges(self.padding)
        return (size[0] + top + bottom, size[1] + left + right)

    def smallest_input(self, *, on_tensors: bool) -> Size:  # noqa: D102
        left, top, right, bottom = edges(self.padding)
        return (
            smallest_padded(max(top, bottom), self.padding_mode, on_tensors=on_tensors),
            smallest_padded(max(left, right), self.padding_mode, on_tensors=on_tensors),
        )


class Letterbox(Step):
    """Fit the whole image into the size, keeping its aspect ratio, and pad the rest."""

    name: Name[Literal["Letterbox"]]
    size: SizeArgument = Field(description=_SIZE)
    interpolation: Interpolation = Field("bilinear", description=_INTERPOLATION)
    fill: Fill = Field(0, description=_FILL)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return both(self.size)
