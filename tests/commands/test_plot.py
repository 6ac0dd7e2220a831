"""`pochi plot` as a user meets it."""

from __future__ import annotations

import math
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest

from pochi_cli.plots.gradients import GRADIENT_FIGURES
from pochi_cli.runs.index import open_run
from tests.commands.cli import pochi
from tests.commands.test_imports import imported_by
from tests.runs.fake import encoder_history, history, make_encoder_run, make_run


def test_plot_gradients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pochi_cli.display._PLAIN_INTERVAL_S", math.inf)  # however busy the machine is
    (tmp_path / "t.csv").write_text("epoch,model.conv1.weight,model.fc.weight\n0,1,2\n5,0,inf\n")
    result = pochi("plot", "gradients", "t.csv", "--output-dir", "new/pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    written = [f"new/pictures/gradient_trace_{kind}.png" for kind in GRADIENT_FIGURES]
    assert result.stdout.splitlines() == written
    assert result.stderr == ""
    assert sorted(path.name for path in (tmp_path / "new" / "pictures").iterdir()) == sorted(
        Path(path).name for path in written
    )
    (tmp_path / "t.csv").write_text("epoch,a\n1,x\n")
    refused = pochi("plot", "gradients", "t.csv", cwd=tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "t.csv is not a gradient trace: row 2, column 2 (a) is 'x', not a number" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_plot_gradients_imports_no_torch(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("epoch,a\n1,1\n")
    assert not imported_by("plot", "gradients", str(tmp_path / "t.csv")) & {"torch", "torchvision", "sklearn"}


@pytest.fixture
def work(tmp_path: Path) -> Path:
    """A directory whose `work_dirs` holds two runs of classifiers and, newer, two of encoders."""
    place = tmp_path / "work_dirs"
    for value in (90.0, 95.0):
        make_run(place, history(80.0, value), best_value=value, best_epoch=2)
    for value in (0.5, 0.7):
        make_encoder_run(place, encoder_history(None, value), {"learning_rate": value})
    return tmp_path


def pictures(place: Path) -> list[str]:
    return sorted(path.name for path in place.rglob("*.png"))


def test_plot_metrics_draws_the_latest_run(work: Path) -> None:
    result = pochi("plot", "metrics", cwd=work)
    assert (result.returncode, result.stderr) == (0, "")
    name = "visualization/training_metrics_20261120_123005"
    assert result.stdout.splitlines() == [f"work_dirs/20261120_004/{name}_experiment.png"]
    result = pochi("plot", "metrics", "20261120_001", cwd=work)
    assert result.stdout.splitlines() == [
        f"work_dirs/20261120_001/{name}_{kind}.png" for kind in ("loss", "accuracy")
    ]


def test_plot_metrics_of_an_experiment(work: Path) -> None:
    identity = open_run(work / "work_dirs" / "20261120_003").record.experiment_id
    result = pochi("plot", "metrics", "--experiment-id", identity, "--save", "new/my_plot.png", cwd=work)
    assert (result.returncode, result.stdout) == (0, "new/my_plot.png\n"), result.stderr
    assert pictures(work) == ["my_plot.png"]
    twice = pochi("plot", "metrics", "latest", "--experiment-id", identity, cwd=work)
    assert (twice.returncode, twice.stdout) == (2, "")
    assert "give one of RUN, --experiment-id and --pick" in twice.stderr


def test_a_classifier_is_saved_in_one_picture(work: Path) -> None:
    (work / "link.png").symlink_to("target.png")
    result = pochi("plot", "metrics", "20261120_002", "--save", "link.png", cwd=work)
    assert result.returncode == 0, result.stderr
    assert (work / "link.png").is_symlink()
    assert (work / "target.png").read_bytes().startswith(b"\x89PNG")
    assert pictures(work / "work_dirs") == []


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--save", "plot.jpg"), "plot.jpg does not end in .png"),
        (("--save", "plot.png", "--output-dir", "x"), "one of --save and --output-dir"),
        (("--no-recall", "--recall-history"), "leaves out what --recall-history is about"),
        (("--no-recall", "--log-recall"), "leaves out what --log-recall is about"),
        (("20261120_001", "--no-recall"), "runs of the task embedding; one of classification has no recall"),
        (("20261120_001", "--recall-history"), "runs of the task embedding; one of classification"),
        (("20261120_001", "--log-recall"), "runs of the task embedding; one of classification"),
        (("--pick",), "there is no terminal; name a RUN"),
        (("--pick", "latest"), "give one of RUN"),
    ],
)
def test_wrong_usage_of_plot_metrics(work: Path, arguments: tuple[str, ...], told: str) -> None:
    result = pochi("plot", "metrics", *arguments, cwd=work)
    assert (result.returncode, result.stdout) == (2, "")
    assert told in " ".join(result.stderr.replace("│", " ").split())
    assert pictures(work) == []


def test_recorded_recalls_are_drawn_without_torch(work: Path) -> None:
    place = ("--work-dir", str(work / "work_dirs"))
    for options in ((), ("--recall-history", "--log-recall"), ("--no-recall",)):
        assert not imported_by("plot", "metrics", *place, *options) & {"torch", "optuna", "sklearn"}
    make_encoder_run(work / "work_dirs", encoder_history(None, None))
    assert not imported_by("plot", "metrics", *place, "--no-recall") & {"torch"}
    assert not imported_by("plot", "compare", *place) & {"torch", "optuna", "sklearn"}


def test_where_no_recall_can_be_computed_the_rest_is_drawn(work: Path) -> None:
    make_encoder_run(work / "work_dirs", encoder_history(None, None))
    result = pochi("plot", "metrics", cwd=work)
    assert result.returncode == 0
    assert "warning: drawn without recall: " in result.stderr
    assert result.stdout.endswith("_experiment.png\n")
    blind = encoder_history(None, None, held_out=False)
    make_encoder_run(work / "work_dirs", blind, pca=None)
    assert pochi("plot", "metrics", cwd=work).stderr == ""  # no rows are held out: none is missed


def test_plot_compare_draws_all_of_the_latest_task(work: Path) -> None:
    make_encoder_run(work / "work_dirs")
    result = pochi("plot", "compare", cwd=work)
    assert (result.returncode, result.stdout) == (0, "work_dirs/comparison.png\n"), result.stderr
    assert result.stderr.splitlines() == [
        "passed over: 20261120_005 has no finished epoch",
        "passed over: 2 runs of the task classification",
    ]
    result = pochi("plot", "compare", "20261120_001", "20261120_002", "--save", "two.png", cwd=work)
    assert (result.returncode, result.stdout, result.stderr) == (0, "two.png\n", "")
    assert pictures(work) == ["comparison.png", "two.png"]
    elsewhere = pochi("plot", "compare", work / "work_dirs" / "20261120_001", cwd=work.parent)
    assert elsewhere.stdout == f"{work}/work_dirs/comparison.png\n"


def test_plot_compare_refuses(work: Path) -> None:
    mixed = pochi("plot", "compare", "20261120_001", "20261120_003", cwd=work)
    assert mixed.returncode == 1
    assert "they have no metrics in common" in mixed.stderr
    pictures_only = pochi("plot", "compare", "20261120_001", "--log-recall", cwd=work)
    assert pictures_only.returncode == 2
    nothing = pochi("plot", "compare", "--work-dir", "empty", cwd=work)
    assert nothing.returncode == 1
    assert "there is no run with a finished epoch in empty" in nothing.stderr
    assert pictures(work) == []


@pytest.mark.parametrize(
    ("answers", "run"),
    [
        (["1"], "20261120_001"),
        ([""], "20261120_004"),
        (["99", "x", "20261120_002"], "20261120_002"),
    ],
)
def test_picking_a_run_on_a_terminal(work: Path, answers: list[str], run: str) -> None:
    master, slave = pty.openpty()
    environment = {**os.environ, "COLUMNS": "120", "NO_COLOR": "1", "TERM": "xterm"}
    command = [sys.executable, "-m", "pochi_cli", "plot", "metrics", "--pick", "--output-dir", "picked"]
    os.write(master, "".join(f"{answer}\n" for answer in answers).encode())
    subprocess.run(
        command, cwd=work, env=environment, stdin=slave, stderr=slave, stdout=subprocess.PIPE, check=True
    )
    os.close(slave)
    shown = os.read(master, 100_000).decode()
    os.close(master)
    assert [line.split()[:2] for line in shown.splitlines() if line.lstrip()[:3] in ("1  ", "4  ")] == [
        ["1", "20261120_001"],
        ["4", "20261120_004"],
    ]
    assert shown.count("number, name or UUID [20261120_004]") == len(answers)
    assert shown.count("error: there is no run") == len(answers) - 1
    kinds = ["experiment"] if run == "20261120_004" else ["accuracy", "loss"]
    assert [name.rpartition("_")[2] for name in pictures(work)] == [f"{kind}.png" for kind in kinds]
