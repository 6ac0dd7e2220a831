"""What lives in memory during one training step."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from itertools import accumulate

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks

from pochi_cli.engine.footprint import LiveBytes
from pochi_cli.engine.preserving import untouched
from pochi_cli.inspection.model_probing import byte_size
from pochi_cli.models.freezing import train_mode

Loss = Callable[[object], Tensor]
Autocast = Callable[[], AbstractContextManager[object]]


@dataclass(frozen=True)
class Step:
    """What a step took, in bytes, and how long.

    Attributes:
        course: What lived beside the network and its inputs, each time something was made.
        saved: What the forward pass saved of it.
        saved_by_loss: What the loss saved of it beside that.
        duration_s: Seconds.
    """

    course: tuple[int, ...]
    saved: int
    saved_by_loss: int
    duration_s: float


def measure_step(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    loss: Loss,
    autocast: Autocast,
    *,
    accumulates: bool,
) -> Step:
    """Run the forward and the backward pass of a step, and see what they make.

    Afterwards the model and all random states are bit-identical.

    Args:
        model: Any network; run in training mode.
        inputs: Its positional arguments.
        loss: Makes a loss, (), of what it gives.
        autocast: Makes the context of the forward pass.
        accumulates: Whether this is a later batch of an optimizer step, which finds gradients there.

    Raises:
        ValueError: The loss depends on no parameter that is trained.
    """
    there = [*model.parameters(), *model.buffers(), *inputs]
    trained = trained_parameters(model)
    saved = SavedBytes(there)
    live = LiveBytes(there)
    start = time.perf_counter()
    with untouched(model), torch.enable_grad(), live:
        train_mode(model)
        with saved_tensors_hooks(saved.note, same), autocast():
            # Not model(...): it may be compiled, for other batches than these.
            outputs = model.forward(*inputs)
        by_forward = saved.bytes
        with saved_tensors_hooks(saved.note, same):
            value = loss(outputs)
        if not trained or not value.requires_grad:
            raise ValueError("the output depends on no parameter that is trained")
        del outputs
        # Not `backward`, which would leave gradients behind and set off hooks.
        with _noting_gradients(trained, live) as made:
            torch.autograd.grad(value, trained, allow_unused=True)
    course = _accumulated(live.course, made, sum(map(byte_size, trained))) if accumulates else live.course
    return Step(tuple(course), by_forward, saved.bytes - by_forward, time.perf_counter() - start)


def trained_parameters(model: nn.Module) -> list[nn.Parameter]:
    """List the parameters that have gradients."""
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


@contextmanager
def _noting_gradients(trained: Sequence[nn.Parameter], live: LiveBytes) -> Iterator[list[tuple[int, int]]]:
    """Note when each gradient is there: how many storages had been made, and its bytes."""
    made: list[tuple[int, int]] = []
    handles = []
    had_none = [parameter for parameter in trained if parameter._backward_hooks is None]  # noqa: SLF001
    for parameter in trained:

        def note(gradient: Tensor) -> None:
            made.append((len(live.course), byte_size(gradient)))

        handles.append(parameter.register_hook(note))  # type: ignore[no-untyped-call]
    try:
        yield made
    finally:
        for handle in handles:
            handle.remove()
        for parameter in had_none:
            parameter._backward_hooks = None  # noqa: SLF001 - an empty table would be left


def _accumulated(course: Sequence[int], made: Sequence[tuple[int, int]], gradients: int) -> list[int]:
    """Turn the course of a step's first batch into that of a later one.

    All gradients are there from the beginning, and each new one is added to its own and gone.
    """
    gone = [0] * (len(course) + 1)
    for place, size in made:
        gone[place] += size
    return [live - past + gradients for live, past in zip(course, accumulate(gone[:-1]), strict=True)]


class SavedBytes:
    """Counts the bytes of the storages that a forward pass saves, each once.

    Args:
        there: Tensors that are not counted.

    Attributes:
        bytes: Of all of them.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        self.bytes = 0
        self._known = {_key(tensor) for tensor in there}

    def note(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is saved."""
        if (key := _key(tensor)) not in self._known:
            self._known.add(key)
            self.bytes += tensor.untyped_storage().nbytes()
        return tensor


def _key(tensor: Tensor) -> int:
    """Tell storages apart: by their addresses, or on the meta device, where all are at 0, by torch's own."""
    storage = tensor.untyped_storage()
    return int(storage._cdata) if tensor.is_meta else storage.data_ptr()  # noqa: SLF001


def same(tensor: Tensor) -> Tensor:
    """Unpack a saved tensor that was left as it is."""
    return tensor
