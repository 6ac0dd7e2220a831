"""A training small enough for a test."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pochi_cli.config.load import validate
from pochi_cli.config.root import ClassificationConfig, Config

STEPS = [{"name": "Resize", "size": 32}, {"name": "ToTensor"}, {"name": "Normalize"}]
RANDOM_STEPS = [
    {"name": "Resize", "size": 32},
    {"name": "RandomAffine", "degrees": 8, "translate": [0.1, 0.1]},
    {"name": "ToTensor"},
    {"name": "Normalize"},
]


def tiny_raw(data: Path | None = None, **changes: Any) -> dict[str, Any]:
    """A raw config; with a folder, its `train` and `val` are used. A change to `None` removes a key."""
    raw: dict[str, Any] = {
        "model_name": "resnet18",
        "stem": "imagenet",
        "pretrained": False,
        "epochs": 2,
        "learning_rate": 0.02,
        "batch_size": 16,
        "train_transform": STEPS,
        "val_transform": STEPS,
        "device": "cpu",
        "threads": 2,
    }
    if data is None:
        raw["dataset"] = "digits"
    else:
        raw |= {"train_data_root": str(data / "train"), "val_data_root": str(data / "val")}
    return {key: value for key, value in (raw | changes).items() if value is not None}


def classifier(config: Config) -> ClassificationConfig:
    """The config, of which a test knows that it is a classifier's."""
    assert isinstance(config, ClassificationConfig)
    return config


def tiny_config(data: Path | None = None, **changes: Any) -> ClassificationConfig:
    """The same, validated."""
    return classifier(validate(tiny_raw(data, **changes)))
