"""The picture of a run of the embedding task: its losses, its recalls, and what it came to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from pochi_cli.config.recalls import recall_name
from pochi_cli.plots import layers, style
from pochi_cli.plots.grid import Cell, new_grid, write_facts
from pochi_cli.plots.losses import LossCurve, draw_losses
from pochi_cli.plots.recalls import RecallBars, RecallCurve, draw_recall_bars, draw_recall_curves
from pochi_cli.runs.epochs import EmbeddingEpoch
from pochi_cli.runs.experiment import Experiment
from pochi_cli.runs.measures import baseline_recall

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_SIZE = (18.0, 10.0)  # inches
_PANEL = (5.2, 3.9)
"""About what a panel of a third of the width has for its data, in inches."""
_LEGEND_CHARACTERS = 61
_FACT_CHARACTERS = 44
_BASELINES = {
    "pca": ("PCA", style.ORANGE),
    "random_projection": ("random projection", "#8A8A8A"),
    "truncation": ("truncation", "#C4C4C4"),
}
_LOSSES = {
    "total_loss": ("Total loss", style.TRAIN_COLOR),
    "rank_loss": ("Rank loss", style.GREEN),
    "pairdist_loss": ("Pair-distance loss", style.PURPLE),
}
"""The losses of a training, and their colours where they stand together."""


class RecallLook(NamedTuple):
    """How recalls are drawn.

    Attributes:
        show: Whether they are drawn at all.
        history: Whether as curves over the epochs rather than as bars of the final ones.
        log: Whether their axis is logarithmic.
    """

    show: bool = True
    history: bool = False
    log: bool = False


USUAL_LOOK = RecallLook()


def draw_experiment(experiment: Experiment, look: RecallLook = USUAL_LOOK) -> Figure:
    """Draw the losses, each and together, the recalls beside those of encodings not learnt, and a summary.

    Args:
        experiment: What is known of the run.
        look: How the recalls are drawn; without them there are five panels.
    """
    title = style.drawable(experiment.title, 120)  # first: it may add a font to what is drawn afterwards
    facts = [(style.drawable(name), text) for name, text in experiment.facts]
    below = [Cell(1, 0, 2), Cell(1, 2, 4), Cell(1, 4, 6)] if look.show else [Cell(1, 0, 4), Cell(1, 4, 6)]
    figure, panels = new_grid([Cell(0, 0, 2), Cell(0, 2, 4), Cell(0, 4, 6), *below], _SIZE, (1, 1))
    figure.suptitle(title, fontsize=14, color=style.INK)
    epochs = experiment.history.embedding
    for axes, metric in zip(panels, _LOSSES, strict=False):
        _draw_loss(axes, epochs, metric)
    _draw_all(panels[3], epochs)
    if look.show:
        _draw_recall(panels[4], experiment, look)
    write_facts(panels[-1], "Performance summary", facts, _FACT_CHARACTERS, _PANEL[1])
    return figure


def _draw_loss(axes: Axes, epochs: Sequence[EmbeddingEpoch], metric: str) -> None:
    curves = [_curve("training", epochs, metric, style.TRAIN_COLOR)]
    if metric == "total_loss" and any(epoch.val_total_loss is not None for epoch in epochs):
        held = _curve("held out", epochs, "val_total_loss", style.VALIDATION_COLOR)
        curves.append(held._replace(marker="s"))
    entries = draw_losses(axes, curves)
    name = _LOSSES[metric][0]
    style.set_label(axes, name)
    style.set_header(axes, name, entries, _LEGEND_CHARACTERS)


def _draw_all(axes: Axes, epochs: Sequence[EmbeddingEpoch]) -> None:
    curves = [
        _curve(name.lower().removesuffix(" loss"), epochs, metric, color)
        for metric, (name, color) in _LOSSES.items()
    ]
    curves[0] = curves[0]._replace(width=3.6)  # of one term that outweighs the other the curve hides it
    if any(epoch.val_total_loss is not None for epoch in epochs):
        held = _curve("held-out total", epochs, "val_total_loss", style.VALIDATION_COLOR)
        curves.append(held._replace(dashes="--"))
    entries = draw_losses(axes, curves)
    style.set_label(axes, "Loss")
    style.set_header(axes, "All losses", entries, _LEGEND_CHARACTERS)


def _curve(name: str, epochs: Sequence[EmbeddingEpoch], metric: str, color: str) -> LossCurve:
    return LossCurve(
        name, [epoch.epoch for epoch in epochs], [epoch.metrics[metric] for epoch in epochs], color
    )


def _draw_recall(axes: Axes, experiment: Experiment, look: RecallLook) -> None:
    measured = [epoch for epoch in experiment.history.embedding if epoch.has_recall]
    if not measured:
        style.set_header(axes, "Recall@k", [])
        style.show_message(axes, experiment.missing)
        axes.set_xticks([])
        return
    if look.history:
        curves = _recall_curves(measured, experiment.baselines)
        last = experiment.history.epochs[-1].epoch
        entries = draw_recall_curves(axes, curves, last, log=look.log)
        style.set_header(axes, "Recall@k over the epochs", entries, _LEGEND_CHARACTERS)
        return
    final = measured[-1]
    bars = [RecallBars("encoder", final.recall, style.BLUE)]
    for kind, (name, color) in _BASELINES.items():
        values = {k: baseline_recall(experiment.baselines, kind, recall_name(k)) for k in final.recall}
        if any(value is not None for value in values.values()):
            bars.append(RecallBars(name, values, color))
    entries = draw_recall_bars(axes, bars, width=_PANEL[0], log=look.log)
    style.set_header(axes, f"Recall@k after epoch {final.epoch:,}", entries, _LEGEND_CHARACTERS)


def _recall_curves(
    measured: Sequence[EmbeddingEpoch], baselines: Mapping[str, object] | None
) -> list[RecallCurve]:
    ks = list(measured[-1].recall)
    curves = []
    for k, (color, dashes) in zip(ks, layers.layer_styles(len(ks)), strict=True):
        points = [(epoch.epoch, value) for epoch in measured if (value := epoch.recall.get(k)) is not None]
        curves.append(
            RecallCurve(
                f"k = {k:,}",
                [epoch for epoch, _ in points],
                [value for _, value in points],
                color,
                baseline_recall(baselines, "pca", recall_name(k)),
                dashes,
            )
        )
    return curves
