"""What of a network runs, seen from inside a forward pass."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NamedTuple

import torch
from torch import nn

_COMPILED = "_orig_mod"
"""What `torch.compile` puts into the names of a network's modules."""


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
    for full_name, module in model.named_modules():
        name = plain_name(full_name)

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


def plain_name(name: str) -> str:
    """Give a module of a compiled network the name that it has without."""
    return ".".join(part for part in name.split(".") if part != _COMPILED)


@contextmanager
def running_openly() -> Iterator[None]:
    """Keep torch's fused Transformer layers and compilation from bypassing modules inside the block."""
    is_fused = torch.backends.mha.get_fastpath_enabled()
    # Unless it is loaded nothing can be compiled; and to load it takes a second.
    eager = torch.compiler.set_stance("force_eager") if "torch._dynamo" in sys.modules else nullcontext()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with eager:
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(is_fused)
