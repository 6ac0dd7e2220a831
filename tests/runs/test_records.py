"""History, metrics and run.json survive writing and reading."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_json
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.records import (
    EpochRecord,
    History,
    RunFiles,
    RunRecord,
    is_better,
    read_history,
    read_run_record,
)

FIRST = EpochRecord(1, 0.1, 0.1 + 0.2, 100 / 3, None, None, {"fc": 0.01, r"a\.b": 0.1}, 2.5, 100.0)
SECOND = replace(FIRST, epoch=2, val_loss=math.nan, val_accuracy=50.0, train_loss=math.inf)
HISTORY = History((FIRST,)).add(SECOND)


def record(directory: Path) -> RunRecord:
    return RunRecord(
        id=directory.name,
        experiment_id="e",
        task="classification",
        model_name="resnet18",
        status="running",
        started_at="2026-11-20T12:30:05+00:00",
        stamp="20261120_123005",
        epochs=2,
        class_names=("a", "b"),
        data_fingerprint="f",
        process_id=1,
        environment={},
        settings={},
    )


def test_csv_is_exact_and_empty_where_nothing_was_measured() -> None:
    lines = HISTORY.to_csv().splitlines()
    assert lines[0] == r"epoch,learning_rate,train_loss,train_accuracy,val_loss,val_accuracy,lr_fc,lr_a\.b"
    assert lines[1] == "1,0.1,0.30000000000000004,33.333333333333336,,,0.01,0.1"
    assert lines[2] == "2,0.1,inf,33.333333333333336,nan,50.0,0.01,0.1"


def test_history_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "train_history.json"
    write_json(path, HISTORY.to_dict())
    read = read_history(path)
    assert read.epochs[0] == FIRST
    assert math.isnan(read.epochs[1].val_loss or 0)
    assert read.epochs[1].train_loss == math.inf
    assert json.loads(path.read_text())["epochs"] == [1, 2]
    assert len(read_history(tmp_path / "missing.json")) == 0


def test_run_files_are_whole_after_every_change(tmp_path: Path) -> None:
    layout = RunLayout(tmp_path, "20261120_123005")
    layout.visualization.mkdir()
    files = RunFiles(layout, record(tmp_path), export_metrics=True)
    files.write_history(HISTORY)
    files.update(status="finished", best_epoch=2)
    read = read_run_record(layout.run_json)
    assert (read.status, read.best_epoch, read.class_names) == ("finished", 2, ("a", "b"))
    assert layout.metrics_csv.read_text() == HISTORY.to_csv()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"id": 3}', "\xff"])
def test_damaged_records_are_named(tmp_path: Path, content: str) -> None:
    path = tmp_path / "run.json"
    path.write_text(content, "latin-1")
    with pytest.raises(RunError, match=r"run\.json"):
        read_run_record(path)


@pytest.mark.parametrize(
    ("value", "best", "metric", "expected"),
    [
        (90.0, None, "val_accuracy", True),
        (90.0, 90.0, "val_accuracy", False),
        (91.0, 90.0, "val_accuracy", True),
        (0.5, 0.4, "val_loss", False),
        (0.3, 0.4, "val_loss", True),
        (math.nan, None, "val_loss", False),
    ],
)
def test_is_better(value: float, best: float | None, metric: str, expected: bool) -> None:
    assert is_better(value, best, metric) is expected
