"""The page on which the attention of every layer and head can be looked at."""

from __future__ import annotations

import base64
import io
import zlib
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from pochi_cli.characters import visible
from pochi_cli.inspection.attention_record import (
    AttendedInput,
    AttentionLayer,
    Faithfulness,
    PatchGrid,
    Pixels,
    SaliencyMap,
    Weights,
)
from pochi_cli.inspection.head_similarity import describe_heads
from pochi_cli.web.pages import render

LARGEST_CODE = 255
"""What the largest weight of a row becomes."""

_SCRIPTS = ("data", "colours", "picture", "heatmap", "flow", "heads", "details", "controls", "main")
"""Parts of the page's script, each of which uses only those before it."""


class _Block(NamedTuple):
    """The weights of a layer, as they stand in the page."""

    name: str
    content: str


def explorer_page(
    inputs: Sequence[AttendedInput], title: str, saliency: Sequence[Sequence[SaliencyMap]] = ()
) -> str:
    """Write the page: one file that needs no network, with all weights in it.

    The weights are stored as `encode_weights` says; a layer of them is unpacked when it is first shown.

    Args:
        inputs: At least one, each of its own network if need be.
        title: What the page is called.
        saliency: What is important in each of the inputs; nothing is shown where it is empty.

    Raises:
        ValueError: There is no input, or there are maps for another number of inputs.
    """
    if not inputs:
        raise ValueError("a page needs at least one input")
    if saliency and len(saliency) != len(inputs):
        raise ValueError(f"there are maps for {len(saliency)} inputs, but {len(inputs)} inputs")
    maps = saliency or [()] * len(inputs)
    facts = [_input_facts(number, *pair) for number, pair in enumerate(zip(inputs, maps, strict=True))]
    return render(
        "explorer.html",
        styles=["explorer.css"],
        scripts=[f"explorer.{part}.js" for part in _SCRIPTS],
        title=f"Pochi: {title}",
        heading=title,
        facts={"inputs": facts},
        blocks=list(_blocks(inputs)),
        has_images=any(shown.image is not None for shown in inputs),
    )


def encode_weights(weights: Weights) -> bytes:
    """Store weights in a byte each.

    A weight w in a row whose largest is m becomes c = round(255 sqrt(w / m)), from which a reader computes
    w' = m (c / 255)^2. Since c / 255 is within 1/510 of sqrt(w / m), |w' - w| is at most
    sqrt(w m) / 255 + m / 510^2, and never more than m / 255: small weights are kept more exactly than large
    ones, which a byte of w / m would not do.

    Args:
        weights: float32 (..., queries, keys), at least 0; rows may be NaN.

    Returns:
        m of each row, as little-endian float32, NaN where the row is; then c of each weight, as uint8: both
        in the order of the array, together compressed (zlib).
    """
    largest = weights.max(axis=-1)
    divisor = np.where(largest > 0, largest, 1).astype(np.float64)
    shares = np.nan_to_num(weights.astype(np.float64) / divisor[..., None], nan=0.0)
    codes = np.rint(LARGEST_CODE * np.sqrt(shares)).astype(np.uint8)
    return zlib.compress(largest.astype("<f4").tobytes() + codes.tobytes(), 9)


def _blocks(inputs: Sequence[AttendedInput]) -> Iterator[_Block]:
    for number, shown in enumerate(inputs):
        for depth, layer in enumerate(shown.layers):
            # 6 % smaller than base 64. Python's alphabet, but for what could begin a tag or a comment in it.
            content = base64.b85encode(encode_weights(layer.weights)).decode().replace("<", ",")
            yield _Block(f"weights-{number}-{depth}", content)


def _input_facts(number: int, shown: AttendedInput, maps: Sequence[SaliencyMap]) -> dict[str, Any]:
    grids = list(dict.fromkeys(layer.grid for layer in shown.layers if layer.grid is not None))
    return {
        "name": visible(shown.name),
        "prediction": None if shown.prediction is None else visible(shown.prediction),
        "image": None if shown.image is None else _png_url(shown.image),
        "grids": [_grid_facts(grid) for grid in grids],
        "layers": [
            _layer_facts(layer, f"weights-{number}-{depth}", grids)
            for depth, layer in enumerate(shown.layers)
        ],
        "maps": [_map_facts(found) for found in maps],
    }


def _layer_facts(layer: AttentionLayer, block: str, grids: Sequence[PatchGrid]) -> dict[str, Any]:
    is_text = layer.grid is None
    return {
        "name": visible(layer.name),
        "block": block,
        "shape": layer.weights.shape,
        "grid": None if layer.grid is None else grids.index(layer.grid),
        "queries": [visible(name) for name in layer.query_names] if is_text else None,
        "keys": [visible(name) for name in layer.key_names] if is_text else None,
        "is_self": layer.is_self_attention,
        "heads": _head_facts(layer),
    }


def _head_facts(layer: AttentionLayer) -> list[dict[str, float | None]] | None:
    if not np.isfinite(layer.weights).all(axis=(1, 3)).any():
        return None  # every query is masked
    return [
        {"entropy": facts.entropy, "distance": facts.distance, "to_class": facts.to_class}
        for facts in describe_heads(layer)
    ]


def _grid_facts(grid: PatchGrid) -> dict[str, Any]:
    down, across = grid.windows
    return {
        "rows": grid.rows,
        "columns": grid.columns,
        "prefix": grid.prefix,
        "width": grid.columns if grid.window is None else grid.window[1],
        "across": across,
        "windows": [
            {"names": list(grid.names(window)), "patches": grid.patches(window).tolist()}
            for window in range(down * across)
        ],
    }


def _map_facts(found: SaliencyMap) -> dict[str, Any]:
    rows, columns = found.values.shape
    largest = float(found.values.max())
    return {
        "method": visible(found.method),
        "layer": visible(found.layer),
        "rows": rows,
        "columns": columns,
        "shares": np.round(found.values / (largest or 1), 4).ravel().tolist(),
        "told": None if found.faithfulness is None else _describe_faithfulness(found.faithfulness),
    }


def _describe_faithfulness(score: Faithfulness) -> str:
    told = f"deletion {score.deletion:.3f}, insertion {score.insertion:.3f}"
    if not score.random_scores:
        return told
    count = len(score.random_scores)
    beaten = round(score.beaten * count)
    return f"{told}; a better score than {beaten} of {count} random maps"


def _png_url(image: Pixels) -> str:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", optimize=True)
    return f"data:image/png;base64,{base64.b64encode(buffer.getvalue()).decode()}"
