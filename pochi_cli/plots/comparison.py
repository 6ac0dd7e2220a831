"""The picture of several runs: their losses, what they are judged by, and a table."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.config.recalls import is_recall, neighbors_in, recall_name
from pochi_cli.errors import RunError
from pochi_cli.plots import layers, norms, style
from pochi_cli.plots.experiment import USUAL_LOOK, RecallLook
from pochi_cli.plots.files import save_figure
from pochi_cli.plots.grid import Cell, new_grid
from pochi_cli.plots.losses import LossCurve, draw_losses
from pochi_cli.plots.recalls import RecallBars, RecallCurve, draw_recall_bars, draw_recall_curves
from pochi_cli.plots.run_table import RunTable, draw_run_table, table_height
from pochi_cli.runs.comparison import Comparison
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.measures import PAIR_KEYS, baseline, shared_ks
from pochi_cli.runs.run_table import describe_runs
from pochi_cli.runs.seeds import GroupMeasure, SeedGroup
from pochi_cli.runs.value_text import value_text
from pochi_cli.runs.verdict_text import remarks, verdict

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _ROW = 18.0, 4.3  # inches
_COLUMNS = 6
_LEGEND_CHARACTERS = 60
_MOST_KEYS = 2
"""Keys whose values are told in the legend; more would make it a table."""
_MOST_TOLD = 36
_MOST_KS = 6
"""Numbers of neighbours whose recalls have a panel of their own."""
_TITLES = {
    "total_loss": "Total loss",
    "rank_loss": "Rank loss",
    "pairdist_loss": "Pair-distance loss",
    "val_total_loss": "Held-out total loss",
    "train_loss": "Training loss",
    "val_loss": "Validation loss",
    "train_accuracy": "Training accuracy (%)",
    "val_accuracy": "Validation accuracy (%)",
}


class _Drawn(NamedTuple):
    """A run, or runs of several seeds, and how they look."""

    group: SeedGroup
    name: str
    color: str
    dashes: str


class _Panel(NamedTuple):
    """A panel, and what draws it when told how wide it is in inches."""

    draw: Callable[[Axes, float], None]
    wide: bool = False


def write_comparison_figure(comparison: Comparison, path: Path, look: RecallLook) -> None:
    """Draw runs beside each other.

    Raises:
        RunError: None of them has a finished epoch.
        StorageError: The picture cannot be written.
    """
    save_figure(draw_comparison(comparison, look), path)


def draw_comparison(comparison: Comparison, look: RecallLook = USUAL_LOOK) -> Figure:
    """Draw each loss of the task, the recalls or accuracies, and a table.

    Runs that differ in their seeds alone have one colour; of their recalls mean and spread are drawn.

    Args:
        comparison: The runs.
        look: How the recalls of encoders are drawn.

    Raises:
        RunError: No run has a finished epoch.
    """
    if not any(len(history) for history in comparison.histories):
        raise RunError("none of the runs has a finished epoch to draw")
    drawn = _look_of_groups(comparison)  # first: names may add a font to what is drawn afterwards
    table = RunTable(
        *describe_runs(comparison), [(of.color, of.dashes) for of in drawn], list(_notes(comparison))
    )
    above = list(_panels(comparison, drawn, look))
    rows = _arranged(above)
    bottom = table_height(table)
    cells = [cell for row, panels in enumerate(rows) for cell in _cells(row, panels)]
    heights = [*(_ROW for _ in rows), bottom]
    cells.append(Cell(len(rows), 0, _COLUMNS))
    legend = 0.3 + 0.25 * math.ceil(min(len(drawn), layers.MAX_LEGEND) / 3)
    figure, axes = new_grid(cells, (_WIDTH, sum(heights) + legend), heights)
    for panel, cell, place in zip(above, cells, axes, strict=False):
        panel.draw(place, (_WIDTH - 1.5) * (cell.end - cell.first) / _COLUMNS - 0.8)
    draw_run_table(axes[-1], table, (_WIDTH - 1.2, bottom))
    _add_legend(figure, comparison, drawn)
    return figure


def _look_of_groups(comparison: Comparison) -> list[_Drawn]:
    groups = comparison.grouping.groups
    keys = [item for item in comparison.config if item.key != "seed"]
    is_told = 0 < len(keys) <= _MOST_KEYS and len(groups) > 1
    names = _short([group.label for group in groups])
    drawn = []
    for group, name, (color, dashes) in zip(groups, names, layers.layer_styles(len(groups)), strict=True):
        name = style.drawable(name)
        if is_told and not group.has_spread:  # else its name tells
            values = (f"{item.key} {value_text(item.values[group.members[0]])}" for item in keys)
            name += f": {style.drawable(', '.join(values), _MOST_TOLD)}"
        drawn.append(_Drawn(group, name, color, dashes))
    return drawn


def _short(labels: Sequence[str]) -> list[str]:
    """Leave out the directories that all labels begin with."""
    parts = [label.split("/")[:-1] for label in labels]
    shared = sum(1 for _ in takewhile(lambda same: len(set(same)) == 1, zip(*parts, strict=False)))
    return ["/".join(label.split("/")[shared:]) for label in labels]


def _panels(comparison: Comparison, drawn: Sequence[_Drawn], look: RecallLook) -> Iterator[_Panel]:
    if comparison.task != "embedding":
        for metric in ("train_loss", "val_loss", "train_accuracy", "val_accuracy"):
            if _is_measured(comparison, metric):
                draw = _draw_losses if metric.endswith("loss") else _draw_accuracies
                yield _Panel(_bound(draw, comparison, drawn, metric))
        return
    for metric in ("total_loss", "rank_loss", "pairdist_loss", "val_total_loss"):
        if _is_measured(comparison, metric):
            yield _Panel(_bound(_draw_losses, comparison, drawn, metric))
    if not look.show or not shared_ks(comparison.histories):
        return
    if not look.history:
        yield _Panel(lambda axes, width: _draw_bars(axes, comparison, drawn, width, log=look.log), wide=True)
        return
    ks = _drawn_ks(comparison)
    for k in ks:
        yield _Panel(_bound_k(comparison, drawn, k, log=look.log))


def _bound(
    draw: Callable[[Axes, Comparison, Sequence[_Drawn], str], None],
    comparison: Comparison,
    drawn: Sequence[_Drawn],
    metric: str,
) -> Callable[[Axes, float], None]:
    return lambda axes, _: draw(axes, comparison, drawn, metric)


def _bound_k(
    comparison: Comparison, drawn: Sequence[_Drawn], k: int, *, log: bool
) -> Callable[[Axes, float], None]:
    return lambda axes, _: _draw_curves(axes, comparison, drawn, k, log=log)


def _is_measured(comparison: Comparison, metric: str) -> bool:
    return any(
        record.metrics.get(metric) is not None
        for history in comparison.histories
        for record in history.epochs
    )


def _arranged(panels: Sequence[_Panel]) -> list[list[_Panel]]:
    """Divide panels into rows of up to three; a wide one takes what its row has left."""
    per_row = 2 if len(panels) in (2, 4) and not any(panel.wide for panel in panels) else 3
    return [list(panels[start : start + per_row]) for start in range(0, len(panels), per_row)]


def _cells(row: int, panels: Sequence[_Panel]) -> Iterator[Cell]:
    wide = sum(panel.wide for panel in panels)
    narrow = 2 if wide else _COLUMNS // len(panels)
    first = 0
    for panel in panels:
        end = _COLUMNS if panel.wide else first + narrow
        yield Cell(row, first, end)
        first = end


def _members(comparison: Comparison, of: _Drawn) -> Iterator[int]:
    yield from (at for at in of.group.members if len(comparison.histories[at]))


def _draw_losses(axes: Axes, comparison: Comparison, drawn: Sequence[_Drawn], metric: str) -> None:
    curves = [
        LossCurve(
            "",
            [record.epoch for record in comparison.histories[at].epochs],
            [record.metrics.get(metric) for record in comparison.histories[at].epochs],
            of.color,
            of.dashes,
            width=1.2 if of.group.has_spread else 1.8,
        )
        for of in drawn
        for at in _members(comparison, of)
    ]
    entries = draw_losses(axes, curves)
    style.set_label(axes, _TITLES[metric])
    hindering = comparison.obstacles.losses
    if metric == "pairdist_loss":  # the same formula in all losses
        hindering = tuple(key for key in hindering if key in PAIR_KEYS)
    elif metric == "val_total_loss":
        hindering = (*hindering, *comparison.obstacles.recalls)
    entries += _caution(hindering)
    style.set_header(axes, _TITLES[metric], entries, _LEGEND_CHARACTERS)


def _draw_accuracies(axes: Axes, comparison: Comparison, drawn: Sequence[_Drawn], metric: str) -> None:
    values: list[float] = []
    last = 1
    for of in drawn:
        for at in _members(comparison, of):
            records = comparison.histories[at].epochs
            found = [record.metrics.get(metric) for record in records]
            shown = [value if value is not None and math.isfinite(value) else math.nan for value in found]
            axes.plot(
                [record.epoch for record in records],
                shown,
                color=of.color,
                linestyle=of.dashes,
                linewidth=1.2 if of.group.has_spread else 1.8,
                marker="o",
                markersize=4,
                markevery=style.marked([not math.isnan(value) for value in shown]),
                label="_",
            )
            values += [value for value in shown if not math.isnan(value)]
            last = max(last, records[-1].epoch)
    style.set_epoch_axis(axes, [1, last])
    style.set_label(axes, _TITLES[metric])
    if not values:
        style.show_message(axes, "no finite values")
    style.set_header(axes, _TITLES[metric], [])


def _drawn_ks(comparison: Comparison) -> Sequence[int]:
    ks = shared_ks(comparison.histories)
    watched = [neighbors_in(name) for name in comparison.watched if is_recall(name)]
    chosen = {ks[at] for at in layers.thinned(len(ks), _MOST_KS)} if ks else set()
    return sorted(chosen | (set(watched) & set(ks)))


def _caution(obstacles: Sequence[str]) -> list[style.LegendEntry]:
    """Say in a legend that values do not compare."""
    from matplotlib.lines import Line2D

    if not obstacles:
        return []
    keys = ", ".join(obstacles[:2]) + (" …" if len(obstacles) > 2 else "")
    mark = Line2D([], [], linestyle="none", marker=r"$\mathbf{!}$", markersize=8, color=style.VERMILION)
    return [(mark, f"do not compare: other {keys}")]


def _has_reference(comparison: Comparison) -> bool:
    """Whether one recall of the principal components serves all runs."""
    return not comparison.obstacles.recalls and all(item.key != "latent_dim" for item in comparison.config)


def _reference(comparison: Comparison, metric: str) -> float | None:
    if not _has_reference(comparison):
        return None
    values = [baseline(run, "pca", metric) for run in comparison.runs]
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known else None


def _means(measures: Mapping[str, GroupMeasure], name: str, place: int) -> tuple[float | None, float | None]:
    measure = measures.get(name)
    spread = None if measure is None else measure.spreads[place]
    return (None, None) if spread is None else (spread.mean, spread.deviation)


def _draw_bars(
    axes: Axes, comparison: Comparison, drawn: Sequence[_Drawn], width: float, *, log: bool
) -> None:
    grouping = comparison.grouping
    ks = shared_ks(comparison.histories)
    measures = {measure.name: measure for measure in (*grouping.measures, *grouping.baselines)}
    is_shared = _has_reference(comparison)
    bars = []
    for place, of in enumerate(drawn):
        found = {k: _means(measures, recall_name(k), place) for k in ks}
        pca = {k: _means(measures, f"pca.{recall_name(k)}", place)[0] for k in ks}
        bars.append(
            RecallBars(
                "",
                {k: mean for k, (mean, _) in found.items()},
                of.color,
                {k: deviation for k, (_, deviation) in found.items()},
                {} if is_shared else pca,
                "///" if of.dashes != "-" else "",
            )
        )
    reference = {k: value for k in ks if (value := _reference(comparison, recall_name(k))) is not None}
    entries = draw_recall_bars(axes, bars, width=width, log=log, reference=reference)
    entries += _caution(comparison.obstacles.recalls)
    style.set_header(axes, "Best recall@k", entries, 2 * _LEGEND_CHARACTERS)


def _draw_curves(axes: Axes, comparison: Comparison, drawn: Sequence[_Drawn], k: int, *, log: bool) -> None:
    metric = recall_name(k)
    is_shared = _has_reference(comparison)
    curves = []
    for of in drawn:
        for at in _members(comparison, of):
            epochs = comparison.histories[at].embedding
            points = [(epoch.epoch, value) for epoch in epochs if (value := epoch.recall.get(k)) is not None]
            curves.append(
                RecallCurve(
                    "",
                    [epoch for epoch, _ in points],
                    [value for _, value in points],
                    of.color,
                    None if is_shared else baseline(comparison.runs[at], "pca", metric),
                    of.dashes,
                )
            )
    last = max(history.epochs[-1].epoch for history in comparison.histories if len(history))
    entries = draw_recall_curves(axes, curves, last, log=log, reference=_reference(comparison, metric))
    title = metric_name(metric).capitalize()
    style.set_label(axes, title)
    entries += _caution(comparison.obstacles.recalls)
    style.set_header(axes, title, entries, _LEGEND_CHARACTERS)


def _notes(comparison: Comparison) -> Iterator[str]:
    if comparison.task == "embedding" and not shared_ks(comparison.histories):
        yield "there is no number of neighbours of which the recall was measured in all runs that have any"
    yield from remarks(comparison)
    if len(comparison.runs) > 1:
        yield verdict(comparison)


def _add_legend(figure: Figure, comparison: Comparison, drawn: Sequence[_Drawn]) -> None:
    from matplotlib.lines import Line2D

    named = layers.thinned(len(drawn), layers.MAX_LEGEND)
    chosen = [drawn[at] for at in named]
    title = norms.counted(len(comparison.runs), "run")
    if len(drawn) < len(comparison.runs):
        title += f" of {norms.counted(len(drawn), 'config')}, seeds apart"
    if named.step > 1:
        title += f" (1 in {named.step} is named here, all in the table)"
    samples = []
    for of in chosen:
        sample = Line2D([], [], color=of.color, linewidth=2.4)
        sample.set(linestyle=of.dashes)
        samples.append(sample)
    legend = figure.legend(
        samples,
        [" "] * len(chosen),
        loc="outside upper left",
        ncols=min(3, len(chosen)),
        frameon=False,
        fontsize=style.LABEL_SIZE,
        title=title,
    )
    legend.set_alignment("left")
    legend.get_title().set_fontsize(13)
    style.fill_legend(legend, [of.name for of in chosen])
