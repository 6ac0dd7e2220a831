"""A network in words and cells. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pochi_cli.inspection.model_costs import MOST_SAMPLES, SpeedSweep
from pochi_cli.inspection.model_report import ModelReport, Origin, StepCosts
from pochi_cli.inspection.model_structure import Layer, ModelStructure
from pochi_cli.inspection.model_weights import WeightStatistics

Table = tuple[tuple[str, ...], list[tuple[str, ...]]]
"""The names of columns, and rows of cells."""

LAYER_HEADER = ("layer", "type", "output", "parameters", "frozen", "MMAC", "of all", "calls")
LAYER_NUMBERS = LAYER_HEADER[2:]
LAYER_LEFT_OUT = ("calls", "of all", "frozen", "type", "output")
"""Columns that a narrow terminal goes without, in this order."""

MEMORY_HEADER = (
    "batch",
    "inputs",
    "activations",
    "gradients",
    "optimizer",
    "average",
    "parameters",
    "peak",
    "fits",
)
MEMORY_NUMBERS = MEMORY_HEADER[:-1]
MEMORY_LEFT_OUT = ("inputs", "parameters", "average", "optimizer", "gradients")

SPEED_HEADER = ("batch", "median ms", "p95 ms", "per second", "runs")
SPEED_NUMBERS = SPEED_HEADER

_ATTENTION = "MultiheadAttention"
_TOLD_BATCHES = (1, 4, 16, 64, 256)
_COUNTED = (
    "products of matrices and convolutions, those of attention included; element-wise operations, such as "
    "activations, norms and poolings, are not"
)


def describe_report(report: ModelReport) -> tuple[str, list[tuple[str, str]]]:
    """Write a heading, and what was found of the whole network as names and values."""
    origin = report.origin
    fields = [
        ("network", f"{origin.network}, {origin.task}"),
        *_weights_fields(origin, report.weights),
        *_structure_fields(report.structure),
        *([] if report.memory is None else _memory_fields(report.memory)),
    ]
    if report.unmeasured is not None:
        fields.append(("not measured", report.unmeasured))
    return f"Model of {origin.name}", fields


def _weights_fields(origin: Origin, weights: WeightStatistics) -> Iterator[tuple[str, str]]:
    if origin.checkpoint is None:
        yield "weights", "none: the network of a config is not trained, and its random weights are not judged"
    else:
        kind = "averaged weights" if origin.is_averaged else "weights"
        yield "weights", f"{origin.checkpoint.name}, {kind} after epoch {origin.epoch}"
    for remark in origin.remarks:
        yield "note", remark
    yield (
        "values",
        f"mean {weights.mean:.3g}, std {weights.std:.3g}, {100 * weights.sparsity:.2g} % below 1e-6"
        + (f", {weights.non_finite:,} not finite" if weights.non_finite else ""),
    )


def _structure_fields(structure: ModelStructure) -> Iterator[tuple[str, str]]:
    yield "input", ", ".join(map(shape_text, structure.input_shapes))
    yield (
        "parameters",
        f"{structure.parameters:,}: {structure.trainable:,} trained, {structure.frozen:,} frozen; beside "
        f"them {structure.buffers:,} in buffers",
    )
    yield "operations", f"{quantity(structure.macs)}MAC = {quantity(structure.flops)}FLOP for one input"
    yield "counted", _COUNTED
    if structure.uncounted:
        yield "not counted", f"{', '.join(structure.uncounted)}: their operations are not known"


def _memory_fields(memory: StepCosts) -> Iterator[tuple[str, str]]:
    batch = memory.batch
    count = memory.training.batches
    batches = (
        f"batches of {memory.batch_size:,}" if count == 1 else f"{count} batches of {memory.batch_size:,}"
    )
    yield (
        "training step",
        f"{mebibytes(batch.peak)} at its peak with {batches} ({memory.precision}, {memory.optimizer}"
        f"{', averaged weights' if batch.averaged_weights else ''}, on {memory.device})",
    )
    if memory.available is None or memory.largest_batch is None:
        yield "fits", "the system does not tell how much memory is free"
    elif memory.largest_batch == 0:
        yield "fits", f"no batch into the {mebibytes(memory.available)} that are free"
    else:
        more = " or more" if memory.largest_batch == MOST_SAMPLES else ""
        yield (
            "fits",
            f"batches of about {memory.largest_batch:,}{more} into the {mebibytes(memory.available)} that "
            "are free, with what the process takes beside its tensors",
        )


def layer_table(structure: ModelStructure) -> Table:
    """Write the layers as cells below those of `LAYER_HEADER` that are not empty."""
    return _filled(LAYER_HEADER, [_layer_row(layer, structure) for layer in structure.layers])


def _layer_row(layer: Layer, structure: ModelStructure) -> tuple[str, ...]:
    frozen = layer.parameters - layer.trainable
    return (
        layer.label,
        layer.type,
        _output_text(layer, structure),
        f"{layer.parameters:,}" if layer.parameters else "",
        f"{frozen:,}" if frozen else "",
        f"{layer.macs / 1e6:,.3f}" if layer.macs else "",
        f"{100 * layer.macs / structure.macs:.1f} %" if layer.macs else "",
        f"{layer.calls:,}",
    )


def _output_text(layer: Layer, structure: ModelStructure) -> str:
    if layer.output_shape is not None:
        return shape_text(layer.output_shape)
    if layer.calls or not layer.parameters:
        return ""
    parent = layer.name.rpartition(".")[0]
    # Attention uses the parameters of its output projection itself.
    is_used = any(other.name == parent and other.type == _ATTENTION for other in structure.layers)
    return "in its parent" if is_used else "not called"


def _filled(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    """Leave out the columns in which no row has anything."""
    kept = [at for at in range(len(header)) if any(row[at] for row in rows)]
    return tuple(header[at] for at in kept), [tuple(row[at] for at in kept) for row in rows]


def memory_table(memory: StepCosts) -> Table:
    """Write what training steps of several batch sizes take, in MiB, as cells below `MEMORY_HEADER`.

    Columns that are empty are left out.
    """
    rows = []
    for batch_size in sorted({*_TOLD_BATCHES, memory.batch_size}):
        batch = memory.training.of(batch_size)
        held = batch.parameters + batch.buffers
        average = _mib(batch.averaged_weights) if batch.averaged_weights else ""
        sizes = map(_mib, (batch.inputs, batch.activations, batch.gradients, batch.optimizer_state))
        fits = "" if memory.largest_batch is None else "yes" if batch_size <= memory.largest_batch else "no"
        rows.append((f"{batch_size:,}", *sizes, average, _mib(held), _mib(batch.peak), fits))
    return _filled(MEMORY_HEADER, rows)


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}"


def speed_rows(speed: SpeedSweep) -> list[tuple[str, ...]]:
    """Write the durations of forward passes as cells below `SPEED_HEADER`."""
    return [
        (
            f"{one.batch_size:,}",
            f"{one.median_ms:,.2f}",
            f"{one.p95_ms:,.2f}",
            f"{one.samples_per_s:,.1f}",
            f"{one.runs:,}",
        )
        for one in speed.speeds
    ]


def speed_title(speed: SpeedSweep) -> str:
    """Say how forward passes were measured."""
    threads = "" if speed.threads is None else f", {_count(speed.threads, 'thread')}"
    return f"Inference in eval mode on {speed.device}{threads}, {speed.precision}"


def left_out(speed: SpeedSweep) -> str:
    """Say which batch sizes were not measured; empty where all were."""
    numbers = ", ".join(map(str, speed.left_out))
    return f"not measured, for want of time or memory: batches of {numbers}" if numbers else ""


def memory_title(memory: StepCosts) -> str:
    """Say how the memory of a training step was found."""
    sizes = memory.training.measured
    if len(sizes) == 2:
        return f"Tensors of a training step in MiB, from steps of {sizes[0]} and {sizes[1]}"
    return (
        f"Tensors of a training step in MiB, from steps of {sizes[0]} to {sizes[-1]:,}; more grow with the "
        "square of the batch"
    )


def caption(origin: Origin) -> str:
    """Write what a picture of the network is headed with."""
    if origin.checkpoint is None:
        return f"{origin.network} of {origin.name}, not trained"
    return f"{origin.network} of {origin.name}, {origin.checkpoint.name}"


def shape_text(shape: Iterable[int]) -> str:
    """Write a shape."""
    return " x ".join(map(str, shape))


def quantity(number: float) -> str:
    """Write a large number with four digits and the prefix of a unit, such as `1.814 G`."""
    for size, prefix in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.4g} {prefix}"
    return f"{number:g} "


def mebibytes(size: float) -> str:
    """Write a number of bytes, in GiB where they are many."""
    return f"{size / 2**30:,.2f} GiB" if size >= 2**30 else f"{size / 2**20:,.1f} MiB"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"
