"""`pochi inspect activations`, as a user meets it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from pochi_cli.config.load import validate
from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, open_run
from tests.commands.cli import pochi


@pytest.fixture(scope="module")
def trained_encoder(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A trained encoder, of few layers; read only."""
    raw = {
        "task": "embedding",
        "train_vectors": "digits",
        "holdout": 0.2,
        "latent_dim": 4,
        "hidden_dims": [32, 16],
        "loss_function": "DPLossV2",
        "epochs": 1,
        "device": "cpu",
        "work_dir": str(tmp_path_factory.mktemp("encoder") / "work_dirs"),
    }
    return train(validate(raw))


@pytest.fixture
def encoder(trained_encoder: Run, tmp_path: Path) -> Run:
    """A copy of it below `tmp_path / "work_dirs"`."""
    directory = tmp_path / "work_dirs" / trained_encoder.layout.name
    shutil.copytree(trained_encoder.directory, directory)
    return open_run(directory)


@pytest.fixture(scope="module")
def shown(trained_run: Run, tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Any], Path]:
    """What is printed of the run as JSON, and where it was called; the pictures go to `pictures`."""
    directory = tmp_path_factory.mktemp("json")
    arguments = ("--json", "--output-dir", "pictures")
    result = pochi("inspect", "activations", trained_run.directory, *arguments, cwd=directory)
    assert result.returncode == 0, result.stderr
    return json.loads(result.stdout), directory


def change(run: Run, name: str, value: float, units: slice = slice(None)) -> None:
    """Fill a parameter of the best checkpoint, or that of some units."""
    checkpoint = load_checkpoint(run.layout.best_model)
    parameter: Tensor = checkpoint["model_state_dict"][name]
    parameter[units] = value
    run.layout.best_model.unlink()  # it has other names
    torch.save(checkpoint, run.layout.best_model)


def test_a_healthy_run_is_shown_and_left_as_it_was(own_run: Run, tmp_path: Path) -> None:
    before = {path: path.read_bytes() for path in own_run.directory.rglob("*") if path.is_file()}
    result = pochi("inspect", "activations", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    out = result.stdout
    assert f"Activations of {own_run.layout.name}" in out
    assert "samples         30, in eval mode on cpu in fp32" in out
    assert "validation images of " in out
    assert "effective rank  over 30 to 1,920 positions, at most 64 of each sample" in out
    header, _, first, *rest = out.partition("\n\n")[2].splitlines()
    assert header.split()[:3] == ["layer", "type", "shape"]
    assert first.split()[:2] == ["conv1", "Conv2d"]
    assert [line.split()[0] for line in rest if line.startswith("layer2.1.relu")] == [
        *("layer2.1.relu", "layer2.1.relu#2")
    ]
    figure = own_run.layout.visualization / "activations.png"
    assert out.splitlines()[-1] == str(figure.relative_to(tmp_path))
    after = {path: path.read_bytes() for path in own_run.directory.rglob("*") if path.is_file()}
    assert after.pop(figure).startswith(b"\x89PNG")
    assert after == before
    assert open_run(own_run.directory).history == own_run.history


def test_json_holds_everything(shown: tuple[dict[str, Any], Path], trained_run: Run) -> None:
    record, directory = shown
    assert (record["run"], record["checkpoint"]) == (
        trained_run.layout.name,
        str(trained_run.layout.best_model),
    )
    assert (record["data"], record["samples"], record["available"]) == ("validation images", 30, 30)
    assert (record["device"], record["averaged"], record["remarks"]) == ("cpu", False, [])
    assert len(record["layers"]) == 58
    relu = next(layer for layer in record["layers"] if layer["layer"] == "layer1.0.relu#2")
    assert (relu["name"], relu["call"], relu["units"], relu["shape"]) == ("layer1.0.relu", 2, 64, [64, 8, 8])
    assert relu["values"] == 30 * 64 * 64
    assert (relu["rank_positions"], relu["rank_limit"]) == (30 * 64, 64)
    assert record["figure"] == "pictures/activations.png"
    assert (directory / "pictures" / "activations.png").exists()
    assert not (trained_run.layout.visualization / "activations.png").exists()


def test_histograms_count_every_value(shown: tuple[dict[str, Any], Path]) -> None:
    for layer in shown[0]["layers"]:
        histogram = layer["histogram"]
        counts = [*histogram["counts"], histogram["below"], histogram["above"], histogram["zeros"]]
        assert all(isinstance(count, int) and count >= 0 for count in counts)
        assert sum(counts) == layer["values"] - layer["non_finite"], layer["layer"]
        assert histogram["zeros"] == pytest.approx(layer["zero_fraction"] * layer["values"])
        if layer["min"] >= histogram["low"]:
            assert histogram["below"] == 0


def test_dead_units_are_an_error_and_listed_in_full(encoder: Run, tmp_path: Path) -> None:
    change(encoder, "hidden.1.weight", 0)
    change(encoder, "hidden.1.bias", -1)
    result = pochi("inspect", "activations", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "error[dead-layer]: all 16 units of relu()#2 are dead" in result.stdout
    strict = pochi("inspect", "activations", "--strict", "--json", cwd=tmp_path)
    assert strict.returncode == 1
    record = json.loads(strict.stdout)
    (layer,) = [layer for layer in record["layers"] if layer["layer"] == "relu()#2"]
    assert layer["dead"] == list(range(16))
    error = next(finding for finding in record["findings"] if finding["severity"] == "error")
    assert (error["where"], error["also"][:2]) == ("relu()#2", ["hidden.1", "head"])
    assert error["units"] == list(range(16))


def test_some_dead_units_are_listed_in_full(encoder: Run, tmp_path: Path) -> None:
    change(encoder, "hidden.0.bias", -1000, slice(None, None, 3))
    result = pochi("inspect", "activations", "--json", cwd=tmp_path)
    findings = json.loads(result.stdout)["findings"]
    (units,) = [one["units"] for one in findings if (one["code"], one["where"]) == ("dead-units", "relu()")]
    assert set(range(0, 32, 3)) <= set(units)


def test_a_network_that_is_not_finite_is_told_and_drawn(encoder: Run, tmp_path: Path) -> None:
    change(encoder, "hidden.1.weight", math.nan)
    result = pochi("inspect", "activations", "--strict", cwd=tmp_path)
    assert result.returncode == 1, result.stderr
    assert "error[non-finite]: the output of hidden.1 is not finite" in result.stdout
    assert (encoder.layout.visualization / "activations.png").exists()


def test_a_checkpoint_elsewhere_of_a_run_without_validation_data(own_run: Run, tmp_path: Path) -> None:
    weights = tmp_path / "elsewhere" / "model.pth"
    weights.parent.mkdir()
    checkpoint = load_checkpoint(own_run.layout.best_model)
    checkpoint["config"] |= {"val_data_root": None, "val_transform": None}
    torch.save(checkpoint, weights)
    before = weights.read_bytes()
    result = pochi("inspect", "activations", weights, "--images", "7", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("Activations of model.pth\n")
    assert "training images of " in result.stdout
    assert "samples         7 of 65, " in result.stdout
    assert "it has no validation data" in result.stdout
    assert "perhaps too low in " in result.stdout
    assert result.stdout.splitlines()[-1].endswith("elsewhere/activations.png")
    assert weights.read_bytes() == before
    assert {path.name for path in weights.parent.iterdir()} == {"model.pth", "activations.png"}


def test_an_encoder_is_shown_its_held_out_vectors(encoder: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "activations", encoder.directory, "--json", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    record = json.loads(result.stdout)
    assert (record["data"], record["samples"]) == ("held-out vectors", 359)
    labels = [layer["layer"] for layer in record["layers"]]
    assert labels[:5] == ["hidden.0", "relu()", "hidden.1", "relu()#2", "head"]
    fewer = pochi("inspect", "activations", "--images", "50", cwd=tmp_path)
    assert "samples         50 of 359, " in fewer.stdout
    assert pochi("inspect", "activations", "--images", "0", cwd=tmp_path).returncode == 2


def test_a_config_has_no_activations(tmp_path: Path) -> None:
    (tmp_path / "vit.toml").write_text('model_name = "vit"\n')
    result = pochi("inspect", "activations", "vit.toml", cwd=tmp_path)
    assert result.returncode == 1
    assert "vit.toml is a config" in result.stderr
    assert "train it" in result.stderr
    assert "zip" not in result.stderr


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
