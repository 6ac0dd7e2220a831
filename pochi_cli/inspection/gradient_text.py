"""The gradients of a run in words and cells. Free of torch."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from pochi_cli.inspection.gradient_flow import GradientFlow, LayerGradient
from pochi_cli.inspection.gradient_report import FreshPass, GradientReport

LAYER_HEADER = (
    "layer",
    "norm",
    "mean",
    "std",
    "min",
    "max",
    "RMS",
    "ratio",
    "entries",
    "not finite",
    "block",
)
NUMBERS = LAYER_HEADER[1:-1]
LEFT_OUT = ("block", "entries", "ratio", "RMS", "not finite", "max", "min", "std", "mean")
"""Columns that a narrow terminal goes without, in this order."""
EXTREMES_HEADER = ("layer", "norm", "ratio", "block")

_MOST_NAMES = 6


def layer_rows(layers: Iterable[LayerGradient]) -> list[tuple[str, ...]]:
    """Write the statistics of layers as cells below `LAYER_HEADER`."""
    return [
        (
            layer.name,
            *map(_number, (layer.norm, layer.mean, layer.std, layer.min, layer.max, layer.rms, layer.ratio)),
            f"{layer.entries:,}",
            f"{layer.non_finite:,}",
            layer.block,
        )
        for layer in layers
    ]


def extreme_rows(layers: Iterable[LayerGradient]) -> list[tuple[str, ...]]:
    """Write the smallest or the largest layers as cells below `EXTREMES_HEADER`."""
    return [(layer.name, _number(layer.norm), _number(layer.ratio), layer.block) for layer in layers]


def describe_report(report: GradientReport) -> tuple[str, list[tuple[str, str]]]:
    """Write a heading, and what was inspected as names and values."""
    fields = [("trace", _trace(report.epochs))]
    if report.fresh is None:
        fields.append(("fresh pass", f"none: {report.obstacle}"))
    else:
        fields += _fresh_fields(report.fresh)
    return f"Gradients of {report.run}", fields


def caption(report: GradientReport, fresh: FreshPass) -> str:
    """Write what a picture of the fresh pass is headed with."""
    return f"Gradients of {report.run}, {fresh.checkpoint.name}, over {_batches(fresh)}"


def _trace(epochs: Sequence[int]) -> str:
    if not epochs:
        return "none was recorded (enable_gradient_tracking is off): only the fresh pass is judged"
    if len(epochs) == 1:
        return f"epoch {epochs[0]}"
    return f"{len(epochs)} epochs, {epochs[0]} to {epochs[-1]}"


def _fresh_fields(fresh: FreshPass) -> Iterator[tuple[str, str]]:
    weights = "averaged weights" if fresh.is_averaged else "weights"
    yield "checkpoint", f"{fresh.checkpoint.name}, {weights} after epoch {fresh.epoch}"
    yield "fresh pass", f"{_batches(fresh)}, loss {fresh.flow.loss:.4g}, on {fresh.device}"
    for remark in fresh.remarks:
        yield "note", remark
    yield "layers", f"{len(fresh.flow.layers)} with a gradient, mean and population std over their entries"
    yield from _left_out(fresh.flow)


def _left_out(flow: GradientFlow) -> Iterator[tuple[str, str]]:
    for name, layers in (("frozen", flow.frozen), ("no gradient", [name for name, _ in flow.unused])):
        if layers:
            rest = len(layers) - _MOST_NAMES
            more = f" and {rest} more" if rest > 0 else ""
            yield name, f"{len(layers)}: {', '.join(layers[:_MOST_NAMES])}{more}"


def _batches(fresh: FreshPass) -> str:
    count = fresh.flow.batches
    return f"{count} training {'batch' if count == 1 else 'batches'} ({fresh.samples:,} samples)"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"
