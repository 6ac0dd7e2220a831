"""How well each class is told from the others over all thresholds: ROC and precision-recall curves."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pochi_cli.inference.scores import ClassCurves, Curve
from pochi_cli.plots import layers, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_SIZE = (14.0, 6.0)  # inches
_MAX_NAMED = 10
"""Up to here every class has a colour and a name; beyond, only the worst."""
_WORST = 3  # by either area
_OTHERS_COLOR = "#BBBBBB"
_STRIPS = 500
"""Of a panel, each not two pixels wide: of a line no more than four points are drawn in each."""
_MARGIN = 0.012
"""Around the unit square: curves on its edge would lose half their width."""


def draw_curves(curves: Sequence[ClassCurves], class_names: Sequence[str]) -> Figure:
    """Draw the ROC curve and the precision-recall curve of each class against the others.

    Of more than ten classes only those with the three least areas under either curve are named, and the
    others are grey.

    Args:
        curves: Of each class for which there are images of it and of others; there may be none.
        class_names: Name of each label.
    """
    # The names first: one may add a font, which only what is made afterwards is drawn in.
    names = layers.layer_labels(class_names)
    figure, (roc, recall) = style.new_panels(1, 2, _SIZE)
    _set_axes(roc, "False positive rate", "True positive rate")
    _set_axes(recall, "Recall", "Precision")
    _title(roc, "ROC", "AUC", [curve.area for curve in curves])
    _title(recall, "Precision-recall", "AP", [curve.average_precision for curve in curves])
    if curves:
        entries = _draw_classes(roc, recall, curves, names)
        layers.add_legend(figure, [line for line, _ in entries], [text for _, text in entries])
    return figure


def _set_axes(axes: Axes, x: str, y: str) -> None:
    axes.set_xlim(-_MARGIN, 1 + _MARGIN)
    axes.set_ylim(-_MARGIN, 1 + _MARGIN)
    axes.set_xlabel(x, fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_label(axes, y)


def _title(axes: Axes, title: str, short: str, areas: Sequence[float]) -> None:
    if areas:
        style.set_header(axes, f"{title}: macro mean {short} {np.mean(areas):.3f}", [])
    else:
        style.set_header(axes, title, [])
        style.show_message(axes, "all images are of one class")
        axes.set_xticks([])


def _draw_classes(
    roc: Axes, recall: Axes, curves: Sequence[ClassCurves], names: Sequence[str]
) -> list[style.LegendEntry]:
    from matplotlib.lines import Line2D

    named = _choose_named(curves)
    entries = []
    for curve, (color, dashes) in zip(named, layers.layer_styles(len(named)), strict=True):
        line = _plot(roc, recall, curve, color, dashes, width=1.6)
        told = f"AUC {curve.area:.3f}, AP {curve.average_precision:.3f}"
        entries.append((line, f"{names[curve.label]}\n{told}"))
    others = [
        _plot(roc, recall, curve, _OTHERS_COLOR, "-", width=0.7) for curve in curves if curve not in named
    ]
    if others:
        entries.append((others[0], f"{len(others)} better classes"))
    (chance,) = roc.plot([0, 1], [0, 1], color=style.INK, linewidth=1.2, linestyle=":", label="chance")
    entries.append((chance, "chance, AUC 0.5"))
    if missing := len(names) - len(curves):
        entries.append(
            (Line2D([], [], linestyle="none"), f"without images: {missing} of {len(names)} classes")
        )
    return entries


def _choose_named(curves: Sequence[ClassCurves]) -> list[ClassCurves]:
    """Choose the classes that are told apart, the worst first where these are not all."""
    if len(curves) <= _MAX_NAMED:
        return list(curves)
    by_precision = sorted(curves, key=lambda curve: curve.average_precision)
    by_area = sorted(curves, key=lambda curve: curve.area)
    worst = by_area[:_WORST] + by_precision[:_WORST]
    return [curve for curve in by_precision if curve in worst]


def _plot(roc: Axes, recall: Axes, curve: ClassCurves, color: str, dashes: str, *, width: float) -> Line2D:
    """Draw both curves of a class; those without a name lie below."""
    for axes, x, y in (
        (recall, curve.recall, curve.precision),
        (roc, curve.false_positive_rate, curve.true_positive_rate),
    ):
        (line,) = axes.plot(
            *_thinned(x, y),
            color=color,
            linewidth=width,
            linestyle=dashes,
            zorder=1.5 + width / 2,
            # What scikit-learn's average precision is the area under.
            drawstyle="steps-post" if axes is recall else "default",
            label=str(curve.label),
        )
    return line


def _thinned(x: Curve, y: Curve) -> tuple[Curve, Curve]:
    """Leave out points that are not seen: of each narrow strip the first, last, lowest and highest remain.

    Args:
        x: 0 to 1, rising or falling, (N,).
        y: (N,).
    """
    if len(x) <= 4 * _STRIPS:
        return x, y
    strip = np.minimum((x * _STRIPS).astype(np.int64), _STRIPS - 1)
    starts = np.flatnonzero(np.diff(strip, prepend=-1))
    ends = np.append(starts[1:], len(x)) - 1
    by_height = np.lexsort((y, np.abs(strip - strip[0])))  # strip by strip, as they follow each other
    kept = np.unique(np.concatenate([starts, ends, by_height[starts], by_height[ends]]))
    return x[kept], y[kept]
