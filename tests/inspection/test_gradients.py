"""Statistics of gradients against naive ones, on networks of any kind, which stay as they were."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from pochi_cli.inspection.gradient_flow import GradientFlow, LayerGradient, judge_flow
from pochi_cli.inspection.gradients import measure_gradient_flow
from tests.inspection.planted import Blocks

Pair = tuple[Tensor, Tensor]


class Small(nn.Module):
    """Has buffers, a frozen part, a layer that is not used, and parts in eval mode."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.frozen = nn.BatchNorm2d(4).requires_grad_(False)
        self.drop = nn.Dropout(0.5).eval()
        self.head = nn.Linear(4, 3)
        self.idle = nn.Linear(2, 2)

    def forward(self, images: Tensor) -> Tensor:
        features = self.frozen(F.relu(self.norm(self.conv(images)))).mean((2, 3))
        logits: Tensor = self.head(self.drop(features))
        return logits


class Recurrent(nn.Module):
    """Has nothing to do with images."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(11, 5, sparse=True)
        self.cells = nn.LSTM(5, 6, batch_first=True)
        self.head = nn.Linear(6, 1)

    def forward(self, tokens: Tensor) -> Tensor:
        states, _ = self.cells(self.words(tokens))
        scores: Tensor = self.head(states[:, -1])
        return scores


def loss_of(model: nn.Module, batch: Pair) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def square_of(model: nn.Module, batch: Tensor) -> Tensor:
    loss: Tensor = model(batch).square().mean()
    return loss


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small().double()  # sums of float32 leave noise where the gradient is 0 in theory


@pytest.fixture
def batches() -> list[Pair]:
    generator = torch.Generator().manual_seed(1)
    return [
        (
            torch.randn(6, 1, 7, 7, dtype=torch.float64, generator=generator),
            torch.randint(3, (6,), generator=generator),
        )
        for _ in range(3)
    ]


def by_name(flow: GradientFlow) -> dict[str, LayerGradient]:
    return {layer.name: layer for layer in flow.layers}


def assert_naive(flow: GradientFlow, model: nn.Module, loss: Callable[[], Tensor]) -> None:
    """Compare with the gradients that `backward` leaves, in numpy."""
    model.zero_grad()
    loss().backward()  # type: ignore[no-untyped-call]
    found = by_name(flow)
    for name, parameter in model.named_parameters():
        if parameter.grad is None:
            assert name not in found
            continue
        gradient = parameter.grad.to_dense().double().numpy()
        weight = parameter.detach().double().numpy()
        layer = found.pop(name)
        norm = np.linalg.norm(gradient)
        expected = {
            "mean": gradient.mean(),
            "std": gradient.std(),
            "min": gradient.min(),
            "max": gradient.max(),
            "norm": norm,
            "rms": math.sqrt((gradient**2).mean()),
        }
        for key, value in expected.items():
            assert getattr(layer, key) == pytest.approx(value, rel=1e-6, abs=1e-9), (name, key)
        if (size := np.linalg.norm(weight)) > 0:
            assert layer.ratio == pytest.approx(norm / size, rel=1e-6)
        else:
            assert layer.ratio is None
        assert (layer.entries, layer.non_finite) == (gradient.size, 0)
    assert not found


def test_the_statistics_are_those_of_one_accumulated_step(model: Small, batches: list[Pair]) -> None:
    model.drop.p = 0.0  # it is switched on: what was in eval mode is trained as well
    done: list[int] = []
    flow = measure_gradient_flow(model, batches, loss_of, done.append)
    assert done == [1, 2, 3]
    assert flow.batches == 3
    model.train()
    model.frozen.eval()
    with torch.no_grad():
        losses = [float(loss_of(model, batch)) for batch in batches]
    assert flow.loss == pytest.approx(np.mean(losses), rel=1e-6)
    assert_naive(flow, model, lambda: torch.stack([loss_of(model, batch) for batch in batches]).mean())


def test_a_network_of_another_kind() -> None:
    torch.manual_seed(0)
    model = Recurrent()
    batches = list(torch.randint(11, (4, 3, 8)))
    flow = measure_gradient_flow(model, batches, square_of)
    assert_naive(flow, model, lambda: torch.stack([square_of(model, batch) for batch in batches]).mean())
    assert [layer.block for layer in flow.layers] == ["words", *["cells"] * 4, "head", "head"]


def test_a_parameter_larger_than_a_chunk() -> None:
    torch.manual_seed(0)
    model = nn.Linear(2100, 2100)
    batches = [torch.randn(2, 2100) + 3]
    flow = measure_gradient_flow(model, batches, square_of)
    assert_naive(flow, model, lambda: square_of(model, batches[0]))


def test_two_parameters_of_the_very_same_gradient() -> None:
    class Sum(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.one = nn.Parameter(torch.ones(3))
            self.other = nn.Parameter(torch.ones(3))

        def forward(self, batch: Tensor) -> Tensor:
            return ((self.one + self.other) * batch).sum()

    flow = measure_gradient_flow(Sum(), [torch.ones(3), torch.ones(3)], lambda model, batch: model(batch))
    assert [layer.mean for layer in flow.layers] == [1, 1]


def test_frozen_and_unused_parameters_are_named_and_left_out(model: Small, batches: list[Pair]) -> None:
    flow = measure_gradient_flow(model, batches, loss_of)
    assert flow.frozen == ("frozen.weight", "frozen.bias")
    assert flow.unused == (("idle.weight", "idle"), ("idle.bias", "idle"))
    assert list(by_name(flow)) == [*("conv.weight", "norm.weight", "norm.bias", "head.weight", "head.bias")]


def fingerprint(model: nn.Module) -> Any:
    """All that an inspection must leave as it is; hooks by their identity."""
    return {
        "state": [
            (name, id(value), value.clone()) for name, value in model.state_dict(keep_vars=True).items()
        ],
        "grads": [(p.grad, None if p.grad is None else p.grad.clone()) for p in model.parameters()],
        "flags": [module.training for module in model.modules()],
        "trained": [p.requires_grad for p in model.parameters()],
        "hooks": [
            {key: dict(value) for key, value in vars(module).items() if key.endswith("_hooks")}
            for module in model.modules()
        ],
        "own": [copy.copy(p._backward_hooks) for p in model.parameters()],
    }


def assert_untouched(before: Any, after: Any) -> None:
    for (name, identity, value), (_, later_identity, later) in zip(
        before["state"], after["state"], strict=True
    ):
        assert identity == later_identity, name
        assert torch.equal(value, later), name
    for (grad, value), (later, later_value) in zip(before["grads"], after["grads"], strict=True):
        assert grad is later
        assert grad is None or torch.equal(value, later_value)
    for key in ("flags", "trained", "hooks", "own"):
        assert before[key] == after[key], key


def test_the_model_is_as_it_was(model: Small, batches: list[Pair]) -> None:
    model.conv.weight.grad = torch.full_like(model.conv.weight, 7.0)
    model.norm.eval()
    model.norm.register_forward_hook(lambda *_: None)
    steps: list[str] = []
    model.head.weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
        lambda _: steps.append("step")
    )
    before = fingerprint(model)
    measure_gradient_flow(model, batches, loss_of)
    assert_untouched(before, fingerprint(model))
    assert not steps

    def failing(model: nn.Module, batch: Pair) -> Tensor:
        loss_of(model, batch)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        measure_gradient_flow(model, batches, failing)
    assert_untouched(before, fingerprint(model))


def test_a_buffer_that_is_replaced_comes_back() -> None:
    class Counting(nn.Module):
        seen: Tensor

        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(2))
            self.register_buffer("seen", torch.zeros(()), persistent=False)

        def forward(self, batch: Tensor) -> Tensor:
            self.seen = self.seen + 1
            return (self.weight * batch).sum()

    model = Counting()
    seen = model.seen
    measure_gradient_flow(model, [torch.ones(2)], lambda model, batch: model(batch))
    assert model.seen is seen
    assert float(seen) == 0


def test_one_entry_that_is_not_finite_is_counted_and_shown(model: Small, batches: list[Pair]) -> None:
    def spoil(gradient: Tensor) -> Tensor:
        spoilt = gradient.clone()
        spoilt.view(-1)[5] = math.nan
        return spoilt

    model.conv.weight.register_hook(spoil)  # type: ignore[no-untyped-call]
    found = by_name(measure_gradient_flow(model, batches, loss_of))
    layer = found.pop("conv.weight")
    assert (layer.non_finite, layer.entries, layer.ratio) == (1, 36, None)
    for key in ("mean", "std", "min", "max", "norm", "rms"):
        assert math.isnan(getattr(layer, key))
        assert all(math.isfinite(getattr(other, key)) for other in found.values())


def test_without_anything_to_differentiate_it_is_told(model: Small, batches: list[Pair]) -> None:
    with pytest.raises(ValueError, match="no batch"):
        measure_gradient_flow(model, [], loss_of)
    with pytest.raises(ValueError, match="no parameter that is trained"):
        measure_gradient_flow(model, batches, lambda *_: torch.ones(()))
    with pytest.raises(ValueError, match="no parameter that is trained"):
        measure_gradient_flow(model.requires_grad_(False), batches, loss_of)


def test_it_works_where_gradients_are_switched_off(model: Small, batches: list[Pair]) -> None:
    with torch.no_grad():
        assert len(measure_gradient_flow(model, batches, loss_of).layers) == 5


def test_the_layer_with_which_a_network_goes_silent_is_named() -> None:
    torch.manual_seed(0)
    network = Blocks(has_norms=True)
    batch = (torch.randn(8, 1, 8, 8), torch.arange(8))
    assert measure_gradient_flow(network, [batch], loss_of).silent == ()
    with torch.no_grad():
        network.get_parameter("block3.4.bias").fill_(-100)
    flow = measure_gradient_flow(network, [batch], loss_of)
    assert flow.silent[0] == "block3.5"
    assert "block2.5" not in flow.silent and "fc" not in flow.silent
    told = {finding.code: finding for finding in judge_flow(flow)}
    assert told["dead-output"].where == "block3.5"
    # The gradients are 0 on both sides of it: they cannot tell.
    assert (told["dead-block"].where, told["dead-block"].also[0]) == ("block5", "block1")


def test_a_layer_that_is_silent_in_one_batch_only_is_not() -> None:
    network = nn.Sequential(nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 3))
    with torch.no_grad():
        network.get_parameter("0.weight").copy_(torch.eye(4))
        network.get_parameter("0.bias").zero_()
    loud, still = (torch.ones(2, 4), torch.arange(2)), (-torch.ones(2, 4), torch.arange(2))
    assert measure_gradient_flow(network, [still, loud], loss_of).silent == ()
    assert measure_gradient_flow(network, [still], loss_of).silent == ("1",)
    assert all(not module._forward_hooks for module in network.modules())
