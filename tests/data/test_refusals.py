"""Which image a step refuses, held against the real torchvision."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from PIL import Image
from pydantic import TypeAdapter

from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import STEPS, Pipeline
from pochi_cli.config.steps.refusals import find_refusals
from pochi_cli.data.transforms import StepError, build_pipeline

PIPELINE: TypeAdapter[Pipeline] = TypeAdapter(Pipeline)
TO_TENSOR = {"name": "ToTensor"}
MODES = ("constant", "edge", "reflect", "symmetric")
SIZES: list[Size] = [
    (1, 1), (1, 2), (2, 1), (2, 2), (1, 9), (9, 1), (2, 5), (3, 5), (5, 3), (3, 6), (4, 6), (5, 6), (8, 8),
    (500, 1), (1, 500),
]  # fmt: skip
CROP = {"name": "RandomCrop", "size": [7, 8]}
BLUR = {"name": "GaussianBlur", "kernel_size": [9, 5]}

STEPS_WITH_LIMITS: list[dict[str, Any]] = [
    {"name": "Resize", "size": 16, "max_size": 32},
    {"name": "Resize", "size": [3, 5]},
    CROP,
    BLUR,
    {"name": "GaussianBlur", "kernel_size": 1},
    {"name": "RandomPerspective", "p": 1.0},
    {"name": "RandomPerspective", "p": 0.0},
    *({"name": "Pad", "padding": [5, 2], "padding_mode": mode} for mode in MODES),
    *({"name": "Pad", "padding": [0, 3, 0, 1], "padding_mode": mode} for mode in MODES),
    *({**CROP, "padding": [2, 1, 0, 3], "padding_mode": mode} for mode in MODES),
    *({**CROP, "pad_if_needed": True, "padding_mode": mode} for mode in MODES),
    *({**CROP, "pad_if_needed": True, "padding": [4, 1, 0, 0], "padding_mode": mode} for mode in MODES),
    {"name": "RandomApply", "transforms": [CROP, BLUR], "p": 0.9},
    {"name": "RandomApply", "transforms": [CROP], "p": 0},
    {"name": "RandomChoice", "transforms": [CROP, BLUR]},
    {"name": "RandomChoice", "transforms": [CROP, BLUR], "p": [0, 1]},
    {"name": "RandomOrder", "transforms": [CROP, {"name": "Pad", "padding": 2}, BLUR]},
    {"name": "RandomOrder", "transforms": [{"name": "RandomHorizontalFlip"}, BLUR]},
]
LIMITED = {step["name"] for step in STEPS_WITH_LIMITS}
REQUIRED: dict[str, dict[str, Any]] = {
    "CenterCrop": {"size": [5, 9]},
    "RandomResizedCrop": {"size": 8},
    "Letterbox": {"size": [8, 4]},
    "RandomRotation": {"degrees": 40, "expand": True},
    "RandomAffine": {"degrees": 30, "translate": [0.5, 0.5], "shear": 20},
    "ColorJitter": {"brightness": 0.5, "hue": 0.5},
    "RandomPosterize": {"bits": 3},
    "RandomSolarize": {"threshold": 128},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
}
OTHERS = [{"name": name, **REQUIRED.get(name, {})} for name in STEPS if name not in LIMITED | {"ToTensor"}]


def can_fail(steps: Pipeline, size: Size) -> bool:
    pipeline = build_pipeline(steps, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    for seed in range(10 if pipeline.is_random else 1):
        torch.manual_seed(seed)
        try:
            pipeline(Image.new("RGB", size[::-1], "red"))
        except StepError:
            return True
    return False


@pytest.mark.parametrize("on_tensors", [False, True], ids=["images", "tensors"])
@pytest.mark.parametrize("step", [*STEPS_WITH_LIMITS, *OTHERS], ids=str)
def test_a_step_is_refused_exactly_where_torchvision_fails(step: dict[str, Any], on_tensors: bool) -> None:
    if STEPS[step["name"]].needs_tensor and not on_tensors:
        return
    steps = PIPELINE.validate_python([TO_TENSOR, step] if on_tensors else [step, TO_TENSOR])
    refused = [size for size in SIZES if find_refusals(steps, size)]
    assert refused == [size for size in SIZES if can_fail(steps, size)]
