"""Whole trainings: what they write, what their numbers mean, and what stops them."""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import accuracy_score
from torchvision.models import resnet18

from pochi_cli.config.load import validate
from pochi_cli.engine.distributed import ALONE
from pochi_cli.engine.progress import SilentProgress, StepRecord
from pochi_cli.engine.runtime import choose_runtime
from pochi_cli.engine.totals import FiniteGuard
from pochi_cli.engine.training import _known_torch_errors, train
from pochi_cli.errors import (
    ConfigError,
    DataError,
    MemoryExhaustedError,
    ModelError,
    NonFiniteLossError,
)
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.index import find_run
from tests.data.photos import write_photos
from tests.engine.tiny import RANDOM_STEPS, tiny_config, tiny_raw
from tests.engine.trained import checkpoint, rows

# With these frozen, a sample's logits do not depend on the others of its batch.
BATCH_NORMS = ["bn1", r"layer\d\.\d\.bn\d", r"layer\d\.\d\.downsample\.1"]


def plain_copy(source: Path, target: Path) -> Path:
    shutil.copytree(source, target)
    return target


def judge(state: dict[str, torch.Tensor], directory: Path) -> tuple[list[int], np.ndarray[Any, Any]]:
    """Labels and log-probabilities of a resnet18 on the images of a folder, one by one, without Pochi."""
    model = resnet18(num_classes=4)
    model.load_state_dict(state)
    model.eval()
    mean, std = np.array([0.485, 0.456, 0.406]), np.array([0.229, 0.224, 0.225])
    labels, log_probabilities = [], []
    for path in sorted(directory.rglob("*.png")):
        image = Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BILINEAR)
        pixels = (np.asarray(image) / 255 - mean) / std
        tensor = torch.from_numpy(pixels.astype(np.float32)).permute(2, 0, 1)[None]
        with torch.inference_mode():
            log_probabilities.append(model(tensor).double().log_softmax(1)[0].numpy())
        labels.append(int(path.parent.name))
    return labels, np.array(log_probabilities)


def test_a_run_leaves_a_complete_record(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=3, save_interval=2))
    files = [path for path in run.directory.rglob("*") if path.is_file()]
    assert sorted(str(path.relative_to(run.directory)) for path in files) == [
        ".lock",
        "config.json",
        "config.toml",
        "models/best_model.pth",
        "models/checkpoint_epoch_002.pth",
        "models/checkpoint_epoch_003.pth",
        "models/latest_model.pth",
        "run.json",
        "train.log",
        "train_history.json",
        f"visualization/training_metrics_{run.record.stamp}.csv",
    ]
    record = json.loads(run.layout.run_json.read_text())
    assert record["status"] == "finished"
    assert record["class_names"] == ["0", "1", "2", "3"]
    assert record["epochs_done"] == 3
    assert record["environment"]["torch"] == torch.__version__
    assert record["settings"]["precision"] == "fp32"
    history = json.loads(run.layout.history_json.read_text())
    assert history["epochs"] == [1, 2, 3]
    best = max(history["val_accuracy"])
    assert record["best_value"] == best
    assert record["best_epoch"] == history["epochs"][history["val_accuracy"].index(best)]
    assert checkpoint(run.layout.best_model)["epoch"] == record["best_epoch"]
    assert set(checkpoint(run.layout.latest_model)) >= {
        "epoch",
        "model_state_dict",
        "optimizer_state_dict",
        "scheduler_state_dict",
        "scaler_state_dict",
        "ema_state_dict",
        "early_stopping",
        "rng_state",
        "sampler_state",
        "train_history",
        "class_names",
        "config",
        "format_version",
    }
    assert "epoch 3, train loss" in run.layout.log.read_text()


def test_training_the_resolved_config_again_repeats_the_run(few_digits: Path, tmp_path: Path) -> None:
    first = train(tiny_config(few_digits, work_dir=str(tmp_path), train_transform=RANDOM_STEPS))
    resolved = tomllib.loads(first.layout.config_toml.read_text())
    as_json = json.loads(first.layout.config_json.read_text())
    assert as_json.pop("experiment_id") == first.record.experiment_id
    assert as_json == resolved
    second = train(validate(resolved))
    assert second.directory != first.directory
    assert rows(second) == rows(first)
    for name, tensor in checkpoint(first.layout.latest_model)["model_state_dict"].items():
        assert torch.equal(checkpoint(second.layout.latest_model)["model_state_dict"][name], tensor), name


@pytest.mark.parametrize("batch_size", [1, 13, 64])
@pytest.mark.parametrize("class_weights", ["none", "balanced", [1.0, 2.0, 0.5, 3.0]])
def test_validation_metrics_are_scikit_learns_and_the_formulas(
    few_digits: Path, tmp_path: Path, batch_size: int, class_weights: Any
) -> None:
    run = train(
        tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=1 if batch_size == 1 else 2,
            learning_rate=0.0001 if batch_size == 1 else 0.01,
            class_weights=class_weights,
            label_smoothing=0.1,
            batch_size=batch_size,
            freeze=BATCH_NORMS if batch_size == 1 else [],
        )
    )
    labels, log_probabilities = judge(
        checkpoint(run.layout.best_model)["model_state_dict"], few_digits / "val"
    )
    counts = np.array([25, 20, 15, 5])
    weights = {"none": np.ones(4), "balanced": counts.sum() / (4 * counts)}.get(
        str(class_weights), np.array(class_weights if isinstance(class_weights, list) else 0)
    )
    row = rows(run)[int(run.record.best_epoch or 0) - 1]
    losses = -log_probabilities[np.arange(len(labels)), labels]
    expected_loss = (weights[labels] * losses).sum() / weights[labels].sum()
    assert float(row["val_loss"]) == pytest.approx(expected_loss, rel=1e-5)
    correct = accuracy_score(labels, np.argmax(log_probabilities, axis=1), normalize=False)
    assert float(row["val_accuracy"]) == 100 * correct / len(labels)


def test_recorded_rates_are_those_of_the_optimizer(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        epochs=4,
        save_interval=1,
        scheduler="ExponentialLR",
        scheduler_params={"gamma": 0.5},
        warmup_epochs=1,
        enable_layer_wise_lr=True,
        layer_wise_lr_config={"layer_rates": {"conv1": 0.001, r"layer1\.0": 0.002}},
    )
    run = train(config)
    for epoch, row in enumerate(rows(run), start=1):
        groups = checkpoint(run.layout.checkpoint(epoch))["optimizer_state_dict"]["param_groups"]
        used = {group["name"]: group["lr"] for group in groups}
        assert float(row["learning_rate"]) == config.learning_rate
        assert float(row["lr_conv1"]) == used["conv1"]
        assert float(row[r"lr_layer1\.0"]) == used[r"layer1\.0"]
        assert used[""] == pytest.approx(config.learning_rate * (0.5 if epoch == 1 else 0.5 ** (epoch - 2)))


def test_recorded_rate_is_the_scheduled_one_without_layer_rates(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=3,
            scheduler="StepLR",
            scheduler_params={"step_size": 1, "gamma": 0.1},
        )
    )
    assert [float(row["learning_rate"]) for row in rows(run)] == pytest.approx([0.02, 0.002, 0.0002])


def test_accumulated_batches_make_the_step_of_one_large_batch(few_digits: Path, tmp_path: Path) -> None:
    """Exact up to rounding also with class weights, since the mean is over the whole step."""
    common = {"work_dir": str(tmp_path), "epochs": 2, "freeze": BATCH_NORMS, "learning_rate": 0.001}
    large = train(tiny_config(few_digits, **common, batch_size=24))
    small = train(tiny_config(few_digits, **common, batch_size=6, accumulate_steps=4))
    for one, other in zip(rows(large), rows(small), strict=True):
        assert float(other["train_loss"]) == pytest.approx(float(one["train_loss"]), rel=1e-3)
        assert float(other["val_loss"]) == pytest.approx(float(one["val_loss"]), rel=1e-3)


def test_clipping_bounds_the_step(few_digits: Path, tmp_path: Path) -> None:
    limit = 1e-3
    run = train(
        tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=1,
            batch_size=65,
            learning_rate=1.0,
            optimizer_params={"momentum": 0.0, "weight_decay": 0.0},
            clip_grad_norm=limit,
        )
    )
    torch.manual_seed(0)
    before = {name: p.detach() for name, p in resnet18(num_classes=4).named_parameters()}
    after = checkpoint(run.layout.latest_model)["model_state_dict"]
    moved = math.sqrt(sum(float((after[name] - before[name]).double().pow(2).sum()) for name in before))
    assert moved == pytest.approx(limit, rel=1e-2)


def test_average_is_what_is_validated_and_kept(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, ema_decay=0.9, class_weights="none")
    )
    saved = checkpoint(run.layout.best_model)
    recorded = float(rows(run)[0]["val_loss"])
    for state, same in ((saved["ema_state_dict"]["model"], True), (saved["model_state_dict"], False)):
        labels, log_probabilities = judge(state, few_digits / "val")
        loss = -log_probabilities[np.arange(len(labels)), labels].mean()
        assert (recorded == pytest.approx(loss, rel=1e-5)) == same


def test_freezing_keeps_weights_and_running_statistics(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, freeze=["conv1", "bn1", "layer1"]))
    torch.manual_seed(0)
    before = resnet18(num_classes=4).state_dict()
    after = checkpoint(run.layout.latest_model)["model_state_dict"]
    for name, tensor in before.items():
        frozen = name.startswith(("conv1.", "bn1.", "layer1."))
        assert torch.equal(after[name], tensor) == frozen, name


def test_without_validation_data(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(few_digits, work_dir=str(tmp_path), val_data_root=None, val_transform=None)
    run = train(config)
    assert [(row["val_loss"], row["val_accuracy"]) for row in rows(run)] == [("", ""), ("", "")]
    assert not run.layout.best_model.exists()
    assert run.layout.latest_model.exists()
    assert run.record.best_epoch is None


def test_early_stopping_ends_the_run(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=30,
            learning_rate=1e-9,
            early_stopping={"enabled": True, "patience": 2, "min_delta": 50.0},
        )
    )
    assert len(run.history) == 3
    assert run.record.status == "finished"
    assert run.layout.checkpoint(3).exists()


def test_on_epoch_can_stop(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(few_digits, work_dir=str(tmp_path), epochs=5),
        on_epoch=lambda record: "stop" if record.epoch == 2 else None,
    )
    assert len(run.history) == 2
    assert run.layout.checkpoint(2).exists()


def test_an_epoch_is_on_disk_when_on_epoch_is_called(few_digits: Path, tmp_path: Path) -> None:
    def fail(record: EpochRecord) -> None:
        raise ZeroDivisionError(record.epoch)

    with pytest.raises(ZeroDivisionError):
        train(tiny_config(few_digits, work_dir=str(tmp_path)), on_epoch=fail)
    run = find_run("latest", tmp_path)
    assert (run.record.status, run.record.epochs_done, len(run.history)) == ("failed", 1, 1)
    assert checkpoint(run.layout.latest_model)["epoch"] == 1


def test_on_epoch_must_answer_in_the_agreed_words(few_digits: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not 'Stop'"):
        train(tiny_config(few_digits, work_dir=str(tmp_path)), on_epoch=lambda _: "Stop")  # type: ignore[arg-type, return-value]


def test_num_classes_and_weights_are_held_against_the_data(few_digits: Path, tmp_path: Path) -> None:
    work_dir = tmp_path / "runs"
    with pytest.raises(ConfigError, match="num_classes is 5, but the training data have 4 classes"):
        train(tiny_config(few_digits, work_dir=str(work_dir), num_classes=5))
    with pytest.raises(ConfigError, match="class_weights has 3 entries, the training data have 4"):
        train(tiny_config(few_digits, work_dir=str(work_dir), class_weights=[1.0, 2.0, 3.0]))
    assert not work_dir.exists()


@pytest.mark.parametrize("batch_size", [64, 32, 1000])
def test_a_last_batch_of_one_and_too_large_batches_train(
    few_digits: Path, tmp_path: Path, batch_size: int
) -> None:
    # 65 images: 64 leaves one over, 32 as well.
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, batch_size=batch_size))
    assert run.record.status == "finished"


def test_a_class_with_one_image_trains(few_digits: Path, tmp_path: Path) -> None:
    data = plain_copy(few_digits, tmp_path / "data")
    for image in sorted((data / "train" / "3").iterdir())[1:]:
        image.unlink()
    run = train(tiny_config(data, work_dir=str(tmp_path / "runs"), val_data_root=None, val_split=0.2))
    assert run.record.status == "finished"
    assert run.record.settings["val_images"] == 12  # 5 + 4 + 3 + 0


@pytest.mark.parametrize("problem", ["one class", "batch of one", "too small", "missing"])
def test_hopeless_settings_stop_before_the_first_epoch(
    few_digits: Path, tmp_path: Path, problem: str
) -> None:
    data = plain_copy(few_digits, tmp_path / "data")
    changes: dict[str, Any] = {}
    if problem == "one class":
        for label in "123":
            shutil.rmtree(data / "train" / label)
    elif problem == "batch of one":
        changes["batch_size"] = 1
    elif problem == "too small":
        changes |= {"model_name": "vgg11", "train_transform": [{"name": "ToTensor"}]}
    else:
        shutil.rmtree(data / "train")
    work_dir = tmp_path / "runs"
    with pytest.raises(ModelError if problem in ("batch of one", "too small") else DataError):
        train(tiny_config(data, work_dir=str(work_dir), **changes))
    assert not work_dir.exists()


def test_a_loss_that_is_not_finite_fails_the_run_and_keeps_the_last_good_state(
    few_digits: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "huge.pth"
    state = resnet18(num_classes=4).state_dict()
    state["fc.bias"] = torch.full((4,), 3e38)
    state["fc.weight"] = torch.full((4, 512), 3e38)
    torch.save(state, weights)
    config = tiny_config(few_digits, work_dir=str(tmp_path / "runs"), pretrained=None, weights=str(weights))
    with pytest.raises(NonFiniteLossError, match="not finite at epoch 1, step 1; the first parameter"):
        train(config)
    run = find_run("latest", tmp_path / "runs")
    assert run.record.status == "failed"
    assert "not finite" in str(run.record.reason)


def test_weights_that_are_not_finite_are_never_saved(few_digits: Path, tmp_path: Path) -> None:
    """The loss of the step that ruins them is finite: equal logits, however large, are no certainty."""
    weights = tmp_path / "large.pth"
    state = resnet18(num_classes=4).state_dict()
    state["fc.bias"] = torch.full((4,), 3e38)
    state["fc.weight"] = torch.zeros(4, 512)
    torch.save(state, weights)
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path / "runs"),
        pretrained=None,
        weights=str(weights),
        optimizer_params={"weight_decay": 10.0},
        checkpoint_every_steps=1,
    )
    with pytest.raises(NonFiniteLossError, match=r"fc\.bias is not finite after epoch 1, step 1"):
        train(config)
    run = find_run("latest", tmp_path / "runs")
    assert run.record.status == "failed"
    assert not run.layout.latest_model.exists()


def test_a_bad_image_is_named_or_skipped(few_digits: Path, tmp_path: Path) -> None:
    data = plain_copy(few_digits, tmp_path / "data")
    broken = data / "train" / "0" / "broken.png"
    broken.write_bytes(b"no image")
    raw = tiny_raw(data, work_dir=str(tmp_path / "runs"), epochs=1)
    for workers in (0, 1):
        with pytest.raises(DataError, match=r"broken\.png"):
            train(validate({**raw, "num_workers": workers}))
    assert find_run("latest", tmp_path / "runs").record.status == "failed"
    run = train(validate({**raw, "on_bad_image": "skip"}))
    assert run.record.status == "finished"
    assert str(broken) in run.layout.log.read_text()
    assert run.record.skipped_images == 1


def test_photographs_of_mixed_sizes_and_modes_train(tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos")
    steps = [
        {"name": "RandomResizedCrop", "size": 32},
        {"name": "RandomHorizontalFlip"},
        {"name": "TrivialAugmentWide"},
        {"name": "ToTensor"},
        {"name": "Normalize"},
    ]
    val_steps = [{"name": "Letterbox", "size": 32}, {"name": "ToTensor"}, {"name": "Normalize"}]
    run = train(
        tiny_config(
            work_dir=str(tmp_path / "runs"),
            dataset="folder",
            train_data_root=str(photos),
            val_split=0.3,
            batch_size=4,
            num_workers=1,
            train_transform=steps,
            val_transform=val_steps,
        )
    )
    assert run.record.status == "finished"
    assert run.record.settings["train_images"] + run.record.settings["val_images"] == 10


def test_half_precision_and_channels_last_train(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(few_digits, work_dir=str(tmp_path), precision="bf16", channels_last=True, epochs=1)
    )
    assert run.record.settings["precision"] == "bf16"
    assert all(
        t.dtype != torch.bfloat16 for t in checkpoint(run.layout.latest_model)["model_state_dict"].values()
    )


def test_deterministic_training_runs(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), deterministic=True, epochs=1))
    assert run.record.status == "finished"


def test_the_cpu_never_learns_from_a_bad_loss() -> None:
    """The guard speaks before the optimizer takes the step, and remembers the first bad one."""
    runtime = choose_runtime(tiny_config())
    guard = FiniteGuard(runtime)
    model = torch.nn.Linear(2, 2)
    guard.see(torch.tensor(1.0), 1)
    guard.check(model, 1, 1)
    guard.see(torch.tensor(float("nan")), 2)
    model.weight.grad = torch.full((2, 2), float("nan"))
    with pytest.raises(NonFiniteLossError, match=r"epoch 7, step 2; .* is weight$"):
        guard.check(model, 7, 2)
    guard.see(torch.tensor(1.0), 3)
    guard.see(torch.tensor(float("inf")), 4)
    with pytest.raises(NonFiniteLossError, match=r"epoch 7, step 2 \(seen at step 4\)$"):
        guard.check(model, 7, 4)  # by now every gradient is spoilt


def test_memory_that_is_not_there_is_told_as_such() -> None:
    with pytest.raises(MemoryExhaustedError, match="out of memory before the first step"):  # noqa: SIM117
        with _known_torch_errors(ALONE):
            torch.empty(2**50)


def test_a_killed_loading_process_is_told_as_such(few_digits: Path, tmp_path: Path) -> None:
    class Killer(SilentProgress):
        def step(self, record: StepRecord) -> None:  # noqa: ARG002
            for child in multiprocessing.active_children():
                os.kill(int(child.pid or 0), signal.SIGKILL)
            time.sleep(1)  # torch raises where the main thread happens to be

    with pytest.raises(DataError, match="a process that loads images died"):
        train(tiny_config(few_digits, work_dir=str(tmp_path), num_workers=1), progress=Killer())
    record = find_run("latest", tmp_path).record
    assert record.status == "failed"
    assert str(record.reason).startswith("a process that loads images died")


def test_nothing_is_left_of_a_run_whose_records_cannot_be_written(few_digits: Path, tmp_path: Path) -> None:
    raw = tiny_raw(few_digits, work_dir=str(tmp_path / "runs"))
    code = f"""
import resource, signal
from pochi_cli.config.load import load_config, validate
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.engine.training import train
from pochi_cli.errors import StorageError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
try:
    train(validate({raw!r}))
except StorageError as error:
    print(error.message)
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "cannot write" in result.stdout
    assert list((tmp_path / "runs").iterdir()) == []


def test_the_log_holds_the_running_loss(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, log_every_steps=2))
    told = run.layout.log.read_text()
    assert "epoch 1, batch 2: loss" in told
    assert "epoch 1, batch 3: loss" not in told
