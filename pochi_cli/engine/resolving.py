"""What a config leaves open is filled in, and what it claims is held against the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pochi_cli.config.classes import check_classes
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.prepare import Data
from pochi_cli.engine.runtime import Runtime
from pochi_cli.errors import ConfigError


def resolve(config: ClassificationConfig, data: Data, runtime: Runtime) -> ClassificationConfig:
    """Fill in what was left open, so that training the result again repeats the run.

    Raises:
        ConfigError: num_classes or class_weights do not agree with the data.
    """
    key = "dataset" if config.train_data_root is None else "train_data_root"
    if mistakes := list(check_classes(config, data.class_names, (key,))):
        raise ConfigError(mistakes)
    changes: dict[str, Any] = {
        "num_classes": len(data.class_names),
        "device": runtime.shared_device,
        "precision": runtime.precision,
        "channels_last": runtime.channels_last,
        "threads": config.threads or runtime.shared_threads,
        "work_dir": str(Path(config.work_dir).absolute()),
        "optuna": None,  # no part of what is trained
    }
    for key in ("train_data_root", "val_data_root", "weights"):
        if (path := getattr(config, key)) is not None:
            changes[key] = str(Path(path).absolute())
    return config.model_copy(update=changes)
