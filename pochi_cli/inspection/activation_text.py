"""The activations of a model in words and cells. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from pochi_cli.inspection.activation_record import (
    MOST_RANKED_POSITIONS,
    MOST_RANKED_UNITS,
    LayerActivation,
)
from pochi_cli.inspection.activation_report import ActivationReport

HEADER = (
    "layer",
    "type",
    "shape",
    "mean",
    "std",
    "min",
    "max",
    "zero",
    "dead",
    "constant",
    "at bounds",
    "effective rank",
    "not finite",
)
NUMBERS = HEADER[2:]
LEFT_OUT = (
    "not finite",
    "at bounds",
    "shape",
    "constant",
    "type",
    "min",
    "max",
    "effective rank",
    "std",
    "mean",
)
"""Columns that a narrow terminal goes without, in this order."""
_RARE = {"constant": "0", "at bounds": "", "not finite": "0"}
"""Columns that are left out where every cell is this."""
_FEW_TIMES = 3
"""Positions for each unit: with fewer even independent units have a clearly lower rank than their number."""


def layer_table(layers: Iterable[LayerActivation]) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Write the statistics of layers as a header, and cells below it.

    Columns of which there is nothing to tell are left out.
    """
    rows = [_cells(layer) for layer in layers]
    shown = [
        at
        for at, name in enumerate(HEADER)
        if name not in _RARE or any(row[at] != _RARE[name] for row in rows)
    ]
    return tuple(HEADER[at] for at in shown), [tuple(row[at] for at in shown) for row in rows]


def _cells(layer: LayerActivation) -> tuple[str, ...]:
    units = layer.units
    return (
        layer.label,
        layer.type,
        " x ".join(map(str, layer.shape)),
        *(f"{value:.3g}" for value in (layer.mean, layer.std, layer.min, layer.max)),
        percentage(layer.zero_fraction),
        f"{len(layer.dead):,} of {units:,}" if units is not None and layer.dead else "0",
        f"{len(layer.constant):,}",
        "" if layer.saturation is None else percentage(layer.saturation.share),
        "" if layer.effective_rank is None else f"{layer.effective_rank:.1f} of {layer.rank_limit}",
        f"{layer.non_finite:,}",
    )


def describe_report(report: ActivationReport) -> tuple[str, list[tuple[str, str]]]:
    """Write a heading, and what was inspected as names and values."""
    weights = "averaged weights" if report.is_averaged else "weights"
    of = "" if report.samples == report.available else f" of {report.available:,}"
    layers = len(report.survey.layers)
    return f"Activations of {report.name}", [
        ("checkpoint", f"{report.checkpoint.name}, {weights} after epoch {report.epoch}"),
        ("data", f"{report.data} of {report.source}"),
        ("samples", f"{report.samples:,}{of}, in eval mode on {report.device} in {report.precision}"),
        *(("note", remark) for remark in report.remarks),
        ("layers", f"{layers}, in the order in which they run"),
        *(("effective rank", line) for line in _describe_ranks(report.survey.layers)),
    ]


def _describe_ranks(layers: Sequence[LayerActivation]) -> list[str]:
    """Write over what the effective ranks are, and where they cannot be what they should."""
    ranked = [layer for layer in layers if layer.units is not None and layer.effective_rank is not None]
    if not ranked:
        return []
    least, most = (of(layer.rank_positions for layer in ranked) for of in (min, max))
    lines = [
        f"over {least:,}{f' to {most:,}' if most > least else ''} positions, "
        f"at most {MOST_RANKED_POSITIONS} of each sample"
    ]
    units = [layer.units or 0 for layer in ranked]
    if sketched := sum(count > MOST_RANKED_UNITS for count in units):
        lines.append(
            f"of {sketched} {_layers(sketched)} with more than {MOST_RANKED_UNITS} units estimated from "
            f"{MOST_RANKED_UNITS} sums of them, rather too low"
        )
    few = sum(
        layer.rank_positions <= _FEW_TIMES * min(count, MOST_RANKED_UNITS)
        for layer, count in zip(ranked, units, strict=True)
    )
    if few:
        lines.append(
            f"perhaps too low in {few} {_layers(few)} with fewer than {_FEW_TIMES} positions for each unit: "
            "take more samples"
        )
    return lines


def _layers(count: int) -> str:
    return "layer" if count == 1 else "layers"


def caption(report: ActivationReport) -> str:
    """Write what the picture is headed with."""
    return f"Activations of {report.name}, {report.checkpoint.name}, over {report.samples:,} {report.data}"


def percentage(share: float) -> str:
    """Write a share so that neither a few nor nearly all look like none or all of them.

    Args:
        share: From 0 to 1, or NaN where it is one of nothing.
    """
    if math.isnan(share):
        return "none"
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 < share < 1:
        return ">99.9 %"
    return f"{100 * share:.1f} %"
