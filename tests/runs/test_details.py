"""All about one run."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from socket import gethostname

import pytest

from pochi_cli.runs.atomic import without_non_finite
from pochi_cli.runs.details import read_details
from pochi_cli.runs.details_text import describe_details
from pochi_cli.runs.index import Run
from tests.runs.fake import history, make_run

NOW = datetime.fromisoformat("2026-11-23T12:30:05+00:00")


def told(run: Run) -> dict[str, str]:
    title, rows = describe_details(read_details(run, NOW))
    return {"title": title, **dict(rows)}


def test_a_finished_run(tmp_path: Path) -> None:
    run = make_run(tmp_path, history(90.0, 95.0), {"seed": 7}, best_value=95.0, best_epoch=2)
    text = told(run)
    assert text["title"] == "run 20261120_001 finished"
    assert text["best"] == "val_accuracy 95.0000 % in epoch 2"
    assert text["started"] == "2026-11-20 12:30:05 +0000, 3 d ago"
    assert text["data"] == "65 training and 30 validation images, fingerprint 0123456789ab"
    assert text["classes"] == "2: a, b"
    assert text["model"] == "resnet18, classification"
    assert text["settings"] == "device = cpu"
    assert "torch = 2.6.0" in text["versions"].splitlines()
    assert {"seed = 7", "epochs = 2"} <= set(text["not default"].splitlines())
    assert "device" not in text["not default"]  # the settings say it
    assert "save_interval" not in text["not default"]
    assert text["records"] == "config.toml, run.json, train_history.json"
    assert not text.keys() & {"go on with", "reason", "problem"}


@pytest.mark.parametrize("status", ["interrupted", "failed"])
def test_a_run_that_did_not_end_tells_why_and_how_to_go_on(tmp_path: Path, status: str) -> None:
    run = make_run(tmp_path / "it's here", status=status, reason="the loss became nan")
    text = told(run)
    assert text["reason"] == "the loss became nan"
    quoted = str(run.directory).replace("'", "'\"'\"'")
    assert text["go on with"] == f"pochi train --resume '{quoted}'"
    assert "last" not in text  # not one epoch was finished


def test_running_and_crashed(tmp_path: Path) -> None:
    crashed = told(make_run(tmp_path, status="running", host=gethostname(), process_id=7))
    assert crashed["title"].endswith("crashed")
    assert crashed["reason"] == f"process 7 on {gethostname()} ended without closing the run"
    assert "go on with" in crashed
    running = told(make_run(tmp_path, status="running", host="gpu-7", process_id=7))
    assert running["title"].endswith("running on gpu-7")
    assert running["trained by"] == "process 7 on gpu-7"
    assert "go on with" not in running


def test_what_is_damaged_leaves_the_rest(tmp_path: Path) -> None:
    run = make_run(tmp_path, history(90.0))
    run.layout.config_json.unlink()
    run.layout.history_json.write_text("[]")
    run.layout.config_toml.write_text("epochs = 'x'")
    details = read_details(run, NOW)
    assert len(details.problems) == 3
    assert (details.config, details.history, details.beyond_defaults) == (None, None, None)
    assert told(run)["title"] == "run 20261120_001 finished"


def test_many_classes_are_counted(tmp_path: Path) -> None:
    text = told(make_run(tmp_path, class_names=tuple(f"c{n}" for n in range(1000))))
    assert text["classes"] == "1,000: c0, c1, c2, c3, c4, c5, c6, c7 and 992 more"


def test_the_record_has_everything(tmp_path: Path) -> None:
    run = make_run(tmp_path, history(90.0), status="running", host=gethostname())
    details = read_details(run, NOW)
    record = json.loads(json.dumps(without_non_finite(details.to_record()), allow_nan=False))
    assert json.loads(run.layout.run_json.read_text()).keys() <= record.keys()
    assert (record["status"], record["age_s"], record["name"]) == ("crashed", 3 * 86400, "20261120_001")
    assert record["config"]["learning_rate"] == 0.02
    assert record["history"]["val_accuracy"] == [90.0]
    assert record["files"]["run_json"] == str(run.layout.run_json)
    assert record["files"]["best_model"] is None
