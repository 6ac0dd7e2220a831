"""How alike the attention of heads is, and what each head is like. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import AttentionLayer

Matrix = NDArray[np.float64]

ALIKE_CORRELATION = 0.95
"""Correlation from which two heads may be redundant ..."""
ALIKE_DIVERGENCE = 0.05
"""... if their divergence, in bits, is not larger either."""

_MASKED = 1e-30
"""Weight up to which a key is hidden from a query, if no head gives it more; Swin's mask leaves e^-100."""
_NOISE = 1e-6
"""Root mean square of a head's deviations from uniform rows, times the keys, below which it is rounding."""


@dataclass(frozen=True, eq=False)
class HeadSimilarity:
    """How alike the heads of a layer are, over all rows that leave a choice between keys.

    Keys that a mask hides from a query do not count: the zeros there are the mask's, and not the head's. Nor
    do rows of tokens that only fill up a window.

    Attributes:
        correlation: (heads, heads), -1 to 1: of the weights less their row's mean. With it, the part that all
            rows share, for they sum to 1, would make every pair similar.
        divergence: (heads, heads), 0 to 1 bit: Jensen-Shannon (Lin 1991), the mean over the rows.
        redundant: Pairs of heads, from 0, that do the same.
    """

    correlation: Matrix
    divergence: Matrix
    redundant: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class HeadFacts:
    """What a head of a layer is like, as means over its rows; NaN where every row is masked.

    Attributes:
        entropy: Of its rows, 0 (one key) to 1 (all alike), by the logarithm of the keys that are not masked.
        distance: How far from the query it attends: in patches of the layer, between the centres, for the
            patches of an image alone; in tokens for text; `None` where the queries are not the keys, and NaN
            where nothing goes to a patch.
        to_class: Share of the weight that goes to the class token; `None` where there is none.
        peak: The largest weight of a row.
    """

    entropy: float
    distance: float | None
    to_class: float | None
    peak: float


def compare_heads(layer: AttentionLayer) -> HeadSimilarity:
    """Compare each pair of heads of a layer over all rows whose keys are not all masked."""
    rows, is_open = _rows(layer)
    means = rows.sum(axis=2) / is_open.sum(axis=1)
    flat = ((rows - means[..., None]) * is_open).reshape(len(rows), -1)
    norms = np.sqrt((flat**2).sum(axis=1))
    # A head that attends to all keys alike has no pattern but the rounding of its softmax.
    is_flat = norms <= _NOISE * np.sqrt(max(flat.shape[1], 1)) / max(rows.shape[2], 1)
    scale = np.where(is_flat, 1.0, norms)
    correlation = np.clip(flat @ flat.T / np.outer(scale, scale), -1, 1)
    correlation[is_flat, :] = correlation[:, is_flat] = 0.0
    correlation[np.ix_(is_flat, is_flat)] = 1.0
    np.fill_diagonal(correlation, 1.0)
    divergence = _divergences(rows)
    alike = (correlation >= ALIKE_CORRELATION) & (divergence <= ALIKE_DIVERGENCE)
    pairs = tuple((int(a), int(b)) for a, b in zip(*np.nonzero(np.triu(alike, 1)), strict=True))
    return HeadSimilarity(correlation, divergence, pairs)


def describe_heads(layer: AttentionLayer) -> tuple[HeadFacts, ...]:
    """Describe each head of a layer."""
    rows, is_open = _rows(layer)
    entropies = _mean(_entropy(rows) / np.log2(np.maximum(is_open.sum(axis=1), 2)))
    distances = _distances(layer)
    peaks = _mean(rows.max(axis=2))
    to_class = None
    if layer.grid is not None and layer.grid.prefix:
        to_class = _mean(rows[:, :, 0])
    return tuple(
        HeadFacts(
            entropy=float(entropies[head]),
            distance=None if distances is None else float(distances[head]),
            to_class=None if to_class is None else float(to_class[head]),
            peak=float(peaks[head]),
        )
        for head in range(layer.heads)
    )


def pooled(layers: Sequence[AttentionLayer]) -> AttentionLayer:
    """Put the same layer's attention to several inputs together, to be compared or described as one.

    Args:
        layers: One of each input, with tokens that lie alike.
    """
    return replace(layers[0], weights=np.concatenate([layer.weights for layer in layers]))


def _rows(layer: AttentionLayer) -> tuple[Matrix, NDArray[np.bool_]]:
    """Take the rows of all windows that leave a choice.

    Returns:
        The rows, (heads, rows, keys), and the keys that are open to each, (rows, keys).
    """
    heads, keys = layer.heads, layer.weights.shape[3]
    rows = layer.weights.transpose(1, 0, 2, 3).reshape(heads, -1, keys).astype(np.float64)
    is_of_use = np.isfinite(rows).all(axis=(0, 2)) & _is_no_padding(layer)
    rows = rows[:, is_of_use]
    is_open = np.asarray((rows > _MASKED).any(axis=0))
    has_choice = is_open.sum(axis=1) > 1
    if has_choice.any():
        rows, is_open = rows[:, has_choice], is_open[has_choice]
    return np.where(is_open, rows, 0.0), is_open


def _is_no_padding(layer: AttentionLayer) -> NDArray[np.bool_]:
    """Tell the queries of all windows, (windows x queries,), from those that only fill up a window."""
    count, _, queries, _ = layer.weights.shape
    if layer.grid is None or layer.grid.window is None:
        return np.ones(count * queries, dtype=bool)
    across, down = layer.grid.windows
    each = np.concatenate([layer.grid.patches(window) >= 0 for window in range(across * down)])
    return np.tile(each, len(layer.weights) // (across * down))


def _mean(values: Matrix) -> Matrix:
    """Average over the rows, the second axis; NaN where every row is masked."""
    return np.asarray(values.sum(axis=1) / (values.shape[1] or np.nan))


def _entropy(rows: Matrix) -> Matrix:
    """Entropy in bits over the last axis, where 0 log 0 is 0."""
    return np.asarray(-(rows * np.log2(np.where(rows > 0, rows, 1.0))).sum(axis=-1))


def _divergences(rows: Matrix) -> Matrix:
    heads = len(rows)
    entropies = _entropy(rows)
    found = np.zeros((heads, heads))
    for a in range(heads):
        for b in range(a + 1, heads):
            mixed = _entropy((rows[a] + rows[b]) / 2)
            (mean,) = _mean((mixed - (entropies[a] + entropies[b]) / 2)[None])
            found[a, b] = found[b, a] = np.clip(mean, 0.0, 1.0)
    return found


def _distances(layer: AttentionLayer) -> Matrix | None:
    """Mean distance of what each head attends to, weighted by the attention (Dosovitskiy et al., figure 7).

    Of an image the attention to tokens that are no patch is left out, and a row's rest made to sum to 1.
    """
    if not layer.is_self_attention:
        return None
    totals, weights = np.zeros(layer.heads), np.zeros(layer.heads)
    for window, apart in enumerate(_apart(layer)):
        rows = np.nan_to_num(layer.weights[window].astype(np.float64))
        is_there = np.isfinite(apart)
        shares = (rows * is_there).sum(axis=2)
        means = (rows * np.where(is_there, apart, 0.0)).sum(axis=2) / np.where(shares > 0, shares, 1.0)
        totals += means.sum(axis=1)
        weights += (shares > 0).sum(axis=1)
    return np.asarray(totals / np.where(weights > 0, weights, np.nan))


def _apart(layer: AttentionLayer) -> Iterator[Matrix]:
    """Yield, for each window, the distances from each query to each key; infinite where there is none."""
    windows = 1 if layer.grid is None else layer.grid.windows[0] * layer.grid.windows[1]
    for window in range(len(layer.weights)):
        if layer.grid is None:
            places = np.arange(len(layer.query_names), dtype=np.float64)[:, None]
            is_patch = np.ones(len(places), dtype=bool)
        else:
            patches = layer.grid.patches(window % windows)
            is_patch = patches >= 0
            places = np.stack(np.divmod(patches, layer.grid.columns), axis=1).astype(np.float64)
        apart = np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=2))
        yield np.where(is_patch[:, None] & is_patch[None], apart, np.inf)
