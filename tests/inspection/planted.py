"""Small networks with faults, trained on the digits and traced."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor, nn

from pochi_cli.config.recording import GradientTrackingConfig
from pochi_cli.data.digits import _load
from pochi_cli.engine.gradients import GradientTracer, choose_traced
from pochi_cli.runs.gradient_record import GradientEpoch

Plant = Callable[[nn.Module, int, int], None]
BATCH = 32


class Blocks(nn.Module):
    """Blocks of two convolutions, and a head."""

    def __init__(self, *, has_norms: bool, blocks: int = 5, channels: int = 16) -> None:
        super().__init__()
        self.names = [f"block{number}" for number in range(1, blocks + 1)]
        self.detached: str | None = None
        before = 1
        for name in self.names:
            layers: list[nn.Module] = []
            for inputs in (before, channels):
                layers.append(nn.Conv2d(inputs, channels, 3, padding=1, bias=not has_norms))
                layers += [nn.BatchNorm2d(channels)] if has_norms else []
                layers.append(nn.ReLU())
            self.add_module(name, nn.Sequential(*layers))
            before = channels
        self.fc = nn.Linear(channels, 10)

    def forward(self, images: Tensor) -> Tensor:
        for name in self.names:
            images = self.get_submodule(name)(images)
            if name == self.detached:
                images = images.detach()
        logits: Tensor = self.fc(images.mean((2, 3)))
        return logits


def all_finite(model: nn.Module) -> bool:
    """Whether the scaler of the loss would let the step pass."""
    return all(bool(weight.grad.isfinite().all()) for weight in model.parameters() if weight.grad is not None)


def sigmoid_stack(layers: int = 20) -> nn.Module:
    """Linear layers with sigmoids between, named `0` to `<layers>`, the last being the head."""
    parts = [nn.Sequential(nn.Linear(64, 64), nn.Sigmoid()) for _ in range(layers)]
    return nn.Sequential(nn.Flatten(), *parts, nn.Linear(64, 10))


def traced(
    model: nn.Module,
    *,
    rate: float = 0.05,
    momentum: float = 0.9,
    epochs: int = 3,
    steps: int = 20,
    plant: Plant | None = None,
    excluded: Sequence[str] = (r"\.bias", r"^fc\."),
    by_block: bool = True,
    is_scaled: bool = False,
) -> list[GradientEpoch]:
    """Train until the last step, or the first whose loss is not finite; `plant` is called before each."""
    pixels, labels = _load()
    images = torch.tensor(np.asarray(pixels), dtype=torch.float32).reshape(-1, 1, 8, 8) / 16
    targets = torch.tensor(list(labels))
    generator = torch.Generator().manual_seed(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, momentum=momentum)
    chosen = choose_traced(model, excluded, by_block=by_block)
    tracer = GradientTracer(chosen, GradientTrackingConfig(), epochs, is_scaled=is_scaled)
    result: list[GradientEpoch] = []
    is_finite = True
    for epoch in range(1, epochs + 1):
        tracer.begin(epoch, 0)
        for step in range(1, steps + 1):
            if plant is not None:
                plant(model, epoch, step)
            drawn = torch.randint(len(images), (BATCH,), generator=generator)
            loss = nn.functional.cross_entropy(model(images[drawn]), targets[drawn])
            loss.backward()  # type: ignore[no-untyped-call]
            tracer.step()
            is_finite = bool(torch.isfinite(loss))
            if not is_finite:
                break
            if not is_scaled or all_finite(model):
                optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        ended = tracer.end()
        assert ended is not None
        result.append(ended)
        if not is_finite:
            break
    return result
