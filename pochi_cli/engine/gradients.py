"""The gradient tracer: norms of every step, kept on the device until they are asked for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, compress
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pochi_cli.config.patterns import finds
from pochi_cli.config.recording import AggregationMethod, GradientTrackingConfig
from pochi_cli.config.root import Config
from pochi_cli.models.blocks import blocks_of
from pochi_cli.runs.gradient_record import GradientEpoch

Array = NDArray[np.float64]

_ABSENT = -1.0
"""Stands for a parameter that a step gave no gradient: no norm is negative."""


class NoTracer:
    """Traces nothing."""

    blocks: tuple[str, ...] = ()

    def begin(self, epoch: int, steps_done: int) -> None:
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
class Layer:
    """A module that has trained parameters of its own.

    Attributes:
        name: Dotted.
        positions: Those of its parameters, the excluded ones too: with a gradient for its bias it is alive.
        blocks: The recorded blocks that it is part of.
    """

    name: str
    positions: tuple[int, ...]
    blocks: tuple[str, ...]


@dataclass(frozen=True)
class Traced:
    """The parameters that are traced.

    Attributes:
        parameters: All that are trained, by name, in registration order.
        blocks: The positions of those of each block's parameters that are recorded.
        members: The positions of all trained parameters of each such block.
        layers: In registration order.
    """

    parameters: dict[str, nn.Parameter]
    blocks: dict[str, list[int]]
    members: dict[str, list[int]]
    layers: tuple[Layer, ...]


class GradientTracer:
    """Records the L2 norm of each traced parameter's gradient at every step of the epochs to record.

    It is called between the backward pass and the optimizer, after unscaling and before clipping. One fused
    call computes all norms of a step; nothing is copied to the host before the epoch ends.

    Args:
        traced: The parameters and their blocks.
        config: How often, and how a block's parameters are merged.
        epochs: The last epoch, which is always recorded.
        is_scaled: Whether the loss is scaled (fp16): then a gradient that is not finite makes the scaler
            pass the step over, which is no optimizer step and belongs to no mean.
    """

    def __init__(
        self, traced: Traced, config: GradientTrackingConfig, epochs: int, *, is_scaled: bool = False
    ) -> None:
        self._parameters = list(traced.parameters.values())
        self._blocks = traced.blocks
        self._members = traced.members
        self._layers = traced.layers
        self._is_scaled = is_scaled
        self._config = config
        self._epochs = epochs
        self._epoch: int | None = None
        self._norms: list[Tensor] = []

    @property
    def blocks(self) -> tuple[str, ...]:
        """The columns of the trace, in the order of the network."""
        return tuple(self._blocks)

    def begin(self, epoch: int, steps_done: int) -> None:
        """Begin an epoch, or go on with the one that `load_state_dict` brought back.

        An epoch of which others did steps that were not traced is not recorded.
        """
        is_due = (epoch - 1) % self._config.record_frequency == 0 or epoch == self._epochs
        if not is_due or len(self._norms) * (epoch == self._epoch) != steps_done:
            self._epoch, self._norms = None, []
        elif epoch != self._epoch:
            self._epoch, self._norms = epoch, []
            self._weights = torch.stack(norms_of(self._parameters))

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
        norms = torch.stack(self._norms).cpu().double().numpy()
        weights = self._weights.cpu().double().numpy()
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
        per_block = merged(norms, there)
        passed_over = bad.any(axis=1) if self._is_scaled else np.zeros(len(norms), dtype=bool)
        return GradientEpoch(
            epoch=epoch,
            blocks=self.blocks,
            means=tuple(
                _mean(per_block[there[:, at].any(axis=1) & ~passed_over, column])
                for column, at in enumerate(self._blocks.values())
            ),
            steps=tuple(range(1, len(norms) + 1)),
            norms=per_block,
            # Against a parameter that is all zeros no ratio means anything.
            ratios=merged(norms / np.where(weights > 0, weights, 1), there & (weights > 0)),
            rms=merged(norms / np.sqrt(counts), there),
            # Those that are excluded, too: what they are now all weights will soon be.
            non_finite=np.stack([bad[:, at].sum(axis=1) for at in self._members.values()], axis=1),
            dead_layers=find_dead_layers(norms, self._layers),
        )

    def state_dict(self) -> dict[str, Any] | None:
        """State within an epoch; `None` between epochs.

        The norms of the gradients so far, (steps, parameters), and of the weights as the epoch began,
        (parameters,), both float32.
        """
        if self._epoch is None or not self._norms:
            return None
        return {"epoch": self._epoch, "norms": torch.stack(self._norms), "weights": self._weights}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the state up again."""
        if state is not None:
            self._epoch = state["epoch"]
            device = self._parameters[0].device
            self._norms = list(state["norms"].to(device))
            self._weights = state["weights"].to(device)


def norms_of(tensors: Sequence[Tensor]) -> tuple[Tensor, ...]:
    """Compute the L2 norm of each tensor in one fused call, which `clip_grad_norm_` itself uses."""
    return torch._foreach_norm(list(tensors))  # noqa: SLF001


def create_tracer(config: Config, model: nn.Module, *, is_scaled: bool) -> GradientTracer | NoTracer:
    """Build what the config asks for.

    Args:
        config: The config.
        model: Frozen already as the config says.
        is_scaled: Whether the loss is scaled (fp16).
    """
    if not config.enable_gradient_tracking:
        return NoTracer()
    settings = config.gradient_tracking_config
    traced = choose_traced(model, config.untraced, by_block=settings.group_by_block)
    return GradientTracer(traced, settings, config.epochs, is_scaled=is_scaled)


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
    recorded = {
        name
        for name, parameter in named.items()
        if parameter.requires_grad and not any(finds(pattern, name) for pattern in excluded)
    }
    parameters = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
    blocks: dict[str, list[int]] = {}
    members: dict[str, list[int]] = {}
    layers: dict[str, list[int]] = {}
    for at, name in enumerate(parameters):
        if name in recorded:
            blocks.setdefault(block[name], []).append(at)
        members.setdefault(block[name], []).append(at)
        layers.setdefault(name.rpartition(".")[0], []).append(at)
    return Traced(
        parameters,
        blocks,
        {name: members[name] for name in blocks},
        tuple(
            Layer(name, tuple(at), tuple(block for block in blocks if set(members[block]) & set(at)))
            for name, at in layers.items()
        ),
    )


def find_dead_layers(norms: Array, layers: Sequence[Layer]) -> tuple[frozenset[tuple[str, str]], ...]:
    """Find the layers all of whose gradients are exactly zero, at every step.

    What comes behind a dead layer has a weight without gradient as well, for its input is zero; but a bias
    with one. A layer of one parameter is therefore dead only if the next one with more is.

    Args:
        norms: float64 (steps, parameters).
        layers: In registration order.

    Returns:
        Block and layer of each.
    """
    dead = np.stack([(norms[:, layer.positions] == 0).all(axis=1) for layer in layers], axis=1)
    following = np.ones(len(norms), dtype=bool)
    for at in reversed(range(len(layers))):
        if len(layers[at].positions) > 1:
            following = dead[:, at]
        else:
            dead[:, at] &= following
    pairs = [[(block, layer.name) for block in layer.blocks] for layer in layers]
    return tuple(frozenset(chain.from_iterable(compress(pairs, row))) for row in dead)


def _mean(norms: Array) -> float | None:
    return float(norms.mean()) if len(norms) else None


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
    steps = finite.any(axis=1)
    result[steps] = _MERGES[method](np.where(finite, values, np.nan)[steps])
    return np.where(bad == 0, result, bad)


_MERGES: dict[AggregationMethod, Callable[[Array], Array]] = {
    "median": lambda values: np.nanmedian(values, axis=1),
    "mean": lambda values: np.nanmean(values, axis=1),
    "max": lambda values: np.nanmax(values, axis=1),
    "rms": lambda values: np.sqrt(np.nanmean(np.square(values), axis=1)),
}
