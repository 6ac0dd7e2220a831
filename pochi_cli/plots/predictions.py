"""A few images with what a model makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from pochi_cli.plots import style

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLUMNS = 4
_CELL = (1.9, 2.15)
"""Width and height of an image with its lines, in inches."""
_DPI = 100
_MOST = 16
"""Characters of a name that a cell has room for."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """What a model makes of an image.

    Attributes:
        picture: uint8 (height, width, 3).
        predicted: The most probable class.
        confidence: Its probability, 0 to 1.
        true: The right class.
    """

    picture: NDArray[np.uint8]
    predicted: str
    confidence: float
    true: str


def draw_predictions(predictions: Sequence[Prediction]) -> Figure:
    """Draw images in rows of four; above each the predicted class, green where it is right, else red."""
    from matplotlib.figure import Figure

    columns = min(_COLUMNS, len(predictions))
    rows = -(-len(predictions) // columns)
    width, height = columns * _CELL[0], rows * _CELL[1]
    # All texts first: a name may add a font, which only what is made afterwards is drawn in.
    titles = [
        f"{style.drawable(shown.predicted, _MOST)} {shown.confidence:.0%}\n"
        f"true: {style.drawable(shown.true, _MOST)}"
        for shown in predictions
    ]
    figure = Figure(figsize=(width, height), dpi=_DPI, facecolor="white")
    for position, (shown, title) in enumerate(zip(predictions, titles, strict=True)):
        row, column = divmod(position, columns)
        # Placed by hand: the cells are alike, and a layout that measures them would take most of the time.
        axes = figure.add_axes(
            ((column + 0.06) / columns, 1 - (row + 0.97) / rows, 0.88 / columns, 0.75 / rows)
        )
        axes.imshow(shown.picture, interpolation="nearest")
        axes.set_axis_off()
        is_right = shown.predicted == shown.true
        color = style.GREEN if is_right else style.VERMILION
        axes.set_title(title, fontsize=style.TICK_SIZE, color=color, pad=3)
    return figure
