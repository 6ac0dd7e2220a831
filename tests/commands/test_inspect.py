"""`pochi inspect`, as a user meets it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch

from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, open_run
from tests.commands.cli import pochi, pochi_process
from tests.engine.tiny import tiny_config


@pytest.fixture(scope="module")
def trained(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a trace; read only."""
    work_dir = str(tmp_path_factory.mktemp("work"))
    config = tiny_config(
        few_digits,
        epochs=1,
        freeze=["conv1"],
        work_dir=work_dir,
        enable_gradient_tracking=True,
        monitor={"enabled": True},
    )
    return train(config)


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return open_run(Path(shutil.copytree(trained.directory, tmp_path / "work_dirs" / trained.directory.name)))


def spoil(run: Run) -> None:
    """Write weights that are not finite into the best checkpoint."""
    checkpoint = load_checkpoint(run.layout.best_model)
    checkpoint["model_state_dict"]["layer2.0.conv1.weight"].fill_(math.nan)
    run.layout.best_model.unlink()  # it has other names
    torch.save(checkpoint, run.layout.best_model)


def test_a_healthy_run_is_shown(run: Run, tmp_path: Path) -> None:
    result = pochi_process("inspect", "gradients", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    out = result.stdout
    assert f"Gradients of {run.layout.name}" in out
    assert "frozen      1: conv1.weight" in out
    assert "layer4.1.conv2.weight" in out
    for title in ("Smallest norms", "Largest norms"):
        section = out.partition(title)[2].strip().splitlines()
        assert len(section[2:7]) == 5
        assert all("." in line for line in section[2:7])
    assert "nothing found" in out
    figure = run.layout.visualization / "gradient_flow.png"
    assert out.splitlines()[-1] == str(figure.relative_to(tmp_path))
    assert figure.exists()


def test_json_holds_everything(run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "gradients", run.directory, "--json", "--output-dir", "pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown["run"] == run.layout.name
    assert shown["epochs"] == [1]
    assert shown["checkpoint"] == str(run.layout.best_model)
    assert (shown["checkpoint_epoch"], shown["averaged"], shown["obstacle"]) == (1, False, None)
    assert (shown["device"], shown["batches"], shown["samples"]) == ("cpu", 4, 65)
    assert shown["findings"] == []
    assert shown["frozen"] == ["conv1.weight"]
    names = [layer["name"] for layer in shown["layers"]]
    assert len(names) == 61
    by_norm = sorted(shown["layers"], key=lambda layer: float(layer["norm"]))
    assert shown["smallest"] == [layer["name"] for layer in by_norm[:5]]
    assert shown["largest"] == [layer["name"] for layer in by_norm[:-6:-1]]
    assert set(shown["layers"][0]) == {
        *("name", "block", "entries", "non_finite", "mean", "std", "min", "max", "norm", "rms", "ratio")
    }
    assert shown["figure"] == "pictures/gradient_flow.png"
    assert (tmp_path / "pictures" / "gradient_flow.png").exists()
    assert not (run.layout.visualization / "gradient_flow.png").exists()


def test_an_error_is_told_and_with_strict_makes_the_exit_code_1(run: Run, tmp_path: Path) -> None:
    spoil(run)
    result = pochi("inspect", "gradients", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "error[non-finite]: the loss of a fresh pass is nan" in result.stdout
    assert " = note: mean loss over 4 batches: nan" in result.stdout
    assert " = help: " in result.stdout
    assert "nothing found" not in result.stdout
    strict = pochi("inspect", "gradients", "--strict", "--json", cwd=tmp_path)
    assert strict.returncode == 1
    shown = json.loads(strict.stdout)
    assert [finding["severity"] for finding in shown["findings"]] == ["error"]
    assert shown["loss"] == "NaN"
    assert shown["layers"][0]["mean"] == "NaN"
    assert shown["smallest"] == []
    assert Path(tmp_path / shown["figure"]).exists()


def test_what_is_missing_is_said(run: Run, tmp_path: Path) -> None:
    run.layout.gradient_trace.unlink()
    run.layout.gradient_steps.unlink()
    result = pochi("inspect", "gradients", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "trace       none was recorded (enable_gradient_tracking is off)" in result.stdout
    shutil.rmtree(run.layout.models)
    result = pochi("inspect", "gradients", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: there are no gradients" in result.stderr
    assert not result.stdout


def test_without_a_checkpoint_there_is_no_picture(run: Run, tmp_path: Path) -> None:
    shutil.rmtree(run.layout.models)
    result = pochi("inspect", "gradients", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "fresh pass  none: it has no checkpoint" in result.stdout
    assert "gradient_flow.png" not in result.stdout
    shown = json.loads(pochi("inspect", "gradients", "--json", cwd=tmp_path).stdout)
    assert shown["obstacle"] == "it has no checkpoint"
    assert shown["layers"] is None
    assert shown["figure"] is None


def test_wrong_devices_are_told(run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "gradients", run.directory, "--device", "tpu", cwd=tmp_path)
    assert result.returncode == 1
    assert "--> --set:1" in result.stderr
    assert "Traceback" not in result.stderr


def test_the_course_of_a_training_is_shown(run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "monitor", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    out = result.stdout
    assert f"Training of {run.layout.name}" in out
    assert "finished after 1 of 1 epochs" in out
    (record,) = run.history.classification
    assert f"1: train loss {record.train_loss:.4f}" in out
    assert f"least loss     {record.val_loss:.4f} of the validation data, in epoch 1" in out
    assert "4 recorded of epoch 1" in out
    assert [line.split()[0] for line in out.splitlines() if line.startswith(("layer", "fc"))] == [
        *("layer1", "layer2", "layer3", "layer4", "fc")
    ]
    assert "nothing found" in out
    figure = run.layout.visualization / "training_monitor.png"
    assert out.splitlines()[-1] == str(figure.relative_to(tmp_path))
    assert figure.exists()


def test_the_json_of_a_training_holds_everything(run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "monitor", run.directory, "--json", "--output-dir", "pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["run"], shown["status"], shown["epochs_done"]) == (run.layout.name, "finished", 1)
    assert shown["last"]["val_loss"] == run.history.classification[0].val_loss
    assert shown["best"]["val_accuracy"]["epoch"] == 1
    steps = shown["steps"]
    assert (steps["recorded"], steps["epochs"], steps["passed_over"], steps["measured"]) == (4, [1], 0, 1)
    assert [block["block"] for block in steps["updates"]] == ["layer1", "layer2", "layer3", "layer4", "fc"]
    assert (shown["missing"], shown["findings"]) == ({}, [])
    assert shown["figure"] == "pictures/training_monitor.png"
    assert (tmp_path / "pictures" / "training_monitor.png").exists()


def test_a_lost_loss_is_told_and_with_strict_makes_the_exit_code_1(run: Run, tmp_path: Path) -> None:
    steps = run.layout.monitor_steps.read_text().splitlines()
    cells = steps[-1].split(",")
    steps[-1] = ",".join([*cells[:2], "nan", *cells[3:]])
    run.layout.monitor_steps.write_text("\n".join(steps) + "\n")
    result = pochi("inspect", "monitor", "--strict", cwd=tmp_path)
    assert result.returncode == 1
    assert "error[non-finite]: the loss is not finite at epoch 1, step 4" in result.stdout
    assert " = note: over the 3 recorded steps before" in result.stdout
    assert pochi("inspect", "monitor", cwd=tmp_path).returncode == 0


def test_what_was_not_recorded_of_a_training_is_said(run: Run, tmp_path: Path) -> None:
    run.layout.monitor_updates.unlink()
    shown = json.loads(pochi("inspect", "monitor", "--json", cwd=tmp_path).stdout)
    assert shown["missing"] == {"Update ratio": "no measured update"}
    run.layout.monitor_steps.unlink()
    run.layout.history_json.unlink()
    result = pochi("inspect", "monitor", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "no step is there: they are written at the end of an epoch" in result.stdout
    shown = json.loads(pochi("inspect", "monitor", "--json", cwd=tmp_path).stdout)
    assert (shown["last"], shown["steps"], len(shown["missing"])) == (None, None, 6)
    run.layout.monitor_steps.write_text("epoch,step\n1,x\n")
    result = pochi("inspect", "monitor", cwd=tmp_path)
    assert result.returncode == 1
    assert "is damaged: row 2 is none of its steps" in result.stderr
