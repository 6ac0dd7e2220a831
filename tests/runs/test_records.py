"""History, metrics and run.json survive writing and reading."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_json
from pochi_cli.runs.epochs import ClassificationEpoch
from pochi_cli.runs.history import History, is_better
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.records import RunFiles, RunRecord, read_history, read_run_record

FIRST = ClassificationEpoch(
    epoch=1,
    learning_rate=0.1,
    train_loss=0.1 + 0.2,
    train_accuracy=100 / 3,
    layer_rates={"fc": 0.01, r"a\.b": 0.1},
    duration_s=2.5,
    samples_per_second=100.0,
)
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
        host="elsewhere",
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
    assert math.isnan(read.classification[1].val_loss or 0)
    assert read.classification[1].train_loss == math.inf
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
    ("field", "value", "told"),
    [
        ("stamp", "../../x", "stamp is '../../x', not a time as YYYYMMDD_HHMMSS"),
        ("stamp", "20261120_123005\n", "stamp is"),
        ("status", "done", "status is 'done', not running, finished, interrupted or failed"),
        ("status", [], "status is []"),
        ("id", 3, "id is 3, not a text"),
        ("experiment_id", None, "experiment_id is None"),
        ("epochs", "3", "epochs is '3', not a whole number"),
        ("epochs", True, "epochs is True"),
        ("epochs_done", -1, "epochs_done is -1"),
        ("process_id", 1.5, "process_id is 1.5"),
        ("best_epoch", "2", "best_epoch is '2'"),
        ("best_value", "much", "best_value is 'much', not a number"),
        ("best_value", 10**400, "best_value is 1000"),
        ("duration_s", "NaN", "duration_s is 'NaN', not a number of seconds"),
        ("started_at", "yesterday", "started_at is 'yesterday', not a time"),
        ("started_at", "2026-11-20T12:30:05", "with its zone"),
        ("ended_at", 5, "ended_at is 5"),
        ("class_names", "ab", "class_names is 'ab', not a list of texts"),
        ("class_names", [1], "class_names is [1]"),
        ("environment", [], "environment is [], not an object"),
    ],
)
def test_a_field_of_another_type_is_named_with_its_value(
    tmp_path: Path, field: str, value: object, told: str
) -> None:
    path = tmp_path / "run.json"
    content = asdict(record(tmp_path)) | {field: value}
    write_json(path, content)
    with pytest.raises(RunError) as error:
        read_run_record(path)
    assert told in error.value.message
    assert str(path) in error.value.message
    assert len(error.value.message) < len(str(path)) + 200


def test_a_record_of_a_newer_version_is_read_and_one_that_lacks_a_field_is_not(tmp_path: Path) -> None:
    path = tmp_path / "run.json"
    content = asdict(record(tmp_path))
    write_json(path, content | {"carbon_g": 12})
    assert read_run_record(path) == record(tmp_path)
    del content["host"]
    write_json(path, content)
    with pytest.raises(RunError, match="it has no host"):
        read_run_record(path)


@pytest.mark.parametrize(
    ("column", "values", "told"),
    [
        ("epochs", ["1", 2], "'1' is not a whole number"),
        ("train_loss", [True, 1.0], "True is not a number"),
        ("train_loss", [None, 1.0], "no train_loss in epoch 1"),
        ("train_loss", [10**400, 1.0], "too large"),
        ("train_loss", [1.0], "shorter"),
        ("val_loss", None, "not a training history"),
    ],
)
def test_damaged_histories_are_named(
    tmp_path: Path, column: str, values: list[object] | None, told: str
) -> None:
    path = tmp_path / "train_history.json"
    write_json(path, HISTORY.to_dict() | {column: values})
    with pytest.raises(RunError, match=told):
        read_history(path)


def test_json_nested_without_end_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("[" * 100_000)
    with pytest.raises(RunError, match="is damaged"):
        read_run_record(tmp_path / "run.json")


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
