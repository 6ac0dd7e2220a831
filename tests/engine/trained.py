"""What tests ask of a run."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pochi_cli.config.load import load_config
from pochi_cli.config.root import Config
from pochi_cli.runs.continuation import continued_config
from pochi_cli.runs.index import Run
from tests.engine.events import read_events
from tests.engine.tiny import RANDOM_STEPS

EVERYTHING: dict[str, Any] = {
    "model_name": "mobilenet_v3_small",  # has dropout
    "train_transform": RANDOM_STEPS,
    "learning_rate": 0.005,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
    "ema_decay": 0.95,
    "accumulate_steps": 2,
    "batch_size": 10,
    "clip_grad_norm": 1.0,
    "scheduler": "CosineAnnealingLR",
    "scheduler_params": {"T_max": 6},
    "warmup_epochs": 1,
    "enable_layer_wise_lr": True,
    "layer_wise_lr_config": {"layer_rates": {"classifier": 0.01}},
    "early_stopping": {"enabled": True, "patience": 30},
    "enable_gradient_tracking": True,
}
"""Keys that switch on all that has a state."""

_TIMES = frozenset({"duration_s", "samples_per_second", "epoch_times", "waiting_share"})


def going_on(run: Run, overrides: Sequence[str] = ()) -> Config:
    """The run's own config with some keys replaced, as `--resume RUN --set KEY=VALUE` has it."""
    return continued_config(run, load_config(run.layout.config_toml, overrides))


def rows(run: Run) -> list[dict[str, str]]:
    """The metrics, read as any program would."""
    with run.layout.metrics_csv.open(newline="") as file:
        return list(csv.DictReader(file))


def checkpoint(path: Path) -> dict[str, Any]:
    """A checkpoint, read as any program would."""
    content: dict[str, Any] = torch.load(path, weights_only=True)
    return content


def assert_same_run(one: Run, other: Run) -> None:
    """Weights, state, history and CSV are bit-identical; times, and keys that may differ, aside."""
    for path in (one.layout.latest_model, one.layout.best_model):
        if path.exists():
            first, second = (checkpoint(run.layout.models / path.name) for run in (one, other))
            del first["config"], second["config"]
            assert_equal(first, second, path.name)
    assert rows(one) == rows(other)
    for name in ("gradient_trace", "gradient_steps"):
        files = [getattr(run.layout, name) for run in (one, other)]
        traces = [path.read_bytes() if path.exists() else None for path in files]
        assert traces[0] == traces[1], f"{files[0]} and {files[1]} differ"
    if one.layout.tensorboard.exists() or other.layout.tensorboard.exists():
        found, expected = (read_events(run.layout.tensorboard) for run in (other, one))
        del found["text:config"], expected["text:config"]  # they name the work_dir
        assert_equal(expected, found, "events")
    before, after = (json.loads(run.layout.history_json.read_text()) for run in (one, other))
    assert_equal(before, after, "history")


def assert_equal(one: Any, other: Any, where: str) -> None:
    """Two nested values are the same to the last bit, times aside."""
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert one.dtype == other.dtype, where
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert list(one) == list(other), where
        for key in one:
            if key not in _TIMES:
                assert_equal(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list | tuple):
        assert len(one) == len(other), where
        for index, (first, second) in enumerate(zip(one, other, strict=True)):
            assert_equal(first, second, f"{where}[{index}]")
    else:
        assert one == other, where
