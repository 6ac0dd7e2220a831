"""The steps that hold others, the union of all steps, and what a pipeline of them is."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import permutations
from typing import Annotated, Literal, get_args

from pydantic import Discriminator, Field, ValidationInfo, field_validator

from pochi_cli.config.base import Fraction, Items, NonNegative
from pochi_cli.config.steps.arguments import Name, RandomStep, Size, Step
from pochi_cli.config.steps.color import (
    ColorJitter,
    GaussianBlur,
    Grayscale,
    RandomAdjustSharpness,
    RandomAutocontrast,
    RandomEqualize,
    RandomGrayscale,
    RandomInvert,
    RandomPosterize,
    RandomSolarize,
)
from pochi_cli.config.steps.geometry import (
    RandomAffine,
    RandomHorizontalFlip,
    RandomPerspective,
    RandomRotation,
    RandomVerticalFlip,
)
from pochi_cli.config.steps.policies import AugMix, AutoAugment, RandAugment, TrivialAugmentWide
from pochi_cli.config.steps.sizes import CenterCrop, Letterbox, Pad, RandomCrop, RandomResizedCrop, Resize
from pochi_cli.config.steps.tensors import Normalize, RandomErasing, ToTensor
from pochi_cli.config.values import show

_NESTED = "The steps, written like those of a pipeline."


class RandomApply(RandomStep):
    """Apply the nested steps, in order, with probability `p`."""

    name: Name[Literal["RandomApply"]]
    transforms: Pipeline = Field(description=_NESTED)
    p: Fraction = Field(0.5, description="Probability that all of them are applied, rather than none.")

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        applied = final_size(self.transforms, size)
        if self.p in (0, 1):
            return applied if self.p == 1 else size
        return size if applied == size else None


class RandomChoice(RandomStep):
    """Apply one of the nested steps."""

    name: Name[Literal["RandomChoice"]]
    transforms: Pipeline = Field(description=_NESTED)
    p: Items[NonNegative] | None = Field(
        None, description="Relative probability of each nested step; all the same when omitted."
    )

    @field_validator("p")
    @classmethod
    def _one_each(cls, p: tuple[float, ...] | None, info: ValidationInfo) -> tuple[float, ...] | None:
        transforms = info.data.get("transforms")
        if p is None or transforms is None:  # invalid transforms are reported by their own keys
            return p
        if len(p) != len(transforms):
            raise ValueError(f"must have one number per step ({len(transforms)}), not {show(p)}")
        if sum(p) <= 0:
            raise ValueError(f"must have a number above 0, not {show(p)}")
        return p

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        sizes = {step.output_size(size) for step in self.transforms}
        return sizes.pop() if len(sizes) == 1 else None


MOST_ORDERS = 5
"""Steps in random order whose orders are tried: 120 take no time, and nobody shuffles more crops."""


class RandomOrder(RandomStep):
    """Apply the nested steps in random order."""

    name: Name[Literal["RandomOrder"]]
    transforms: Pipeline = Field(description=_NESTED)

    def output_size(self, size: Size | None) -> Size | None:  # noqa: D102
        resizing = [step for step in self.transforms if type(step).output_size is not Step.output_size]
        if len(resizing) > MOST_ORDERS:
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
    | ToTensor
    | Normalize
    | RandomErasing
    | RandomApply
    | RandomChoice
    | RandomOrder,
    Discriminator("name"),
]
Pipeline = Annotated[Items[AnyStep], Field(min_length=1)]
STEPS: Mapping[str, type[Step]] = {step.__name__: step for step in get_args(get_args(AnyStep)[0])}

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
