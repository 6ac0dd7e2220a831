"""The exponential moving average of the weights."""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import Tensor, nn


class NoAverage:
    """The model itself counts.

    Args:
        model: The model that is trained.
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = model

    def update(self) -> None:
        """Do nothing."""

    def state_dict(self) -> None:
        """There is no state."""

    def load_state_dict(self, state: dict[str, Tensor] | None) -> None:
        """There is no state."""


class ExponentialAverage:
    """Keeps an average of the weights: average <- d average + (1 - d) weights, after every step.

    The decay d of step t is min(decay, (1 + t) / (10 + t)), so that the random start is soon forgotten
    (as in TensorFlow's ExponentialMovingAverage). Buffers are copied.

    Args:
        model: The model that is trained.
        decay: Largest decay.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.steps = 0
        self.model = copy.deepcopy(model).eval().requires_grad_(False)
        self._average: list[Tensor] = list(self.model.parameters())
        self._weights: list[Tensor] = list(model.parameters())
        self._buffers = list(zip(self.model.buffers(), model.buffers(), strict=True))

    @torch.no_grad()
    def update(self) -> None:
        """Take in the weights after an optimizer step."""
        self.steps += 1
        decay = min(self.decay, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self._average, self._weights, 1 - decay)
        for average, buffer in self._buffers:
            average.copy_(buffer)

    def state_dict(self) -> dict[str, Any]:
        """State for a checkpoint: the averaged model's state_dict, and the number of steps."""
        return {"model": self.model.state_dict(), "steps": self.steps}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the state up again.

        Raises:
            RuntimeError: It does not fit the model.
        """
        if state is None:
            raise RuntimeError("the checkpoint holds no averaged weights")
        self.model.load_state_dict(state["model"])
        self.steps = state["steps"]


def create_average(model: nn.Module, decay: float | None) -> ExponentialAverage | NoAverage:
    """Build what the config asks for."""
    return NoAverage(model) if decay is None else ExponentialAverage(model, decay)
