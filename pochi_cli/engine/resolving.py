"""What a config leaves open is filled in, and what it claims is held against the data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pochi_cli.config.classes import check_classes
from pochi_cli.config.document import read_document
from pochi_cli.config.load import check_document, validate
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.values import show
from pochi_cli.data.prepare import Data
from pochi_cli.engine.runtime import Runtime
from pochi_cli.errors import ConfigError, Diagnostic
from pochi_cli.runs.index import Run

# What may differ between the sessions of one run without changing its course.
_MAY_CHANGE = frozenset(
    {
        "epochs",
        "num_workers",
        "device",
        "save_interval",
        "log_every_steps",
        "enable_metrics_export",
        # Moved data are the same data: their fingerprint holds them to it.
        "train_data_root",
        "val_data_root",
    }
)


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
        "device": str(runtime.device),
        "precision": runtime.precision,
        "channels_last": runtime.channels_last,
        "threads": runtime.threads,
        "work_dir": str(Path(config.work_dir).absolute()),
    }
    for key in ("train_data_root", "val_data_root", "weights"):
        if (path := getattr(config, key)) is not None:
            changes[key] = str(Path(path).absolute())
    return config.model_copy(update=changes)


def _text(value: Any) -> str:
    return "not given" if value is None else show(value)


def resumed_config(run: Run, overrides: Sequence[str]) -> ClassificationConfig:
    """Validate the config of a run that goes on.

    Args:
        run: The run.
        overrides: `key=value` changes to its config.toml.

    Raises:
        ConfigError: It is invalid, or a key has changed that decides the course of the training.
    """
    document = read_document(run.layout.config_toml, overrides)
    config = check_document(document).valid()
    before = validate(read_document(run.layout.config_toml).raw).model_dump()
    after = config.model_dump()
    changed = [key for key in after if after[key] != before[key] and key not in _MAY_CHANGE]
    allowed = ", ".join(sorted(_MAY_CHANGE))
    diagnostics = [
        Diagnostic(
            "conflict",
            f"{key} was {_text(before[key])} when {run.layout.name} began, and is {_text(after[key])} now",
            (key,),
            help=f"train a new run with it; a run that goes on may change only {allowed}",
        )
        for key in changed
    ]
    if config.epochs < before["epochs"]:
        diagnostics.append(
            Diagnostic(
                "conflict",
                f"epochs was {before['epochs']} when {run.layout.name} began, and is {config.epochs} now",
                ("epochs",),
                help="a run that goes on may only get more epochs",
            )
        )
    if diagnostics:
        raise ConfigError(document.place(diagnostics))
    return config
