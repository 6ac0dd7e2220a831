"""The verdicts on one backward pass: each fault is found with its evidence, a healthy pass is silent."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pochi_cli.inspection.gradient_flow import judge_flow
from tests.inspection.flows import make_flow, make_layer


def test_a_healthy_pass_is_silent() -> None:
    tiny = [make_layer(f"layer{at}.weight", norm=10.0**-at) for at in range(30)]
    assert judge_flow(make_flow(tiny)) == []


def test_what_is_not_finite_is_an_error_of_its_block() -> None:
    layers = [make_layer("a.weight"), make_layer("b.weight", "lost"), make_layer("b.bias")]
    (finding,) = judge_flow(make_flow(layers))
    assert (finding.code, finding.severity, finding.where) == ("non-finite", "error", "b")
    assert (finding.epoch, finding.step, finding.value) == (None, None, None)
    assert "3 of 100 entries, in b.weight, over 4 batches" in finding.evidence


@pytest.mark.parametrize("loss", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_says_it_all(loss: float) -> None:
    layers = [make_layer(f"layer{at}.weight", "lost") for at in range(9)]
    (finding,) = judge_flow(make_flow(layers, loss=loss))
    assert (finding.code, finding.severity, finding.where) == ("non-finite", "error", "loss")
    assert "9 of 9 layers" in finding.evidence


def test_zeros_are_an_error_of_a_block_and_a_warning_of_a_layer() -> None:
    layers = [
        make_layer("a.weight", "zero"),
        make_layer("a.bias", "zero"),
        make_layer("b.weight", "zero"),
        make_layer("b.bias", norm=1e-30),
    ]
    block, layer = judge_flow(make_flow(layers))
    assert (block.code, block.severity, block.where, block.value) == ("dead-block", "error", "a", 0)
    assert (layer.code, layer.severity, layer.where) == ("dead-layer", "warning", "b")
    assert layer.message == "1 of 2 gradients of b are exactly 0 in a fresh pass"
    assert "for a.weight, a.bias" in block.evidence


def test_blocks_with_the_same_fault_are_told_together() -> None:
    layers = [make_layer(f"{block}.weight", "zero") for block in "abc"]
    (dead,) = judge_flow(make_flow([*layers, make_layer("d.weight")]))
    assert (dead.where, dead.also) == ("c", ("a", "b"))
    assert dead.evidence.endswith("for c.weight")
    (rest,) = judge_flow(
        make_flow([*layers, make_layer("d.weight")]), [replace(dead, where="b", also=("c",))]
    )
    assert (rest.where, rest.also) == ("a", ())
    lost = [make_layer(f"{block}.weight", "lost") for block in "ab"]
    (finding,) = judge_flow(make_flow([*lost, make_layer("c.weight")]))
    assert (finding.where, finding.also) == ("b", ("a",))
    assert judge_flow(make_flow(lost), [finding]) == []


def test_of_many_layers_a_few_are_named() -> None:
    (finding,) = judge_flow(make_flow([make_layer(f"a.{at}", "zero") for at in range(40)]))
    assert finding.evidence.endswith("for a.0, a.1, a.2 and 37 more")


def test_what_the_loss_does_not_depend_on_is_a_warning() -> None:
    (finding,) = judge_flow(make_flow(3, unused=[("head.weight", "head"), ("head.bias", "head")]))
    assert (finding.code, finding.severity, finding.where) == ("no-gradient", "warning", "head")
    assert "head.weight, head.bias" in finding.evidence


def test_what_is_known_of_a_block_is_not_said_again() -> None:
    layers = [make_layer("a.weight", "zero"), make_layer("b.weight", "zero"), make_layer("b.bias")]
    dead, partly = judge_flow(make_flow(layers))
    traced = replace(dead, epoch=2)
    assert judge_flow(make_flow(layers), [traced]) == [partly]
    assert judge_flow(make_flow(layers), [replace(traced, where="b")]) == [dead]
    assert judge_flow(make_flow(layers), [replace(traced, code="vanishing")]) == [dead, partly]


def test_the_smallest_and_the_largest_are_finite_and_in_order() -> None:
    norms = [3.0, 1.0, 7.0, 2.0, 6.0, 5.0, 4.0]
    layers = [make_layer(f"layer{norm:.0f}", norm=norm) for norm in norms]
    flow = make_flow([make_layer("lost", "lost"), *layers])
    assert [layer.name for layer in flow.smallest()] == [f"layer{at}" for at in (1, 2, 3, 4, 5)]
    assert [layer.name for layer in flow.largest()] == [f"layer{at}" for at in (7, 6, 5, 4, 3)]
    assert flow.smallest(1)[0].norm == 1
