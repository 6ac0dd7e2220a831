"""Recalls: bars by the number of neighbours, and curves over the epochs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.plots import norms, style
from pochi_cli.plots.losses import set_log_scale

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

PCA_COLOR = style.BLACK
_GROUP = 0.84
"""Share of the distance from one number of neighbours to the next that its bars take."""
_UPRIGHT, _BESIDE = 0.12, 0.33
"""Inches of a bar from which its value is written upright above it, and as usual."""


class RecallBars(NamedTuple):
    """The recalls of an encoder or another encoding.

    Attributes:
        name: What the legend calls it; empty for none.
        values: By the number of neighbours; `None` where it is not known.
        color: Of the bars.
        deviations: How far the values are spread, where they are means.
        pca: Recalls of the principal components beside the encoder's, to be marked on its bars.
        hatch: What tells its bars from others of the same colour.
    """

    name: str
    values: Mapping[int, float | None]
    color: str
    deviations: Mapping[int, float | None] = {}
    pca: Mapping[int, float | None] = {}
    hatch: str = ""


class RecallCurve(NamedTuple):
    """A recall over the epochs at which it was measured.

    Attributes:
        name: What the legend calls it; empty for none.
        epochs: The epochs.
        values: Of each.
        color: Of the curve.
        pca: That of the principal components, dashed; `None` where it is not known.
        dashes: Style of the line.
    """

    name: str
    epochs: Sequence[int]
    values: Sequence[float]
    color: str
    pca: float | None = None
    dashes: str = "-"


def draw_recall_bars(
    axes: Axes,
    bars: Sequence[RecallBars],
    *,
    width: float,
    log: bool,
    reference: Mapping[int, float] | None = None,
) -> list[style.LegendEntry]:
    """Draw bars side by side for each number of neighbours.

    Args:
        axes: Where.
        bars: What is compared.
        width: Inches of the axes, which decide whether the values have room above the bars.
        log: Whether the axis is logarithmic; a recall of 0 then has no bar.
        reference: Recalls of the principal components that all are held against, as lines.

    Returns:
        Entries for the legend.
    """
    from matplotlib.patches import Rectangle

    ks = sorted({k for of in bars for k, value in of.values.items() if value is not None})
    step = _GROUP / max(len(bars), 1)
    found = [value for of in bars for value in (*of.values.values(), *of.pca.values())]
    known = [value for value in (*found, *(reference or {}).values()) if value is not None and value == value]
    bottom = _set_axis(axes, known, log=log)
    entries: list[style.LegendEntry] = []
    for place, of in enumerate(bars):
        xs = [at - _GROUP / 2 + (place + 0.5) * step for at in range(len(ks))]
        heights = [_height(of.values.get(k), bottom) for k in ks]
        axes.bar(
            xs,
            [height - bottom for height in heights],
            width=0.92 * step,
            bottom=bottom,
            color=of.color,
            hatch=of.hatch,
            edgecolor="white",
            linewidth=0,
            label=of.name or "_",
        )
        if of.name:
            entries.append((Rectangle((0, 0), 1, 1, color=of.color), of.name))  # type: ignore[arg-type]
        for x, height, k in zip(xs, heights, ks, strict=True):
            top = _draw_spread(axes, x, height, of.deviations.get(k), bottom)
            top = max(top, _height(of.pca.get(k), bottom))
            _write_value(axes, x, top, of.values.get(k), width * 0.9 * step / max(len(ks), 1))
        marks = [(x, of.pca[k]) for x, k in zip(xs, ks, strict=True) if of.pca.get(k) is not None]
        if marks:
            _mark_pca(axes, marks, 0.46 * step)
    if any(of.pca for of in bars) or reference:
        entries.append((_pca_line(), "PCA"))
    for at, k in enumerate(ks):
        if reference and k in reference:
            _mark_pca(axes, [(at, reference[k])], 0.47)
    axes.set_xticks(range(len(ks)), [f"{k:,}" for k in ks])
    axes.set_xlim(-0.5, max(len(ks), 1) - 0.5)
    axes.grid(visible=False, axis="x")
    axes.set_xlabel("k, number of neighbours", fontsize=style.LABEL_SIZE, color=style.INK)
    style.set_label(axes, "Recall@k")
    if not ks:
        style.show_message(axes, "not measured")
        axes.set_xticks([])
    return entries


def _set_axis(axes: Axes, known: Sequence[float], *, log: bool) -> float:
    """Fit the axis to recalls; return where bars begin."""
    above = [value for value in known if value > 0]
    if log and above:
        set_log_scale(axes, [*above, min(above) / 1.5, max(above) * 1.2])
        return axes.get_ylim()[0]
    axes.set_ylim(0, 1.14 * max([*above, 1e-3]))
    axes.set_yticks([tick for tick in axes.get_yticks() if 0 <= tick <= 1])
    axes.set_ylim(0, 1.14 * max([*above, 1e-3]))
    return 0.0


def _height(value: float | None, bottom: float) -> float:
    return bottom if value is None or math.isnan(value) else max(value, bottom)


def _draw_spread(axes: Axes, x: float, height: float, deviation: float | None, bottom: float) -> float:
    """Draw the spread of a mean; return what is highest there."""
    if not deviation or height <= bottom:
        return height
    axes.plot(
        [x, x],
        [max(height - deviation, bottom), height + deviation],
        color=style.INK,
        linewidth=1.2,
        label="_spread",
    )
    return height + deviation


def _write_value(axes: Axes, x: float, top: float, value: float | None, room: float) -> None:
    if value is None or room < _UPRIGHT:
        return
    axes.annotate(
        f"{value:.3f}".replace("nan", "unknown"),
        (x, top),
        xytext=(0, 2),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=0 if room >= _BESIDE else 90,
        fontsize=style.SMALL_SIZE,
        color=style.INK,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6, "alpha": 0.75},  # lines cross it
        zorder=4,
    )


def _mark_pca(axes: Axes, marks: Sequence[tuple[float, float | None]], half: float) -> None:
    for x, value in marks:
        if value is None:
            continue
        for color, width, dashes in (("white", 2.6, "-"), (PCA_COLOR, 1.3, (0, (4, 2)))):  # seen on any bar
            axes.plot(
                [x - half, x + half],
                [value, value],
                color=color,
                linewidth=width,
                linestyle=dashes,
                label="_pca" if color == PCA_COLOR else "_edge",
                zorder=3,
            )


def _pca_line() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=PCA_COLOR, linewidth=1.3, linestyle=(0, (4, 2)))


def draw_recall_curves(
    axes: Axes, curves: Sequence[RecallCurve], last: int, *, log: bool, reference: float | None = None
) -> list[style.LegendEntry]:
    """Draw recalls over the epochs, and dashed in the same colours those of the principal components.

    Args:
        axes: Where.
        curves: The curves.
        last: The last epoch, at which the axis ends.
        log: Whether the axis of the recalls is logarithmic.
        reference: A recall of the principal components that all curves are held against.

    Returns:
        Entries for the legend.
    """
    style.set_epoch_axis(axes, [1, last])
    style.set_label(axes, "Recall@k")
    entries: list[style.LegendEntry] = []
    for curve in curves:
        (line,) = axes.plot(
            curve.epochs,
            [value if math.isfinite(value) else math.nan for value in curve.values],
            color=curve.color,
            linestyle=curve.dashes,
            linewidth=1.6,
            marker="o",
            markersize=4,
            markevery=style.marked([math.isfinite(value) for value in curve.values]),
            label=curve.name or "_",
        )
        if curve.pca is not None:
            axes.axhline(
                curve.pca, color=curve.color, linewidth=1.1, linestyle=(0, (4, 2)), zorder=1.5, label="_pca"
            )
        if curve.name:
            entries.append((line, curve.name))
    if reference is not None and math.isfinite(reference):
        axes.axhline(reference, color=PCA_COLOR, linewidth=1.3, linestyle=(0, (4, 2)), label="_pca")
    values = [*(value for curve in curves for value in (*curve.values, curve.pca)), reference]
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        style.show_message(
            axes, "no recall is known" if any(curve.values for curve in curves) else "not measured"
        )
    elif log and max(known) > 0:
        set_log_scale(axes, [value for value in known if value > 0])
    if reference is not None or any(curve.pca is not None for curve in curves):
        entries.append((_pca_line(), "PCA"))
    unknown = sum(not math.isfinite(value) for curve in curves for value in curve.values)
    if unknown:
        entries.append((_nothing(), f"not known: {norms.counted(unknown, 'value')}"))
    return entries


def _nothing() -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none")
