"""Gradients that no network had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np

from pochi_cli.inspection.gradient_flow import GradientFlow, LayerGradient

Kind = Literal["healthy", "zero", "lost"]


def make_layer(name: str, kind: Kind = "healthy", *, norm: float = 1.0) -> LayerGradient:
    """Make the gradient of a parameter with 100 entries; its block is the first part of its name."""
    block = name.partition(".")[0]
    if kind == "lost":
        nan = math.nan
        return LayerGradient(name, block, 100, 3, nan, nan, nan, nan, nan, nan, None)
    size = 0.0 if kind == "zero" else norm / 10
    return LayerGradient(
        name=name,
        block=block,
        entries=100,
        non_finite=0,
        mean=size / 20,
        std=size,
        min=-3 * size,
        max=3 * size,
        norm=10 * size,
        rms=size,
        ratio=size,
    )


def make_flow(
    layers: int | Sequence[LayerGradient],
    *,
    holes: bool = False,
    loss: float = 1.0,
    unused: Sequence[tuple[str, str]] = (),
) -> GradientFlow:
    """Make the gradients of a network.

    Args:
        layers: Those of its layers, or how many there are, of many magnitudes.
        holes: Whether some of them are zero, and others not finite.
        loss: Of the batches.
        unused: Parameters without gradient, with their blocks.
    """
    if isinstance(layers, int):
        magnitudes = 10 ** np.random.default_rng(0).normal(-2, 1, layers)
        kinds: Sequence[Kind] = ("healthy", "zero", "lost", "healthy") if holes else ("healthy",)
        layers = [
            make_layer(f"layer{at}.conv.weight", kinds[at % len(kinds)], norm=float(magnitude))
            for at, magnitude in enumerate(magnitudes)
        ]
    return GradientFlow(tuple(layers), (), tuple(unused), (), 4, loss)
