"""Which of many attention weights a diagram shows: the largest of each query."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pochi_cli.inspection.attention_record import AttentionLayer, Indices, Weights
from pochi_cli.plots import norms

FEW_TOKENS = 50
"""Up to here all queries and all keys are shown; a window of Swin has 49."""

_QUERIES = 10
"""Shown of more, evenly from the first on, where there is no class token."""
_MOST_KEYS = 20
"""Of a query."""
_EDGES = 150


@dataclass(frozen=True, eq=False)
class Edges:
    """Weights that are shown.

    Attributes:
        queries: Of the layer that are shown, ascending.
        keys: The same, with those at which no edge ends where there are few.
        starts, ends: Query and key of each edge, the smallest weight first.
        weights: Of each edge, above 0.
        chosen: In words, what is shown.
        left_out: In words, what is not; empty where that is nothing.
    """

    queries: Indices
    keys: Indices
    starts: Indices
    ends: Indices
    weights: Weights
    chosen: str
    left_out: str


def choose_edges(
    layer: AttentionLayer,
    weights: Weights,
    top: int | None = None,
    mass: float | None = None,
    queries: Sequence[int] | None = None,
    window: int = 0,
) -> Edges:
    """Choose the edges of a diagram, so few that it can be read.

    Args:
        layer: Whose they are.
        weights: float32 (queries, keys); rows may be NaN.
        top: Largest weights of each query; `None` for what can be read, unless `mass` is given.
        mass: Above 0, to 1: of each query the fewest weights that together are at least so much.
        queries: From 0; `None` for all of few, the class token of many, or else some of them; without those
            that only fill up a window, as long as there are others.
        window: Which window, from 0.

    Raises:
        ValueError: Both `top` and `mass` are given, or one is out of range, or there is no such query.
    """
    _check(weights, top, mass, queries)
    real = _real_tokens(layer, window, len(weights))
    shown = _choose_queries(layer, real, queries)
    if top is None and mass is None:
        top = _readable(len(shown), weights.shape[1])
    starts, ends = [], []
    for query in shown:
        found = _largest(weights[query], top, mass)
        starts += [int(query)] * len(found)
        ends += found.tolist()
    values = weights[starts, ends]
    order = np.argsort(values, kind="stable")
    start_at, end_at = (np.array(places, dtype=np.int64)[order] for places in (starts, ends))
    keys = np.unique(end_at)
    if weights.shape[1] <= FEW_TOKENS:
        keys = np.union1d(keys, _real_tokens(layer, window, weights.shape[1]))
    is_valid = ~np.isnan(weights[shown]).any(axis=1)
    rule = _rule(top, mass, weights.shape[1], len(shown))
    share = f", {100 * values.sum() / is_valid.sum():.0f} % of the weight" if is_valid.any() else ""
    return Edges(
        queries=shown,
        keys=keys,
        starts=start_at,
        ends=end_at,
        weights=values[order],
        chosen=f"{_name_queries(layer, shown, weights.shape[0], len(real))}, {rule}{share}",
        left_out=_name_left_out(weights, shown, len(keys), len(values)),
    )


def _check(weights: Weights, top: int | None, mass: float | None, queries: Sequence[int] | None) -> None:
    if top is not None and mass is not None:
        raise ValueError("give either top or mass, not both")
    if top is not None and top < 1:
        raise ValueError(f"top is {top}, must be at least 1")
    if mass is not None and not 0 < mass <= 1:
        raise ValueError(f"mass is {mass:g}, must be above 0 and at most 1")
    unknown = [query for query in queries or () if not 0 <= query < len(weights)]
    if unknown or (queries is not None and not queries):
        raise ValueError(f"queries {list(queries or ())}: there are those from 0 to {len(weights) - 1}")


def _real_tokens(layer: AttentionLayer, window: int, count: int) -> Indices:
    """List the tokens but for those that only fill up a window; all where there are no others."""
    every = np.arange(count)
    if layer.grid is None or layer.grid.window is None:
        return every
    real = np.flatnonzero(layer.grid.patches(window) >= 0)
    return real if len(real) else every


def _choose_queries(layer: AttentionLayer, real: Indices, queries: Sequence[int] | None) -> Indices:
    if queries is not None:
        return np.unique(np.array(queries, dtype=np.int64))
    if len(real) <= FEW_TOKENS:
        return real
    if layer.grid is not None and layer.grid.prefix:
        return np.zeros(1, dtype=np.int64)  # what the image is classified by
    return real[:: -(-len(real) // _QUERIES)]


def _readable(queries: int, keys: int) -> int:
    """Reckon how many keys of each query can be read; of many keys each may be one more that is named."""
    most = min(_EDGES, FEW_TOKENS) if keys > FEW_TOKENS else _EDGES
    return min(max(most // queries, 1), _MOST_KEYS, keys)


def _largest(row: Weights, top: int | None, mass: float | None) -> Indices:
    """Find the largest weights of a query that are above 0, the largest first; none where all are NaN."""
    order = np.argsort(-row, kind="stable")
    order = order[row[order] > 0]
    if mass is not None:
        held = np.cumsum(row[order], dtype=np.float64)
        top = int(np.searchsorted(held, mass - 1e-6)) + 1  # rows sum to 1 but for rounding
    return order[:top]


def _rule(top: int | None, mass: float | None, keys: int, queries: int) -> str:
    if mass is not None:
        return f"the fewest keys that hold {100 * mass:g} %{' of each' if queries > 1 else ''}"
    if top is None or top >= keys:
        return "every key"
    largest = norms.counted(top, "largest key")
    return f"the {largest} of each" if queries > 1 else f"its {largest}"


def _name_queries(layer: AttentionLayer, shown: Indices, count: int, real: int) -> str:
    if len(shown) == real < count:
        return f"the {norms.counted(real, 'query').replace('querys', 'queries')} that are no padding"
    if len(shown) == count:
        return "all queries" if count > 1 else "the only query"
    if len(shown) == 1 and layer.grid is not None and shown[0] < layer.grid.prefix:
        return f"1 of {count} queries (the class token)"
    return f"{len(shown)} of {count} queries"


def _name_left_out(weights: Weights, shown: Indices, keys: int, edges: int) -> str:
    queries = len(weights) - len(shown)
    rest = int((weights[shown] > 0).sum()) - edges
    left_out = [
        norms.counted(queries, "query").replace("querys", "queries") if queries else "",
        norms.counted(rest, "smaller weight") if rest else "",
        f"{norms.counted(weights.shape[1] - keys, 'key')} without a curve" if weights.shape[1] > keys else "",
    ]
    return ", ".join(part for part in left_out if part)
