"""Training steps as a run will take them, on copies of its model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from pochi_cli.config.data import DataConfig
from pochi_cli.config.optim import OptimConfig
from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.datasets import Batch
from pochi_cli.data.transforms import build_pipeline
from pochi_cli.engine.footprint import LiveBytes, with_overhead
from pochi_cli.engine.memory import share_of_memory
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.tuning import Step
from pochi_cli.models.freezing import train_mode

_SPARED = 0.1
"""Share of the available memory that a candidate must leave."""


def batch_of_noise(config: DataConfig, images: int, size: Size) -> Batch:
    """Make a batch as the loader of the training images gives it, of random pixels.

    Args:
        config: The transform, and what it normalises by.
        images: How many.
        size: Height and width of the tensors in pixels.
    """
    pipeline = build_pipeline(config.train_transform, config.mean, config.std)
    random = torch.Generator().manual_seed(0)
    if pipeline.finishes_batches:
        pixels = torch.randint(0, 256, (images, *size, 3), dtype=torch.uint8, generator=random)
        pixels = pixels.permute(0, 3, 1, 2)
    else:
        pixels = torch.randn(images, 3, *size, generator=random)
    indices = torch.arange(images)
    return Batch(pixels, torch.zeros_like(indices), indices, finish=pipeline.finish)


class RealSteps:
    """Makes what runs training steps in a precision and layout; model and randomness do not change.

    On the CPU the system may kill a process that takes too much memory, and asks nobody. So the tensors of
    the first step of all are counted, and what could need more than there is raises instead.

    Args:
        config: Optimizer, its arguments and rates.
        model: A copy of it is trained, one at a time; not compiled.
        batch: What they are taken with, on the CPU.
    """

    def __init__(self, config: OptimConfig, model: nn.Module, batch: Batch) -> None:
        self._config = config
        self._model = model
        self._batch = batch
        self._counted: tuple[Runtime, int] | None = None

    @contextmanager
    def open(self, runtime: Runtime) -> Iterator[Step]:
        """Copy the model for the block.

        Raises:
            MemoryError: Steps in this precision may need more memory than there is.
        """
        self._check_memory(runtime)
        copied = _CopiedModel(self._config, self._model, self._batch, runtime)

        def step() -> None:
            if self._counted is not None or runtime.device.type != "cpu":
                copied.step()
                return
            with LiveBytes(copied.weights) as live:
                copied.step()
            self._counted = runtime, live.peak

        with torch.random.fork_rng([runtime.device] if runtime.device.type == "cuda" else []):
            yield step

    def _check_memory(self, runtime: Runtime) -> None:
        available = share_of_memory(runtime.device, runtime.team.place.sharers)
        if self._counted is None or available is None:
            return
        first, tensors = self._counted
        # In fp32 no tensor takes more than twice of what it takes in half precision.
        wider = 2 if first.precision != "fp32" and runtime.precision == "fp32" else 1
        if with_overhead(runtime.device, wider * tensors) > (1 - _SPARED) * available:
            raise MemoryError(f"a step in {runtime.arithmetic} may not fit")


class _CopiedModel:
    """A copy of a model with its own optimizer.

    Args:
        config: Optimizer, its arguments and rates.
        model: The model.
        batch: On the CPU.
        runtime: Device, precision and layout.
    """

    def __init__(self, config: OptimConfig, model: nn.Module, batch: Batch, runtime: Runtime) -> None:
        self._runtime = runtime
        self._model = copy.deepcopy(model).to(memory_format=runtime.memory_format)
        train_mode(self._model)
        self._optimizer = create_optimizer(config, self._model)
        self._scaler = runtime.create_scaler()
        self._batch = batch.pin_memory() if runtime.device.type == "cuda" else batch

    @property
    def weights(self) -> list[torch.Tensor]:
        """What there is before a step: parameters and buffers."""
        return [*self._model.parameters(), *self._model.buffers()]

    def step(self) -> None:
        """Take a step, beginning as training does with what the loader gives, and wait for its end."""
        runtime, scaler = self._runtime, self._scaler
        batch = self._batch.to(runtime.device, channels_last=runtime.channels_last)
        with runtime.autocast():
            logits = self._model(batch.images)
        loss = F.cross_entropy(logits.float(), batch.labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(self._optimizer)
        scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)
