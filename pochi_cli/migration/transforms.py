"""torchvision's transforms and their arguments, and Pochi's steps of the same names."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, get_args

from pydantic import BaseModel

from pochi_cli.config.root import ClassificationConfig

PARAMETERS: Mapping[str, str] = {
    "AugMix": "severity mixture_width chain_depth alpha all_ops interpolation fill",
    "AutoAugment": "policy interpolation fill",
    "CenterCrop": "size",
    "ColorJitter": "brightness contrast saturation hue",
    "Compose": "transforms",
    "GaussianBlur": "kernel_size sigma",
    "Grayscale": "num_output_channels",
    "Normalize": "mean std inplace",
    "Pad": "padding fill padding_mode",
    "RandAugment": "num_ops magnitude num_magnitude_bins interpolation fill",
    "RandomAdjustSharpness": "sharpness_factor p",
    "RandomAffine": "degrees translate scale shear interpolation fill center",
    "RandomApply": "transforms p",
    "RandomAutocontrast": "p",
    "RandomChoice": "transforms p",
    "RandomCrop": "size padding pad_if_needed fill padding_mode",
    "RandomEqualize": "p",
    "RandomErasing": "p scale ratio value inplace",
    "RandomGrayscale": "p",
    "RandomHorizontalFlip": "p",
    "RandomInvert": "p",
    "RandomOrder": "transforms",
    "RandomPerspective": "distortion_scale p interpolation fill",
    "RandomPosterize": "bits p",
    "RandomResizedCrop": "size scale ratio interpolation antialias",
    "RandomRotation": "degrees interpolation expand center fill",
    "RandomSolarize": "threshold p",
    "RandomVerticalFlip": "p",
    "Resize": "size interpolation max_size antialias",
    "ToTensor": "",
    "TrivialAugmentWide": "num_magnitude_bins interpolation fill",
}
"""Arguments of each transform in torchvision's order."""


@cache
def known_steps() -> dict[str, type[BaseModel]]:
    """Find the models of the steps that a pipeline may have, by name."""
    open_ends: list[Any] = [ClassificationConfig.model_fields["train_transform"].annotation]
    found: dict[str, type[BaseModel]] = {}
    while open_ends:
        part = open_ends.pop()
        if isinstance(part, type) and issubclass(part, BaseModel):
            found[part.__name__] = part
        open_ends.extend(get_args(part))
    return found
