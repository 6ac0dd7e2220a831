"""What is traced is what a naive loop over the same steps computes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pochi_cli.config.patterns import finds
from pochi_cli.config.recording import AggregationMethod
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.engine.gradients import merge
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import Interrupted, RunError
from pochi_cli.runs.gradient_record import GradientEpoch, GradientFiles, read_gradient_epochs
from pochi_cli.runs.index import Run, find_run
from pochi_cli.runs.layout import RunLayout
from tests.engine.naive import naive_steps
from tests.engine.test_resuming import Stopper
from tests.engine.tiny import tiny_config
from tests.engine.trained import EVERYTHING, assert_same_run, going_on

BLOCKS = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4"]


def naive(config: ClassificationConfig) -> list[list[dict[str, float]]]:
    """The norm of every gradient by epoch, step and name."""
    steps = naive_steps(config)
    return [[step.norms for step in steps if step.epoch == epoch] for epoch in range(1, config.epochs + 1)]


def trace(run: Run) -> dict[int, dict[str, str]]:
    with run.layout.gradient_trace.open(newline="") as file:
        return {int(row.pop("epoch")): row for row in csv.DictReader(file)}


MERGES: dict[str, Callable[[Any], Any]] = {
    "median": np.median,
    "mean": np.mean,
    "max": np.max,
    "rms": lambda values: np.sqrt(np.mean(np.square(values))),
}


@pytest.mark.parametrize(("accumulate", "clip"), [pytest.param(1, None, marks=pytest.mark.slow), (3, 0.5)])
def test_the_trace_is_that_of_a_naive_loop(
    few_digits: Path, tmp_path: Path, accumulate: int, clip: float | None
) -> None:
    expected: list[list[dict[str, float]]] | None = None
    for method in MERGES:
        config = tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=2,
            accumulate_steps=accumulate,
            clip_grad_norm=clip,
            enable_gradient_tracking=True,
            gradient_tracking_config={"aggregation_method": method},
            mixup_alpha=0.2,
            threads=1,
        )
        expected = expected or naive(config)  # the method changes no step
        assert_traced(trace(train(config)), expected, method)


def assert_traced(
    traced: dict[int, dict[str, str]], expected: list[list[dict[str, float]]], method: str
) -> None:
    for epoch, steps in enumerate(expected, start=1):
        assert list(traced[epoch]) == BLOCKS
        for block in BLOCKS:
            per_step = [
                MERGES[method](
                    [
                        norm
                        for name, norm in step.items()
                        if name.startswith(f"{block}.") and not name.endswith(".bias")
                    ]
                )
                for step in steps
            ]
            assert float(traced[epoch][block]) == pytest.approx(np.mean(per_step), rel=1e-5)


def test_what_is_frozen_or_excluded_is_left_out(few_digits: Path, tmp_path: Path) -> None:
    run = train(
        tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=1,
            freeze=["conv1", "layer2"],
            enable_gradient_tracking=True,
            gradient_tracking_config={"exclude_patterns": ["^bn1"], "group_by_block": True},
            threads=1,
        )
    )
    assert list(trace(run)[1]) == ["layer1", "layer3", "layer4", "fc"]


def test_without_blocks_every_parameter_has_its_own_column(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        epochs=1,
        enable_gradient_tracking=True,
        gradient_tracking_config={"group_by_block": False},
        threads=1,
    )
    ((steps,), row) = naive(config), trace(train(config))[1]
    assert list(row) == [name for name in steps[0] if not finds(r"fc\.|\.bias", name)]
    for name, value in row.items():
        assert float(value) == pytest.approx(np.mean([step[name] for step in steps]), rel=1e-5)


@pytest.mark.parametrize(("frequency", "epochs"), [(2, [1, 3, 4]), (3, [1, 4]), (9, [1, 4])])
def test_epochs_that_are_recorded(
    few_digits: Path, tmp_path: Path, frequency: int, epochs: list[int]
) -> None:
    run = train(
        tiny_config(
            few_digits,
            work_dir=str(tmp_path),
            epochs=4,
            model_name="mobilenet_v3_small",
            enable_gradient_tracking=True,
            gradient_tracking_config={"record_frequency": frequency},
            threads=1,
        )
    )
    assert list(trace(run)) == epochs


@pytest.mark.parametrize("batches", [4, pytest.param(None, marks=pytest.mark.slow)])
def test_the_trace_of_a_resumed_run_is_the_same_to_the_byte(
    few_digits: Path, tmp_path: Path, batches: int | None
) -> None:
    settings = {**EVERYTHING, "work_dir": str(tmp_path), "epochs": 2}
    straight = train(tiny_config(few_digits, **settings))
    with pytest.raises(Interrupted):
        train(tiny_config(few_digits, **settings), progress=Stopper(15, epoch=2, batches=batches))
    run = find_run("latest", tmp_path)
    assert_same_run(straight, resume(run, going_on(run)))
    assert list(trace(straight)) == [1, 2]


def test_an_epoch_that_was_traced_and_not_saved_is_traced_again(few_digits: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"work_dir": str(tmp_path), "enable_gradient_tracking": True, "threads": 1}
    straight = train(tiny_config(few_digits, **settings, epochs=3))
    run = train(tiny_config(few_digits, **settings, epochs=3, save_interval=1))
    run.layout.checkpoint(2).replace(run.layout.latest_model)  # the files know of epoch 3 already
    run.layout.run_json.write_text(run.layout.run_json.read_text().replace('"finished"', '"running"'))
    run = find_run(run.directory)
    resumed = resume(run, going_on(run))
    assert resumed.layout.gradient_steps.read_bytes() == straight.layout.gradient_steps.read_bytes()
    assert list(trace(resumed)) == [1, 2, 3]


@pytest.mark.parametrize(("epoch", "batches", "traced"), [(2, 2, [3]), (1, None, [2, 3])])
def test_an_epoch_that_began_without_a_trace_gets_none(
    few_digits: Path, tmp_path: Path, epoch: int, batches: int | None, traced: list[int]
) -> None:
    settings: dict[str, Any] = {"work_dir": str(tmp_path), "epochs": 3, "threads": 1}
    with pytest.raises(Interrupted):
        train(tiny_config(few_digits, **settings), progress=Stopper(15, epoch=epoch, batches=batches))
    run = find_run("latest", tmp_path)
    resumed = resume(run, going_on(run, ["enable_gradient_tracking=true"]))
    assert list(trace(resumed)) == traced


def test_a_trace_of_other_blocks_is_not_mixed_with_them(few_digits: Path, tmp_path: Path) -> None:
    settings: dict[str, Any] = {"work_dir": str(tmp_path), "epochs": 2, "threads": 1}
    run = train(tiny_config(few_digits, **settings, enable_gradient_tracking=True))
    run.layout.gradient_trace.write_text(run.layout.gradient_trace.read_text().replace("layer4", "other"))
    steps = run.layout.gradient_steps
    steps.write_text(steps.read_text().replace("layer4", "other"))
    with pytest.raises(RunError, match="other blocks"):
        resume(run, going_on(run, ["epochs=3"]))
    steps.write_text("epoch,step\n1,1\n")
    with pytest.raises(RunError, match="is damaged"):
        resume(run, going_on(run, ["epochs=3"]))


def test_the_file_of_the_steps_is_bounded(tmp_path: Path) -> None:
    epochs, blocks, steps = 400, tuple(f"layer{at}.weight" for at in range(100)), 30
    layout = RunLayout(tmp_path, "now")
    layout.visualization.mkdir()
    files = GradientFiles(layout, blocks, 0, epochs)
    values = np.ones((steps, len(blocks)))
    for number in range(1, 31):
        files.add(
            GradientEpoch(
                number,
                blocks,
                (1.0,) * len(blocks),
                tuple(range(1, steps + 1)),
                values,
                values,
                values,
                np.zeros_like(values, dtype=np.int64),
                (frozenset(),) * steps,
            )
        )
    # Of 400 epochs every 8th keeps 20 steps.
    assert [epoch.epoch for epoch in files.epochs if epoch.steps] == [1, 9, 17, 25]
    read = read_gradient_epochs(layout)
    assert [len(epoch.steps) for epoch in read] == [len(epoch.steps) for epoch in files.epochs]
    assert {len(epoch.steps) for epoch in read} == {0, 20}
    assert [epoch.means for epoch in read] == [epoch.means for epoch in files.epochs]


def test_merging_counts_what_is_there_and_keeps_what_is_not_finite() -> None:
    values = np.array([[1.0, 2.0, 9.0], [1.0, np.inf, 2.0], [np.nan, 1.0, 1.0], [5.0, 6.0, 7.0]])
    there = np.array([[True, True, False], [True] * 3, [True] * 3, [False] * 3])
    expected = {"median": 1.5, "mean": 1.5, "max": 2.0, "rms": np.sqrt(2.5)}
    method: AggregationMethod
    for method, merged in expected.items():  # type: ignore[assignment]
        result = merge(values, there, method)
        assert result[0] == pytest.approx(merged)
        assert result[1] == np.inf
        assert np.isnan(result[2])
        assert np.isnan(result[3])
