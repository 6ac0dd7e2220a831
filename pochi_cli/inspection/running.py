"""What of a network runs, seen from inside a forward pass."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import nn


class Running(NamedTuple):
    """A module whose forward pass is going on.

    Attributes:
        name: Dotted; empty for the whole network.
        module: The module.
        inputs: Its positional arguments.
    """

    name: str
    module: nn.Module
    inputs: tuple[Any, ...]


@contextmanager
def running_modules(model: nn.Module) -> Iterator[list[Running]]:
    """Keep, inside the block, a list of the modules that run, the innermost last.

    A module with several names has the first. The hooks are removed afterwards.
    """
    running: list[Running] = []
    handles = []
    for name, module in model.named_modules():

        def begin(module: nn.Module, inputs: tuple[Any, ...], name: str = name) -> None:
            running.append(Running(name, module, inputs))

        def end(*_: object) -> None:
            running.pop()

        handles.append(module.register_forward_pre_hook(begin))
        handles.append(module.register_forward_hook(end, always_call=True))
    try:
        yield running
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def running_openly() -> Iterator[None]:
    """Keep torch's fused Transformer layers and compilation from bypassing modules inside the block."""
    is_fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with torch.compiler.set_stance("force_eager"):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
