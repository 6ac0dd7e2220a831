"""What several processes train is what one would."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pochi_cli.config.load import validate
from pochi_cli.engine.resuming import check_processes
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run
from tests.engine.events import read_events
from tests.engine.tiny import STEPS, tiny_config, tiny_raw
from tests.engine.together import latest_in, resume_together, train_together
from tests.engine.trained import checkpoint, going_on

CROPPED = [STEPS[0], {"name": "RandomCrop", "size": 32, "padding": 3}, *STEPS[1:]]
PLAIN: dict[str, Any] = {
    "model_name": "vit_tiny",
    "stem": None,
    "precision": "fp32",
    "train_transform": CROPPED,
}
"""No batch normalisation, and no dropout."""
BACKBONE = [r"(?!heads\.head\b).*"]
EVERYTHING: dict[str, Any] = {
    **PLAIN,
    "epochs": 3,
    "learning_rate": 0.01,
    "batch_size": 10,
    "accumulate_steps": 2,
    "mixup_alpha": 0.2,
    "cutmix_alpha": 1.0,
    "label_smoothing": 0.1,
    "class_weights": "balanced",
    "ema_decay": 0.9,
    "clip_grad_norm": 1.0,
    "enable_layer_wise_lr": True,
    "layer_wise_lr_config": {"layer_rates": {"heads.head": 0.02}},
    "early_stopping": {"enabled": True, "patience": 30},
    "enable_gradient_tracking": True,
    "enable_tensorboard": True,
    "monitor": {"enabled": True, "update_ratio_every": 1},
}


def assert_close(one: Run, other: Run, tolerance: float = 1e-5) -> None:
    """Equal but for the order in which numbers were added."""
    ours, theirs = (run.history.to_dict() for run in (one, other))
    for name in ("train_loss", "train_accuracy", "val_loss", "val_accuracy"):
        assert ours[name] == pytest.approx(theirs[name], abs=tolerance), name
    weights, others = (checkpoint(run.layout.latest_model) for run in (one, other))
    for name, weight in weights["model_state_dict"].items():
        torch.testing.assert_close(weight, others["model_state_dict"][name], atol=1e-4, rtol=0, msg=name)


@pytest.fixture(scope="module")
def alone(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of everything by one process."""
    return train(tiny_config(few_digits, **EVERYTHING, work_dir=str(tmp_path_factory.mktemp("alone"))))


@pytest.mark.parametrize("processes", [2, pytest.param(3, marks=pytest.mark.slow)])
def test_several_processes_train_what_one_does(
    few_digits: Path, tmp_path: Path, alone: Run, processes: int
) -> None:
    """65 images in batches of 10: the last one of five is shared by two, and by three computed whole."""
    train_together(tiny_raw(few_digits, **EVERYTHING, work_dir=str(tmp_path)), processes=processes)
    (directory,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    together = latest_in(tmp_path)
    assert together.directory == directory
    assert together.record.status == "finished"
    assert together.record.settings["processes"] == processes
    assert_close(alone, together)
    names = [
        sorted(str(path.relative_to(run.directory)) for path in run.directory.rglob("*.csv"))
        for run in (alone, together)
    ]
    assert len(names[0]) == len(names[1])
    assert {tag: len(points) for tag, points in read_events(alone.layout.tensorboard).items()} == {
        tag: len(points) for tag, points in read_events(together.layout.tensorboard).items()
    }


@pytest.mark.slow
def test_validation_is_the_same_to_the_last_digit(few_digits: Path, tmp_path: Path) -> None:
    keys = {**PLAIN, "epochs": 1, "learning_rate": 1e-30, "batch_size": 7, "threads": 2}
    one = train(tiny_config(few_digits, **keys, work_dir=str(tmp_path / "one")))
    train_together(tiny_raw(few_digits, **keys, work_dir=str(tmp_path / "two")))
    ours, theirs = (run.history.classification[-1] for run in (one, latest_in(tmp_path / "two")))
    assert (ours.val_loss, ours.val_accuracy) == (theirs.val_loss, theirs.val_accuracy)


@pytest.mark.slow
@pytest.mark.parametrize("processes", [1, 2])
def test_going_on_with_as_many_processes_or_fewer(
    few_digits: Path, tmp_path: Path, alone: Run, processes: int
) -> None:
    train_together(tiny_raw(few_digits, **{**EVERYTHING, "epochs": 2}, work_dir=str(tmp_path)))
    run = latest_in(tmp_path)
    if processes == 1:
        assert_close(alone, resume(run, going_on(run, ["epochs=3"])))
    else:
        assert_close(alone, resume_together(run, "epochs=3"))


@pytest.mark.slow
def test_batch_normalisation_of_all_images(few_digits: Path, tmp_path: Path) -> None:
    """By a network that rounding hardly matters to: resnet18 has one pixel left of these images."""
    keys: dict[str, Any] = {"model_name": "vgg_compact", "stem": None, "precision": "fp32"}
    keys |= {"channels_last": False, "batch_size": 11, "accumulate_steps": 2, "learning_rate": 0.0005}
    keys |= {"sync_batch_norm": True}
    one = train(tiny_config(few_digits, **keys, work_dir=str(tmp_path / "one")))
    train_together(tiny_raw(few_digits, **keys, work_dir=str(tmp_path / "two")))
    assert_close(one, latest_in(tmp_path / "two"), 1e-3)


@pytest.mark.slow
def test_batch_normalisation_of_ones_own_images(few_digits: Path, tmp_path: Path) -> None:
    """The running statistics are averages, and another number of processes would change the course."""
    keys: dict[str, Any] = {"batch_size": 14, "epochs": 1}
    train_together(tiny_raw(few_digits, **keys, work_dir=str(tmp_path)))
    run = latest_in(tmp_path)
    with pytest.raises(RunError, match="trained by 2 processes, each of which normalised by its own images"):
        resume(run, going_on(run, ["epochs=2"]))
    assert len(resume_together(run, "epochs=2").history) == 2


@pytest.mark.slow
def test_a_run_of_one_goes_on_with_two(few_digits: Path, tmp_path: Path) -> None:
    """If both normalise by the images of both; `threads` is divided, and stays what it was."""
    keys: dict[str, Any] = {"model_name": "vgg_compact", "stem": None, "batch_size": 14, "epochs": 1}
    run = train(tiny_config(few_digits, **keys, threads=1, work_dir=str(tmp_path)))
    with pytest.raises(RunError, match="trained by one process; 2 would normalise by their own images"):
        check_processes(run, nn.BatchNorm1d(3), 2, is_synced=False)
    together = resume_together(run, "epochs=2", "sync_batch_norm=true")
    assert (len(together.history), together.record.settings["threads"]) == (2, 1)
    assert len(resume_together(together, "epochs=3", processes=3).history) == 3


@pytest.mark.slow
def test_pictures_of_a_network_that_normalises(few_digits: Path, tmp_path: Path) -> None:
    """The first process draws graph and predictions, and must not wait for the others in a batch norm."""
    keys: dict[str, Any] = {"enable_tensorboard": True, "batch_size": 14, "epochs": 1, "ema_decay": 0.9}
    keys |= {"sync_batch_norm": True}
    train_together(tiny_raw(few_digits, **keys, work_dir=str(tmp_path)))
    assert len(latest_in(tmp_path).history) == 1


@pytest.mark.slow
def test_features_of_a_frozen_backbone(few_digits: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {
        **PLAIN,
        "train_transform": STEPS,
        "freeze": BACKBONE,
        "batch_size": 10,
    }
    one = train(tiny_config(few_digits, **keys, work_dir=str(tmp_path / "one")))
    assert one.record.settings["cache"] == ["features"] * 2
    train_together(tiny_raw(few_digits, **keys, work_dir=str(tmp_path / "two")))
    assert_close(one, latest_in(tmp_path / "two"))


@pytest.mark.slow
def test_bad_images_that_are_left_out(few_digits: Path, tmp_path: Path) -> None:
    """More than half of the images are bad: portions are shared anew, and some batches passed over."""
    data = shutil.copytree(few_digits, tmp_path / "data")
    paths = sorted((data / "train").rglob("*.png")) + sorted((data / "val").rglob("*.png"))
    bad = [path for at, path in enumerate(paths) if at % 7 < 4]
    for path in bad:
        path.write_bytes(b"no image")
    keys: dict[str, Any] = {**PLAIN, "on_bad_image": "skip", "batch_size": 5, "epochs": 2}
    one = train(tiny_config(data, **keys, work_dir=str(tmp_path / "one")))
    train_together(tiny_raw(data, **keys, work_dir=str(tmp_path / "two")))
    two = latest_in(tmp_path / "two")
    assert_close(one, two)
    assert one.record.skipped_images == two.record.skipped_images == len(bad)
    told = two.layout.log.read_text()
    assert all(told.count(f"left out {path}") == 1 for path in bad)


@pytest.mark.slow
@pytest.mark.parametrize("more", [{}, {"freeze": BACKBONE}], ids=["images", "features"])
def test_a_process_whose_images_are_all_bad(few_digits: Path, tmp_path: Path, more: dict[str, Any]) -> None:
    """Of the two batches of validation images the second is that of the second process."""
    data = shutil.copytree(few_digits, tmp_path / "data")
    paths = sorted((data / "val").rglob("*.png"))
    for path in paths[len(paths) // 2 :]:
        path.write_bytes(path.read_bytes()[:60])  # its size can be read
    keys: dict[str, Any] = {**PLAIN, "train_transform": STEPS, "on_bad_image": "skip"}
    keys |= {"batch_size": (len(paths) + 1) // 2, **more}
    one = train(tiny_config(data, **keys, work_dir=str(tmp_path / "one")))
    train_together(tiny_raw(data, **keys, work_dir=str(tmp_path / "two")))
    assert_close(one, latest_in(tmp_path / "two"))
    for path in paths:
        path.write_bytes(path.read_bytes()[:60])
    written = train_together(tiny_raw(data, **keys, work_dir=str(tmp_path / "none")), code=1)
    assert sum("could be used" in text for text in written) == 1, written


@pytest.mark.slow
def test_half_precision(few_digits: Path, tmp_path: Path) -> None:
    """Only rounding differs, which is 2 ** -8 of a value."""
    keys: dict[str, Any] = {**EVERYTHING, "precision": "bf16"}
    one = train(tiny_config(few_digits, **keys, work_dir=str(tmp_path / "one")))
    train_together(tiny_raw(few_digits, **keys, work_dir=str(tmp_path / "two")))
    for ours, theirs in zip(
        one.history.classification, latest_in(tmp_path / "two").history.classification, strict=True
    ):
        assert theirs.train_loss == pytest.approx(ours.train_loss, abs=0.02)
        assert theirs.val_loss == pytest.approx(ours.val_loss, abs=0.02)


@pytest.mark.slow
def test_encoders_compare_all_pairs_of_a_batch(tmp_path: Path) -> None:
    raw: dict[str, Any] = {
        "task": "embedding", "train_vectors": str(random_vectors(tmp_path)), "latent_dim": 4,
        "hidden_dims": [16], "loss_function": "DPLossV2", "tau_mode": "relative", "tau": 0.3, "epochs": 3,
        "batch_size": 21, "learning_rate": 0.01, "holdout": 0.2, "recall_ks": [5], "device": "cpu",
        "threads": 2,
    }  # fmt: skip
    one = train(validate({**raw, "work_dir": str(tmp_path / "one")}))
    train_together({**raw, "work_dir": str(tmp_path / "two")})
    for ours, theirs in zip(
        one.history.embedding, latest_in(tmp_path / "two").history.embedding, strict=True
    ):
        for name, value in ours.metrics.items():
            assert theirs.metrics[name] == (value and pytest.approx(value, rel=1e-4)), name


def random_vectors(directory: Path) -> Path:
    """203 vectors of 12 dimensions."""
    path = directory / "vectors.npy"
    np.save(path, np.random.default_rng(0).normal(size=(203, 12)).astype(np.float32))
    return path


def test_an_error_of_one_process_is_told_once_and_recorded(few_digits: Path, tmp_path: Path) -> None:
    """The bad image is in one portion only; the other process would wait for its gradients."""
    data = shutil.copytree(few_digits, tmp_path / "data")
    bad = sorted((data / "train").rglob("*.png"))[7]
    bad.write_bytes(b"no image")
    written = train_together(tiny_raw(data, **PLAIN, work_dir=str(tmp_path / "runs")), code=1)
    assert [text.count("told: ") for text in written].count(1) == 1
    assert sum(text.count(f"told: {bad}") for text in written) == 1
    record = latest_in(tmp_path / "runs").record
    assert record.status == "failed"
    assert str(bad) in str(record.reason)


@pytest.mark.slow
def test_too_few_images_for_the_processes(few_digits: Path, tmp_path: Path) -> None:
    keys: dict[str, Any] = {**PLAIN, "batch_size": 2, "work_dir": str(tmp_path / "runs")}
    written = train_together(tiny_raw(few_digits, **keys), processes=3, code=1)
    assert sum(text.count("batch_size is 2, too few for 3 processes") for text in written) == 1
    assert not (tmp_path / "runs").exists()
