"""The step that makes a tensor of an image, and the steps that work on tensors only."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from pochi_cli.config.base import ByShape, Fraction, Number, PositiveFloat, PositiveTriple, Triple, Word
from pochi_cli.config.steps.arguments import Name, RandomStep, Range, Step


class ToTensor(Step):
    """Turn the image into a float tensor (3, height, width) with values from 0 to 1."""

    name: Name[Literal["ToTensor"]]


class Normalize(Step):
    """Subtract the mean and divide by the standard deviation of each channel."""

    needs_tensor: ClassVar[bool] = True

    name: Name[Literal["Normalize"]]
    mean: Triple | None = Field(None, description="Channel means; the config's `mean` when omitted.")
    std: PositiveTriple | None = Field(
        None, description="Channel standard deviations; the config's `std` when omitted."
    )


class RandomErasing(RandomStep):
    """Erase a random rectangle (Zhong et al., 2020)."""

    needs_tensor: ClassVar[bool] = True

    name: Name[Literal["RandomErasing"]]
    p: Fraction = Field(0.5, description="Probability that an image is changed.")
    scale: Range[Annotated[float, Field(gt=0, le=1)]] = Field(
        (0.02, 0.33), description="[smallest, largest] area of the rectangle, as a share of the image's."
    )
    ratio: Range[PositiveFloat] = Field(
        (0.3, 3.3), description="[smallest, largest] aspect ratio of the rectangle, height to width."
    )
    value: Annotated[Annotated[Literal["random"], Word] | Annotated[float, Number], ByShape] = Field(
        0.0, description="What replaces the values: one number, or `random` noise."
    )
