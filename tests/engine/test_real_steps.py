"""Steps that are measured: those of a training, on a copy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v3_small, resnet18

from pochi_cli.data.loaders import create_loaders
from pochi_cli.data.prepare import prepare_data
from pochi_cli.engine.footprint import with_overhead
from pochi_cli.engine.real_steps import RealSteps, batch_of_noise
from pochi_cli.engine.runtime import Runtime, random_state
from tests.engine.tiny import tiny_config

CPU = torch.device("cpu")


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("channels_last", [False, True])
def test_steps_change_neither_the_model_nor_randomness(precision: Any, channels_last: bool) -> None:
    config = tiny_config(model_name="mobilenet_v3_small", stem=None, freeze=["features.0"])
    model = mobilenet_v3_small(num_classes=10)  # has dropout and batch norms
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random = random_state()
    with RealSteps(config, model, batch_of_noise(config, 4, (32, 32))).open(
        Runtime(CPU, precision, channels_last, 1)
    ) as step:
        step()
        step()
    torch.testing.assert_close(model.state_dict(), before, rtol=0, atol=0)
    assert torch.equal(random_state()["torch"], random["torch"])
    assert all(parameter.grad is None for parameter in model.parameters())
    assert all(parameter.is_contiguous() for parameter in model.parameters())


class Watched(nn.Module):
    """Notes how it is called."""

    calls: list[tuple[torch.dtype, bool, bool, bool]] = []  # noqa: RUF012 - copies note in the same list

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.head = nn.Linear(4, 2)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        found = self.conv(images)
        layout = torch.channels_last
        is_last = (
            images.is_contiguous(memory_format=layout),
            self.conv.weight.is_contiguous(memory_format=layout),
        )
        self.calls.append((found.dtype, *is_last, self.training))
        logits: torch.Tensor = self.head(found.mean((2, 3)))
        return logits


def test_steps_are_those_of_a_training_in_that_precision_and_layout() -> None:
    model, config = Watched(), tiny_config()
    batch = batch_of_noise(config, 4, (8, 8))
    Watched.calls.clear()
    with RealSteps(config, model, batch).open(Runtime(CPU, "bf16", True, 1)) as step:
        step()
    with RealSteps(config, model, batch).open(Runtime(CPU, "fp32", False, 1)) as step:
        step()
    assert Watched.calls == [(torch.bfloat16, True, True, True), (torch.float32, False, False, True)]


@pytest.mark.parametrize("is_finished", [False, True])
def test_the_batch_is_as_the_loader_gives_it(is_finished: bool, few_digits: Path) -> None:
    last = [{"name": "RandomErasing"}] if is_finished else []  # what is random behind ToTensor comes before
    steps = [{"name": "ToTensor"}, {"name": "Normalize"}, *last]
    config = tiny_config(few_digits, train_transform=steps, batch_size=4)
    data = prepare_data(config, 0)
    _, real = next(create_loaders(config, data, seed=0, device_type="cpu").train.batches(1))
    noise = batch_of_noise(config, 4, data.size)
    for one in (noise, noise.to("cpu", channels_last=True)):
        loaded = real if one is noise else real.to("cpu", channels_last=True)
        assert (one.images.dtype, one.images.shape) == (loaded.images.dtype, loaded.images.shape)
        assert one.images.stride() == loaded.images.stride()
        assert (one.labels.dtype, one.labels.shape) == (loaded.labels.dtype, loaded.labels.shape)
    assert noise.to("cpu").images.std() == pytest.approx(1.0, abs=0.5)


def test_what_may_not_fit_is_not_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    config = tiny_config()
    steps = RealSteps(config, resnet18(num_classes=4), batch_of_noise(config, 8, (64, 64)))
    half, plain = (Runtime(CPU, precision, False, 1) for precision in ("bf16", "fp32"))
    with steps.open(half) as step:
        step()
    assert steps._counted is not None
    needed = with_overhead(CPU, steps._counted[1])
    monkeypatch.setattr("pochi_cli.engine.memory.available_memory", lambda _: int(1.5 * needed))
    with steps.open(half) as step:
        step()
    with pytest.raises(MemoryError, match="fp32 may not fit"), steps.open(plain):
        pass
