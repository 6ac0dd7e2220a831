"""Memory of training steps: estimated from small batches, and measured at larger ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from pochi_cli.config.catalogue import ModelName
from pochi_cli.engine.footprint import LiveBytes, missing_averages
from pochi_cli.inspection.model_costs import BatchMemory, Growth, TrainingMemory, decisive
from pochi_cli.inspection.model_memory import measure_training_memory
from pochi_cli.models.architectures import build_network
from tests.inspection.test_gradients import Recurrent, Small, assert_untouched, fingerprint

Autocast = Callable[[], AbstractContextManager[object]]


def half() -> AbstractContextManager[object]:
    return torch.autocast("cpu", torch.bfloat16)


def size_of(tensors: list[Tensor]) -> int:
    return sum(tensor.nbytes for tensor in tensors)


def saved_bytes(model: nn.Module, images: Tensor, autocast: Autocast) -> int:
    """What a forward pass saves beside parameters, buffers and images; the storages are kept."""
    known = {
        tensor.untyped_storage().data_ptr() for tensor in (*model.parameters(), *model.buffers(), images)
    }
    storages: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage()
        return tensor

    with saved_tensors_hooks(keep, lambda tensor: tensor), autocast():
        _logits = model(images)
    return sum(storage.nbytes() for address, storage in storages.items() if address not in known)


def measured(model: nn.Module, images: Tensor, autocast: Autocast) -> int:
    """The peak of the second of two training steps with Adam, and all that they hold."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    labels = torch.zeros(len(images), dtype=torch.int64)

    def step() -> None:
        with autocast():
            logits = model(images)
        F.cross_entropy(logits.float(), labels).backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()

    step()
    averages = [value for state in optimizer.state.values() for value in state.values() if value.ndim]
    there = [*model.parameters(), *model.buffers(), images, *averages]
    live = LiveBytes(there)
    with live:
        step()
    return size_of(there) + live.peak


@pytest.mark.parametrize(
    ("name", "edge", "autocast"),
    [
        ("resnet18", 64, nullcontext),
        ("resnet18", 64, half),
        ("vit_tiny", 32, nullcontext),
        ("vit_tiny", 32, half),
        ("mobilenet_v3_small", 64, nullcontext),
        ("vgg_compact", 32, nullcontext),
    ],
)
def test_the_estimate_is_what_a_step_takes(name: ModelName, edge: int, autocast: Autocast) -> None:
    torch.manual_seed(0)
    model, images = build_network(name, 10), torch.rand(16, 3, edge, edge)
    optimizer = torch.optim.Adam(model.parameters(), fused=True)
    estimate = measure_training_memory(
        model, images, optimizer_state=missing_averages(optimizer), autocast=autocast
    ).of(16)
    parameters = size_of(list(model.parameters()))
    assert (estimate.parameters, estimate.gradients) == (parameters, parameters)
    assert estimate.optimizer_state == 2 * parameters
    assert estimate.inputs == images.nbytes
    assert estimate.activations == pytest.approx(saved_bytes(model, images, autocast), rel=0.05)
    assert estimate.peak == pytest.approx(measured(model, images, autocast), rel=0.05)


@pytest.mark.parametrize("batch_size", [4, 4096])
def test_the_peak_is_that_of_gradients_or_of_activations(batch_size: int) -> None:
    """With few samples all gradients together are the most; the measured batches know only that."""
    layers = [nn.Linear(16, 500), nn.ReLU(), nn.Linear(500, 500), nn.ReLU(), nn.Linear(500, 10)]
    model, vectors = nn.Sequential(*layers), torch.rand(batch_size, 16)
    state = 2 * size_of(list(model.parameters()))
    estimate = measure_training_memory(model, vectors, optimizer_state=state).of(batch_size)
    assert estimate.peak == pytest.approx(measured(model, vectors, nullcontext), rel=0.05)


def test_a_linear_layer_by_hand() -> None:
    """It saves its input, which counts as such, and the activation its output."""
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    memory = measure_training_memory(model, torch.ones(1, 8)).of(100)
    assert memory.parameters == 4 * (8 * 32 + 32 + 32 * 4 + 4)
    assert memory.activations == 100 * 4 * 32
    assert memory.inputs == 100 * 4 * 8


def test_frozen_parameters_have_no_gradient() -> None:
    model = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 4))
    model[0].requires_grad_(False)
    memory = measure_training_memory(model, torch.ones(1, 8)).of(10)
    assert memory.gradients == 4 * (32 * 4 + 4)
    with pytest.raises(ValueError, match="depends on no parameter that is trained"):
        measure_training_memory(model.requires_grad_(False), torch.ones(1, 8))


def test_a_network_of_another_kind() -> None:
    model, tokens = Recurrent(), torch.randint(11, (3, 8))
    few, many = (measure_training_memory(model, tokens).of(size) for size in (1, 1000))
    assert few.peak < many.peak
    assert many.inputs == 1000 * 8 * 8


def held(peaks: list[Growth]) -> TrainingMemory:
    return TrainingMemory(10, 2, 10, 20, 3, Growth(0, 5), tuple(peaks), (2, 4))


def test_the_moment_that_has_the_most_decides() -> None:
    lines = [Growth(100, 1), Growth(0, 10), Growth(50, 1), Growth(-5, 10), Growth(100, 0)]
    kept = decisive(lines)
    assert kept == (Growth(0, 10), Growth(100, 1))
    memory = held(list(kept))
    for batch_size in (1, 5, 11, 12, 100):
        most = max(line.of(batch_size) for line in lines)
        assert memory.of(batch_size).peak == 10 + 2 + 20 + 3 * batch_size + most


def test_the_largest_batch_that_fits() -> None:
    memory = held([Growth(100, 7)])
    fits_until = [batch_size for batch_size in range(200) if memory.of(batch_size).peak <= 1000][-1]

    def fits(batch: BatchMemory) -> bool:
        return batch.peak <= 1000

    assert memory.largest_batch(fits) == fits_until == 86
    assert memory.largest_batch(lambda batch: batch.peak < 0) == 0
    assert memory.largest_batch(lambda _: True) == 2**20


def test_the_model_is_as_it_was() -> None:
    model = Small()
    model.conv.weight.grad = torch.full_like(model.conv.weight, 7.0)
    model.norm.register_forward_hook(lambda *_: None)
    steps: list[str] = []
    model.head.weight.register_post_accumulate_grad_hook(  # type: ignore[no-untyped-call]
        lambda _: steps.append("step")
    )
    before, state = fingerprint(model), torch.get_rng_state()
    done: list[int] = []
    with torch.no_grad():
        memory = measure_training_memory(model, torch.ones(1, 1, 7, 7), on_batch=lambda: done.append(1))
    assert_untouched(before, fingerprint(model))
    assert torch.equal(state, torch.get_rng_state())
    assert not steps
    assert len(done) == 2
    assert math.isfinite(memory.of(3).peak)
