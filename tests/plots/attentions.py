"""Attention to draw: of texts, of Vision Transformers, of windows, and of a decoder to an encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from pochi_cli.inspection.attention_record import AttentionLayer, PatchGrid, Weights

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CAT = ("The", "cat", "sat", "on", "the", "mat")
ODD = (
    "$\\frac{a}{b}$",
    "_had",
    "50%",
    "猫の名前" * 10,
    "고양이",
    "Donaudampfschifffahrtsgesellschaft",
    "$",
    "",
)


def softmax(logits: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> Weights:
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True), dtype=np.float32)


def make_weights(windows: int, heads: int, queries: int, keys: int) -> Weights:
    """Let heads in turn attend to the token itself, to the first, and around."""
    logits = np.random.default_rng(0).normal(size=(windows, heads, queries, keys))
    at = np.arange(min(queries, keys))
    logits[:, 0::3, at, at] += 5
    logits[:, 1::3, :, 0] += 8
    return softmax(logits)


def make_text(
    words: Sequence[str] = CAT, heads: int = 4, keys: Sequence[str] | None = None
) -> AttentionLayer:
    keys = words if keys is None else keys
    weights = make_weights(1, heads, len(words), len(keys))
    return AttentionLayer("layers.0.self_attn", weights, tuple(words), tuple(keys))


def make_vit(side: int, heads: int = 3, prefix: int = 1) -> AttentionLayer:
    return _on(PatchGrid(side, side, prefix), heads)


def make_swin(side: int = 14, heads: int = 3) -> AttentionLayer:
    return _on(PatchGrid(side, side, 0, (7, 7), (3, 3)), heads)


def _on(grid: PatchGrid, heads: int) -> AttentionLayer:
    down, across = grid.windows
    weights = make_weights(down * across, heads, grid.tokens, grid.tokens)
    return AttentionLayer("encoder.self_attention", weights, grid.names(), grid.names(), grid)


def mask(layer: AttentionLayer, *rows: int) -> AttentionLayer:
    """Let queries have no key."""
    weights = layer.weights.copy()
    weights[:, :, list(rows)] = np.nan
    return replace(layer, weights=weights)


def draw(figure: Figure) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]


def assert_inside(figure: Figure) -> None:
    """Fail where a text that is drawn sticks out of the picture."""
    from matplotlib.text import Text

    draw(figure)
    room = figure.bbox
    for text in figure.findobj(Text):
        assert isinstance(text, Text)
        box = text.get_window_extent()
        if not text.get_visible() or not text.get_text().strip():
            continue
        assert room.x0 <= box.x0, text.get_text()
        assert box.x1 <= room.x1, text.get_text()
        assert room.y0 <= box.y0, text.get_text()
        assert box.y1 <= room.y1, text.get_text()
