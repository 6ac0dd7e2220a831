"""Every planted fault is found, at its block and step; what is healthy is not accused."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pochi_cli.engine.training import train
from pochi_cli.errors import NonFiniteLossError
from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.verdicts import judge_gradients
from pochi_cli.runs.gradient_record import GradientEpoch, read_gradient_epochs
from pochi_cli.runs.index import find_run
from tests.engine.tiny import tiny_config
from tests.inspection.planted import Blocks, sigmoid_stack, traced


@pytest.fixture(autouse=True)
def _seeded() -> Iterator[None]:
    torch.manual_seed(1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # for layers this small more are slower
    yield
    torch.set_num_threads(threads)


def told(findings: list[Finding]) -> list[tuple[str, str, int | None, int | None]]:
    return [(found.code, found.where, found.epoch, found.step) for found in findings]


@pytest.mark.parametrize("has_norms", [True, False])
def test_healthy_networks_are_not_accused(has_norms: bool) -> None:
    assert judge_gradients(traced(Blocks(has_norms=has_norms), epochs=4)) == []


def test_a_sigmoid_stack_vanishes_towards_its_input() -> None:
    (found,) = judge_gradients(traced(sigmoid_stack(), excluded=[r"\.bias", r"^21\."]))
    assert (found.code, found.severity, found.where) == ("vanishing", "error", "1")
    assert found.value is not None and found.value < 1e-12
    assert found.also[0] == "2" and "20" not in found.also
    assert "times less with each block" in found.evidence


def test_a_stack_that_underflows_vanishes_rather_than_being_dead() -> None:
    (found,) = judge_gradients(traced(sigmoid_stack(70), excluded=[r"\.bias", r"^71\."], epochs=1))
    assert found.code == "vanishing"


@pytest.mark.parametrize(("has_norms", "step"), [(True, 5), (False, 3)])
def test_a_learning_rate_of_100_explodes_at_once(has_norms: bool, step: int) -> None:
    epochs = traced(Blocks(has_norms=has_norms), rate=100, momentum=0)
    first, *_ = judge_gradients(epochs)
    assert (first.code, first.epoch, first.step) == ("exploding", 1, step)
    assert {first.where, *first.also} >= {"block1", "block5"}
    assert first.value == pytest.approx(epochs[0].ratios[step - 1].max(), rel=0.1)
    assert (epochs[0].ratios[: step - 1] < 10).all()


def test_weights_that_begin_far_too_large_explode_from_the_first_step() -> None:
    model = Blocks(has_norms=False)
    with torch.no_grad():
        for name in ("block4", "block5"):
            model.get_parameter(f"{name}.0.weight").mul_(1e4)
    first, *_ = judge_gradients(traced(model, rate=1e-12, epochs=1))
    assert (first.code, first.epoch, first.step) == ("exploding", 1, 1)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_dead_block_is_found(layer: int) -> None:
    model = Blocks(has_norms=False)
    with torch.no_grad():
        model.get_parameter(f"block3.{layer}.bias").fill_(-100)
    (found,) = judge_gradients(traced(model))
    assert told([found]) == [("dead-block", "block3", 1, 1)]
    assert found.also == ("block1", "block2")


def test_a_block_that_dies_is_found_at_its_step() -> None:
    def kill(model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (2, 7):
            with torch.no_grad():
                model.get_parameter("block4.2.bias").fill_(-100)

    (found,) = judge_gradients(traced(Blocks(has_norms=False), plant=kill))
    assert told([found]) == [("dead-block", "block4", 2, 7)]


def test_a_block_that_is_dead_for_a_while_is_not_accused() -> None:
    def rest(model: nn.Module, epoch: int, step: int) -> None:
        if epoch == 2 and step in (3, 15):
            with torch.no_grad():
                model.get_parameter("block4.2.bias").add_(-100 if step == 3 else 100)

    epochs = traced(Blocks(has_norms=False), plant=rest, rate=1e-3)
    assert any(epochs[1].dead_layers)
    assert "dead-block" not in {found.code for found in judge_gradients(epochs)}


def test_a_detached_block_is_found() -> None:
    model = Blocks(has_norms=True)
    model.detached = "block2"
    (found,) = judge_gradients(traced(model))
    assert told([found]) == [("dead-block", "block2", 1, 1)]
    assert "missing" in found.message
    assert found.also == ("block1",)


def test_a_block_that_is_frozen_on_the_way_is_found_at_its_step() -> None:
    def freeze(model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (2, 5):
            model.get_submodule("block3").requires_grad_(requires_grad=False)

    (found,) = judge_gradients(traced(Blocks(has_norms=True), plant=freeze))
    assert told([found]) == [("dead-block", "block3", 2, 5)]
    assert found.also == ()


def test_what_is_not_finite_is_found_at_its_block_and_step() -> None:
    def spoil(model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (2, 7):
            weight = model.get_parameter("block3.0.weight")
            weight.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]

    first, *_ = judge_gradients(traced(Blocks(has_norms=True), plant=spoil))
    assert told([first]) == [("non-finite", "block3", 2, 7)]
    assert "block4 behind it is finite" in first.evidence


def test_what_is_not_finite_in_the_forward_pass_is_told_as_such() -> None:
    def spoil(model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (1, 4):
            with torch.no_grad():
                model.get_parameter("block2.0.weight")[0] = float("inf")

    first, *_ = judge_gradients(traced(Blocks(has_norms=True), plant=spoil))
    assert (first.code, first.epoch, first.step) == ("non-finite", 1, 4)
    assert "forward pass, the loss" in first.evidence


class Spikes:
    """Multiplies the gradient of one block by a large number now and then."""

    def __init__(self, from_epoch: int) -> None:
        self.factor, self._from_epoch = 1.0, from_epoch

    def __call__(self, model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (1, 1):
            for part in ("block2.0.weight", "block2.3.weight"):
                weight = model.get_parameter(part)
                weight.register_hook(lambda gradient: gradient * self.factor)  # type: ignore[no-untyped-call]
        self.factor = 1e3 if epoch >= self._from_epoch and step == 13 else 1.0


def test_spikes_that_persist_are_unstable() -> None:
    epochs = traced(Blocks(has_norms=True), plant=Spikes(2), epochs=5, rate=1e-4)
    (found,) = judge_gradients(epochs)
    assert told([found]) == [("unstable", "block2", 2, 13)]
    assert found.severity == "warning"
    assert found.value == pytest.approx(np.std(epochs[-1].norms[:, 1]) / np.mean(epochs[-1].norms[:, 1]))
    assert judge_gradients(epochs[:3]) == []  # two epochs do not persist


def test_steps_that_the_scaler_passes_over_are_no_fault_until_they_are_many() -> None:
    def spoiling(steps: Callable[[int], bool]) -> list[Finding]:
        factor = 1.0

        def spoil(model: nn.Module, epoch: int, step: int) -> None:
            nonlocal factor
            if (epoch, step) == (1, 1):
                weight = model.get_parameter("block3.0.weight")
                weight.register_hook(lambda gradient: gradient * factor)  # type: ignore[no-untyped-call]
            factor = float("inf") if steps(step) else 1.0

        return judge_gradients(traced(Blocks(has_norms=True), plant=spoil, is_scaled=True, rate=0))

    assert spoiling(lambda step: step == 5) == []
    (found,) = spoiling(lambda step: step % 4 == 0)
    assert told([found]) == [("non-finite", "block3", 2, 4)]
    assert (found.severity, found.value) == ("warning", 0.25)


def test_nothing_recorded_is_no_fault() -> None:
    assert judge_gradients([]) == []
    (epoch,) = traced(Blocks(has_norms=True), epochs=1, steps=1)
    assert judge_gradients([epoch]) == []
    bare = replace(epoch, steps=(), **{name: getattr(epoch, name)[:0] for name in ("norms", "ratios", "rms")})
    assert judge_gradients([replace(bare, non_finite=epoch.non_finite[:0], dead_layers=())]) == []


def test_a_training_that_fails_leaves_a_trace_that_names_the_step(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        model_name="vgg11",
        stem=None,
        learning_rate=1.0,
        epochs=3,
        enable_gradient_tracking=True,
        class_weights="none",
    )
    with pytest.raises(NonFiniteLossError) as caught:
        train(config)
    epochs = read_gradient_epochs(find_run("latest", tmp_path).layout)
    found = judge_gradients(epochs)
    assert {"exploding", "non-finite"} <= {finding.code for finding in found}
    (last,) = (finding for finding in found if finding.code == "non-finite")
    assert f"epoch {last.epoch}, step {last.step}" in str(caught.value)


def test_layers_that_are_dead_in_turn_are_not_accused() -> None:
    """As with stochastic depth, whose rows are dropped by chance: at every step another layer of a block."""

    def turn(model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (1, 1):
            for at, part in enumerate(("block4.0", "block4.2")):
                for name in ("weight", "bias"):
                    gradient = model.get_parameter(f"{part}.{name}")
                    gradient.register_hook(lambda g, at=at: g * (at != taking[0] % 2))  # type: ignore[no-untyped-call]
        taking[0] = step

    taking = [0]
    epochs = traced(Blocks(has_norms=False), plant=turn, rate=1e-3)
    assert all({block for block, _ in dead} == {"block4"} for dead in epochs[0].dead_layers)
    assert judge_gradients(epochs) == []


def test_a_head_that_begins_at_zero_is_no_fault() -> None:
    model = Blocks(has_norms=True)
    nn.init.zeros_(model.fc.weight)
    for steps in (1, 2, 20):
        assert judge_gradients(traced(model, epochs=1, steps=steps, rate=1e-3)) == []


def test_what_begins_at_zero_does_not_explode() -> None:
    model = Blocks(has_norms=False)
    nn.init.zeros_(model.get_parameter("block5.2.bias"))
    found = judge_gradients(traced(model, epochs=3, rate=1e-5, excluded=[r"^fc\."], by_block=False))
    assert found == []


@pytest.mark.parametrize("has_norms", [True, False])
def test_without_blocks_the_dead_layer_itself_is_named(has_norms: bool) -> None:
    model = Blocks(has_norms=has_norms)
    with torch.no_grad():  # the next convolution gets no gradient either, for its input is zero
        model.get_parameter(f"block3.{1 if has_norms else 0}.bias").fill_(-100)
        if has_norms:
            for part in ("block3.4", "block4.1", "block4.4", "block5.1", "block5.4"):
                model.get_parameter(f"{part}.bias").fill_(0.1)
    (found,) = judge_gradients(traced(model, epochs=1, rate=1e-4, by_block=False))
    assert found.where == ("block3.1.weight" if has_norms else "block3.0.weight")


def test_what_is_not_finite_in_an_excluded_bias_is_found_in_its_block() -> None:
    def spoil(model: nn.Module, epoch: int, step: int) -> None:
        if (epoch, step) == (2, 7):
            bias = model.get_parameter("block2.0.bias")
            bias.register_hook(lambda gradient: gradient * float("nan"))  # type: ignore[no-untyped-call]

    first, *_ = judge_gradients(traced(Blocks(has_norms=False), plant=spoil))
    assert told([first]) == [("non-finite", "block2", 2, 7)]


def test_late_spikes_that_are_small_are_no_fault() -> None:
    epochs = traced(Blocks(has_norms=True), plant=Spikes(2), epochs=5, rate=1e-4)
    loud = replace(epochs[0], norms=epochs[0].norms * 1e6)  # against these they are nothing
    assert "unstable" not in {found.code for found in judge_gradients([loud, *epochs[1:]])}


def test_what_is_read_is_judged_as_what_was_traced(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), enable_gradient_tracking=True))
    (first, second) = read_gradient_epochs(run.layout)
    assert isinstance(first, GradientEpoch)
    assert first.steps == second.steps == (1, 2, 3, 4)
    assert judge_gradients([first, second]) == []
