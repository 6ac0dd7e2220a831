"""What reaches each layer of a network in a backward pass."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

from pochi_cli.engine.preserving import preserved
from pochi_cli.inspection.gradient_flow import GradientFlow, LayerGradient
from pochi_cli.models.blocks import blocks_of
from pochi_cli.models.freezing import train_mode

BatchT = TypeVar("BatchT")

_CHUNK = 1 << 22
"""Entries that are looked at together in float64: 32 MiB, however large a parameter is."""


def measure_gradient_flow(
    model: nn.Module,
    batches: Iterable[BatchT],
    loss: Callable[[nn.Module, BatchT], Tensor],
    on_batch: Callable[[int], None] = lambda _: None,
) -> GradientFlow:
    """Compute the statistics of each parameter's gradient, averaged over batches, in training mode.

    Afterwards the model is bit-identical: parameters, their `grad`, buffers (running statistics), training
    flags and hooks. Random layers, such as dropout, draw from torch's global generators.

    Args:
        model: Any network. Batch norms whose parameters are all frozen stay in eval mode, as in training.
        batches: Any values; each is handed to `loss` once.
        loss: Computes the loss of a batch, (), by calling the model.
        on_batch: Called with the number of batches done.

    Returns:
        The statistics, in float64. The gradient is the mean of the batches' gradients, as one optimizer step
        accumulates it; for a parameter that only some batches reach, the others count as 0.

    Raises:
        ValueError: There is no batch, or the loss of one depends on no parameter that is trained.
    """
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad and p.numel()}
    sums: dict[str, Tensor] = {}
    count, losses = 0, 0.0
    with preserved(model), _noting_silence(model) as silence:
        train_mode(model)
        for count, batch in enumerate(batches, start=1):
            with torch.enable_grad():
                value = loss(model, batch)
            losses += float(_accumulate(sums, value, trained))
            on_batch(count)
    if not count:
        raise ValueError("there is no batch to compute gradients for")
    names = [name for name, _ in model.named_parameters()]
    block = blocks_of(names)
    return GradientFlow(
        layers=tuple(
            describe_gradient(name, block[name], sums[name], parameter, 1 / count)
            for name, parameter in trained.items()
            if name in sums
        ),
        frozen=tuple(name for name, p in model.named_parameters() if not p.requires_grad),
        unused=tuple((name, block[name]) for name in trained if name not in sums),
        silent=tuple(dict.fromkeys(name for (name, _), is_silent in silence.items() if is_silent)),
        batches=count,
        loss=losses / count,
    )


@contextmanager
def _noting_silence(model: nn.Module) -> Iterator[dict[tuple[str, int], bool]]:
    """Note which layers' outputs are 0 throughout, by their names and the numbers of their calls in a pass.

    A module that holds others is none of them: what it returns is the output of one of these, or made of it.
    """
    silence: dict[tuple[str, int], bool] = {}
    calls: Counter[str] = Counter()

    def note(name: str, output: object) -> None:
        calls[name] += 1
        if isinstance(output, Tensor):
            call = (name, calls[name])
            silence[call] = silence.get(call, True) and not bool(output.any())

    leaves = [(name, module) for name, module in model.named_modules() if name and not any(module.children())]
    handles = [
        module.register_forward_hook(lambda _module, _inputs, output, name=name: note(name, output))
        for name, module in leaves
    ]
    # The first call of a pass is that of the model itself.
    handles.append(model.register_forward_pre_hook(lambda _module, _inputs: calls.clear()))
    try:
        yield silence
    finally:
        for handle in handles:
            handle.remove()


def _accumulate(sums: dict[str, Tensor], loss: Tensor, trained: dict[str, nn.Parameter]) -> Tensor:
    """Add the gradients of a loss to the sums; gives the loss itself."""
    if not trained or not loss.requires_grad:
        raise ValueError("the loss depends on no parameter that is trained")
    # Not `backward`, which would leave gradients behind and set off hooks that may take an optimizer step.
    gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
    for name, gradient in zip(trained, gradients, strict=True):
        if gradient is None:
            continue
        dense = gradient.to_dense() if gradient.is_sparse else gradient
        if name in sums:
            sums[name] += dense
        else:
            # A copy, for two parameters may be given the very same tensor.
            sums[name] = dense.to(torch.promote_types(dense.dtype, torch.float32), copy=True)
    return loss.detach()


def describe_gradient(
    name: str, block: str, gradient: Tensor, parameter: Tensor, scale: float = 1.0
) -> LayerGradient:
    """Compute the statistics of one gradient, in two passes over chunks of it.

    Args:
        name: Of the parameter.
        block: That it belongs to.
        gradient: Of any shape, with at least one entry.
        parameter: Of the same shape.
        scale: What each entry is multiplied by first.
    """
    entries, finite = gradient.numel(), 0
    total, squares, least, largest = 0.0, 0.0, math.inf, -math.inf
    for chunk in _chunks(gradient, scale):
        finite += int(torch.isfinite(chunk).sum())
        total += float(chunk.sum())
        squares += float(chunk.square().sum())
        least, largest = min(least, float(chunk.min())), max(largest, float(chunk.max()))
    if finite < entries:
        lost = math.nan
        return LayerGradient(name, block, entries, entries - finite, lost, lost, lost, lost, lost, lost, None)
    mean, norm = total / entries, math.sqrt(squares)
    deviations = sum(float((chunk - mean).square().sum()) for chunk in _chunks(gradient, scale))
    weight = math.sqrt(sum(float(chunk.square().sum()) for chunk in _chunks(parameter.detach())))
    return LayerGradient(
        name=name,
        block=block,
        entries=entries,
        non_finite=0,
        mean=mean,
        std=math.sqrt(deviations / entries),
        min=least,
        max=largest,
        norm=norm,
        rms=norm / math.sqrt(entries),
        ratio=norm / weight if 0 < weight < math.inf else None,
    )


def _chunks(values: Tensor, scale: float = 1.0) -> Iterator[Tensor]:
    """Yield the entries in float64 on the CPU, for not every device has that."""
    for chunk in torch.split(values.reshape(-1), _CHUNK):
        yield chunk.cpu().double() * scale
