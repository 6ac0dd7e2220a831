"""The gradients of a real run, and what is said where a part of it is missing."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from pochi_cli.config.load import load_config
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.classification import ClassificationTask
from pochi_cli.engine.losses import CrossEntropy
from pochi_cli.engine.runtime import choose_runtime
from pochi_cli.engine.training import train
from pochi_cli.errors import DeviceError, RunError
from pochi_cli.inspection.run_gradients import inspect_gradients
from pochi_cli.models.freezing import train_mode
from pochi_cli.runs.index import Run, open_run
from tests.engine.tiny import RANDOM_STEPS, tiny_config


@pytest.fixture(scope="module")
def data(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Data that a test may move away."""
    return Path(shutil.copytree(few_digits, tmp_path_factory.mktemp("data") / "own"))


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with a trace, random steps, mixing, an average and a frozen part; read only."""
    config = tiny_config(
        data,
        epochs=2,
        batch_size=10,
        train_transform=RANDOM_STEPS,
        mixup_alpha=0.4,
        label_smoothing=0.1,
        ema_decay=0.9,
        freeze=["conv1", "bn1"],
        enable_gradient_tracking=True,
        work_dir=str(tmp_path_factory.mktemp("work")),
    )
    return train(config)


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    return open_run(Path(shutil.copytree(trained.directory, tmp_path / trained.directory.name)))


def test_the_pass_is_one_optimizer_step_over_four_batches(trained: Run) -> None:
    told: list[tuple[int, int]] = []
    report = inspect_gradients(trained, tell=lambda done, of: told.append((done, of)))
    assert told == [(done, 4) for done in range(5)]
    assert (report.run, report.epochs, report.obstacle) == (trained.layout.name, (1, 2), None)
    fresh = report.fresh
    assert fresh is not None
    assert (fresh.checkpoint, fresh.epoch) == (trained.layout.best_model, trained.record.best_epoch)
    assert (fresh.is_averaged, fresh.samples, fresh.device, fresh.remarks) == (True, 40, "cpu", ())
    assert fresh.flow.frozen == ("conv1.weight", "bn1.weight", "bn1.bias")

    assert isinstance(trained.config, ClassificationConfig)
    config = trained.config.model_copy(update={"mixup_alpha": 0.0})
    runtime = choose_runtime(config)
    task = ClassificationTask.prepare(config, lambda _: None)
    model, _ = task.build_model(runtime, from_scratch=False)
    model.load_state_dict(load_checkpoint(trained.layout.best_model)["ema_state_dict"]["model"])
    train_mode(model)
    loader = task.parts(runtime).loaders.train
    criterion = CrossEntropy(task.class_weights, config.label_smoothing)
    losses, weights = [], []
    for _, batch in list(loader.batches(1))[:4]:
        sample_losses = criterion(model(batch.to("cpu").images), batch.labels)
        losses.append(sample_losses.losses.sum())
        weights.append(sample_losses.weight)
    loss = torch.stack(losses).sum() / torch.stack(weights).sum()
    loss.backward()  # type: ignore[no-untyped-call]
    assert fresh.flow.loss == pytest.approx(loss.item(), rel=1e-5)
    expected = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    assert [layer.name for layer in fresh.flow.layers] == list(expected)
    for layer in fresh.flow.layers:
        gradient = expected[layer.name].double().numpy()
        assert layer.norm == pytest.approx(np.linalg.norm(gradient), rel=1e-4)
        assert layer.std == pytest.approx(gradient.std(), rel=1e-4)
        assert layer.max == pytest.approx(gradient.max(), rel=1e-3)


def test_it_gives_the_same_twice_and_changes_no_file_of_the_run(run: Run) -> None:
    before = {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")}
    assert inspect_gradients(run) == inspect_gradients(run)
    assert {path: path.stat().st_mtime_ns for path in run.directory.rglob("*")} == before


def test_without_a_best_checkpoint_the_latest_is_taken(run: Run) -> None:
    run.layout.best_model.unlink()
    fresh = inspect_gradients(run).fresh
    assert fresh is not None
    assert (fresh.checkpoint, fresh.epoch) == (run.layout.latest_model, 2)


def test_without_a_checkpoint_the_trace_alone_is_judged(run: Run) -> None:
    shutil.rmtree(run.layout.models)
    report = inspect_gradients(run)
    assert report.fresh is None
    assert report.epochs == (1, 2)
    assert report.obstacle == "it has no checkpoint"
    run.layout.gradient_trace.unlink()
    run.layout.gradient_steps.unlink()
    with pytest.raises(RunError, match="none were traced, and it has no checkpoint"):
        inspect_gradients(run)


def test_without_a_trace_there_is_a_fresh_pass(run: Run) -> None:
    run.layout.gradient_trace.unlink()
    run.layout.gradient_steps.unlink()
    report = inspect_gradients(run)
    assert report.epochs == ()
    assert report.fresh is not None


def test_without_its_data_it_says_so(run: Run, data: Path) -> None:
    away = data.with_name("away")
    data.rename(away)
    try:
        report = inspect_gradients(run)
    finally:
        away.rename(data)
    assert report.fresh is None
    assert report.obstacle is not None
    assert "its training data cannot be used" in report.obstacle
    assert str(data / "train") in report.obstacle


def test_batches_that_the_model_cannot_take_are_told(run: Run) -> None:
    report = inspect_gradients(run, run.config.model_copy(update={"batch_size": 1}))
    assert report.fresh is None
    assert report.obstacle is not None
    assert "cannot train on images of 32x32 (height x width) with batch_size 1" in report.obstacle


def test_data_that_changed_are_told(run: Run, data: Path) -> None:
    extra = next((data / "train").glob("*/*.png"))
    copy = extra.with_name("more.png")
    shutil.copy(extra, copy)
    try:
        fresh = inspect_gradients(run).fresh
        assert fresh is not None
        assert fresh.remarks == ("the data have changed since the run began",)
        name = extra.parent.name
        extra.parent.rename(data / "train" / f"{name}_")
        (data / "val" / name).rename(data / "val" / f"{name}_")
        obstacle = inspect_gradients(run).obstacle
        (data / "train" / f"{name}_").rename(data / "train" / name)
        (data / "val" / f"{name}_").rename(data / "val" / name)
        assert obstacle is not None
        assert "their classes are no longer those of the run" in obstacle
    finally:
        copy.unlink()


def test_a_damaged_checkpoint_is_an_error(run: Run) -> None:
    content = bytearray(run.layout.best_model.read_bytes())
    content[len(content) // 2] ^= 255
    run.layout.best_model.unlink()  # it has other names
    run.layout.best_model.write_bytes(content)
    with pytest.raises(RunError, match=r"best_model\.pth is damaged"):
        inspect_gradients(run)


def test_a_checkpoint_of_another_model_is_an_error(run: Run) -> None:
    text = run.layout.config_toml.read_text()
    run.layout.config_toml.write_text(text.replace("resnet18", "resnet34"))
    with pytest.raises(RunError, match=r"best_model\.pth does not fit the run's own config"):
        inspect_gradients(run)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_missing_here_is_replaced_unless_it_was_asked_for(run: Run) -> None:
    text = run.layout.config_toml.read_text()
    run.layout.config_toml.write_text(
        text.replace('device = "cpu"', 'device = "cuda"').replace('"fp32"', '"fp16"')
    )
    fresh = inspect_gradients(run).fresh
    assert fresh is not None
    assert fresh.device != "cuda"
    with pytest.raises(DeviceError, match="no usable CUDA device"):
        inspect_gradients(run, load_config(run.layout.config_toml, ['device="cuda:1"']))


def test_weights_that_are_not_finite_are_found(run: Run) -> None:
    checkpoint = load_checkpoint(run.layout.best_model)
    checkpoint["ema_state_dict"]["model"]["layer1.0.conv1.weight"].view(-1)[0] = float("nan")
    run.layout.best_model.unlink()
    torch.save(checkpoint, run.layout.best_model)
    report = inspect_gradients(run)
    assert report.has_error
    assert [(finding.code, finding.where) for finding in report.findings] == [("non-finite", "loss")]


def test_dead_blocks_are_found(run: Run) -> None:
    checkpoint = load_checkpoint(run.layout.best_model)
    checkpoint["ema_state_dict"]["model"]["fc.weight"].zero_()  # so that nothing goes back through it
    run.layout.best_model.unlink()
    torch.save(checkpoint, run.layout.best_model)
    (finding,) = inspect_gradients(run).findings
    assert (finding.code, finding.severity, finding.where) == ("dead-block", "error", "layer4")
    assert finding.also == ("layer1", "layer2", "layer3")
