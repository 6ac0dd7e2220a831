"""Running a network to look at it, without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from pochi_cli.engine.runtime import random_state, restore_random_state
from pochi_cli.inspection.preserving import preserved


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Put back, after the block, training flags, buffers and every global source of randomness.

    Parameters, their gradients and hooks are left alone by the block itself.
    """
    state = random_state()
    try:
        with preserved(model):
            yield
    finally:
        restore_random_state(state)


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
