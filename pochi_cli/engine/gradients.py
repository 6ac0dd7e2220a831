"""The gradient tracer: norms of every step, kept on the device until they are asked for."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.patterns import finds
from pochi_cli.config.recording import AggregationMethod, GradientTrackingConfig
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.models.blocks import blocks_of
from pochi_cli.runs.gradient_record import GradientEpoch

Array = NDArray[np.float64]

_ABSENT = -1.0
"""Stands for a parameter that a step gave no gradient: no norm is negative."""


class NoTracer:
    """Traces nothing."""

    def begin(self, epoch: int) -> None:
        """Do nothing."""

    def step(self) -> None:
        """Do nothing."""

    def end(self) -> GradientEpoch | None:
        """There is nothing."""
        return None

    def state_dict(self) -> None:
        """There is no state."""

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """There is no state."""


@dataclass(frozen=True)
class Traced:
    """The parameters that are traced.

    Attributes:
        parameters: By name, in registration order.
        blocks: The positions of each block's parameters.
    """

    parameters: dict[str, nn.Parameter]
    blocks: dict[str, list[int]]


class GradientTracer:
    """Records the L2 norm of each traced parameter's gradient at every step of the epochs to record.

    It is called between the backward pass and the optimizer, after unscaling and before clipping. One fused
    call computes all norms of a step; nothing is copied to the host before the epoch ends.

    Args:
        traced: The parameters and their blocks.
        config: How often, and how a block's parameters are merged.
        epochs: The last epoch, which is always recorded.
    """

    def __init__(self, traced: Traced, config: GradientTrackingConfig, epochs: int) -> None:
        self._parameters = list(traced.parameters.values())
        self._blocks = traced.blocks
        self._config = config
        self._epochs = epochs
        self._epoch: int | None = None
        self._norms: list[Tensor] = []

    def begin(self, epoch: int) -> None:
        """Begin an epoch, or go on with the one that `load_state_dict` brought back."""
        is_due = (epoch - 1) % self._config.record_frequency == 0 or epoch == self._epochs
        if epoch != self._epoch:
            self._norms = []
        self._epoch = epoch if is_due else None

    @torch.no_grad()
    def step(self) -> None:
        """Compute the norms of the gradients as they are; never waits for the device."""
        if self._epoch is None:
            return
        gradients = [parameter.grad for parameter in self._parameters]
        there = [gradient for gradient in gradients if gradient is not None]
        norms = torch.stack(norms_of(there)) if there else torch.empty(0)
        if len(there) < len(gradients):
            positions = [at for at, gradient in enumerate(gradients) if gradient is not None]
            every = torch.full((len(gradients),), _ABSENT, dtype=norms.dtype, device=norms.device)
            every[positions] = norms
            norms = every
        self._norms.append(norms)

    @torch.no_grad()
    def end(self) -> GradientEpoch | None:
        """Wait for the device, and give what was traced of the epoch; `None` of one that is not recorded."""
        if self._epoch is None or not self._norms:
            return None
        norms = torch.stack(self._norms).double().cpu().numpy()
        weights = torch.stack(norms_of(self._parameters)).double().cpu().numpy()
        counts = np.array([parameter.numel() for parameter in self._parameters])
        there = norms != _ABSENT
        bad = there & ~np.isfinite(norms)

        def merged(values: Array, counted: NDArray[np.bool_]) -> Array:
            columns = [
                merge(values[:, at], counted[:, at], self._config.aggregation_method)
                for at in self._blocks.values()
            ]
            return np.stack(columns, axis=1)

        epoch, self._epoch, self._norms = self._epoch, None, []
        return GradientEpoch(
            epoch=epoch,
            blocks=tuple(self._blocks),
            norms=merged(norms, there),
            # Against a parameter that is all zeros no ratio means anything.
            ratios=merged(norms / np.where(weights > 0, weights, 1), there & (weights > 0)),
            rms=merged(norms / np.sqrt(counts), there),
            non_finite=np.stack([bad[:, at].sum(axis=1) for at in self._blocks.values()], axis=1),
        )

    def state_dict(self) -> dict[str, Any] | None:
        """State within an epoch: the norms so far, float32 (steps, parameters); `None` between epochs."""
        if self._epoch is None or not self._norms:
            return None
        return {"epoch": self._epoch, "norms": torch.stack(self._norms)}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the state up again."""
        if state is not None:
            self._epoch = state["epoch"]
            self._norms = list(state["norms"].to(self._parameters[0].device))


def norms_of(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Compute the L2 norm of each tensor in one fused call, which `clip_grad_norm_` itself uses."""
    return torch._foreach_norm(list(tensors))  # noqa: SLF001


def create_tracer(config: ClassificationConfig, model: nn.Module) -> GradientTracer | NoTracer:
    """Build what the config asks for."""
    if not config.enable_gradient_tracking:
        return NoTracer()
    settings = config.gradient_tracking_config
    excluded = list(settings.exclude_patterns)
    if settings.exclude_patterns == GradientTrackingConfig().exclude_patterns:
        excluded.append(rf"\A{re.escape(CATALOGUE[config.model_name].head)}\.")
    traced = choose_traced(model, excluded, by_block=settings.group_by_block)
    return GradientTracer(traced, settings, config.epochs)


def choose_traced(model: nn.Module, excluded: Iterable[str], *, by_block: bool) -> Traced:
    """Choose the parameters that are trained and not excluded, and group them.

    Args:
        model: Frozen already as the config says.
        excluded: Patterns that are searched in the names.
        by_block: Whether the parameters of a block are merged; else each is one of its own.
    """
    excluded = tuple(excluded)
    named = dict(model.named_parameters())
    block = blocks_of(list(named)) if by_block else {name: name for name in named}
    parameters = {
        name: parameter
        for name, parameter in named.items()
        if parameter.requires_grad and not any(finds(pattern, name) for pattern in excluded)
    }
    blocks: dict[str, list[int]] = {}
    for at, name in enumerate(parameters):
        blocks.setdefault(block[name], []).append(at)
    return Traced(parameters, blocks)


def merge(values: Array, there: NDArray[np.bool_], method: AggregationMethod) -> Array:
    """Merge a block's parameters at every step.

    Args:
        values: float64 (steps, parameters).
        there: Which of them count.
        method: How the finite ones are merged; the median of an even count is the mean of the middle two.

    Returns:
        float64 (steps,): NaN where none counts. Where one that counts is not finite, neither is the result.
    """
    finite = there & np.isfinite(values)
    bad = np.where(there & ~finite, values, 0.0).sum(axis=1)
    result = np.full(len(values), np.nan)
    for step in np.flatnonzero(finite.any(axis=1)):
        result[step] = _MERGES[method](values[step, finite[step]])
    return np.where(bad == 0, result, bad)


_MERGES: dict[AggregationMethod, Callable[[Array], Any]] = {
    "median": np.median,
    "mean": np.mean,
    "max": np.max,
    "rms": lambda values: np.sqrt(np.mean(np.square(values))),
}
