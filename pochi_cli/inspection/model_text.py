"""A network in words and cells. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pochi_cli.inspection.model_costs import MOST_SAMPLES, SpeedSweep
from pochi_cli.inspection.model_report import ModelReport, Origin, StepCosts
from pochi_cli.inspection.model_structure import Layer, ModelStructure
from pochi_cli.inspection.model_weights import WeightStatistics

LAYER_HEADER = ("layer", "type", "output", "parameters", "frozen", "MMAC", "of all", "calls")
LAYER_NUMBERS = LAYER_HEADER[2:]
LAYER_LEFT_OUT = ("calls", "of all", "frozen", "type", "output")
"""Columns that a narrow terminal goes without, in this order."""

MEMORY_HEADER = ("batch", "inputs", "activations", "gradients", "optimizer", "parameters", "peak", "fits")
MEMORY_NUMBERS = MEMORY_HEADER[:-1]
MEMORY_LEFT_OUT = ("inputs", "parameters", "optimizer", "gradients")

SPEED_HEADER = ("batch", "median ms", "p95 ms", "per second", "runs")
SPEED_NUMBERS = SPEED_HEADER

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
        *_memory_fields(report.memory),
    ]
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


def _memory_fields(memory: StepCosts) -> Iterator[tuple[str, str]]:
    batch = memory.batch
    yield (
        "training step",
        f"{mebibytes(batch.peak)} at its peak with batches of {memory.batch_size:,} ({memory.precision}, "
        f"{memory.optimizer}, on {memory.device})",
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


def layer_rows(structure: ModelStructure) -> list[tuple[str, ...]]:
    """Write the layers as cells below `LAYER_HEADER`."""
    return [_layer_row(layer, structure) for layer in structure.layers]


def _layer_row(layer: Layer, structure: ModelStructure) -> tuple[str, ...]:
    frozen = layer.parameters - layer.trainable
    return (
        layer.label,
        layer.type,
        "" if layer.output_shape is None else shape_text(layer.output_shape),
        f"{layer.parameters:,}" if layer.parameters else "",
        f"{frozen:,}" if frozen else "",
        f"{layer.macs / 1e6:,.3f}" if layer.macs else "",
        f"{100 * layer.macs / structure.macs:.1f} %" if layer.macs else "",
        f"{layer.calls:,}",
    )


def memory_rows(memory: StepCosts) -> list[tuple[str, ...]]:
    """Write what training steps of several batch sizes take, in MiB, as cells below `MEMORY_HEADER`."""
    rows = []
    for batch_size in sorted({*_TOLD_BATCHES, memory.batch_size}):
        batch = memory.training.of(batch_size)
        held = batch.parameters + batch.buffers
        sizes = (batch.inputs, batch.activations, batch.gradients, batch.optimizer_state, held, batch.peak)
        fits = memory.largest_batch is None or batch_size <= memory.largest_batch
        rows.append((f"{batch_size:,}", *(f"{size / 2**20:,.1f}" for size in sizes), "yes" if fits else "no"))
    return rows


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
    few, many = memory.training.measured
    return f"Tensors of a training step in MiB, from steps of {few} and {many} (without the loss)"


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
