"""Warnings: each fault is found with its place and remedy, and what is sensible is passed in silence."""

from __future__ import annotations

from typing import Any

import pytest
from torchvision.models import get_model_weights

from pochi_cli.config.catalogue import CATALOGUE, MODEL_NAMES
from pochi_cli.config.data import IMAGENET_MEAN, IMAGENET_STD
from pochi_cli.config.load import check
from pochi_cli.config.named_datasets import NAMED_DATASETS
from pochi_cli.errors import format_key
from tests.config.raw import TO_TENSOR, doubts, folder
from tests.config.test_messages import jargon

FLIP, NORMALIZE = {"name": "RandomHorizontalFlip"}, {"name": "Normalize"}
STEPS = [TO_TENSOR, NORMALIZE]


def calm(**keys: Any) -> dict[str, Any]:
    """A config without any doubt, but for these keys."""
    return folder(**{"train_transform": STEPS, "epochs": 50, **keys})


def scheduler(name: str, **params: Any) -> dict[str, Any]:
    return {"scheduler": name, "scheduler_params": params}


def rates(**layer_rates: float) -> dict[str, Any]:
    return {"enable_layer_wise_lr": True, "layer_wise_lr_config": {"layer_rates": layer_rates}}


def normalized(**arguments: Any) -> list[dict[str, Any]]:
    return [TO_TENSOR, {"name": "Normalize", **arguments}]


VAL = {"val_data_root": "b", "val_transform": STEPS}
HALF = [0.5, 0.5, 0.5]
NOT_PRETRAINED = {"pretrained": False}

# Keys; code and key of the doubt; a part of the message.
DOUBTFUL: dict[str, tuple[dict[str, Any], str, str, str]] = {
    "T_max short": (
        scheduler("CosineAnnealingLR", T_max=10),
        "schedule-length",
        "scheduler_params.T_max",
        "rises again",
    ),
    "T_max long": (
        scheduler("CosineAnnealingLR", T_max=100),
        "schedule-length",
        "scheduler_params.T_max",
        "come down",
    ),
    "T_max and warmup": (
        {**scheduler("CosineAnnealingLR", T_max=50), "warmup_epochs": 10},
        "schedule-length",
        "scheduler_params.T_max",
        "40 epochs after the warmup",
    ),
    "step_size": (
        scheduler("StepLR", step_size=50),
        "schedule-length",
        "scheduler_params.step_size",
        "never changes",
    ),
    "milestones": (
        scheduler("MultiStepLR", milestones=[30, 60, 90]),
        "schedule-length",
        "scheduler_params.milestones",
        "[60, 90] lie beyond",
    ),
    "total_iters": (
        scheduler("LinearLR", total_iters=100),
        "schedule-length",
        "scheduler_params.total_iters",
        "end_factor",
    ),
    "patience": (
        {**VAL, "early_stopping": {"enabled": True, "patience": 50}},
        "patience-too-long",
        "early_stopping.patience",
        "can never stop early",
    ),
    "default patience": (
        {**VAL, "epochs": 30, "early_stopping": {"enabled": True}},
        "patience-too-long",
        "early_stopping.enabled",
        "patience is 30 for 30 epochs",
    ),
    "small rate": (
        rates(conv1=1e-5),
        "far-layer-rate",
        "layer_wise_lr_config.layer_rates.conv1",
        "more than 1,000",
    ),
    "large rate": (
        {**rates(fc=1.0), "learning_rate": 1e-4},
        "far-layer-rate",
        "layer_wise_lr_config.layer_rates.fc",
        "1,000",
    ),
    "apart from one another": (
        rates(conv1=1e-3, layer1=1e-2, fc=1.0) | {"learning_rate": 0.05, **rates(conv1=2e-4, fc=0.5)},
        "far-layer-rate",
        "layer_wise_lr_config.layer_rates.conv1",
        "0.0002 of `conv1` and 0.5 of `fc`",
    ),
    "eta_min": (
        {**scheduler("CosineAnnealingLR", T_max=50, eta_min=0.5), "learning_rate": 0.01},
        "rising-rate",
        "scheduler_params.eta_min",
        "the rate does not fall",
    ),
    "gamma": (
        scheduler("StepLR", step_size=5, gamma=1.0),
        "schedule-length",
        "scheduler_params.gamma",
        "never",
    ),
    "same folder": (
        {"val_data_root": "./data/train/", "val_transform": STEPS},
        "same-folder",
        "val_data_root",
        "folder of the training images",
    ),
    "min_delta": (
        {**VAL, "early_stopping": {"enabled": True, "min_delta": 200}},
        "min-delta-too-large",
        "early_stopping.min_delta",
        "200 percentage points",
    ),
    "colour after Normalize": (
        {"train_transform": [*STEPS, {"name": "ColorJitter", "hue": 0.1}]},
        "transform-order",
        "train_transform[2]",
        "ColorJitter stands after Normalize",
    ),
    "normalized twice": (
        {**VAL, "train_transform": [*STEPS, NORMALIZE]},
        "transform-order",
        "train_transform[2]",
        "normalizes twice",
    ),
    "mean of bytes with pretrained": (
        {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},
        "normalization-range",
        "mean",
        "between 0 and 1",
    ),
    "rates without the flag": (
        {"layer_wise_lr_config": {"layer_rates": {"fc": 0.1}}},
        "unused-key",
        "layer_wise_lr_config.layer_rates",
        "enable_layer_wise_lr is false",
    ),
    "a monitor that is not enabled": (
        {"monitor": {"update_ratio_every": 5}},
        "unused-key",
        "monitor.update_ratio_every",
        "not enabled",
    ),
    "what is written for TensorBoard, without it": (
        {"tensorboard": {"histogram_every_epochs": 0}},
        "unused-key",
        "tensorboard",
        "enable_tensorboard is false",
    ),
    "random validation": (
        {**VAL, "val_transform": [FLIP, *STEPS]},
        "random-validation",
        "val_transform[0]",
        "RandomHorizontalFlip",
    ),
    "random validation inside": (
        {**VAL, "val_transform": [{"name": "RandomApply", "transforms": [{"name": "Grayscale"}]}, *STEPS]},
        "random-validation",
        "val_transform[0]",
        "RandomApply",
    ),
    "other mean": ({"mean": HALF}, "pretrained-normalization", "mean", "mean is [0.5, 0.5, 0.5]"),
    "other std": ({"std": HALF}, "pretrained-normalization", "std", "std is [0.5, 0.5, 0.5]"),
    "other mean in the step": (
        {"train_transform": normalized(mean=HALF)},
        "pretrained-normalization",
        "train_transform[1].mean",
        "mean is",
    ),
    "no Normalize": (
        {"train_transform": [TO_TENSOR]},
        "pretrained-normalization",
        "train_transform",
        "no Normalize",
    ),
    "unlike": (
        {**VAL, **NOT_PRETRAINED, "val_transform": normalized(std=HALF)},
        "unlike-normalization",
        "val_transform[1].std",
        "different mean or std",
    ),
    "validation without Normalize": (
        {**VAL, "val_transform": [TO_TENSOR]},
        "unlike-normalization",
        "val_transform",
        "val_transform has no Normalize",
    ),
    "training without Normalize": (
        {**VAL, **NOT_PRETRAINED, "train_transform": [TO_TENSOR]},
        "unlike-normalization",
        "val_transform[1]",
        "train_transform has no Normalize",
    ),
    "mean of bytes": (
        {**NOT_PRETRAINED, "mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]},
        "normalization-range",
        "mean",
        "between 0 and 1",
    ),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_each_doubt(name: str) -> None:
    keys, code, key, said = DOUBTFUL[name]
    found = check(calm(**keys))
    (doubt,) = found.diagnostics
    assert (doubt.code, format_key(doubt.key), doubt.severity) == (code, key, "warning")
    assert said in doubt.message
    assert doubt.help
    assert jargon(f"{doubt.message} {doubt.help}") == []
    assert found.config is not None  # a warning stops nothing


@pytest.mark.parametrize("name", DOUBTFUL)
def test_each_doubt_beside_a_mistake(name: str) -> None:
    keys, code, key, _ = DOUBTFUL[name]
    found = check(calm(**keys, batch_size=0, nonsense=1))
    told = {(d.code, format_key(d.key)) for d in found.diagnostics}
    assert told == {(code, key), ("out-of-range", "batch_size"), ("unknown-key", "nonsense")}
    assert found.config is None


@pytest.mark.parametrize(
    "keys",
    [
        {},
        VAL,
        scheduler("CosineAnnealingLR", T_max=50),
        scheduler("CosineAnnealingLR", T_max=46),
        {**scheduler("CosineAnnealingLR", T_max=40), "warmup_epochs": 10},
        {**scheduler("CosineAnnealingLR", T_max=2), "epochs": 1},
        scheduler("StepLR", step_size=49),
        scheduler("MultiStepLR", milestones=[30, 49]),
        scheduler("LinearLR", total_iters=10),  # and constant from there on
        scheduler("LinearLR", total_iters=50),
        scheduler("ExponentialLR", gamma=0.95),
        {**VAL, "early_stopping": {"enabled": True, "patience": 49}},
        {"early_stopping": {"patience": 50}},
        {**rates(conv1=1e-3, fc=1.0)},
        {**rates(layer1=1e-4)},
        {**NOT_PRETRAINED, "mean": HALF},
        {"weights": "a.pth", "mean": HALF},
        {**NOT_PRETRAINED, "train_transform": [TO_TENSOR]},
        {"mean": HALF, "train_transform": normalized(mean=list(IMAGENET_MEAN))},
        {**VAL, "val_transform": normalized(mean=list(IMAGENET_MEAN))},
        {**VAL, "train_transform": [FLIP, *STEPS]},
        {"train_transform": [{"name": "ColorJitter", "hue": 0.1}, *STEPS, {"name": "RandomErasing"}]},
        scheduler("CosineAnnealingLR", T_max=50, eta_min=1e-3),
    ],
)
def test_what_is_sensible_is_passed_in_silence(keys: dict[str, Any]) -> None:
    assert doubts(calm(**keys)) == []


@pytest.mark.parametrize(
    "model_name", [name for name in MODEL_NAMES if CATALOGUE[name].has_published_weights]
)
def test_the_weights_own_mean_and_std(model_name: str) -> None:
    transforms = get_model_weights(model_name).DEFAULT.transforms()
    assert (tuple(transforms.mean), tuple(transforms.std)) == (IMAGENET_MEAN, IMAGENET_STD)


def test_the_facts_of_the_digits(digits: Any) -> None:
    known = NAMED_DATASETS["digits"]
    for part, count in (("train", known.train_images), ("val", known.val_images)):
        assert len(list((digits / part).rglob("*.png"))) == count
        assert tuple(sorted(path.name for path in (digits / part).iterdir())) == known.class_names
