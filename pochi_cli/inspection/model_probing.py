"""Batches to run a network with, and what its tensors take."""

from __future__ import annotations

import torch
from torch import Tensor


def batch_of(inputs: tuple[Tensor, ...], size: int) -> tuple[Tensor, ...]:
    """Make a batch of so many copies of the first sample.

    Args:
        inputs: Of the network; the first dimension of each counts the samples.
        size: How many.

    Raises:
        ValueError: An input has no samples.
    """
    if any(not tensor.ndim or not len(tensor) for tensor in inputs):
        raise ValueError("the first dimension of each input must count its samples, at least one")
    return tuple(torch.cat([tensor[:1]] * size) for tensor in inputs)


def byte_size(tensor: Tensor) -> int:
    """Count the bytes of a tensor's entries."""
    return tensor.numel() * tensor.element_size()
