"""The steps of an image pipeline, with torchvision's argument names, ranges and defaults.

Each step also knows the size of its output, so that a pipeline's final size is known without running it.
"""

from __future__ import annotations

from itertools import permutations
from typing import Annotated, ClassVar, Literal

from pydantic import AfterValidator, Discriminator, Field, Strict, Tag, model_validator

from pochi_cli.config.base import ByShape, Fraction, Items, List, Number, Pair, PositiveInt, StrictModel

Size = tuple[int, int]
"""Height and width in pixels."""

Interpolation = Literal["nearest", "bilinear", "bicubic"]
SizeArgument = Annotated[Annotated[PositiveInt, Number] | Annotated[Pair[PositiveInt], List], ByShape]
"""An edge length, or [height, width]."""
NonNegative = Annotated[float, Field(ge=0)]
Factor = Annotated[Annotated[NonNegative, Number] | Annotated[Pair[NonNegative], List], ByShape]
"""A strength s, meaning [max(0, 1 - s), 1 + s], or the range itself."""
Degrees = Annotated[Annotated[NonNegative, Number] | Annotated[Pair[float], List], ByShape]
"""A largest angle d, meaning [-d, d], or the range itself."""
Fill = Annotated[int, Field(ge=0, le=255)]


Edge = Annotated[int, Field(ge=0)]


def _two_or_four(edges: tuple[int, ...]) -> tuple[int, ...]:
    if len(edges) not in (2, 4):
        raise ValueError(f"must have 2 or 4 entries, not {len(edges)}")
    return edges


Padding = Annotated[
    Annotated[Edge, Number] | Annotated[Items[Edge], AfterValidator(_two_or_four), List], ByShape
]
"""Pixels on every edge, [left and right, top and bottom], or [left, top, right, bottom]."""


def _both(size: int | Size) -> Size:
    return (size, size) if isinstance(size, int) else size


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


def _ordered(low_high: tuple[float, float], name: str) -> None:
    if low_high[0] > low_high[1]:
        raise ValueError(f"{name} must be [smaller, larger], not {list(low_high)}")


class Resize(Step):
    """Resize; with one number the shorter edge gets that length."""

    name: Literal["Resize"]
    size: SizeArgument
    interpolation: Interpolation = "bilinear"
    max_size: PositiveInt | None = None
    antialias: bool = True

    @model_validator(mode="after")
    def _max_size(self) -> Resize:
        if self.max_size is not None and not (isinstance(self.size, int) and self.max_size > self.size):
            raise ValueError(f"max_size needs size to be one smaller number, not {self.size}")
        return self

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


class CenterCrop(Step):
    """Cut out the centre, padded with black where the image is smaller."""

    name: Literal["CenterCrop"]
    size: SizeArgument

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return _both(self.size)


class RandomCrop(RandomStep):
    """Cut out a random part."""

    name: Literal["RandomCrop"]
    size: SizeArgument
    padding: Padding | None = None
    pad_if_needed: bool = False
    fill: Fill = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return _both(self.size)


class RandomResizedCrop(RandomStep):
    """Cut out a random part of random area and aspect ratio, then resize it."""

    name: Literal["RandomResizedCrop"]
    size: SizeArgument
    scale: Pair[Annotated[float, Field(gt=0, le=1)]] = (0.08, 1.0)
    ratio: Pair[Annotated[float, Field(gt=0)]] = (3 / 4, 4 / 3)
    interpolation: Interpolation = "bilinear"
    antialias: bool = True

    @model_validator(mode="after")
    def _ranges(self) -> RandomResizedCrop:
        _ordered(self.scale, "scale")
        _ordered(self.ratio, "ratio")
        return self

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return _both(self.size)


class Pad(Step):
    """Pad by one number, by [left and right, top and bottom], or by [left, top, right, bottom]."""

    name: Literal["Pad"]
    padding: Padding
    fill: Fill = 0
    padding_mode: Literal["constant", "edge", "reflect", "symmetric"] = "constant"

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        if size is None:
            return None
        edges = (self.padding,) if isinstance(self.padding, int) else self.padding
        left, top, right, bottom = (edges * 4)[:4]
        return (size[0] + top + bottom, size[1] + left + right)


class Letterbox(Step):
    """Fit the whole image into the size, keeping its aspect ratio, and pad the rest."""

    name: Literal["Letterbox"]
    size: SizeArgument
    interpolation: Interpolation = "bilinear"
    fill: Fill = 0

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102, ARG002
        return _both(self.size)


class RandomHorizontalFlip(RandomStep):
    """Mirror left and right."""

    name: Literal["RandomHorizontalFlip"]
    p: Fraction = 0.5


class RandomVerticalFlip(RandomStep):
    """Mirror top and bottom."""

    name: Literal["RandomVerticalFlip"]
    p: Fraction = 0.5


class RandomRotation(RandomStep):
    """Rotate by a random angle in degrees."""

    name: Literal["RandomRotation"]
    degrees: Degrees
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    expand: bool = False
    fill: Fill = 0

    @model_validator(mode="after")
    def _range(self) -> RandomRotation:
        if isinstance(self.degrees, tuple):
            _ordered(self.degrees, "degrees")
        return self

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        return None if self.expand else size


class RandomAffine(RandomStep):
    """Rotate, shift, scale and shear at random."""

    name: Literal["RandomAffine"]
    degrees: Degrees
    translate: Pair[Fraction] | None = None
    scale: Pair[Annotated[float, Field(gt=0)]] | None = None
    shear: Degrees | None = None
    interpolation: Literal["nearest", "bilinear"] = "nearest"
    fill: Fill = 0

    @model_validator(mode="after")
    def _ranges(self) -> RandomAffine:
        for name in ("degrees", "scale", "shear"):
            if isinstance(value := getattr(self, name), tuple):
                _ordered(value, name)
        return self


class RandomPerspective(RandomStep):
    """Distort the perspective at random."""

    name: Literal["RandomPerspective"]
    distortion_scale: Fraction = 0.5
    p: Fraction = 0.5
    interpolation: Literal["nearest", "bilinear"] = "bilinear"
    fill: Fill = 0


class ColorJitter(RandomStep):
    """Change brightness, contrast, saturation and hue at random."""

    name: Literal["ColorJitter"]
    brightness: Factor = 0.0
    contrast: Factor = 0.0
    saturation: Factor = 0.0
    hue: Annotated[
        Annotated[float, Field(ge=0, le=0.5), Number]
        | Annotated[Pair[Annotated[float, Field(ge=-0.5, le=0.5)]], List],
        ByShape,
    ] = 0.0

    @model_validator(mode="after")
    def _ranges(self) -> ColorJitter:
        for name in ("brightness", "contrast", "saturation", "hue"):
            if isinstance(value := getattr(self, name), tuple):
                _ordered(value, name)
        return self


class Grayscale(Step):
    """Remove the colour; the image keeps three equal channels."""

    name: Literal["Grayscale"]


class RandomGrayscale(RandomStep):
    """Remove the colour with probability p."""

    name: Literal["RandomGrayscale"]
    p: Fraction = 0.1


class GaussianBlur(RandomStep):
    """Blur with a Gaussian of random width."""

    name: Literal["GaussianBlur"]
    kernel_size: SizeArgument
    sigma: Annotated[
        Annotated[float, Field(gt=0), Number] | Annotated[Pair[Annotated[float, Field(gt=0)]], List], ByShape
    ] = (0.1, 2.0)

    @model_validator(mode="after")
    def _kernel(self) -> GaussianBlur:
        if any(edge % 2 == 0 for edge in _both(self.kernel_size)):
            raise ValueError(f"kernel_size must be odd, not {self.kernel_size}")
        if isinstance(self.sigma, tuple):
            _ordered(self.sigma, "sigma")
        return self


class RandomInvert(RandomStep):
    """Invert the colours with probability p."""

    name: Literal["RandomInvert"]
    p: Fraction = 0.5


class RandomPosterize(RandomStep):
    """Keep only the highest bits of each channel with probability p."""

    name: Literal["RandomPosterize"]
    bits: Annotated[int, Field(ge=0, le=8)]
    p: Fraction = 0.5


class RandomSolarize(RandomStep):
    """Invert the values above the threshold (0 to 255) with probability p."""

    name: Literal["RandomSolarize"]
    threshold: Annotated[float, Field(ge=0, le=255)]
    p: Fraction = 0.5


class RandomAdjustSharpness(RandomStep):
    """Change the sharpness by the factor with probability p."""

    name: Literal["RandomAdjustSharpness"]
    sharpness_factor: NonNegative
    p: Fraction = 0.5


class RandomAutocontrast(RandomStep):
    """Stretch the contrast with probability p."""

    name: Literal["RandomAutocontrast"]
    p: Fraction = 0.5


class RandomEqualize(RandomStep):
    """Equalise the histogram with probability p."""

    name: Literal["RandomEqualize"]
    p: Fraction = 0.5


class AutoAugment(RandomStep):
    """AutoAugment (Cubuk et al., 2019)."""

    name: Literal["AutoAugment"]
    policy: Literal["imagenet", "cifar10", "svhn"] = "imagenet"
    interpolation: Literal["nearest", "bilinear"] = "nearest"


class RandAugment(RandomStep):
    """RandAugment (Cubuk et al., 2020)."""

    name: Literal["RandAugment"]
    num_ops: PositiveInt = 2
    magnitude: Annotated[int, Field(ge=0)] = 9
    num_magnitude_bins: Annotated[int, Field(ge=2)] = 31
    interpolation: Literal["nearest", "bilinear"] = "nearest"

    @model_validator(mode="after")
    def _magnitude(self) -> RandAugment:
        if self.magnitude >= self.num_magnitude_bins:
            raise ValueError(
                f"magnitude must be below num_magnitude_bins ({self.num_magnitude_bins}), "
                f"not {self.magnitude}"
            )
        return self


class TrivialAugmentWide(RandomStep):
    """TrivialAugment, wide (Müller and Hutter, 2021)."""

    name: Literal["TrivialAugmentWide"]
    num_magnitude_bins: Annotated[int, Field(ge=2)] = 31
    interpolation: Literal["nearest", "bilinear"] = "nearest"


class AugMix(RandomStep):
    """AugMix (Hendrycks et al., 2020)."""

    name: Literal["AugMix"]
    severity: Annotated[int, Field(ge=1, le=10)] = 3
    mixture_width: PositiveInt = 3
    chain_depth: Annotated[int, Field(ge=-1)] = -1
    alpha: Annotated[float, Field(gt=0)] = 1.0
    all_ops: bool = True
    interpolation: Literal["nearest", "bilinear"] = "bilinear"


class ToTensor(Step):
    """Turn the image into a float tensor (3, height, width) with values from 0 to 1."""

    name: Literal["ToTensor"]


class Normalize(Step):
    """Subtract the mean, divide by the standard deviation; by default the config's `mean` and `std`."""

    needs_tensor: ClassVar[bool] = True

    name: Literal["Normalize"]
    mean: Annotated[tuple[float, float, float], Strict(False)] | None = None
    std: Annotated[tuple[float, float, float], Strict(False)] | None = None

    @model_validator(mode="after")
    def _std(self) -> Normalize:
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"std must be above 0, not {list(self.std)}")
        return self


class RandomErasing(RandomStep):
    """Erase a random rectangle (Zhong et al., 2020)."""

    needs_tensor: ClassVar[bool] = True

    name: Literal["RandomErasing"]
    p: Fraction = 0.5
    scale: Pair[Annotated[float, Field(gt=0, le=1)]] = (0.02, 0.33)
    ratio: Pair[Annotated[float, Field(gt=0)]] = (0.3, 3.3)
    value: Annotated[Annotated[Literal["random"], Tag("word")] | Annotated[float, Number], ByShape] = 0.0

    @model_validator(mode="after")
    def _ranges(self) -> RandomErasing:
        _ordered(self.scale, "scale")
        _ordered(self.ratio, "ratio")
        return self


class RandomApply(RandomStep):
    """Apply the nested steps, in order, with probability p."""

    name: Literal["RandomApply"]
    transforms: NestedSteps
    p: Fraction = 0.5

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        applied = final_size(self.transforms, size)
        if self.p in (0, 1):
            return applied if self.p == 1 else size
        return size if applied == size else None


class RandomChoice(RandomStep):
    """Apply one of the nested steps."""

    name: Literal["RandomChoice"]
    transforms: NestedSteps
    p: Items[NonNegative] | None = None

    @model_validator(mode="after")
    def _p(self) -> RandomChoice:
        if self.p is not None and (len(self.p) != len(self.transforms) or sum(self.p) <= 0):
            raise ValueError(f"p needs one probability for each of the {len(self.transforms)} transforms")
        return self

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        sizes = {step.output_size(size) for step in self.transforms}
        return sizes.pop() if len(sizes) == 1 else None


_MOST_ORDERS = 5  # 120 orders are tried in no time, and nobody shuffles more crops


class RandomOrder(RandomStep):
    """Apply the nested steps in random order."""

    name: Literal["RandomOrder"]
    transforms: NestedSteps

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        resizing = [step for step in self.transforms if type(step).output_size is not Step.output_size]
        if len(resizing) > _MOST_ORDERS:
            return None
        sizes = {final_size(order, size) for order in permutations(resizing)}
        return sizes.pop() if len(sizes) == 1 else None


AnyStep = Annotated[
    Resize
    | CenterCrop
    | RandomCrop
    | RandomResizedCrop
    | Pad
    | Letterbox
    | RandomHorizontalFlip
    | RandomVerticalFlip
    | RandomRotation
    | RandomAffine
    | RandomPerspective
    | ColorJitter
    | Grayscale
    | RandomGrayscale
    | GaussianBlur
    | RandomInvert
    | RandomPosterize
    | RandomSolarize
    | RandomAdjustSharpness
    | RandomAutocontrast
    | RandomEqualize
    | AutoAugment
    | RandAugment
    | TrivialAugmentWide
    | AugMix
    | RandomErasing
    | ToTensor
    | Normalize
    | RandomApply
    | RandomChoice
    | RandomOrder,
    Discriminator("name"),
]
NestedSteps = Annotated[Items[AnyStep], Field(min_length=1)]
Pipeline = Annotated[Items[AnyStep], Field(min_length=1)]

for _model in (RandomApply, RandomChoice, RandomOrder):
    _model.model_rebuild()


def final_size(steps: tuple[AnyStep, ...], size: Size | None = None) -> Size | None:
    """Size of a pipeline's output.

    Args:
        steps: The pipeline.
        size: Size of every image, or `None` where they differ.

    Returns:
        Height and width, or `None` where it depends on the image.
    """
    for step in steps:
        size = step.output_size(size)
    return size


def flatten(steps: tuple[AnyStep, ...]) -> list[AnyStep]:
    """List the steps with the nested ones in place of those that hold them."""
    flat: list[AnyStep] = []
    for step in steps:
        nested = getattr(step, "transforms", None)
        flat.extend(flatten(nested) if nested else [step])
    return flat
