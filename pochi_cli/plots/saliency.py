"""Images with what is important in them for a network."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from textwrap import wrap
from typing import TYPE_CHECKING, NamedTuple
from unicodedata import east_asian_width

import numpy as np
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import AttendedInput, Pixels, SaliencyMap
from pochi_cli.plots import attention_tokens as tokens
from pochi_cli.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Array = NDArray[np.float64]

_SIDE = 2.4
"""Inches of the longer side of an image."""
_GAP = 0.2  # inches
_ABOVE, _BELOW = 0.42, 0.62  # inches for the words above and below an image
_HEADING, _FOOT = 0.6, 0.55  # inches: the title, and the bar of colours
_LEAST_PIXELS = 224
"""Along the longer side of a picture: of a smaller image each pixel becomes several."""
_CHARACTERS = 31
"""Of a line in an image's width."""
_COLORS = "inferno"
_OPACITY = 0.55
"""Of a map's colours."""
_DARKEST = 0.25
"""What black becomes under a map, of white, so that a dark picture is seen as well."""
_FLAT = "the same value everywhere"


class Explained(NamedTuple):
    """An input, and maps of what is important in it.

    Attributes:
        input: With its image.
        maps: At least one.
    """

    input: AttendedInput
    maps: Sequence[SaliencyMap]


class _Panel(NamedTuple):
    """A picture with the words above and below it."""

    picture: Pixels
    above: str
    below: str


def draw_saliency(explained: Sequence[Explained], title: str) -> Figure:
    """Draw a row for each image: what the network saw, then each map over the picture, darkened.

    The colours of a map go from its least to its largest value. Below it is told, where it was tried, whether
    the network agrees (`Faithfulness`).

    Args:
        explained: The images with their maps, one at least.
        title: What they are of, such as the run, as it is.

    Raises:
        ValueError: An input is no image.
    """
    from matplotlib.figure import Figure

    # All texts first: one may add a font, which only what is made afterwards is drawn in.
    title = style.drawable(title, tokens.MAX_TITLE)
    rows = [[_seen(shown), *_mapped(shown)] for shown in explained]
    tops = list(accumulate((_ABOVE + _tall(row) + _BELOW for row in rows), initial=_HEADING))
    width, height = max(map(len, rows)) * (_SIDE + _GAP) + _GAP, tops[-1] + _FOOT
    figure = Figure(figsize=(width, height), dpi=style.DPI, facecolor="white")
    size = tokens.title_size(figure, title, width - 2 * _GAP)
    figure.text(_GAP / width, 1 - 0.3 / height, title, fontsize=size, color=style.INK, va="center")
    for row, top in zip(rows, tops, strict=False):
        for column, panel in enumerate(row):
            _draw_panel(figure, panel, _GAP + column * (_SIDE + _GAP), top + _ABOVE)
    _add_bar(figure)
    return figure


def _tall(row: Sequence[_Panel]) -> float:
    """Height of the pictures of a row, which are of one image: inches."""
    height, width = row[0].picture.shape[:2]
    return float(_SIDE * height / max(height, width))


def _seen(explained: Explained) -> _Panel:
    return _Panel(
        picture=_enlarged(_image(explained.input)),
        above=style.drawable(explained.input.name, _CHARACTERS),
        below=_lines(explained.input.prediction or ""),
    )


def _image(shown: AttendedInput) -> Pixels:
    if shown.image is None:
        raise ValueError(f"{shown.name} is no image")
    return shown.image


def _mapped(explained: Explained) -> list[_Panel]:
    picture = _enlarged(_image(explained.input))
    return [
        _Panel(
            picture=overlay(picture, found.values),
            above=_method(found),
            below=_verdict(found),
        )
        for found in explained.maps
    ]


def _method(found: SaliencyMap) -> str:
    method = style.drawable(found.method[:1].upper() + found.method[1:], _CHARACTERS)
    if not found.layer:
        return method
    # The end of a name says which layer it is.
    layer = (
        found.layer if len(found.layer) <= _CHARACTERS else f"…{found.layer[1 - _CHARACTERS :].lstrip('.')}"
    )
    return f"{method}\n{style.drawable(layer, _CHARACTERS)}"


def _verdict(found: SaliencyMap) -> str:
    """Say how well a map tells what the network goes by, in three lines at most."""
    faithfulness = found.faithfulness
    if np.ptp(found.values) == 0:
        return _FLAT
    if faithfulness is None:
        return ""
    count = len(faithfulness.random_scores)
    if not count:
        return f"deletion {faithfulness.deletion:.2f}\ninsertion {faithfulness.insertion:.2f}"
    deletion, insertion = np.mean(faithfulness.random_deletion), np.mean(faithfulness.random_insertion)
    return (
        f"deletion {faithfulness.deletion:.2f} (random maps {deletion:.2f})\n"
        f"insertion {faithfulness.insertion:.2f} (random maps {insertion:.2f})\n"
        f"beats {round(faithfulness.beaten * count)} of {count} random map{'s' * (count != 1)}"
    )


def _lines(text: str) -> str:
    """Break a text from outside into three lines at most, of which each is made safe to draw."""
    wide = sum(east_asian_width(character) in "WF" for character in text)
    width = max(_CHARACTERS * len(text) // max(len(text) + wide, 1), 1)
    return "\n".join(
        style.drawable(line, _CHARACTERS) for line in wrap(text, width, max_lines=3, placeholder="…")
    )


def _enlarged(image: Pixels) -> Pixels:
    """Repeat the pixels of a small image, so that each is seen and a map over it is smooth."""
    times = max(-(-_LEAST_PIXELS // max(image.shape[:2])), 1)
    return np.asarray(image.repeat(times, axis=0).repeat(times, axis=1))


def overlay(picture: Pixels, values: Array) -> Pixels:
    """Lay a map over a picture, which loses its colours and much of its contrast.

    Args:
        picture: uint8 (height, width, 3).
        values: float64 (rows, columns), upsampled bilinearly.

    Returns:
        uint8 (height, width, 3).
    """
    from matplotlib import colormaps

    luma = picture @ np.array([0.299, 0.587, 0.114]) / 255  # ITU-R BT.601
    grey = _DARKEST + (1 - _DARKEST) * luma
    colors = colormaps[_COLORS](upsample(_scaled(values), *picture.shape[:2]))[..., :3]
    mixed = _OPACITY * colors + (1 - _OPACITY) * grey[..., None]
    return np.asarray(np.rint(255 * mixed), dtype=np.uint8)


def _scaled(values: Array) -> Array:
    """Stretch values to 0 to 1; all alike become 0."""
    spread = values.max() - values.min()
    return np.asarray((values - values.min()) / (spread if spread > 0 else 1.0))


def upsample(values: Array, height: int, width: int) -> Array:
    """Enlarge a map bilinearly, its cells' centres where they lie on the picture: float64 (height, width)."""
    down, across = _mixing(values.shape[0], height), _mixing(values.shape[1], width)
    return np.asarray(down @ values @ across.T)


def _mixing(cells: int, pixels: int) -> Array:
    """Compute which cells each pixel is a mean of: (pixels, cells), rows that sum to 1."""
    places = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    return np.asarray(np.maximum(1 - np.abs(places[:, None] - np.arange(cells)), 0))


def _draw_panel(figure: Figure, panel: _Panel, left: float, top: float) -> None:
    """Draw a panel in a square at so many inches from the top left corner."""
    width, height = figure.get_size_inches()
    rows, columns = panel.picture.shape[:2]
    tall, wide = (_SIDE * side / max(rows, columns) for side in (rows, columns))
    # Placed by hand: a layout that measures the many words would take most of the time.
    axes = figure.add_axes((left / width, 1 - (top + tall) / height, wide / width, tall / height))
    axes.imshow(panel.picture, aspect="auto")
    axes.set_axis_off()
    at = left / width
    figure.text(
        at,
        1 - (top - 0.05) / height,
        panel.above,
        fontsize=style.TICK_SIZE,
        color=style.INK,
        va="bottom",
    )
    figure.text(
        at, 1 - (top + tall + 0.06) / height, panel.below, fontsize=style.TICK_SIZE, color=style.INK, va="top"
    )


def _add_bar(figure: Figure) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    width, height = figure.get_size_inches()
    box = ((2 * _GAP + _SIDE) / width, 0.3 / height, _SIDE / width, 0.1 / height)
    bar = figure.colorbar(
        ScalarMappable(Normalize(0, 1), _COLORS), cax=figure.add_axes(box), orientation="horizontal"
    )
    bar.outline.set_visible(False)
    bar.set_ticks([0, 1], labels=["least of a map", "largest"], fontsize=style.SMALL_SIZE)
    bar.ax.tick_params(length=0, colors=style.INK)
    first, last = bar.ax.get_xticklabels()
    first.set_horizontalalignment("left")
    last.set_horizontalalignment("right")
