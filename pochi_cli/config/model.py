"""The keys that choose a model."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from pochi_cli.config.base import PathText, StrictModel
from pochi_cli.config.catalogue import CATALOGUE, ModelName

Stem = Literal["auto", "imagenet", "small"]


def _default_pretrained(known: dict[str, Any]) -> bool:
    model_name = known.get("model_name", "resnet18")  # an invalid one is not among what is known
    return known.get("weights") is None and CATALOGUE[model_name].has_published_weights


class ModelConfig(StrictModel):
    """Which network, with which weights to start from."""

    model_name: ModelName = Field("resnet18", description="Name of a model in the catalogue.")
    num_classes: Annotated[int, Field(ge=2)] | None = Field(
        None, description="Number of classes; taken from the data when omitted, and must agree with them."
    )
    stem: Stem = Field(
        "auto",
        description="First layers of a ResNet: `small` is a 3x3 convolution of stride 1 without max-pooling, "
        "`auto` takes it for inputs of 64 px or less.",
    )
    weights: PathText | None = Field(
        None,
        description="Local file to start from instead of torchvision's weights: a state_dict (.pth) or "
        ".safetensors.",
    )
    # Depends on model_name and weights, which therefore come first: the resolved config, which holds all
    # three, must be valid.
    pretrained: bool = Field(
        default_factory=_default_pretrained,
        description="Start from torchvision's ImageNet weights; the default unless `weights` is given or "
        "there are none (`vgg_compact`, `vit_tiny`).",
    )
