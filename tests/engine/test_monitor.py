"""What the monitor saw is what a naive loop over the same steps computes, from copies of the weights."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pochi_cli.config.recording import MonitorConfig
from pochi_cli.engine.monitor import TrainingMonitor
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import Interrupted, NonFiniteLossError
from pochi_cli.runs.index import Run, find_run
from pochi_cli.runs.monitor_record import read_monitor_epochs
from tests.engine.naive import naive_steps
from tests.engine.test_resuming import Stopper
from tests.engine.tiny import tiny_config
from tests.engine.trained import EVERYTHING, assert_same_run, going_on

ON = {"monitor": {"enabled": True, "update_ratio_every": 2}}
BLOCKS = ("conv1", "layer1", "layer2", "layer3", "layer4", "fc")  # bn1 has no tensor of two dimensions
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "SGD": {"learning_rate": 0.02, "optimizer_params": {"momentum": 0.9, "weight_decay": 0.01}},
    "Adam": {"learning_rate": 0.001},
    "AdamW": {"learning_rate": 0.001, "optimizer_params": {"weight_decay": 0.1}},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize(("accumulate", "clip"), [(1, None), (3, 0.5)])
def test_every_step_is_that_of_a_naive_loop(
    few_digits: Path, tmp_path: Path, optimizer: str, accumulate: int, clip: float | None
) -> None:
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        batch_size=10,
        optimizer=optimizer,
        accumulate_steps=accumulate,
        clip_grad_norm=clip,
        mixup_alpha=0.2,
        threads=1,
        **OPTIMIZERS[optimizer],
        **ON,
    )
    epochs = read_monitor_epochs(train(config).layout)
    expected = [
        (step.loss, math.sqrt(sum(norm**2 for norm in step.norms.values())), step.moved)
        for step in naive_steps(config)
    ]
    per_epoch = len(expected) // 2
    assert [epoch.epoch for epoch in epochs] == [1, 2]
    for at, epoch in enumerate(epochs):
        steps = expected[at * per_epoch : (at + 1) * per_epoch]
        assert epoch.steps == tuple(range(1, per_epoch + 1))
        assert epoch.losses == pytest.approx([loss for loss, _, _ in steps], rel=1e-5)
        assert epoch.grad_norms == pytest.approx([norm for _, norm, _ in steps], rel=1e-4)
        assert epoch.learning_rate == config.learning_rate
        assert (epoch.samples_per_second > 0).all()
        assert epoch.blocks == BLOCKS
        assert epoch.update_steps == tuple(range(1, per_epoch + 1, 2))
        for step, ratios in zip(epoch.update_steps, epoch.update_ratios, strict=True):
            moved = steps[step - 1][2]
            for block, ratio in zip(BLOCKS, ratios, strict=True):
                of_block = [value for name, value in moved.items() if name.startswith(f"{block}.")]
                assert ratio == pytest.approx(np.median(of_block), rel=1e-4)


def test_training_is_the_same_with_the_monitor(few_digits: Path, tmp_path: Path) -> None:
    settings = {**EVERYTHING, "work_dir": str(tmp_path), "epochs": 2, "threads": 1}
    without, with_it = (train(tiny_config(few_digits, **settings, **keys)) for keys in ({}, ON))
    assert_same_run(without, with_it)
    assert read_monitor_epochs(without.layout) == ()


def test_what_is_frozen_is_left_out(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, freeze=["conv1", "layer2"], **ON)
    (epoch,) = read_monitor_epochs(train(config).layout)
    assert epoch.blocks == ("layer1", "layer3", "layer4", "fc")


def timeless(run: Run) -> tuple[list[dict[str, str]], bytes]:
    """Both files to the last digit, times aside."""
    with run.layout.monitor_steps.open(newline="") as file:
        steps = list(csv.DictReader(file))
    for step in steps:
        assert float(step.pop("samples_per_second")) > 0
    return steps, run.layout.monitor_updates.read_bytes()


@pytest.mark.parametrize("batches", [4, None])
def test_the_files_of_a_resumed_run_are_the_same(
    few_digits: Path, tmp_path: Path, batches: int | None
) -> None:
    settings = {**EVERYTHING, "work_dir": str(tmp_path), "epochs": 2, "threads": 1, **ON}
    straight = train(tiny_config(few_digits, **settings))
    with pytest.raises(Interrupted):
        train(tiny_config(few_digits, **settings), progress=Stopper(15, epoch=2, batches=batches))
    run = find_run("latest", tmp_path)
    assert [epoch.epoch for epoch in read_monitor_epochs(run.layout)] == [1]
    resumed = resume(run, going_on(run))
    assert_same_run(straight, resumed)
    assert timeless(resumed) == timeless(straight)


def test_an_epoch_that_was_seen_and_not_saved_is_seen_again(few_digits: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"work_dir": str(tmp_path), "threads": 1, **ON}
    straight = train(tiny_config(few_digits, **settings, epochs=2))
    run = train(tiny_config(few_digits, **settings, epochs=2, save_interval=1))
    run.layout.checkpoint(1).replace(run.layout.latest_model)  # the files know of epoch 2 already
    run.layout.run_json.write_text(run.layout.run_json.read_text().replace('"finished"', '"running"'))
    run = find_run(run.directory)
    resumed = resume(run, going_on(run))
    assert timeless(resumed) == timeless(straight)


@pytest.mark.slow
def test_the_monitor_may_be_switched_on_within_a_run(few_digits: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"work_dir": str(tmp_path), "epochs": 3, "batch_size": 10, "threads": 1}
    straight = train(tiny_config(few_digits, **settings, **ON))
    with pytest.raises(Interrupted):
        train(tiny_config(few_digits, **settings), progress=Stopper(15, epoch=2, batches=3))
    run = find_run("latest", tmp_path)
    resumed = resume(run, going_on(run, ["monitor.enabled=true", "monitor.update_ratio_every=2"]))
    second, third = read_monitor_epochs(resumed.layout)
    _, expected, whole = read_monitor_epochs(straight.layout)
    assert (second.epoch, second.steps) == (2, expected.steps[3:])
    assert second.losses.tolist() == expected.losses[3:].tolist()
    assert third.update_ratios.tolist() == whole.update_ratios.tolist()


def test_an_epoch_that_fails_is_kept(few_digits: Path, tmp_path: Path) -> None:
    keys = {"model_name": "vgg11", "stem": None, "learning_rate": 1.0, "epochs": 3}
    config = tiny_config(few_digits, work_dir=str(tmp_path), **keys, **ON)
    with pytest.raises(NonFiniteLossError):
        train(config)
    run = find_run("latest", tmp_path)
    *_, epoch = read_monitor_epochs(run.layout)
    assert epoch.epoch == len(run.history) + 1
    assert not math.isfinite(epoch.losses[-1])
    assert not epoch.is_passed_over.any()
    assert math.isnan(epoch.samples_per_second[-1])  # it came to no end


def test_a_step_that_the_scaler_passed_over_has_no_update() -> None:
    model = nn.Linear(3, 2)
    monitor = TrainingMonitor(model, MonitorConfig(enabled=True, update_ratio_every=1), is_scaled=True)
    monitor.begin(1, 0.1)
    for step, value in enumerate((1.0, math.inf), start=1):
        model.weight.grad = torch.full((2, 3), value)
        model.bias.grad = torch.zeros(2)
        monitor.add(torch.tensor(0.5), 4)
        monitor.before_step(step)
        if math.isfinite(value):
            with torch.no_grad():
                model.weight *= 1.25
        monitor.after_step()
    seen = monitor.end()
    assert seen is not None
    assert seen.is_passed_over.tolist() == [False, True]
    assert seen.update_steps == (1, 2)
    assert seen.update_ratios[0] == pytest.approx([0.25])
    assert np.isnan(seen.update_ratios[1]).all()
    assert monitor.end() is None


def test_weights_that_are_zero_have_no_ratio() -> None:
    head = nn.Linear(3, 2)
    nn.init.zeros_(head.weight)
    model = nn.Sequential(nn.Linear(3, 3), head)
    monitor = TrainingMonitor(model, MonitorConfig(enabled=True))
    monitor.begin(1, 0.1)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    monitor.add(torch.tensor(1.0), 4)
    monitor.before_step(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1)
    monitor.after_step()
    seen = monitor.end()
    assert seen is not None
    assert seen.blocks == ("0", "1")
    assert np.isnan(seen.update_ratios[0]).tolist() == [False, True]
