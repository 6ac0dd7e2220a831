"""`pochi export`, as a user meets it."""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch

from pochi_cli.engine.training import train
from pochi_cli.inference.contract import ExportFormat
from pochi_cli.inference.model import LoadedModel, load_model
from pochi_cli.models.factory import create_model
from pochi_cli.runs.index import Run, open_run
from tests.commands.cli import pochi, pochi_process
from tests.commands.test_imports import HEAVY, imported_by
from tests.engine.tiny import classifier, tiny_config
from tests.engine.trained import checkpoint
from tests.inference.exported import digit_images


@pytest.fixture(scope="module")
def averaged(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run in half precision whose weights were averaged; read only."""
    config = tiny_config(
        few_digits,
        model_name="vgg_compact",
        epochs=1,
        learning_rate=0.02,
        ema_decay=0.9,
        precision="bf16",
        channels_last=True,
        work_dir=str(tmp_path_factory.mktemp("work")),
    )
    return train(config)


@pytest.fixture
def run(averaged: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    directory = tmp_path / "work_dirs" / averaged.directory.name
    return open_run(Path(shutil.copytree(averaged.directory, directory)))


def files(directory: Path) -> set[Path]:
    return {path for path in directory.rglob("*") if path.is_file()}


def test_a_run_is_exported_beside_its_checkpoints(run: Run, tmp_path: Path) -> None:
    before = files(tmp_path)
    result = pochi_process("export", "--format", "onnx", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stderr.splitlines() == ["exporting vgg_compact of epoch 1, and comparing it with PyTorch"]
    title, *lines = result.stdout.splitlines()
    assert title == str(run.layout.exported_model("onnx").relative_to(tmp_path))
    shown = {line[:20].strip(): line[20:].strip() for line in lines}
    assert shown["format"].startswith("ONNX, opset 18, 33.")
    assert shown["input"] == "images: float32 (N, 3, 32, 32), any N"
    assert shown["output"] == "logits: float32 (N, 4)"
    assert shown["compared"] == "with PyTorch on 30 images, in one batch and one by one"
    assert float(shown["largest difference"].split()[0]) <= 1e-4
    assert shown["same class"] == "30 of 30"
    assert files(tmp_path) - before == {run.layout.exported_model("onnx")}


def test_the_averaged_weights_are_exported_in_full_precision(
    run: Run, few_digits: Path, tmp_path: Path
) -> None:
    result = pochi("export", run.directory, "--format", "onnx", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    session = onnxruntime.InferenceSession(run.layout.exported_model("onnx"))
    loaded = load_model(run.directory)
    assert (loaded.is_averaged, loaded.runtime.precision) == (True, "bf16")
    images = digit_images(loaded.config, few_digits / "val", (32, 32))
    (found,) = session.run(None, {"images": images.numpy()})
    assert found.dtype == np.float32
    with torch.no_grad():
        exact, plain = loaded.model(images), trained_weights(loaded)(images)
        with loaded.runtime.autocast():
            rounded = loaded.model(images).float()
    for logits, is_same in ((exact, True), (plain, False), (rounded, False)):
        assert (np.abs(found - logits.numpy()).max() <= 1e-4) == is_same
    texts = session.get_modelmeta().custom_metadata_map
    assert (texts["run"], texts["experiment_id"]) == (run.layout.name, run.record.experiment_id)
    assert json.loads(texts["class_names"]) == ["0", "1", "2", "3"]


def trained_weights(loaded: LoadedModel) -> torch.nn.Module:
    """The same model with the weights that were not averaged."""
    model = create_model(loaded.config, 4, (32, 32)).model
    model.load_state_dict(checkpoint(loaded.checkpoint)["model_state_dict"])
    return model.eval()


def test_json_holds_everything(run: Run, few_digits: Path, tmp_path: Path) -> None:
    image = next((few_digits / "val").rglob("*.png"))
    result = pochi(
        *(
            "export",
            run.directory,
            "--format",
            "torch",
            "--output",
            "new/digits.pt2",
            "--data",
            image,
            "--json",
        ),
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert shown.pop("largest_difference") <= 1e-4
    assert shown.pop("file_bytes") == (tmp_path / "new" / "digits.pt2").stat().st_size
    assert shown == {
        "path": "new/digits.pt2",
        "format": "torch",
        "opset": None,
        "input_size": [32, 32],
        "classes": 4,
        "images": 1,
        "same_class": 1,
        "skipped": [],
    }
    assert not run.layout.exported_model("pt2").exists()


def test_a_checkpoint_alone_is_exported_beside_itself(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "mine.pth"
    shutil.copy(run.layout.best_model, path)
    result = pochi("export", path, "--format", "torch", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "mine.pt2").is_file()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "--format"),
        (("--format", "tflite"), "tflite"),
        (("--format", "onnx", "--output", "model.pt2"), "must end in .onnx with --format onnx"),
        (("--format", "torch", "--output", "model"), "must end in .pt2 with --format torch"),
    ],
)
def test_wrong_usage_is_told(arguments: tuple[str, ...], told: str, tmp_path: Path) -> None:
    result = pochi("export", "latest", *arguments, cwd=tmp_path)
    assert result.returncode == 2
    assert told in result.stderr


def test_a_model_of_another_machine_is_exported(run: Run, few_digits: Path, tmp_path: Path) -> None:
    content = checkpoint(run.layout.best_model)
    content["config"] |= {"device": "cuda", "precision": "fp16"}
    torch.save(content, tmp_path / "far.pth")
    result = pochi("export", "far.pth", "--format", "torch", "--data", few_digits / "val", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_help_imports_nothing_heavy() -> None:
    assert not imported_by("export", "--help") & HEAVY


def test_missing_packages_are_told(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = pochi("export", run.directory, "--format", "onnx", cwd=tmp_path)
    assert result.returncode == 1
    assert "error: exporting to ONNX needs onnxruntime" in result.stderr
    assert 'hint: pip install "pochi[onnx]"' in result.stderr
    assert not run.layout.exported_model("onnx").exists()


def test_without_validation_data_images_are_asked_for(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits,
        model_name="vgg_compact",
        epochs=1,
        val_data_root=None,
        work_dir=str(tmp_path / "work_dirs"),
    )
    run = train(config)
    result = pochi("export", "--format", "torch", cwd=tmp_path)
    assert result.returncode == 1
    assert "--data DIR_OR_FILE" in result.stderr
    result = pochi("export", "--format", "torch", "--data", few_digits / "train", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert run.layout.exported_model(ExportFormat.torch.suffix).is_file()


def test_random_steps_are_warned_about(few_digits: Path, run: Run, tmp_path: Path) -> None:
    content = checkpoint(run.layout.best_model)
    content["config"]["val_transform"].insert(1, {"name": "RandomInvert"})
    torch.save(content, tmp_path / "random.pth")
    result = pochi("export", "random.pth", "--format", "torch", "--data", few_digits / "val", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "warning: val_transform has random steps" in result.stderr


def test_a_models_directory_that_leads_out_of_the_run_is_refused(run: Run, tmp_path: Path) -> None:
    outside = run.layout.models.rename(tmp_path / "outside")
    run.layout.models.symlink_to(outside)
    before = files(outside)
    result = pochi("export", run.directory, "--format", "torch", cwd=tmp_path)
    assert result.returncode == 1
    assert "is a symbolic link" in result.stderr
    assert files(outside) == before


def test_a_link_leads_to_the_file_that_is_written(run: Run, tmp_path: Path) -> None:
    (tmp_path / "link.pt2").symlink_to("target.pt2")
    result = pochi("export", run.directory, "--format", "torch", "--output", "link.pt2", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "link.pt2").is_symlink()
    assert (tmp_path / "target.pt2").stat().st_size > 1_000_000


@pytest.mark.parametrize("name", ["pipe.pt2", "directory.pt2", "loop.pt2", "notes.txt/model.pt2"])
def test_what_is_no_place_for_a_file_is_refused_at_once(run: Run, tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe.pt2")
    (tmp_path / "directory.pt2").mkdir()
    (tmp_path / "loop.pt2").symlink_to("loop.pt2")
    (tmp_path / "notes.txt").write_text("text")
    result = pochi("export", run.directory, "--format", "torch", "--output", name, cwd=tmp_path)
    assert result.returncode == 1
    assert f"cannot write {name}" in result.stderr
    assert (tmp_path / "pipe.pt2").is_fifo()


def test_what_is_exported_instead_of_the_best_is_told(run: Run, tmp_path: Path) -> None:
    content = checkpoint(run.layout.latest_model)
    content["sampler_state"] |= {"batches": 2}
    torch.save(content, tmp_path / "within.pth")
    result = pochi(
        "export",
        "within.pth",
        "--format",
        "torch",
        "--data",
        classifier(run.config).val_data_root or "",
        cwd=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    assert "was saved within epoch 2" in result.stderr


def test_images_that_are_left_out_are_told(run: Run, few_digits: Path, tmp_path: Path) -> None:
    shutil.copytree(few_digits / "val" / "1", tmp_path / "few")
    (tmp_path / "few" / "0.png").write_bytes(b"no image")
    result = pochi(
        "export", run.directory, "--format", "torch", "--data", "few", "--set", "on_bad_image=skip", "--json",
        cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert "warning: left out few/0.png: not an image" in result.stderr
    assert len(json.loads(result.stdout)["skipped"]) == 1


def test_how_images_are_prepared_may_be_given(run: Run, tmp_path: Path) -> None:
    steps = '[{ name = "Resize", size = [32, 32] }, { name = "ToTensor" }]'
    result = pochi(
        "export", run.directory, "--format", "onnx", "--set", f"val_transform={steps}", cwd=tmp_path
    )
    assert result.returncode == 0, result.stderr
    session = onnxruntime.InferenceSession(run.layout.exported_model("onnx"))
    contract = json.loads(session.get_modelmeta().custom_metadata_map["preprocessing"])
    assert [step["name"] for step in contract["steps"]] == ["Resize", "ToTensor"]
