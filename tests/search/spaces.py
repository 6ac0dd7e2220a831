"""Small searches for the tests."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pochi_cli.config.load import validate
from pochi_cli.config.root import ClassificationConfig
from tests.engine.tiny import classifier, tiny_raw

RATE = {"type": "float", "low": 1e-4, "high": 0.1, "log": True}
SIZES = {"type": "categorical", "choices": [8, 16, 32]}


def search_raw(data: Path | None = None, **changes: Any) -> dict[str, Any]:
    """A raw config with a search; `optuna` is changed key by key."""
    settings = {
        "n_trials": 4,
        "optuna_epochs": 2,
        "search_space": {"learning_rate": RATE, "batch_size": SIZES},
    }
    settings |= changes.pop("optuna", {})
    settings = {key: value for key, value in settings.items() if value is not None}
    return tiny_raw(data, epochs=6, threads=None, optuna=settings, **changes)


def search_config(data: Path | None = None, **changes: Any) -> ClassificationConfig:
    """The same, validated."""
    return classifier(validate(search_raw(data, **changes)))
