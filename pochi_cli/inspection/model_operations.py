"""The layers of a network with their parameters, shapes and operations, from one forward pass."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from pochi_cli.engine.preserving import untouched
from pochi_cli.errors import ModelError, first_line
from pochi_cli.inspection.model_structure import FLOPS_PER_MAC, Layer, ModelStructure
from pochi_cli.inspection.running import running_openly
from pochi_cli.models.blocks import blocks_of
from pochi_cli.models.factory import shapes_only

_FAILURES = (RuntimeError, ValueError, AssertionError, TypeError, IndexError)
"""What layers raise for an input that they cannot take, or a device that they cannot run on."""


def _vector_flops(a_shape: tuple[int, ...], *_: object, **__: object) -> int:
    """Count the operations of a matrix or vector times a vector."""
    return FLOPS_PER_MAC * math.prod(a_shape)


def _added_vector_flops(_: object, a_shape: tuple[int, ...], *__: object, **___: object) -> int:
    return FLOPS_PER_MAC * math.prod(a_shape)


def _trilinear_flops(
    first: Sequence[int],
    weight: Sequence[int],
    second: Sequence[int],
    first_missing: Sequence[int],
    weight_missing: Sequence[int],
    second_missing: Sequence[int],
    summed: Sequence[int],
    *_: object,
    **__: object,
) -> int:
    """Count the operations of a sum of products of three tensors, such as `nn.Bilinear`'s.

    Two are multiplied and summed over the dimensions that the third lacks, then the result and the third.
    """
    shapes = [_expanded(first, first_missing), _expanded(weight, weight_missing)]
    pair = [max(sizes) for sizes in zip(*shapes, strict=True)]
    early = [at for at in summed if at in second_missing]
    left = [1 if at in early else size for at, size in enumerate(pair)]
    triple = [max(sizes) for sizes in zip(left, _expanded(second, second_missing), strict=True)]
    return FLOPS_PER_MAC * int(math.prod(pair) + math.prod(triple))


def _expanded(shape: Sequence[int], missing: Sequence[int]) -> list[int]:
    sizes = [*shape]
    for at in sorted(missing):
        sizes.insert(at, 1)
    return sizes


_BESIDE = {
    torch.ops.aten._trilinear: _trilinear_flops,  # noqa: SLF001 - it has no other name
    torch.ops.aten.mv: _vector_flops,
    torch.ops.aten.dot: _vector_flops,
    torch.ops.aten.addmv: _added_vector_flops,
}
"""Products that torch's table of operations leaves out."""

_COSTLY = re.compile(
    r"_?linalg_(?!vector_norm|cross|diagonal)|_?fft_|_?cdist|.*cholesky|.*triangular_solve|lu_|geqrf|ormqr"
    r"|.*(mm|rnn|rnn_layer)$"
)
"""Names of torch's operations that may take as much as products of matrices."""
_OWN = ("aten", "prim", "prims", "profiler")
"""Name spaces of torch itself."""


def describe_structure(model: nn.Module, *inputs: Tensor) -> ModelStructure:
    """Describe the layers of a network, and count the operations of a forward pass in eval mode.

    The pass runs on the meta device, on a copy that holds shapes only, so it costs neither memory nor
    arithmetic; a network that cannot be copied so, or whose course depends on values, runs itself. Attention
    is computed in the open, product by product, so that none is hidden in a fused kernel. Afterwards the
    model and all random states are bit-identical.

    Args:
        model: Any network; one wrapped by `torch.compile` runs uncompiled.
        inputs: Its positional arguments, of any values.

    Raises:
        ModelError: The network cannot take these inputs.
    """
    try:
        shapes = shapes_only(model)
        seen, uncounted = _watch(shapes, tuple(torch.empty_like(tensor, device="meta") for tensor in inputs))
        device = "meta"
    except _FAILURES:
        try:
            seen, uncounted = _watch(model, inputs)
        except _FAILURES as error:
            told = ", ".join(_shape_text(tensor.shape) for tensor in inputs)
            raise ModelError(
                f"the network cannot take an input of shape {told}: {first_line(error)}"
            ) from error
        device = str(inputs[0].device) if inputs else "cpu"
    return ModelStructure(
        layers=tuple(_layers(model, seen)),
        buffers=sum(buffer.numel() for buffer in model.buffers()),
        input_shapes=tuple(tuple(tensor.shape) for tensor in inputs),
        device=device,
        uncounted=uncounted,
    )


class _Seen:
    """What a forward pass showed of the modules, by their names.

    Attributes:
        shapes: Shape of the first output.
        calls: How often each was called.
        flops: Operations of its calls, those of the modules within included.
    """

    def __init__(self) -> None:
        self.shapes: dict[str, tuple[int, ...] | None] = {}
        self.calls: Counter[str] = Counter()
        self.flops: Counter[str] = Counter()
        self._begun: list[list[int]] = []

    def begin(self, total: int) -> None:
        """Note that a module begins, when so many operations were done."""
        self._begun.append([total, 0])

    def end(self, name: str, total: int, output: object) -> None:
        """Note that the module that began last ends; what it did itself is its own."""
        start, within = self._begun.pop()
        self.flops[name] += total - start - within
        self.calls[name] += 1
        if name not in self.shapes:
            tensors = (leaf for leaf in tree_leaves(output) if isinstance(leaf, Tensor))
            self.shapes[name] = next((tuple(tensor.shape) for tensor in tensors), None)
        if self._begun:
            self._begun[-1][1] += total - start


class _Uncounted(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Notes the costly operations that a counter does not know.

    Attributes:
        names: Theirs.
    """

    def __init__(self, counter: FlopCounterMode) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.names: set[str] = set()
        self._known = counter.flop_registry

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run an operation, and note it."""
        operation = func.overloadpacket
        if operation not in self._known:
            space, _, name = operation._qualified_op_name.partition("::")  # noqa: SLF001
            if space not in _OWN or _COSTLY.match(name):
                self.names.add(str(operation))
        return func(*args, **(kwargs or {}))


def _watch(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[_Seen, tuple[str, ...]]:
    counter = FlopCounterMode(display=False, custom_mapping=_BESIDE)
    uncounted = _Uncounted(counter)
    with untouched(model), running_openly(), sdpa_kernel(SDPBackend.MATH), torch.no_grad():
        model.eval()
        with _noting(model, counter) as seen, uncounted, counter:
            model(*inputs)
    return seen, tuple(sorted(uncounted.names))


@contextmanager
def _noting(model: nn.Module, counter: FlopCounterMode) -> Iterator[_Seen]:
    seen = _Seen()
    handles = []
    for name, module in model.named_modules():

        def begin(*_: object) -> None:
            seen.begin(counter.get_total_flops())

        def end(_module: nn.Module, _inputs: object, output: object, name: str = name) -> None:
            seen.end(name, counter.get_total_flops(), output)

        handles += [module.register_forward_pre_hook(begin), module.register_forward_hook(end)]
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def _layers(model: nn.Module, seen: _Seen) -> Iterator[Layer]:
    block = blocks_of([name for name, _ in model.named_parameters()])
    counted: set[int] = set()
    for name, module in model.named_modules():
        own = [
            (f"{name}.{key}" if name else key, parameter)
            for key, parameter in module.named_parameters(recurse=False)
            if id(parameter) not in counted
        ]
        counted.update(id(parameter) for _, parameter in own)
        macs = seen.flops[name] // FLOPS_PER_MAC
        if any(module.children()) and not own and not macs:
            continue
        yield Layer(
            name=name,
            type=type(module).__name__,
            block=block[own[0][0]] if own else _block(name),
            parameters=sum(parameter.numel() for _, parameter in own),
            trainable=sum(parameter.numel() for _, parameter in own if parameter.requires_grad),
            output_shape=seen.shapes.get(name),
            calls=seen.calls[name],
            macs=macs,
        )


def _block(name: str) -> str:
    inside = f"{name}.weight" if name else "weight"
    return blocks_of([inside])[inside]


def _shape_text(shape: torch.Size) -> str:
    return "(" + ", ".join(map(str, shape)) + ")"
