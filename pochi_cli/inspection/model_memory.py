"""Memory of a training step of any batch size, measured on a few batches."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.utils._pytree import tree_leaves

from pochi_cli.inspection.model_costs import Growth, Measured, TrainingMemory, decisive
from pochi_cli.inspection.model_probing import batch_of, byte_size
from pochi_cli.inspection.model_step import (
    Autocast,
    Loss,
    SavedBytes,
    Step,
    measure_step,
    same,
    trained_parameters,
)
from pochi_cli.models.factory import shapes_only
from pochi_cli.models.freezing import train_mode

_MEASURED = (2, 4)
"""Batch sizes that are measured; batch normalisation cannot normalise one image."""

_PAIRED = (2, 4, 16, 64, 256, 512, 1024, 2048)
"""Batch sizes that are measured where a loss compares all pairs. It works on blocks of bounded size, so that
only the last ones tell how memory grows further on."""
_LONGEST_S = 4.0
"""A step that is likely to take longer is not measured."""
_SHORT_S = 0.25
"""From a step that took less none can tell how long a larger one will."""

PairLoss = Callable[[Tensor, object], Tensor]


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
    averaged_weights: int = 0,
    accumulate_steps: int = 1,
    loss: Loss = mean_square,
    autocast: Autocast = nullcontext,
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
        averaged_weights: Bytes of a copy of the network, which does too.
        accumulate_steps: Batches of an optimizer step: from the second on there are gradients beforehand.
        loss: Makes a loss, (), of what the network gives.
        autocast: Makes the context of the forward pass.
        on_batch: Called when a batch is done.

    Raises:
        ValueError: No output depends on a parameter that is trained, or an input has no samples.
    """
    steps = []
    for batch_size in _MEASURED:
        batch = batch_of(inputs, batch_size)
        steps.append(measure_step(model, batch, loss, autocast, accumulates=accumulate_steps > 1))
        on_batch()
    small, large = steps
    if len(small.course) == len(large.course):
        pairs = list(zip(small.course, large.course, strict=True))
    else:  # the course itself depends on the batch: only the peaks can be held beside each other
        pairs = [(max(small.course), max(large.course))]
    return TrainingMemory(
        parameters=sum(map(byte_size, model.parameters())),
        buffers=sum(map(byte_size, model.buffers())),
        gradients=sum(map(byte_size, trained_parameters(model))),
        optimizer_state=optimizer_state,
        input_per_sample=sum(byte_size(tensor[:1]) for tensor in inputs),
        activations=_growth(small.saved, large.saved),
        moments=decisive([_growth(few, many) for few, many in pairs]),
        measured=_MEASURED,
        averaged_weights=averaged_weights,
        batches=accumulate_steps,
    )


def measure_paired_memory(
    model: nn.Module,
    vectors: Tensor,
    loss: PairLoss,
    *,
    batch_sizes: Sequence[int] = _PAIRED,
    usable: float = float("inf"),
    optimizer_state: int = 0,
    averaged_weights: int = 0,
    accumulate_steps: int = 1,
    autocast: Autocast = nullcontext,
) -> TrainingMemory:
    """Measure what a training step takes whose loss compares all pairs of a batch.

    What the loss takes grows with the square of the batch, and its work is cut into blocks, so steps of
    several sizes are run, the largest last, while the next is likely to fit into memory and to take a few
    seconds. Beyond the last one, all that it took more than the smallest is taken to grow with the square.

    Afterwards the model and all random states are bit-identical.

    Args:
        model: An encoder, with at least one parameter that is trained; run in training mode.
        vectors: A sample of its input (1, D), for dtype and device. Batches are random: of equal vectors, the
            loss would take another course.
        loss: Makes a loss, (), of a batch (B, D) and what the network gives for it.
        batch_sizes: Rising, at least two.
        usable: Bytes that a step may take.
        optimizer_state: Bytes of the optimizer's state.
        averaged_weights: Bytes of a copy of the network.
        accumulate_steps: Batches of an optimizer step.
        autocast: Makes the context of the forward pass.

    Raises:
        ValueError: The loss depends on no parameter that is trained.
    """
    steps: dict[int, Step] = {}
    for batch_size in batch_sizes:
        if len(steps) > 1 and not _is_likely_to_fit(steps, batch_size, usable):
            break
        numbers = torch.Generator().manual_seed(batch_size)
        batch = torch.rand(batch_size, *vectors.shape[1:], generator=numbers).to(vectors)
        steps[batch_size] = measure_step(
            model, (batch,), partial(loss, batch), autocast, accumulates=accumulate_steps > 1
        )
    sizes = tuple(steps)
    return TrainingMemory(
        parameters=sum(map(byte_size, model.parameters())),
        buffers=sum(map(byte_size, model.buffers())),
        gradients=sum(map(byte_size, trained_parameters(model))),
        optimizer_state=optimizer_state,
        input_per_sample=byte_size(vectors[:1]),
        activations=Measured(sizes, tuple(float(step.saved + step.saved_by_loss) for step in steps.values())),
        moments=(_peaks(steps),),
        measured=sizes,
        averaged_weights=averaged_weights,
        batches=accumulate_steps,
    )


def _peaks(steps: Mapping[int, Step]) -> Measured:
    return Measured(tuple(steps), tuple(float(max(step.course)) for step in steps.values()))


def _is_likely_to_fit(steps: Mapping[int, Step], batch_size: int, usable: float) -> bool:
    """Tell from smaller steps whether a larger one will fit into memory, and take a few seconds."""
    last = max(steps)
    duration_s = steps[last].duration_s
    if duration_s > _SHORT_S and duration_s * (batch_size / last) ** 2 > _LONGEST_S:
        return False
    return _peaks(steps).of(batch_size) <= usable


def least_memory(model: nn.Module, shape: Sequence[int]) -> int:
    """Tell what a training step takes at least on the batches that are measured, without taking it.

    The forward pass runs on the meta device, on a copy that holds shapes only.

    Args:
        model: A network that takes one batch of floating-point numbers and can be copied so.
        shape: Of a sample, without the batch.

    Returns:
        Bytes of the batch and of what the forward pass saves, in float32.
    """
    shapes = shapes_only(model)
    train_mode(shapes)
    few, many = _MEASURED
    inputs = torch.empty(few, *shape, device="meta")
    saved = SavedBytes([*shapes.parameters(), *shapes.buffers()])
    with torch.enable_grad(), saved_tensors_hooks(saved.note, same):
        outputs = shapes(inputs)
    del outputs
    return many // few * max(saved.bytes, byte_size(inputs))


def _growth(small: float, large: float) -> Growth:
    few, many = _MEASURED
    per_sample = (large - small) / (many - few)
    return Growth(small - few * per_sample, per_sample)
