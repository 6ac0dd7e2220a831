"""Attention as maps over an image. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import AttentionLayer, PatchGrid, SaliencyMap

Map = NDArray[np.float64]

CLASS_ATTENTION = "class-token attention"
ROLLOUT = "attention rollout"


def attention_maps(layers: Sequence[AttentionLayer]) -> list[SaliencyMap]:
    """Make the maps that attention gives: of the last layer's class token, and the rollout of all layers.

    Args:
        layers: Of one image, from the input to the output.

    Returns:
        Both, or nothing where there is no class token, or where layers attend within windows, to other
        tokens, or to fewer: there is then no path to follow from the output to the patches.
    """
    grid = layers[-1].grid
    whole = [layer.grid == grid and layer.weights.shape == layers[-1].weights.shape for layer in layers]
    if grid is None or grid.window is not None or not grid.prefix or not all(whole):
        return []
    last = layers[-1].weights[0].astype(np.float64).mean(axis=0)
    rolled = attention_rollout([layer.weights[0].astype(np.float64) for layer in layers])
    return [
        SaliencyMap(CLASS_ATTENTION, layers[-1].name, _of_class(last, grid)),
        SaliencyMap(ROLLOUT, "", _of_class(rolled, grid)),
    ]


def attention_rollout(weights: Sequence[Map]) -> Map:
    """Follow the attention from the output to the input (Abnar and Zuidema, arXiv:2005.00928, equation 1).

    Beside attention there is the residual connection: A = (mean over the heads + identity) / 2 of each layer,
    and the rollout is the product of all, the last layer leftmost.

    Args:
        weights: Of each layer, from the input on, (heads, tokens, tokens).

    Returns:
        (tokens, tokens): how much of each input token is in each output token; rows sum to 1.
    """
    tokens = weights[0].shape[-1]
    rolled: Map = np.eye(tokens)
    for layer in weights:
        rolled = (layer.mean(axis=0) + np.eye(tokens)) / 2 @ rolled
    return rolled


def _of_class(matrix: Map, grid: PatchGrid) -> Map:
    """Take what the class token, the first, gets of each patch."""
    return np.asarray(matrix[0, grid.prefix :].reshape(grid.rows, grid.columns))
