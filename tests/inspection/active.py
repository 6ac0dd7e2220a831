"""Activations and reports on them, made up."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from pochi_cli.inspection.activation_record import ActivationSurvey, Histogram, LayerActivation
from pochi_cli.inspection.activation_report import ActivationReport
from pochi_cli.inspection.activation_verdicts import judge_activations
from pochi_cli.runs.index import Run


def make_histogram(values: Sequence[float] | None = None, zeros: int = 0, bins: int = 400) -> Histogram:
    """Of values, by default normally distributed ones."""
    drawn = np.random.default_rng(0).normal(size=5000) if values is None else np.array(values, dtype=float)
    if not drawn.size:
        return Histogram(np.array([0.0, 1.0]), np.zeros(1, dtype=np.int64), zeros, 0.0, 0.0)
    counts, edges = np.histogram(drawn, bins)
    return Histogram(edges, counts.astype(np.int64), zeros, float(edges[0]), float(edges[-1]))


def make_layer(name: str, histogram: Histogram | None = None, **changes: object) -> LayerActivation:
    """A healthy layer of 100 units, with changes."""
    histogram = make_histogram() if histogram is None else histogram
    values = histogram.count + histogram.zeros
    layer = LayerActivation(
        name=name,
        function=None,
        call=1,
        kind="convolution",
        type="Conv2d",
        shape=(100, 4, 4),
        units=100,
        values=values,
        non_finite=0,
        mean=0.1 if histogram.count else 0.0,
        std=1.0,
        min=float(histogram.edges[0]),
        max=float(histogram.edges[-1]),
        zero_fraction=histogram.zeros / values if values else math.nan,
        dead=(),
        dead_limit=0.0,
        constant=(),
        saturation=None,
        effective_rank=12.5,
        rank_limit=100,
        rank_positions=1024,
        histogram=histogram,
    )
    return replace(layer, **changes)  # type: ignore[arg-type]


def make_report(layers: Sequence[LayerActivation] | int, run: Run | None = None) -> ActivationReport:
    """A report on layers, or on so many healthy ones."""
    if isinstance(layers, int):
        layers = [make_layer(f"layer{at}.conv") for at in range(layers)]
    survey = ActivationSurvey(tuple(layers), 2)
    return ActivationReport(
        name="20260101_001",
        run=run,
        survey=survey,
        findings=tuple(judge_activations(survey)),
        checkpoint=Path("best_model.pth"),
        epoch=3,
        is_averaged=False,
        data="validation images",
        source="data/val",
        samples=64,
        available=64,
        device="cpu",
        precision="fp32",
    )
