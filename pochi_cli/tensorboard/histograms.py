"""How the values of a tensor are spread."""

from __future__ import annotations

import torch
from torch import Tensor

from pochi_cli.tensorboard.summaries import Histogram

_BUCKETS = 64
"""TensorBoard draws 30."""


@torch.no_grad()
def histogram_of(values: Tensor) -> Histogram:
    """Count a tensor's values in equally wide buckets; waits for the device.

    Args:
        values: Finite, at least one.
    """
    values = values.detach().float().ravel()
    low, high = values.aminmax()
    if low == high:
        counts = torch.tensor([len(values)])
    else:
        # Not `histc`, which a GPU cannot do deterministically.
        bucket = ((values - low) / (high - low) * _BUCKETS).int().clamp_(0, _BUCKETS - 1)
        counts = torch.bincount(bucket, minlength=_BUCKETS)
    squares = float(torch.linalg.vector_norm(values)) ** 2
    return Histogram(float(low), float(high), float(values.sum()), squares, tuple(counts.tolist()))
