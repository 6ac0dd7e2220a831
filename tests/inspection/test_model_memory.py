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
from pochi_cli.engine.losses import DPLossV1, DPLossV2
from pochi_cli.inspection.model_costs import BatchMemory, Growth, Measured, TrainingMemory, decisive
from pochi_cli.inspection.model_memory import least_memory, measure_paired_memory, measure_training_memory
from pochi_cli.models.architectures import build_network
from pochi_cli.models.encoder import Encoder
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


def measured(model: nn.Module, images: Tensor, autocast: Autocast, batches: int = 1) -> int:
    """The peak of the second of two training steps with Adam, and all that they hold."""
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-5, fused=True)
    labels = torch.zeros(len(images), dtype=torch.int64)

    def step() -> None:
        for _ in range(batches):
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


@pytest.mark.parametrize("batch_size", [4, 64, 1024])
def test_gradients_are_there_while_later_batches_of_a_step_run(batch_size: int) -> None:
    layers = [nn.Linear(16, 99), *(nn.Linear(99, 99) for _ in range(9)), nn.ReLU(), nn.Linear(99, 10)]
    model, vectors = nn.Sequential(*layers), torch.rand(batch_size, 16)
    state = 2 * size_of(list(model.parameters()))
    memory = measure_training_memory(model, vectors, optimizer_state=state, accumulate_steps=3)
    estimate = memory.of(batch_size)
    assert estimate.inputs == 3 * vectors.nbytes
    waiting = 2 * vectors.nbytes
    assert estimate.peak == pytest.approx(measured(model, vectors, nullcontext, 3) + waiting, rel=0.03)
    single = measure_training_memory(model, vectors, optimizer_state=state).of(batch_size)
    assert estimate.peak > single.peak + waiting


def test_a_copy_of_the_network_counts() -> None:
    model, vectors = nn.Linear(8, 4), torch.ones(1, 8)
    without, with_copy = (
        measure_training_memory(model, vectors, averaged_weights=size).of(10) for size in (0, 144)
    )
    assert (with_copy.averaged_weights, with_copy.peak - without.peak) == (144, 144)


@pytest.mark.parametrize("loss", [DPLossV1(), DPLossV2(tau=0.3, tau_mode="relative", exclude_self=True)])
def test_the_loss_of_an_encoder_compares_all_pairs(loss: DPLossV1 | DPLossV2) -> None:
    torch.manual_seed(0)
    model = Encoder(12, (16,), 4, with_projection=True)

    def total(vectors: Tensor, latents: object) -> Tensor:
        assert isinstance(latents, Tensor)
        value: Tensor = loss(vectors, latents).total
        return value

    sizes = (2, 4, 128, 256)
    memory = measure_paired_memory(model, torch.rand(1, 12), total, batch_sizes=sizes, optimizer_state=77)
    assert memory.measured == sizes
    for batch_size, tolerance in ((128, 0.08), (200, 0.35), (256, 0.08), (512, 0.15)):
        vectors = torch.rand(batch_size, 12)
        with LiveBytes([*model.parameters(), vectors]) as live:
            torch.autograd.grad(total(vectors, model(vectors)), list(model.parameters()))
        found = memory.of(batch_size)
        held = size_of(list(model.parameters())) + 77 + vectors.nbytes
        assert found.peak == pytest.approx(held + live.peak, rel=tolerance), batch_size
        # Distances of inputs and of latents, ranks or their differences; and the layers' few columns.
        matrix = 4 * batch_size**2
        assert 2 * matrix < found.activations < 7 * matrix
    assert memory.of(1024).peak > 3.8 * memory.of(512).peak


def test_steps_of_pairs_that_would_not_fit_are_not_run() -> None:
    seen: list[int] = []

    def total(vectors: Tensor, latents: object) -> Tensor:
        assert isinstance(latents, Tensor)
        seen.append(len(vectors))
        return torch.cdist(latents, latents).mean()

    model, vectors = nn.Linear(3, 2), torch.rand(1, 3)
    memory = measure_paired_memory(model, vectors, total, batch_sizes=(2, 4, 64, 1024), usable=1e6)
    assert seen == [2, 4, 64]
    assert memory.measured == (2, 4, 64)


def test_between_measured_sizes_is_a_line_and_beyond_a_square() -> None:
    curve = Measured((2, 4, 8), (10, 14, 30))
    assert [curve.of(size) for size in (1, 2, 3, 6, 8)] == [10, 10, 12, 22, 30]
    assert curve.of(16) == 10 + 4 * 20


def test_the_least_is_known_without_taking_it() -> None:
    model = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(inplace=True), nn.Conv2d(8, 2, 1))
    most = measure_training_memory(model, torch.ones(1, 3, 32, 32)).of(4)
    # The input, which the meta device counts as saved, and the activation's output.
    assert least_memory(model, (3, 32, 32)) == 4 * 4 * 32 * 32 * (3 + 8) == most.inputs + most.activations
    assert least_memory(model, (3, 10**6, 10**6)) == 4 * 4 * 10**12 * (3 + 8)


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
        memory = measure_training_memory(
            model, torch.ones(1, 1, 7, 7), accumulate_steps=2, on_batch=lambda: done.append(1)
        )
        least_memory(model, (1, 7, 7))
    assert_untouched(before, fingerprint(model))
    assert torch.equal(state, torch.get_rng_state())
    assert not steps
    assert len(done) == 2
    assert math.isfinite(memory.of(3).peak)
