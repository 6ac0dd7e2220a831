"""Gradient traces that no training recorded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pochi_cli.runs.gradient_trace import GradientTrace


def make_trace(
    layers: int | Sequence[str], epochs: int | Sequence[int], *, holes: bool = False
) -> GradientTrace:
    """Make norms that fall over the epochs and over the layers.

    Args:
        layers: Their names, or how many.
        epochs: The recorded ones, or how many from 1.
        holes: Whether a third of the norms are 0, not finite, or were not recorded.
    """
    names = [f"layer{index}.conv.weight" for index in range(layers)] if isinstance(layers, int) else layers
    recorded = range(1, epochs + 1) if isinstance(epochs, int) else epochs
    shape = (len(recorded), len(names))
    random = np.random.default_rng(0)
    values = np.exp(-np.arange(shape[0])[:, None] / shape[0] - np.arange(shape[1]) / shape[1])
    values *= np.exp(0.1 * random.standard_normal(shape))
    not_finite = np.zeros(shape, dtype=np.bool_)
    if holes:
        kinds = random.integers(0, 9, shape)
        values[kinds == 0] = 0
        values[kinds < 3] *= np.where(kinds[kinds < 3] == 0, 1, np.nan)
        not_finite = kinds == 1
    return GradientTrace(tuple(recorded), tuple(names), values, not_finite)


def fill(values: Sequence[Sequence[float]], not_finite: Sequence[tuple[int, int]] = ()) -> GradientTrace:
    """Make a trace of the layers a, b, ... from epoch 1 on, with norms that are not finite in some cells."""
    norms = np.array(values, dtype=np.float64)
    lost = np.zeros(norms.shape, dtype=np.bool_)
    for cell in not_finite:
        lost[cell] = True
        norms[cell] = np.nan
    names = tuple("abcdefghij"[: norms.shape[1]])
    return GradientTrace(tuple(range(1, len(norms) + 1)), names, norms, lost)
