"""Statistics of a network's parameters, computed in pieces of bounded size."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvTransposeNd

from pochi_cli.inspection.model_weights import (
    NEAR_ZERO,
    QUANTILES,
    TINY,
    Histogram,
    ParameterStatistics,
    WeightStatistics,
)
from pochi_cli.models.blocks import blocks_of

_CHUNK = 1 << 22
"""Entries that are looked at together in float64: 32 MiB, however large a parameter is."""
_BINS = 120
"""Of the histogram."""
_LEAST_RANGE = 1e-37

# Values are grouped by the upper half of their float32: sign, exponent and seven bits of the mantissa. So any
# range is covered in one pass, to within 1 % of a value's size; groups of one sign rise with their numbers.
_GROUPS = 1 << 16
_NEGATIVE = 1 << 15
_FIRST_NON_FINITE = 0x7F80

Counts = NDArray[np.int64]


def weight_statistics(model: nn.Module) -> WeightStatistics:
    """Compute the statistics of each parameter, and a histogram of all.

    Nothing but pieces of a parameter is copied; the model does not change.

    Args:
        model: Any network whose parameters have values. Complex entries count as two numbers each.

    Raises:
        ValueError: A parameter has no values, as on the meta device.
    """
    named = dict(model.named_parameters())
    if lost := next((name for name, parameter in named.items() if parameter.is_meta), None):
        raise ValueError(f"{lost} is on the meta device: it has no values")
    block = blocks_of(list(named))
    owners = _owners(model)
    counts: Counts = np.zeros(_GROUPS, dtype=np.int64)
    found = []
    for name, parameter in named.items():
        if not parameter.numel():
            continue
        values = parameter.detach()
        values = torch.view_as_real(values) if values.is_complex() else values
        statistics, own = _describe(
            name, block[name], values, owners[name], is_trained=parameter.requires_grad
        )
        counts += own
        found.append(statistics)
    return WeightStatistics(tuple(found), _histogram(counts))


def _owners(model: nn.Module) -> dict[str, nn.Module]:
    return {
        f"{name}.{key}" if name else key: module
        for name, module in model.named_modules()
        for key, _ in module.named_parameters(recurse=False)
    }


def _describe(
    name: str, block: str, values: Tensor, owner: nn.Module, *, is_trained: bool
) -> tuple[ParameterStatistics, Counts]:
    entries, finite, tiny = values.numel(), 0, 0
    total, squares, least, largest = 0.0, 0.0, math.inf, -math.inf
    counts = torch.zeros(_GROUPS, dtype=torch.int64)
    for chunk in _chunks(values):
        finite += int(torch.isfinite(chunk).sum())
        tiny += int((chunk.abs() < TINY).sum())
        total += float(chunk.sum())
        squares += float(chunk.square().sum())
        least, largest = min(least, float(chunk.min())), max(largest, float(chunk.max()))
        counts += torch.bincount(_groups(chunk), minlength=_GROUPS)
    channels, near_zero = _channels(values, owner)
    own: Counts = counts.numpy()
    is_finite = finite == entries
    mean = total / entries if is_finite else math.nan
    deviations = (
        sum(float((chunk - mean).square().sum()) for chunk in _chunks(values)) if is_finite else math.nan
    )
    return ParameterStatistics(
        name=name,
        block=block,
        shape=tuple(values.shape),
        is_trained=is_trained,
        non_finite=entries - finite,
        mean=mean,
        std=math.sqrt(deviations / entries),
        min=least if is_finite else math.nan,
        max=largest if is_finite else math.nan,
        norm=math.sqrt(squares) if is_finite else math.nan,
        sparsity=tiny / entries,
        quantiles=_quantiles(own, least, largest) if is_finite else (math.nan,) * len(QUANTILES),
        channels=channels,
        near_zero=near_zero if is_finite else (),
    ), own


def _chunks(values: Tensor) -> Iterator[Tensor]:
    """Yield the entries in float64 on the CPU, for not every device has that."""
    for chunk in torch.split(values.reshape(-1), _CHUNK):
        yield chunk.cpu().double()


def _groups(chunk: Tensor) -> Tensor:
    """Number each value's group, int64."""
    return (chunk.float().view(torch.int32) >> 16).long() & (_GROUPS - 1)


def _channels(values: Tensor, owner: nn.Module) -> tuple[int, tuple[int, ...]]:
    """Count a weight's output channels, and find those that are near zero."""
    if values.ndim < 2 or isinstance(owner, nn.Embedding | nn.EmbeddingBag):
        return 0, ()  # the rows of an embedding are no channels, and one of them may be kept at 0
    if isinstance(owner, _ConvTransposeNd):  # (in, out / groups, ...)
        inputs, outputs, *edges = values.shape
        values = values.reshape(owner.groups, inputs // owner.groups, outputs, *edges)
        values = values.transpose(1, 2).flatten(0, 1)
    norms = torch.cat([_row_norms(rows) for rows in torch.split(values, max(1, _CHUNK // values[0].numel()))])
    above = norms[norms > 0]
    if not above.numel():
        return len(norms), tuple(range(len(norms)))
    is_near = norms < NEAR_ZERO * above.median()
    return len(norms), tuple(is_near.nonzero().flatten().tolist())


def _row_norms(rows: Tensor) -> Tensor:
    return rows.flatten(1).cpu().double().square().sum(1).sqrt()


def _bounds() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Compute the least and the largest value of each group of finite values, rising, float64."""
    positive = np.arange(_FIRST_NON_FINITE + 1, dtype=np.uint32) << 16
    edges = positive.view(np.float32).astype(np.float64)
    edges[-1] = 2.0**128
    low, high = edges[:-1], edges[1:]
    return np.concatenate([-high[::-1], low]), np.concatenate([-low[::-1], high])


def _rising(counts: Counts) -> Counts:
    """Sort the counts of finite values by value: the negative groups fall with their numbers."""
    negative = counts[_NEGATIVE : _NEGATIVE + _FIRST_NON_FINITE][::-1]
    return np.concatenate([negative, counts[:_FIRST_NON_FINITE]])


def _quantiles(counts: Counts, least: float, largest: float) -> tuple[float, ...]:
    rising = _rising(counts)
    low, high = _bounds()
    sums = np.cumsum(rising)
    places = np.searchsorted(sums, np.array(QUANTILES) * sums[-1])
    middles = (low[places] + high[places]) / 2
    # 0 has a group of its own with the denormal numbers.
    middles[(places == _FIRST_NON_FINITE) | (places == _FIRST_NON_FINITE - 1)] = 0.0
    return tuple(np.clip(middles, least, largest).tolist())


def _histogram(counts: Counts) -> Histogram | None:
    """Divide the groups among bins of equal width, from the least value to the largest."""
    rising = _rising(counts)
    places = np.flatnonzero(rising)
    if not places.size:
        return None
    low, high = (bounds[places] for bounds in _bounds())
    if high[-1] - low[0] < _LEAST_RANGE:  # all are 0
        counted = np.zeros(_BINS, dtype=np.int64)
        counted[_BINS // 2] = rising.sum()
        return Histogram(np.linspace(-0.5, 0.5, _BINS + 1), counted)
    edges = np.linspace(low[0], high[-1], _BINS + 1)
    # How many values lie below an edge, between whose groups they are spread evenly.
    sums = np.concatenate([[0.0], np.cumsum(rising[places])])
    below = np.interp(edges, np.ravel(np.column_stack([low, high])), np.repeat(sums, 2)[1:-1])
    below[0], below[-1] = 0.0, sums[-1]
    return Histogram(edges, np.diff(np.rint(below).astype(np.int64)))
