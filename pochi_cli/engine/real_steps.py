"""Training steps as a run will take them, on copies of its model."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.nn.functional as F  # noqa: N812
from torch import nn

from pochi_cli.config.optim import OptimConfig
from pochi_cli.engine.footprint import LiveBytes, with_overhead
from pochi_cli.engine.memory import available_memory
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.tuning import Step
from pochi_cli.models.freezing import train_mode

_SPARED = 0.1
"""Share of the available memory that a candidate must leave."""

Shape = tuple[int, int, int, int]
"""Of a batch: images, channels, height, width."""


class RealSteps:
    """Makes what runs training steps in a precision and layout; model and randomness do not change.

    On the CPU the system may kill a process that takes too much memory, and asks nobody. So the tensors of
    the first step of all are counted, and what could need more than there is raises instead.

    Args:
        config: Optimizer, its arguments and rates.
        model: A copy of it is trained, one at a time; not compiled.
        shape: Of a batch.
    """

    def __init__(self, config: OptimConfig, model: nn.Module, shape: Shape) -> None:
        self._config = config
        self._model = model
        self._shape = shape
        self._counted: tuple[Runtime, int] | None = None

    @contextmanager
    def open(self, runtime: Runtime) -> Iterator[Step]:
        """Copy the model for the block.

        Raises:
            MemoryError: Steps in this precision may need more memory than there is.
        """
        self._check_memory(runtime)
        copied = _CopiedModel(self._config, self._model, self._shape, runtime)

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
        available = available_memory(runtime.device)
        if self._counted is None or available is None:
            return
        first, tensors = self._counted
        # In fp32 no tensor takes more than twice of what it takes in half precision.
        wider = 2 if first.precision != "fp32" and runtime.precision == "fp32" else 1
        if with_overhead(runtime.device, wider * tensors) > (1 - _SPARED) * available:
            raise MemoryError(f"a step in {runtime.arithmetic} may not fit")


class _CopiedModel:
    """A copy of a model with its own optimizer, and a batch of noise.

    Args:
        config: Optimizer, its arguments and rates.
        model: The model.
        shape: Of the batch.
        runtime: Device, precision and layout.
    """

    def __init__(self, config: OptimConfig, model: nn.Module, shape: Shape, runtime: Runtime) -> None:
        self._runtime = runtime
        self._model = copy.deepcopy(model).to(memory_format=runtime.memory_format)
        train_mode(self._model)
        self._optimizer = create_optimizer(config, self._model)
        self._scaler = runtime.create_scaler()
        self._images = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        self._labels = torch.zeros(len(self._images), dtype=torch.int64, device=runtime.device)

    @property
    def weights(self) -> list[torch.Tensor]:
        """What there is before a step: parameters and buffers."""
        return [*self._model.parameters(), *self._model.buffers()]

    def step(self) -> None:
        """Take a step, beginning as training does with images on the CPU, and wait for its end."""
        runtime, scaler = self._runtime, self._scaler
        images = self._images.to(runtime.device, memory_format=runtime.memory_format)
        with runtime.autocast():
            logits = self._model(images)
        loss = F.cross_entropy(logits.float(), self._labels)
        scaler.scale(loss).backward()  # type: ignore[no-untyped-call]
        scaler.step(self._optimizer)
        scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        if runtime.device.type == "cuda":
            torch.cuda.synchronize(runtime.device)
