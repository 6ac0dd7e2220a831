"""Seeing each output of the layers of a network, and of the activation functions that it calls."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from pochi_cli.inspection.activation_layers import (
    Layer,
    activation_functions,
    describe_function,
    named_layers,
)
from pochi_cli.inspection.running import plain_name, running_openly


class Call(NamedTuple):
    """Which output it is.

    Attributes:
        name: Dotted name of the module; of the innermost around it for a function.
        function: The function, if it is one.
        number: Which call of it in this forward pass, from 1.
    """

    name: str
    function: str | None
    number: int


Report = Callable[[Call, Layer, Tensor], None]


@contextmanager
def watching(model: nn.Module, report: Report) -> Iterator[Callable[[], None]]:
    """Report each output at once, before a later layer may change it in place.

    The hooks are removed afterwards.

    Args:
        model: Any network.
        report: Called with each floating, dense and not empty output, in the order of execution.

    Yields:
        What to call before each forward pass; a call of the model itself begins one as well.
    """
    watcher = _Watcher(report)
    with ExitStack() as undo:
        undo.enter_context(running_openly())
        layers = {id(module): layer for _, module, layer in named_layers(model)}
        for name, module in model.named_modules():
            running = _Running(plain_name(name), layers.get(id(module)))
            for handle in watcher.hooks(module, running, is_model=module is model):
                undo.callback(handle.remove)
        undo.enter_context(watcher)
        yield watcher.begin


class _Running(NamedTuple):
    name: str
    layer: Layer | None


class _Watcher(TorchFunctionMode):
    """Knows which modules run, and sees the functions that they call."""

    def __init__(self, report: Report) -> None:
        super().__init__()
        self._report = report
        self._functions = activation_functions()
        self._running: list[_Running] = []
        self._calls: Counter[tuple[str, str | None]] = Counter()
        self._last: Tensor | None = None
        self._is_telling = False

    def begin(self) -> None:
        """Begin a forward pass."""
        self._calls.clear()
        self._running.clear()
        self._last = None

    def hooks(self, module: nn.Module, running: _Running, *, is_model: bool) -> Iterator[Any]:
        """Register what a module needs; gives the handles."""

        def enter(*_: object) -> None:
            if is_model and not self._running:
                self.begin()
            self._running.append(running)

        def leave(_module: nn.Module, _inputs: object, output: object) -> None:
            if self._running:
                self._running.pop()
            if running.layer is not None and (tensor := _tensor_of(output)) is not self._last:
                self._tell(running.name, None, running.layer, tensor)

        yield module.register_forward_pre_hook(enter)
        yield module.register_forward_hook(leave)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        output = func(*args, **(kwargs or {}))
        name = self._functions.get(func)
        if name is None or self._is_telling:
            return output
        around = self._running[-1] if self._running else _Running("", None)
        if around.layer is None or around.layer.kind != "activation":
            layer = describe_function(name, args, kwargs or {})
            if layer is not None:
                self._tell(around.name, name, layer, output)
                # A module that returns the very same tensor, such as a ReLU of one's own, is not told again.
                self._last = output
        return output

    def _tell(self, name: str, function: str | None, layer: Layer, tensor: object) -> None:
        if not isinstance(tensor, Tensor) or not tensor.is_floating_point() or tensor.layout != torch.strided:
            return
        self._calls[name, function] += 1
        if tensor.ndim and tensor.numel():
            self._is_telling = True  # what is computed of an output is none of the network's
            try:
                self._report(Call(name, function, self._calls[name, function]), layer, tensor)
            finally:
                self._is_telling = False


def _tensor_of(output: object) -> object:
    """Take the states of a recurrent layer, which come first, perhaps packed."""
    first = output[0] if isinstance(output, tuple) and output else output
    return first.data if isinstance(first, nn.utils.rnn.PackedSequence) else first
