"""Memory of a training step, measured on two small batches."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves

from pochi_cli.engine.footprint import LiveBytes
from pochi_cli.inspection.model_costs import Growth, TrainingMemory, decisive
from pochi_cli.inspection.model_probing import batch_of, byte_size, untouched
from pochi_cli.models.freezing import train_mode

_MEASURED = (2, 4)
"""Batch sizes that are measured; batch normalisation cannot normalise one image."""

Loss = Callable[[object], Tensor]


def mean_square(outputs: object) -> Tensor:
    """Compute a loss that depends on every floating-point tensor that a network gives, ()."""
    tensors = [leaf for leaf in tree_leaves(outputs) if isinstance(leaf, Tensor) and leaf.is_floating_point()]
    if not tensors:
        raise ValueError("the network gives no floating-point tensor to derive")
    return torch.stack([tensor.float().square().mean() for tensor in tensors]).sum()


def measure_training_memory(
    model: nn.Module,
    *inputs: Tensor,
    optimizer_state: int = 0,
    loss: Loss = mean_square,
    autocast: Callable[[], AbstractContextManager[object]] = nullcontext,
    on_batch: Callable[[], None] = lambda: None,
) -> TrainingMemory:
    """Measure what a training step takes, on batches of 2 and 4 copies of the first sample.

    Both steps make the same tensors one after the other. So what lives at each moment grows linearly with the
    batch, and the peak for any batch is that of the moment that then has the most: with few samples the end
    of the backward pass, where all gradients are there, with many its beginning. Tensors are counted, as the
    optimizer's fused step works on them in place; what kernels take for themselves is not.

    Afterwards the model and all random states are bit-identical.

    Args:
        model: Any network, with at least one parameter that is trained; run in training mode.
        inputs: Its positional arguments; the first dimension of each counts the samples.
        optimizer_state: Bytes of the optimizer's state, which lives throughout.
        loss: Makes a loss, (), of what the network gives.
        autocast: Makes the context of the forward pass.
        on_batch: Called when a batch is done.

    Raises:
        ValueError: No output depends on a parameter that is trained, or an input has no samples.
    """
    steps = []
    for batch_size in _MEASURED:
        steps.append(_measure_step(model, batch_of(inputs, batch_size), loss, autocast))
        on_batch()
    small, large = steps
    if len(small.course) == len(large.course):
        pairs = list(zip(small.course, large.course, strict=True))
    else:  # the course itself depends on the batch: only the peaks can be held beside each other
        pairs = [(max(small.course), max(large.course))]
    return TrainingMemory(
        parameters=sum(map(byte_size, model.parameters())),
        buffers=sum(map(byte_size, model.buffers())),
        gradients=sum(byte_size(parameter) for parameter in model.parameters() if parameter.requires_grad),
        optimizer_state=optimizer_state,
        input_per_sample=sum(byte_size(tensor[:1]) for tensor in inputs),
        activations=_growth(small.saved, large.saved),
        moments=decisive([_growth(few, many) for few, many in pairs]),
        measured=_MEASURED,
    )


@dataclass(frozen=True)
class _Step:
    """What a step took, in bytes.

    Attributes:
        course: What lived beside the network and its inputs, each time something was made.
        saved: What the forward pass saved of it.
    """

    course: tuple[int, ...]
    saved: int


def _growth(small: float, large: float) -> Growth:
    few, many = _MEASURED
    per_sample = (large - small) / (many - few)
    return Growth(small - few * per_sample, per_sample)


def _measure_step(
    model: nn.Module,
    inputs: tuple[Tensor, ...],
    loss: Loss,
    autocast: Callable[[], AbstractContextManager[object]],
) -> _Step:
    there = [*model.parameters(), *model.buffers(), *inputs]
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    saved = _Saved(there)
    live = LiveBytes(there)
    with untouched(model), torch.enable_grad(), live:
        train_mode(model)
        with saved_tensors_hooks(saved.note, _same), autocast():
            outputs = model.forward(
                *inputs
            )  # not model(...): it may be compiled, for other batches than these
        value = loss(outputs)
        if not trained or not value.requires_grad:
            raise ValueError("the output depends on no parameter that is trained")
        del outputs
        # Not `backward`, which would leave gradients behind and set off hooks.
        torch.autograd.grad(value, trained, allow_unused=True)
    return _Step(tuple(live.course), saved.bytes)


class _Saved:
    """Counts the bytes of the storages that a forward pass saves, each once.

    Args:
        there: Tensors that are not counted.

    Attributes:
        bytes: Of all of them.
    """

    def __init__(self, there: Iterable[Tensor]) -> None:
        self.bytes = 0
        self._known = {tensor.untyped_storage().data_ptr() for tensor in there}

    def note(self, tensor: Tensor) -> Tensor:
        """Count a tensor that is saved."""
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in self._known:
            self._known.add(storage.data_ptr())
            self.bytes += storage.nbytes()
        return tensor


def _same(tensor: Tensor) -> Tensor:
    return tensor
