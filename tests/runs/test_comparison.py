"""How runs differ, and which was better."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.comparison import best_epoch, compare_runs
from pochi_cli.runs.comparison_text import comparison_record, describe_comparison, verdict
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.index import Run, open_run
from tests.runs.fake import history, make_run

CROP = {"name": "RandomCrop", "size": [32, 32], "padding": [4, 4]}
STEPS: list[dict[str, object]] = [{"name": "Resize", "size": 32, "antialias": True}, {"name": "ToTensor"}]


def texts(*runs: Run) -> dict[str, dict[str, tuple[str, ...]]]:
    """The sections, by the beginning of their titles."""
    return {
        section.title.split()[0]: {row[0]: row[1:] for row in section.rows}
        for section in describe_comparison(compare_runs(runs))
    }


def test_only_what_differs_is_told(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0), {"learning_rate": 0.1, "work_dir": "a", "clip_grad_norm": 1.0})
    two = make_run(tmp_path, history(90.0), {"learning_rate": 0.01, "work_dir": "b", "compile": True})
    found = texts(one, two)
    assert found.keys() == {"Runs", "Config", "Where"}
    assert found["Config"] == {
        "learning_rate": ("0.1", "0.01"),
        "clip_grad_norm": ("1.0", "not given"),
        "compile": ("false", "true"),
    }
    assert found["Where"] == {"work_dir": ("a", "b")}
    same = texts(make_run(tmp_path, history(90.0)), make_run(tmp_path, history(90.0)))
    assert same.keys() == {"Runs"}


def test_a_pipeline_is_compared_step_by_step(tmp_path: Path) -> None:
    wider = [{**STEPS[0], "size": 64}, STEPS[1]]
    one, two, three = (
        make_run(tmp_path, None, {"train_transform": s}) for s in (STEPS, [CROP, *STEPS], wider)
    )
    assert texts(one, two)["Config"] == {
        "train_transform": ("Resize, ToTensor", "RandomCrop, Resize, ToTensor"),
        "train_transform.RandomCrop": ("not given", "{ size = [32, 32], padding = [4, 4] }"),
    }
    assert texts(one, three)["Config"] == {"train_transform.Resize.size": ("32", "64")}
    twice = flatten({"train_transform": [CROP, CROP], "optimizer_params": {"momentum": 0.9}, "freeze": []})
    assert twice == {
        "train_transform": ["RandomCrop", "RandomCrop"],
        "train_transform.RandomCrop": {"size": [32, 32], "padding": [4, 4]},
        "train_transform.RandomCrop[2]": {"size": [32, 32], "padding": [4, 4]},
        "optimizer_params.momentum": 0.9,
        "freeze": [],
    }


def test_the_best_of_each_measure_is_marked(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0, 95.0, 93.0), best_value=95.0, best_epoch=2)
    two = make_run(tmp_path, history(80.0, math.nan), best_value=80.0, best_epoch=1)
    blind = make_run(tmp_path, history(None), epochs=9)
    empty = make_run(tmp_path)
    rows = texts(one, two, blind, empty)["Runs"]
    assert rows["best val_accuracy"] == ("95.0000 % *", "80.0000 %", "-", "-")
    assert rows["  in epoch"] == ("2", "1", "-", "-")
    assert rows["best val_loss"] == ("0.0500 *", "0.2000", "-", "-")
    assert rows["last train_loss"] == ("0.3333 *", "0.5000", "1.0000", "-")
    assert rows["last train_accuracy"] == ("53.0000 % *", "52.0000 %", "51.0000 %", "-")
    assert rows["images per second"] == ("100", "100", "100", "-")
    assert rows["epochs"] == ("3/2", "2/2", "1/9", "0/2")
    assert verdict(compare_runs([two, one, blind])) == "best: 20261120_001, val_accuracy 95.0000 % in epoch 2"
    assert verdict(compare_runs([one, blind])) == "best: no telling, only 20261120_001 has a val_accuracy"
    assert verdict(compare_runs([empty, blind])) == "best: no telling, no run has a val_accuracy"


def test_equal_runs_are_both_the_best(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path, history(90.0), best_value=90.0, best_epoch=epoch) for epoch in (1, 3))
    comparison = compare_runs([one, two])
    assert comparison.best == (0, 1)
    assert verdict(comparison) == (
        "best: 20261120_001 and 20261120_002, val_accuracy 90.0000 % in epoch 1 and 3"
    )
    assert "*" not in str(describe_comparison(comparison))  # a mark for all would tell nothing


def test_runs_that_watched_different_metrics_have_no_best(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0), best_value=90.0)
    two = make_run(tmp_path, history(90.0), best_metric="val_loss", best_value=0.1)
    comparison = compare_runs([one, two])
    assert comparison.best == ()
    assert verdict(comparison).endswith("different metrics: val_accuracy, val_loss")
    lower = make_run(tmp_path, history(90.0), best_metric="val_loss", best_value=0.05, best_epoch=1)
    assert verdict(compare_runs([two, lower])).startswith("best: 20261120_003, val_loss 0.0500")


def test_a_nan_is_never_the_best(tmp_path: Path) -> None:
    assert best_epoch(history(math.nan, 50.0, 50.0), "val_accuracy") == (2, 50.0)
    epoch, value = best_epoch(history(math.nan), "val_loss")
    assert epoch == 1
    assert math.isnan(value or 0)
    one, two, three = (
        make_run(tmp_path, history(value), best_value=value) for value in (math.nan, 50.0, 60.0)
    )
    rows = texts(one, two, three)["Runs"]
    assert rows["best val_accuracy"] == ("nan %", "50.0000 %", "60.0000 % *")
    assert compare_runs([one, two, three]).best == (2,)


def test_other_data_and_versions_are_pointed_out(tmp_path: Path) -> None:
    plain = make_run(tmp_path)
    other = make_run(
        tmp_path,
        data_fingerprint="f" * 64,
        class_names=("a", "c"),
        environment={"pochi": "0.1.0", "torch": "2.7.1", "git_commit": "d" * 40},
        settings={"device": "cuda:0", "train_images": 66, "val_images": 30},
    )
    found = texts(plain, other)
    assert found["Data"] == {
        "data": ("0123456789ab", "f" * 12),
        "train_images": ("65", "66"),
        "classes": ("2, also b", "2, also c"),
        "torch": ("2.6.0", "2.7.1"),
        "git_commit": ("abc", "d" * 12),
    }
    assert found["Where"] == {"device": ("cpu", "cuda:0")}
    turned = make_run(tmp_path, class_names=("b", "a"))
    assert texts(plain, turned)["Data"] == {"classes": ("2 in the order a, b", "2 in the order b, a")}


def test_the_same_run_twice_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "link").symlink_to(run.directory)
    for second in (run, open_run(tmp_path / "link")):
        with pytest.raises(RunError, match="given twice"):
            compare_runs([run, second])


def test_runs_of_the_same_name_are_told_by_their_directories(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert compare_runs([one, two]).labels == (str(one.directory), str(two.directory))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    one, two = make_run(tmp_path), make_run(tmp_path)
    two.layout.config_json.write_text(content)
    with pytest.raises(RunError, match=r"20261120_002/config\.json"):
        compare_runs([one, two])


def test_the_record_is_json(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0), {"clip_grad_norm": 1.0}, best_value=90.0)
    two = make_run(tmp_path, history(80.0), {"train_transform": [CROP]}, best_value=80.0)
    record = json.loads(json.dumps(comparison_record(compare_runs([one, two])), allow_nan=False))
    assert record["best"] == [0]
    assert {"key": "clip_grad_norm", "values": [1.0, None]} in record["config"]
    assert record["measures"][0] == {
        "name": "val_accuracy",
        "values": [90.0, 80.0],
        "epochs": [1, 1],
        "best": [0],
    }
