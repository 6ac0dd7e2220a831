"""A histogram of values that stream by, of any magnitude."""

from __future__ import annotations

import math

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pochi_cli.inspection.activation_record import Histogram

_BINS = 1 << 16
_SIGN = _BINS >> 1
_CHUNK = 1 << 22
"""Values that are sorted into bins together: 16 MiB of indices."""


class StreamingHistogram:
    """Counts values without knowing beforehand between which they lie.

    The upper 16 bits of a float32, as bfloat16 has them, are the number of its bin: sign, exponent and seven
    bits of the mantissa. A bin is at most 1/128 of its values wide, whatever their magnitude, so that an
    outlier costs nothing; nothing is ever merged.
    """

    def __init__(self) -> None:
        self._codes = np.zeros(0, dtype=np.int64)  # of the bins with values; few of them all
        self._counts = np.zeros(0, dtype=np.int64)
        self._least, self._largest = math.inf, -math.inf

    def add(self, values: Tensor, least: float, largest: float) -> None:
        """Count values.

        Args:
            values: Finite, of any shape; those beyond float32's range count as its largest.
            least: Of them, or of all so far.
            largest: The same.
        """
        self._least, self._largest = min(self._least, least), max(self._largest, largest)
        counts = np.zeros(_BINS, dtype=np.int64)
        counts[self._codes] = self._counts
        largest = torch.finfo(torch.float32).max
        for chunk in torch.split(values.reshape(-1), _CHUNK):
            exact = chunk if chunk.dtype == torch.float32 else chunk.clamp(-largest, largest).float()
            codes = (exact.view(torch.int32) >> 16) & (_BINS - 1)
            counts += torch.bincount(codes, minlength=_BINS).cpu().numpy()
        self._codes = np.flatnonzero(counts)
        self._counts = counts[self._codes]

    def result(self) -> Histogram:
        """Give the bins from the least to the largest value, empty ones between included."""
        is_zero = np.isin(self._codes, (0, _SIGN))
        codes, counts = self._codes[~is_zero], self._counts[~is_zero]
        if not len(codes):
            zeros = int(self._counts.sum())
            return Histogram(np.array([0.0, 1.0]), np.zeros(1, dtype=np.int64), zeros, 0.0, 0.0)
        # Negative ones rise as their magnitudes fall: -1 is the bin just below 0.
        places = np.where(codes < _SIGN, codes, _SIGN - 1 - codes)
        first, last = int(places.min()), int(places.max())
        filled = np.zeros(last - first + 1, dtype=np.int64)
        filled[places - first] = counts
        zeros = int(self._counts[is_zero].sum())
        return Histogram(_edges(first, last + 1), filled, zeros, self._least, self._largest)


def _edges(first: int, last: int) -> NDArray[np.float64]:
    numbers = np.arange(first, last + 1)
    bits = (np.abs(numbers).astype(np.uint32) << np.uint32(16)).view(np.float32).astype(np.float64)
    bits = np.minimum(bits, np.finfo(np.float32).max)  # the end of the last bin is infinity
    return np.where(numbers < 0, -bits, bits)
