"""`pochi inspect activations`, as a user meets it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from torch import Tensor

from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, open_run
from tests.commands.cli import pochi, pochi_process
from tests.engine.tiny import tiny_config


def change(run: Run, name: str, value: float) -> None:
    """Fill a parameter of the best checkpoint."""
    checkpoint = load_checkpoint(run.layout.best_model)
    parameter: Tensor = checkpoint["model_state_dict"][name]
    parameter.fill_(value)
    run.layout.best_model.unlink()  # it has other names
    torch.save(checkpoint, run.layout.best_model)


def test_a_healthy_run_is_shown(own_run: Run, tmp_path: Path) -> None:
    result = pochi_process("inspect", "activations", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    out = result.stdout
    assert f"Activations of {own_run.layout.name}" in out
    assert "samples     30, in eval mode on cpu in fp32" in out
    assert "validation images of " in out
    header, _, first, *rest = out.partition("\n\n")[2].splitlines()
    assert header.split()[:3] == ["layer", "type", "shape"]
    assert first.split()[:2] == ["conv1", "Conv2d"]
    assert [line.split()[0] for line in rest if line.startswith("layer2.1.relu")] == [
        *("layer2.1.relu", "layer2.1.relu#2")
    ]
    figure = own_run.layout.visualization / "activations.png"
    assert out.splitlines()[-1] == str(figure.relative_to(tmp_path))
    assert figure.exists()


def test_json_holds_everything(own_run: Run, tmp_path: Path) -> None:
    result = pochi(
        "inspect", "activations", own_run.directory, "--json", "--output-dir", "pictures", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["run"], shown["checkpoint"]) == (own_run.layout.name, str(own_run.layout.best_model))
    assert (shown["data"], shown["samples"], shown["available"]) == ("validation images", 30, 30)
    assert (shown["device"], shown["averaged"], shown["remarks"]) == ("cpu", False, [])
    assert len(shown["layers"]) == 58
    relu = next(layer for layer in shown["layers"] if layer["layer"] == "layer1.0.relu#2")
    assert (relu["name"], relu["call"], relu["units"], relu["shape"]) == ("layer1.0.relu", 2, 64, [64, 8, 8])
    assert relu["values"] == 30 * 64 * 64
    histogram = relu["histogram"]
    inside = sum(histogram["counts"]) + histogram["below"] + histogram["above"]
    assert inside + histogram["zeros"] == pytest.approx(relu["values"], abs=64)
    assert histogram["zeros"] == pytest.approx(relu["zero_fraction"] * relu["values"])
    assert shown["figure"] == "pictures/activations.png"
    assert (tmp_path / "pictures" / "activations.png").exists()
    assert not (own_run.layout.visualization / "activations.png").exists()


def test_dead_units_are_an_error_and_listed_in_full(own_run: Run, tmp_path: Path) -> None:
    change(own_run, "layer3.0.bn1.weight", 0)
    change(own_run, "layer3.0.bn1.bias", -1)
    result = pochi("inspect", "activations", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "error[constant-output]: the output of layer3.0.bn1 does not depend on the input" in result.stdout
    strict = pochi("inspect", "activations", "--strict", "--json", cwd=tmp_path)
    assert strict.returncode == 1
    shown = json.loads(strict.stdout)
    (layer,) = [layer for layer in shown["layers"] if layer["layer"] == "layer3.0.relu"]
    assert layer["dead"] == list(range(256))
    error = next(finding for finding in shown["findings"] if finding["severity"] == "error")
    assert (error["where"], error["also"][:2]) == ("layer3.0.bn1", ["layer3.0.relu", "layer3.0.conv2"])


def test_a_network_that_is_not_finite_is_told_and_drawn(own_run: Run, tmp_path: Path) -> None:
    change(own_run, "layer2.0.conv1.weight", math.nan)
    result = pochi("inspect", "activations", "--strict", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "error[non-finite]: the output of layer2.0.conv1 is not finite" in result.stdout
    assert (own_run.layout.visualization / "activations.png").exists()


def test_some_images_evenly_spaced(own_run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "activations", own_run.directory, "--images", "7", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["samples"], shown["available"]) == (7, 30)
    assert shown["layers"][-1]["values"] == 7 * 4
    assert pochi("inspect", "activations", "--images", "0", cwd=tmp_path).returncode == 2


def test_a_checkpoint_elsewhere_changes_nothing(own_run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "elsewhere" / "model.pth"
    weights.parent.mkdir()
    shutil.copy(own_run.layout.best_model, weights)
    before = weights.read_bytes()
    result = pochi("inspect", "activations", weights, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Activations of model.pth\n")
    assert result.stdout.splitlines()[-1].endswith("elsewhere/activations.png")
    assert weights.read_bytes() == before
    assert {path.name for path in weights.parent.iterdir()} == {"model.pth", "activations.png"}


def test_without_validation_data_the_images_are_those_of_the_training(
    few_digits: Path, tmp_path: Path
) -> None:
    train(tiny_config(few_digits, epochs=1, val_data_root=None, val_transform=None, work_dir=str(tmp_path)))
    result = pochi("inspect", "activations", "--work-dir", tmp_path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "training images of " in result.stdout
    assert "samples     65, " in result.stdout
    assert "it has no validation data" in result.stdout


def test_an_encoder_is_shown_its_held_out_vectors(tmp_path: Path) -> None:
    from pochi_cli.config.load import validate

    raw = {
        "task": "embedding",
        "train_vectors": "digits",
        "holdout": 0.2,
        "latent_dim": 4,
        "hidden_dims": [32, 16],
    }
    raw |= {
        "loss_function": "DPLossV2",
        "epochs": 1,
        "device": "cpu",
        "work_dir": str(tmp_path / "work_dirs"),
    }
    train(validate(raw))
    result = pochi("inspect", "activations", "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["data"], shown["samples"]) == ("held-out vectors", 359)
    labels = [layer["layer"] for layer in shown["layers"]]
    assert labels[:5] == ["hidden.0", "relu()", "hidden.1", "relu()#2", "head"]
    fewer = pochi("inspect", "activations", "--images", "50", cwd=tmp_path)
    assert "samples     50 of 359, " in fewer.stdout


def test_wrong_devices_and_missing_data_are_told(own_run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "activations", own_run.directory, "--device", "tpu", cwd=tmp_path)
    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    config = load_checkpoint(own_run.layout.best_model)
    config["config"]["val_data_root"] = str(tmp_path / "gone")
    torch.save(config, tmp_path / "model.pth")
    result = pochi("inspect", "activations", tmp_path / "model.pth", cwd=tmp_path)
    assert result.returncode == 1
    assert "gone" in result.stderr
    assert not (tmp_path / "activations.png").exists()


def test_a_run_is_left_as_it_was(own_run: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in own_run.directory.rglob("*") if path.is_file()}
    assert pochi("inspect", "activations", cwd=tmp_path).returncode == 0
    after = {path: path.read_bytes() for path in own_run.directory.rglob("*") if path.is_file()}
    assert after.pop(own_run.layout.visualization / "activations.png")
    assert after == before
    assert open_run(own_run.directory).history == own_run.history
