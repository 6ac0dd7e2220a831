"""The steps that change the values of pixels: colour, blur, sharpness, contrast."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from pochi_cli.config.base import (
    ByShape,
    Fraction,
    List,
    NonNegative,
    Number,
    Pair,
    PositiveFloat,
    PositiveInt,
)
from pochi_cli.config.steps.arguments import Factor, Name, RandomStep, Range, Size, Step, both

_PROBABILITY = "Probability that an image is changed."
_FACTOR = "Largest change s, for a factor from max(0, 1 - s) to 1 + s; or [smallest, largest] factor."


def _odd(edge: int) -> int:
    if edge % 2 == 0:
        raise ValueError(f"must be odd, not {edge}")
    return edge


OddInt = Annotated[PositiveInt, AfterValidator(_odd)]
KernelSize = Annotated[Annotated[OddInt, Number] | Annotated[Pair[OddInt], List], ByShape]
Sigma = Annotated[Annotated[PositiveFloat, Number] | Annotated[Range[PositiveFloat], List], ByShape]
Hue = Annotated[
    Annotated[float, Field(ge=0, le=0.5), Number]
    | Annotated[Range[Annotated[float, Field(ge=-0.5, le=0.5)]], List],
    ByShape,
]


class ColorJitter(RandomStep):
    """Change brightness, contrast, saturation and hue at random, in random order."""

    name: Name[Literal["ColorJitter"]]
    brightness: Factor = Field(0.0, description=_FACTOR)
    contrast: Factor = Field(0.0, description=_FACTOR)
    saturation: Factor = Field(0.0, description=_FACTOR)
    hue: Hue = Field(
        0.0,
        description="Largest shift of the hue to either side, as a share of the colour circle, or "
        "[smallest, largest] shift.",
    )


class Grayscale(Step):
    """Remove the colour; the image keeps three equal channels."""

    name: Name[Literal["Grayscale"]]


class RandomGrayscale(RandomStep):
    """Remove the colour with probability `p`."""

    name: Name[Literal["RandomGrayscale"]]
    p: Fraction = Field(0.1, description=_PROBABILITY)


class GaussianBlur(RandomStep):
    """Blur with a Gaussian of random width."""

    name: Name[Literal["GaussianBlur"]]
    kernel_size: KernelSize = Field(
        description="Size of the kernel in pixels: one odd number, or two as [width, height]."
    )
    sigma: Sigma = Field(
        (0.1, 2.0), description="Standard deviation of the Gaussian in pixels, or its [smallest, largest]."
    )

    def smallest_input(self, *, on_tensors: bool) -> Size:  # noqa: D102, ARG002
        height, width = both(self.kernel_size)[::-1]
        return (height // 2 + 1, width // 2 + 1)  # the image is mirrored outwards by half the kernel


class RandomInvert(RandomStep):
    """Invert the colours with probability `p`."""

    name: Name[Literal["RandomInvert"]]
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomPosterize(RandomStep):
    """Keep only the highest bits of each channel with probability `p`."""

    name: Name[Literal["RandomPosterize"]]
    bits: Annotated[int, Field(ge=0, le=8)] = Field(description="Bits of each channel that are kept.")
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomSolarize(RandomStep):
    """Invert the values above a threshold with probability `p`."""

    name: Name[Literal["RandomSolarize"]]
    threshold: Annotated[float, Field(ge=0, le=255)] = Field(
        description="Values from this one on are inverted."
    )
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomAdjustSharpness(RandomStep):
    """Change the sharpness with probability `p`."""

    name: Name[Literal["RandomAdjustSharpness"]]
    sharpness_factor: NonNegative = Field(description="0 blurs, 1 changes nothing, 2 doubles the sharpness.")
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomAutocontrast(RandomStep):
    """Stretch the contrast to the full range with probability `p`."""

    name: Name[Literal["RandomAutocontrast"]]
    p: Fraction = Field(0.5, description=_PROBABILITY)


class RandomEqualize(RandomStep):
    """Equalise the histogram with probability `p`."""

    name: Name[Literal["RandomEqualize"]]
    p: Fraction = Field(0.5, description=_PROBABILITY)
