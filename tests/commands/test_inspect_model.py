"""`pochi inspect model`, as a user meets it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, open_run
from tests.commands.cli import pochi, pochi_process, write_toml
from tests.engine.tiny import tiny_config, tiny_raw
from tests.engine.vectors import vector_config, vector_raw, write_vectors

SMALL = [{"name": "Resize", "size": 16}, {"name": "ToTensor"}, {"name": "Normalize"}]
VIT: dict[str, Any] = {
    "model_name": "vit_tiny",
    "stem": None,
    "train_transform": SMALL,
    "val_transform": SMALL,
}


@pytest.fixture(scope="module")
def trained(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with frozen parts, averaged weights and steps of several batches; read only."""
    work_dir = str(tmp_path_factory.mktemp("work"))
    changes = {"freeze": ["conv_proj"], "ema_decay": 0.9, "accumulate_steps": 3}
    return train(tiny_config(few_digits, epochs=1, work_dir=work_dir, **VIT, **changes))


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return open_run(Path(shutil.copytree(trained.directory, tmp_path / "work_dirs" / trained.directory.name)))


def shown(*arguments: str | Path, cwd: Path) -> dict[str, Any]:
    result = pochi("inspect", "model", *arguments, "--json", cwd=cwd)
    assert result.returncode == 0, result.stderr
    values: dict[str, Any] = json.loads(result.stdout)
    return values


def test_a_healthy_run_is_shown(run: Run, tmp_path: Path) -> None:
    result = pochi_process("inspect", "model", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert not result.stderr
    out = result.stdout
    assert f"Model of {run.layout.name}" in out
    assert "best_model.pth, averaged weights after epoch 1" in out
    assert "1 x 3 x 16 x 16" in out
    assert "2,683,204: 2,673,796 trained, 9,408 frozen" in out
    assert "MMAC = " in out
    first = next(line for line in out.splitlines() if line.startswith("conv_proj "))
    assert first.split()[:2] == ["conv_proj", "Conv2d"]
    assert first.split()[9:11] == ["9,408", "9,408"]
    inner = next(line for line in out.splitlines() if ".encoder_layer_0.self_attention.out_proj" in line)
    assert "in its parent" in inner
    assert "with 3 batches of 16 (fp32, SGD, averaged weights, on cpu)" in out
    assert "Tensors of a training step in MiB" in out
    assert "average" in out
    assert "Inference in eval mode on cpu, 2 threads, fp32" in out
    assert "nothing found" in out
    names = ("model_structure.png", "parameter_distribution.png")
    figures = [run.layout.visualization / name for name in names]
    assert out.splitlines()[-2:] == [str(figure.relative_to(tmp_path)) for figure in figures]
    assert all(figure.exists() for figure in figures)


def test_json_holds_everything_and_the_checkpoint_stays_as_it_is(run: Run, tmp_path: Path) -> None:
    before = run.layout.best_model.read_bytes()
    values = shown(run.directory, "--output-dir", "pictures", "--batch-size", "8", cwd=tmp_path)
    assert run.layout.best_model.read_bytes() == before
    assert (values["name"], values["network"], values["checkpoint_epoch"]) == (run.layout.name, "vit_tiny", 1)
    structure, memory, speed = values["structure"], values["memory"], values["speed"]
    assert structure["flops"] == 2 * structure["macs"] == sum(layer["flops"] for layer in structure["layers"])
    assert structure["input_shapes"] == [[1, 3, 16, 16]]
    state = load_checkpoint(run.layout.best_model)["model_state_dict"]
    assert {one["name"] for one in values["weights"]["parameters"]} == set(state)
    assert sum(values["weights"]["histogram"]["counts"]) == structure["parameters"]
    assert (memory["batch_size"], memory["optimizer"], memory["accumulate_steps"]) == (8, "SGD", 3)
    assert memory["gradients"] == 4 * structure["trainable"]
    assert memory["parameters"] == memory["averaged_weights"] == 4 * structure["parameters"]
    assert memory["inputs"] == 3 * 8 * 4 * 3 * 16 * 16
    assert memory["largest_batch"] >= 8
    assert values["unmeasured"] is None
    assert [one["batch_size"] for one in speed["sweep"]] + speed["left_out"] == [1, 2, 4, 8, 16, 32]
    assert values["findings"] == []
    assert values["figures"] == {
        "structure": "pictures/model_structure.png",
        "parameters": "pictures/parameter_distribution.png",
    }
    assert (tmp_path / "pictures" / "model_structure.png").exists()
    assert not (run.layout.visualization / "model_structure.png").exists()


def test_an_error_is_told_and_with_strict_makes_the_exit_code_1(run: Run, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run.layout.best_model)
    checkpoint["ema_state_dict"]["model"]["encoder.layers.encoder_layer_2.mlp.0.weight"][0] = math.nan
    path = tmp_path / "spoilt.pth"
    torch.save(checkpoint, path)
    result = pochi("inspect", "model", path, "--strict", cwd=tmp_path)
    assert result.returncode == 1
    assert "error[non-finite-weights]: " in result.stdout
    assert "encoder_layer_2.mlp.0.weight" in result.stdout
    assert result.stdout.count(".png") == 2


def test_a_config_needs_neither_data_nor_weights(tmp_path: Path) -> None:
    named = write_toml(tmp_path / "named.toml", tiny_raw(**VIT))
    result = pochi("inspect", "model", named, "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "none: the network of a config is not trained" in result.stdout
    assert ".png" not in result.stdout
    assert " frozen " not in next(line for line in result.stdout.splitlines() if line.startswith("layer "))
    last = next(line for line in result.stdout.splitlines() if line.startswith("heads.head "))
    assert last.split()[2:5] == ["1", "x", "10"]
    raw = tiny_raw(None, dataset=None, train_data_root="nowhere", val_split=0.2, num_classes=7)
    raw |= VIT | {"stem": "auto", "optimizer": "Adam"}
    path = write_toml(tmp_path / "config.toml", raw)
    values = shown(path, "--input", "3,20,20", "--output-dir", "new", cwd=tmp_path)
    assert values["structure"]["input_shapes"] == [[1, 3, 20, 20]]
    assert values["structure"]["layers"][-1]["output_shape"] == [1, 7]
    assert values["memory"]["optimizer_state"] == 2 * values["memory"]["parameters"]
    assert values["checkpoint"] is None
    assert Path(tmp_path / values["figures"]["structure"]).exists()
    assert not (tmp_path / "work_dirs").exists()


def test_the_classes_of_a_config_come_from_its_data_or_are_asked_for(
    few_digits: Path, tmp_path: Path
) -> None:
    path = write_toml(tmp_path / "config.toml", tiny_raw(few_digits, **VIT))
    assert shown(path, cwd=tmp_path)["structure"]["layers"][-1]["output_shape"] == [1, 4]
    missing = write_toml(tmp_path / "missing.toml", tiny_raw(tmp_path / "nowhere", val_data_root=None))
    result = pochi("inspect", "model", missing, cwd=tmp_path)
    assert result.returncode == 1
    assert "the number of classes is not known: " in result.stderr
    assert "set num_classes in the config" in result.stderr


def test_an_encoder_of_vectors(tmp_path: Path) -> None:
    run = train(vector_config(write_vectors(tmp_path), work_dir=str(tmp_path / "work_dirs"), epochs=1))
    values = shown(cwd=tmp_path)
    assert (values["task"], values["structure"]["input_shapes"]) == ("embedding", [[1, 12]])
    assert values["structure"]["parameters"] == sum(
        value.numel() for value in load_checkpoint(run.layout.best_model)["model_state_dict"].values()
    )
    result = pochi("inspect", "model", "--input", "3,32,32", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: the encoder takes vectors of 12 dimensions, not 3 x 32 x 32" in result.stderr
    raw = vector_raw(tmp_path / "vectors.npy", loss_function="DPLossV1", batch_size=1024)
    config_values = shown(write_toml(tmp_path / "config.toml", raw), "--input", "20", cwd=tmp_path)
    assert config_values["structure"]["input_shapes"] == [[1, 20]]
    few, many = values["memory"], config_values["memory"]
    assert (few["batch_size"], many["batch_size"]) == (32, 1024)
    assert many["peak"] > 5 * 4 * 1024 * 1024  # matrices of distances
    assert many["activations_per_sample"] is None
    assert len(many["measured_batch_sizes"]) > 4
    assert 1024 < many["largest_batch"] < 2**20


@pytest.mark.parametrize(
    ("model_name", "given", "told"),
    [
        ("resnet18", "1,32,32", "takes images of 3 channels, not inputs of 1 x 32 x 32"),
        ("resnet18", "224", "takes images of 3 channels, not inputs of 224"),
        ("vit_tiny", "3,30,30", "vit_tiny cannot take images of 30x30"),
        ("vgg11", "3,8,8", "vgg11 cannot train on images of 8x8"),
    ],
)
def test_a_size_that_the_network_cannot_take_is_told(
    tmp_path: Path, model_name: str, given: str, told: str
) -> None:
    raw = tiny_raw(model_name=model_name, stem=None)
    path = write_toml(tmp_path / "config.toml", raw)
    result = pochi("inspect", "model", path, "--input", given, cwd=tmp_path)
    assert result.returncode == 1
    assert told in " ".join(result.stderr.split())


def test_a_run_tells_what_it_was_trained_on(run: Run, tmp_path: Path) -> None:
    for given in ("3,17,17", "3,32,32"):
        result = pochi("inspect", "model", run.directory, "--input", given, cwd=tmp_path)
        assert result.returncode == 1
        told = " ".join(result.stderr.split())
        edges = given.removeprefix("3,").replace(",", "x")
        assert f"takes only images of the size that it was trained on, 16x16, not {edges}" in told
        assert "leave out --input" in told
        assert "batch_size" not in told


def test_what_does_not_fit_into_memory_is_not_measured(tmp_path: Path) -> None:
    path = write_toml(tmp_path / "config.toml", tiny_raw(model_name="mobilenet_v3_small", stem=None))
    result = pochi("inspect", "model", path, "--input", "3,400000,400000", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "not measured" in result.stdout
    assert "TMAC = " in result.stdout
    assert "training step" not in result.stdout
    assert "Inference" not in result.stdout


@pytest.mark.parametrize(("change", "given"), [(VIT, "3,400000,400000"), (None, "1000000000000")])
def test_weights_that_do_not_fit_into_memory_are_not_made(
    tmp_path: Path, change: dict[str, Any] | None, given: str
) -> None:
    raw = vector_raw(tmp_path / "none.npy") if change is None else tiny_raw(**change)
    path = write_toml(tmp_path / "config.toml", raw)
    result = pochi("inspect", "model", path, "--input", given, cwd=tmp_path)
    assert result.returncode == 1
    assert "error: the weights of the network take " in result.stderr


def test_more_numbers_than_any_memory_holds_are_wrong_usage(tmp_path: Path) -> None:
    result = pochi("inspect", "model", "--input", "3,20000000,20000000", cwd=tmp_path)
    assert result.returncode == 2
    assert "1,200,000,000,000,000" in result.stderr


@pytest.mark.parametrize("given", ["3,0,32", "a,b", "", "3,-1,4"])
def test_what_is_no_shape_is_wrong_usage(tmp_path: Path, given: str) -> None:
    result = pochi("inspect", "model", "--input", given, cwd=tmp_path)
    assert result.returncode == 2
    assert "is no shape" in result.stderr


def test_what_is_not_there_is_told(tmp_path: Path) -> None:
    for what in ("latest", "missing.toml", "missing.pth"):
        result = pochi("inspect", "model", what, cwd=tmp_path)
        assert result.returncode == 1
        assert "error" in result.stderr
        assert "Traceback" not in result.stderr
