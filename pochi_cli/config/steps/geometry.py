"""The steps that mirror, turn and distort an image."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pochi_cli.config.base import Fraction, Pair, PositiveFloat
from pochi_cli.config.steps.arguments import (
    Degrees,
    Fill,
    Name,
    RandomStep,
    Range,
    SimpleInterpolation,
    Size,
)

_PROBABILITY = "Probability that an image is changed."
_DEGREES = "Largest angle to either side, in degrees, or [smallest, largest] angle."
_INTERPOLATION = "How values between pixels are found."
_FILL = "Grey value of the area outside of the image."


class RandomHorizontalFlip(RandomStep):
    """Mirror left and right."""

    name: Name[Literal["RandomHorizontalFlip"]]
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomVerticalFlip(RandomStep):
    """Mirror top and bottom."""

    name: Name[Literal["RandomVerticalFlip"]]
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomRotation(RandomStep):
    """Rotate by a random angle."""

    name: Name[Literal["RandomRotation"]]
    degrees: Degrees = Field(description=_DEGREES)
    interpolation: SimpleInterpolation = Field("nearest", description=_INTERPOLATION)
    expand: bool = Field(False, description="Enlarge the output so that it holds the whole rotated image.")
    fill: Fill = Field(0, description=_FILL)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        return None if self.expand else size


class RandomAffine(RandomStep):
    """Rotate, shift, scale and shear at random."""

    name: Name[Literal["RandomAffine"]]
    degrees: Degrees = Field(description=_DEGREES)
    translate: Pair[Fraction] | None = Field(
        None, description="Largest shift [sideways, up or down], as shares of the width and height."
    )
    scale: Range[PositiveFloat] | None = Field(None, description="[smallest, largest] scaling factor.")
    shear: Degrees | None = Field(
        None, description="Largest horizontal shear to either side, in degrees, or [smallest, largest] shear."
    )
    interpolation: SimpleInterpolation = Field("nearest", description=_INTERPOLATION)
    fill: Fill = Field(0, description=_FILL)


class RandomPerspective(RandomStep):
    """Distort the perspective at random."""

    name: Name[Literal["RandomPerspective"]]
    distortion_scale: Fraction = Field(
        0.5, description="Largest shift of a corner, as a share of half the image."
    )
    p: Fraction = Field(0.5, description=_PROBABILITY)
    interpolation: SimpleInterpolation = Field("bilinear", description=_INTERPOLATION)
    fill: Fill = Field(0, description=_FILL)

    def smallest_input(self, *, on_tensors: bool) -> Size:  # noqa: D102, ARG002
        return (2, 2) if self.p > 0 else (1, 1)  # the corners of a line span no plane
