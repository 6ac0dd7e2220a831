"""From captured attention to a record of one input, with the names and places of its tokens."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from pochi_cli.inspection.attention import AttentionMaps
from pochi_cli.inspection.attention_record import AttendedInput, AttentionLayer, PatchGrid, Pixels

_MOST_EXTRA = 8
"""Tokens before the patches: a class token, perhaps one for distillation, and registers."""


def attended_input(
    maps: AttentionMaps,
    at: int = 0,
    name: str = "",
    *,
    tokens: Sequence[str] | None = None,
    memory: Sequence[str] | None = None,
    image: Pixels | None = None,
    prediction: str | None = None,
) -> AttendedInput:
    """Take one input of a batch out of the captured attention.

    Args:
        maps: Of the batch.
        at: Which input, from 0.
        name: What it is called.
        tokens: Names of its tokens, such as words; what a layer has more of is named `-`. Without names, and
            without a grid on an image, tokens are numbered.
        memory: Names of the tokens that cross attention attends to, such as the words of another sentence.
        image: What the network saw of an image, uint8 (height, width, 3).
        prediction: What the network made of it, in words.

    Raises:
        IndexError: There is no such input in the batch.
    """
    layers = []
    for key, weights in maps.weights.items():
        grid = maps.windows.get(key)
        windows = grid.windows[0] * grid.windows[1] if grid is not None else 1
        part = _part(weights, at, windows)
        if grid is None and image is not None and key not in maps.crossing:
            grid = _grid_of(part, image)
        is_crossing = key in maps.crossing or part.shape[2] != part.shape[3]
        queries = _names(part.shape[2], tokens, grid)
        keys = _names(part.shape[3], memory if is_crossing else tokens, grid)
        layers.append(AttentionLayer(key, part.numpy(), queries, keys, grid, is_crossing))
    return AttendedInput(name or f"input {at + 1}", tuple(layers), image, prediction)


def find_grid(tokens: int, height: int, width: int) -> PatchGrid | None:
    """Find how square patches, perhaps with a few tokens before them, cover an image; `None` if they cannot.

    Args:
        tokens: How many there are.
        height: Of the image in pixels.
        width: Likewise.
    """
    for prefix in range(min(_MOST_EXTRA, tokens - 2) + 1):
        patches = tokens - prefix
        rows = round((patches * height / width) ** 0.5)
        columns = patches // rows if rows else 0
        is_whole = rows > 0 and rows * columns == patches and height % rows == width % columns == 0
        if is_whole and height // rows == width // columns:
            return PatchGrid(rows, columns, prefix)
    return None


def _part(weights: Tensor, at: int, windows: int) -> Tensor:
    """Take the weights of one input, (windows, heads, queries, keys)."""
    count = len(weights) // windows
    if not 0 <= at < count:
        raise IndexError(f"there is no input {at} in a batch of {count}")
    return weights[at * windows : (at + 1) * windows]


def _grid_of(weights: Tensor, image: Pixels) -> PatchGrid | None:
    queries, keys = weights.shape[2:]
    return find_grid(keys, *image.shape[:2]) if queries == keys else None


def _names(count: int, tokens: Sequence[str] | None, grid: PatchGrid | None) -> tuple[str, ...]:
    if grid is not None:
        return grid.names()
    if tokens is None:
        return tuple(str(number) for number in range(1, count + 1))
    return (*map(str, tokens), *["-"] * (count - len(tokens)))[:count]
