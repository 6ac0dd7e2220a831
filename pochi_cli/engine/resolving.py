"""What a config leaves open is filled in, and what it claims is held against the data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pochi_cli.config.load import read_toml, validate
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
    classes = len(data.class_names)
    if config.num_classes not in (None, classes):
        raise ConfigError(
            [
                Diagnostic(
                    "class-mismatch",
                    f"num_classes is {config.num_classes}, but the training data have {classes} classes",
                    ("num_classes",),
                    help="leave it out to take it from the data; the classes are "
                    + _listed(data.class_names),
                )
            ]
        )
    weights = config.class_weights
    if isinstance(weights, tuple) and len(weights) != classes:
        raise ConfigError(
            [
                Diagnostic(
                    "class-weights-length",
                    f"class_weights has {len(weights)} entries, the training data have {classes} classes",
                    ("class_weights",),
                    help='give one weight per class, or "balanced"; the classes are '
                    + _listed(data.class_names),
                )
            ]
        )
    changes: dict[str, Any] = {
        "num_classes": classes,
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


def _listed(names: tuple[str, ...], most: int = 10) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def _text(value: Any) -> str:
    return "not given" if value is None else show(value)


def resumed_config(run: Run, raw: dict[str, Any]) -> ClassificationConfig:
    """Validate the config of a run that goes on.

    Args:
        run: The run.
        raw: The contents of its config.toml, with changes applied.

    Raises:
        ConfigError: It is invalid, or a key has changed that decides the course of the training.
    """
    config = validate(raw, source=str(run.layout.config_toml))
    before = validate(read_toml(run.layout.config_toml)).model_dump()
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
        raise ConfigError(diagnostics)
    return config
