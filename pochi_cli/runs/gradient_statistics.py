"""What a gradient trace comes to over its epochs, layer by layer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pochi_cli.runs.gradient_trace import GradientTrace


@dataclass(frozen=True, eq=False)
class Extremes:
    """The largest or the smallest norm of each layer; NaN for a layer without finite ones.

    Attributes:
        values: The norms, float64 of shape (layers,).
        epochs: The first epoch of each; of no meaning where the value is NaN.
    """

    values: NDArray[np.float64]
    epochs: NDArray[np.int64]


def variation(trace: GradientTrace) -> NDArray[np.float64]:
    """Compute the coefficient of variation of each layer: standard deviation over mean of its finite norms.

    The deviation is that of the recorded epochs themselves (divided by n, not n - 1).

    Returns:
        From 0, float64 of shape (layers,); NaN for a layer with fewer than two finite norms, or only zeros.
    """
    result = np.full(len(trace.names), np.nan)
    for layer, column in enumerate(trace.values.T):
        finite = column[~np.isnan(column)]
        if len(finite) > 1 and (largest := finite.max()) > 0:
            scaled = finite / largest  # or the sum of huge norms would overflow
            result[layer] = scaled.std() / scaled.mean()
    return result


def maxima(trace: GradientTrace) -> Extremes:
    """Find the largest finite norm of each layer."""
    return _extremes(trace, np.argmax(np.nan_to_num(trace.values, nan=-np.inf), axis=0))


def minima(trace: GradientTrace) -> Extremes:
    """Find the smallest finite norm of each layer."""
    return _extremes(trace, np.argmin(np.nan_to_num(trace.values, nan=np.inf), axis=0))


def _extremes(trace: GradientTrace, rows: NDArray[np.intp]) -> Extremes:
    values = trace.values[rows, np.arange(len(trace.names))]
    return Extremes(values, np.array(trace.epochs, dtype=np.int64)[rows])
