"""Looking at a network without changing it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from pochi_cli.engine.runtime import random_state, restore_random_state


@contextmanager
def preserved(model: nn.Module) -> Iterator[None]:
    """Put back, after the block, each module's training flag and each buffer, bit by bit.

    A forward pass in training mode changes buffers, such as the running statistics of batch norms. The block
    itself must leave parameters, their gradients and hooks alone.

    Args:
        model: Any network; it costs a copy of its buffers.
    """
    modules = list(model.modules())
    flags = [module.training for module in modules]
    buffers = [
        (module, name, buffer, buffer.detach().clone())
        for module in modules
        for name, buffer in module.named_buffers(recurse=False)
    ]
    try:
        yield
    finally:
        for module, flag in zip(modules, flags, strict=True):
            module.training = flag
        with torch.no_grad():
            for module, name, buffer, value in buffers:
                buffer.copy_(value)
                setattr(module, name, buffer)  # a forward pass may have put another tensor in its place


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
