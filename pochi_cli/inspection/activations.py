"""What the layers of a network put out, over many batches, without keeping any of it."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

import torch
from torch import Tensor, nn

from pochi_cli.engine.preserving import untouched
from pochi_cli.inspection.activation_calls import Call, watching
from pochi_cli.inspection.activation_layers import Layer, Units, unit_axis
from pochi_cli.inspection.activation_record import ActivationSurvey
from pochi_cli.inspection.activation_statistics import LayerStatistics

BatchT = TypeVar("BatchT")


def _call_model(model: nn.Module, batch: object) -> object:
    return model(batch)


def survey_activations(
    model: nn.Module,
    batches: Iterable[BatchT],
    call: Callable[[nn.Module, BatchT], object] = _call_model,
    on_batch: Callable[[int], None] = lambda _: None,
) -> ActivationSurvey:
    """Compute the statistics of every layer's outputs over batches, in eval mode and without gradients.

    A layer is a convolution, a linear layer, a norm, attention, a recurrent layer or an activation, be it a
    module or a function such as `torch.relu`; see `activation_layers.named_layers` for the others. One that
    runs several times in a forward pass is several: each call has statistics of its own. Nothing is kept but
    these: memory does not grow with the number of batches.

    Afterwards the model is bit-identical: parameters, their `grad`, buffers, training flags and hooks; and so
    is the state of every global source of randomness.

    Args:
        model: Any network. A compiled one runs eagerly.
        batches: Any values; each is handed to `call` once.
        call: Makes the forward pass of a batch by calling the model.
        on_batch: Called with the number of batches done.

    Returns:
        The statistics of the finite values, layers in the order in which they first ran.

    Raises:
        ValueError: There is no batch, or no layer put out anything.
    """
    statistics: dict[Call, LayerStatistics] = {}
    before: Units | None = None

    def note(which: Call, layer: Layer, output: Tensor) -> None:
        nonlocal before
        axis = unit_axis(tuple(output.shape), layer.units, before)
        if layer.kind != "activation":
            before = Units(axis if axis < output.ndim - 1 else -1, output.shape[axis])
        if which not in statistics:
            statistics[which] = LayerStatistics(which, layer, output, axis)
        statistics[which].add(output, axis)

    count = 0
    with (
        untouched(model),
        torch.no_grad(),
        watching(model, note) as begin,
    ):
        model.eval()
        for count, batch in enumerate(batches, start=1):
            begin()
            before = None
            call(model, batch)
            on_batch(count)
    if not count:
        raise ValueError("there is no batch to compute activations for")
    if not statistics:
        raise ValueError("no layer of the network put out anything")
    return ActivationSurvey(tuple(one.result() for one in statistics.values()), count)
