"""The steps that draw from a published collection of operations."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator
from pydantic_core import InitErrorDetails

from pochi_cli.config.base import PositiveFloat, PositiveInt
from pochi_cli.config.steps.arguments import Interpolation, Name, RandomStep, SimpleInterpolation

_BINS = "Number of steps on the scale of magnitudes."
_INTERPOLATION = "How values between pixels are found."


class AutoAugment(RandomStep):
    """AutoAugment: a policy learnt on one data set (Cubuk et al., 2019)."""

    name: Name[Literal["AutoAugment"]]
    policy: Literal["imagenet", "cifar10", "svhn"] = Field(
        "imagenet", description="Data set that the policy was learnt on."
    )
    interpolation: SimpleInterpolation = Field("nearest", description=_INTERPOLATION)


class RandAugment(RandomStep):
    """RandAugment: random operations of one magnitude (Cubuk et al., 2020)."""

    name: Name[Literal["RandAugment"]]
    num_ops: PositiveInt = Field(2, description="Operations per image.")
    magnitude: Annotated[int, Field(ge=0)] = Field(
        9, description="Magnitude of every operation; below `num_magnitude_bins`."
    )
    num_magnitude_bins: Annotated[int, Field(ge=2)] = Field(31, description=_BINS)
    interpolation: SimpleInterpolation = Field("nearest", description=_INTERPOLATION)

    @model_validator(mode="after")
    def _on_the_scale(self) -> RandAugment:
        if self.magnitude < self.num_magnitude_bins:
            return self
        # Either may be left at its default; the one that the file has is to blame.
        if "magnitude" in self.model_fields_set:
            culprit, value = "magnitude", self.magnitude
            why = f"must be below num_magnitude_bins, which is {self.num_magnitude_bins}, not {value}"
        else:
            culprit, value = "num_magnitude_bins", self.num_magnitude_bins
            why = f"must be above magnitude, which is {self.magnitude}, not {value}"
        line = InitErrorDetails(
            type="value_error", loc=(culprit,), input=value, ctx={"error": ValueError(why)}
        )
        raise ValidationError.from_exception_data(self.name, [line])


class TrivialAugmentWide(RandomStep):
    """TrivialAugment, wide: one random operation of random magnitude (Müller and Hutter, 2021)."""

    name: Name[Literal["TrivialAugmentWide"]]
    num_magnitude_bins: Annotated[int, Field(ge=2)] = Field(31, description=_BINS)
    interpolation: SimpleInterpolation = Field("nearest", description=_INTERPOLATION)


class AugMix(RandomStep):
    """AugMix: a mixture of chains of random operations (Hendrycks et al., 2020)."""

    name: Name[Literal["AugMix"]]
    severity: Annotated[int, Field(ge=1, le=10)] = Field(3, description="Strength of the operations.")
    mixture_width: PositiveInt = Field(3, description="Number of chains that are mixed.")
    chain_depth: Annotated[int, Field(ge=-1)] = Field(
        -1, description="Operations per chain; 0 or less draws 1 to 3 anew."
    )
    alpha: PositiveFloat = Field(1.0, description="Parameter of the distributions of the weights.")
    all_ops: bool = Field(True, description="Use also brightness, contrast, colour and sharpness.")
    interpolation: Interpolation = Field("bilinear", description=_INTERPOLATION)
