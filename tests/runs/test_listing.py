"""All runs at a glance."""

from __future__ import annotations

import json
import math
import os
from datetime import datetime
from pathlib import Path
from socket import gethostname

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.listing import list_runs, shortest_prefixes
from pochi_cli.runs.listing_text import LIST_HEADER, describe_list
from pochi_cli.runs.quantities import age_text, duration_text
from tests.runs.fake import history, make_run

NOW = datetime.fromisoformat("2026-11-23T12:30:05+00:00")  # three days after the runs began
UUIDS = ("aaaaaaaa-1111-4000-8000-000000000001", "aaaaaaaa-1112-4000-8000-000000000002", "b" * 36)


def told(work_dir: Path) -> list[dict[str, str]]:
    return [dict(zip(LIST_HEADER, row, strict=True)) for row in describe_list(list_runs(work_dir, NOW))]


def test_each_run_has_its_line(tmp_path: Path) -> None:
    make_run(tmp_path, history(90.0, 99.7214), best_value=99.7214, best_epoch=2, experiment_id=UUIDS[0])
    make_run(tmp_path, best_metric="val_loss", best_value=0.312, experiment_id=UUIDS[1], duration_s=4321.0)
    make_run(tmp_path, status="running", host="gpu-7", experiment_id=UUIDS[2])
    make_run(tmp_path, status="running", host=gethostname(), epochs=50)
    first, second, third, fourth = told(tmp_path)
    assert first == {
        "name": "20261120_001",
        "id": "aaaaaaaa-1111",
        "task": "classification",
        "model": "resnet18",
        "status": "finished",
        "epochs": "2/2",
        "best": "99.72 % acc",
        "duration": "1 min 5 s",
        "age": "3 d",
    }
    assert (second["id"], second["best"], second["duration"]) == (
        "aaaaaaaa-1112",
        "0.3120 loss",
        "1 h 12 min",
    )
    assert (third["id"], third["best"], third["status"]) == ("b" * 8, "-", "running on gpu-7")
    assert (fourth["status"], fourth["epochs"]) == ("crashed", "0/50")


def test_a_damaged_run_is_listed_and_hides_no_other(tmp_path: Path) -> None:
    for _ in range(3):
        damaged = make_run(tmp_path)
    content = json.loads(damaged.layout.run_json.read_text())
    damaged.layout.run_json.write_text(json.dumps(content | {"stamp": "../../x"}))
    listed = list_runs(tmp_path, NOW)
    assert [run.status for run in listed] == ["finished", "finished", "damaged"]
    assert "stamp is '../../x'" in (listed[2].reason or "")
    assert told(tmp_path)[2] == dict.fromkeys(LIST_HEADER, "-") | {
        "name": "20261120_003",
        "status": "damaged",
    }
    record = listed[2].to_record()
    assert record.keys() == listed[0].to_record().keys()
    assert (record["name"], record["experiment_id"], record["age_s"]) == ("20261120_003", None, None)


def test_what_a_file_says_moves_no_cursor_and_ends_no_line(tmp_path: Path) -> None:
    make_run(tmp_path, model_name="red\x1b[31m\nblack\u202e")
    assert told(tmp_path)[0]["model"] == "red\\u001b[31m\\nblack\\u202e"


def test_a_value_that_is_no_number_is_told(tmp_path: Path) -> None:
    make_run(tmp_path, best_value=math.nan)
    assert told(tmp_path)[0]["best"] == "nan % acc"


def test_no_runs_and_no_directory(tmp_path: Path) -> None:
    assert list_runs(tmp_path, NOW) == ()
    assert list_runs(tmp_path / "nowhere", NOW) == ()
    (tmp_path / "file").touch()
    assert list_runs(tmp_path / "file", NOW) == ()


@pytest.mark.skipif(os.geteuid() == 0, reason="this user may read everything")
def test_what_may_not_be_read_is_told(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.directory.chmod(0)
    (listed,) = list_runs(tmp_path, NOW)
    run.directory.chmod(0o755)
    assert "Permission denied" in (listed.reason or "")
    tmp_path.chmod(0)
    with pytest.raises(RunError, match="cannot read"):
        list_runs(tmp_path, NOW)
    tmp_path.chmod(0o755)


def test_short_ids() -> None:
    assert shortest_prefixes(["abc", "abd", "b"], 1) == {"abc": "abc", "abd": "abd", "b": "b"}
    assert shortest_prefixes(["abc", "ab"], 1) == {"abc": "abc", "ab": "ab"}
    assert shortest_prefixes(["abcdef"], 2) == {"abcdef": "ab"}
    assert shortest_prefixes(["same", "same"], 2) == {"same": "sa"}
    assert shortest_prefixes([]) == {}


@pytest.mark.parametrize(
    ("seconds", "duration", "age"),
    [
        (0.04, "0.0 s", "0 s"),
        (59.4, "59.4 s", "59 s"),
        (60, "1 min 0 s", "1 min"),
        (4320, "1 h 12 min", "1 h"),
        (200_000, "55 h 33 min", "2 d"),
        (-5, "-5.0 s", "0 s"),
    ],
)
def test_times_in_words(seconds: float, duration: str, age: str) -> None:
    assert age_text(seconds) == age
    if seconds >= 0:
        assert duration_text(seconds) == duration
