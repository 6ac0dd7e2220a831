"""Graphs of a run's metrics: of a classifier loss and accuracy, of an encoder one of all; learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.errors import RunError
from pochi_cli.plots import layers, style
from pochi_cli.plots.experiment import USUAL_LOOK, RecallLook, draw_experiment
from pochi_cli.plots.files import save_figure
from pochi_cli.runs.experiment import read_experiment
from pochi_cli.runs.history import History, best_place
from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import make_parts
from pochi_cli.runs.records import read_json

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

_LARGEST = 1e300
"""Beyond, margins and ticks would overflow."""


@dataclass(frozen=True)
class _Curve:
    """One quantity over the epochs; NaN where it was not measured or is not finite.

    Attributes:
        lost: Number of measured values that are not finite.
    """

    name: str
    epochs: tuple[int, ...]
    values: tuple[float, ...]
    lost: int

    @property
    def finite(self) -> list[float]:
        return [value for value in self.values if not math.isnan(value)]

    @property
    def is_empty(self) -> bool:
        """Whether it was never measured."""
        return not self.finite and not self.lost

    @property
    def legend(self) -> str:
        """Its name, and what cannot be seen of it."""
        if not self.lost:
            return self.name
        return f"{self.name} ({self.lost} not finite)" if self.finite else f"{self.name} (no finite values)"


def draw_loss(history: History) -> Figure:
    """Draw training and validation loss over the epochs.

    The axis is logarithmic when the values span more than two decades.
    """
    figure, axes = style.new_axes()
    _draw_loss(axes, history)
    return figure


def _draw_loss(axes: Axes, history: History) -> None:
    train = _curve("training", history, (record.train_loss for record in history.classification))
    validation = _curve("validation", history, (record.val_loss for record in history.classification))
    entries = _plot_metrics(axes, train, validation)
    if best := _mark_best(axes, validation, "val_loss"):
        line, epoch, value = best
        entries.append((line, f"best validation: {value:.4g} at epoch {epoch}"))
    if _span_more_than(100, train.finite + validation.finite):
        _use_log_scale(axes)
    style.set_epoch_axis(axes, train.epochs)
    style.set_label(axes, "Loss")
    style.set_header(axes, "Loss", entries)


def draw_accuracy(history: History, *, show_learning_rate: bool) -> Figure:
    """Draw training and validation accuracy over the epochs.

    Args:
        history: The finished epochs.
        show_learning_rate: Whether the learning rate is drawn on a second axis, logarithmic when it varies
            more than tenfold. With layer-wise rates it says nothing: they have a graph of their own.
    """
    figure, axes = style.new_axes()
    _draw_accuracy(axes, history, show_learning_rate=show_learning_rate)
    return figure


def _draw_accuracy(axes: Axes, history: History, *, show_learning_rate: bool) -> None:
    train = _curve("training", history, (record.train_accuracy for record in history.classification))
    validation = _curve("validation", history, (record.val_accuracy for record in history.classification))
    entries = _plot_metrics(axes, train, validation)
    if best := _mark_best(axes, validation, "val_accuracy"):
        line, epoch, value = best
        entries.append((line, f"best validation: {value:.2f}% at epoch {epoch}"))
    if values := train.finite + validation.finite:
        _set_percent_limits(axes, values)
    style.set_epoch_axis(axes, train.epochs)
    style.set_label(axes, "Accuracy (%)")
    if show_learning_rate:
        rate = _curve("learning rate", history, (record.learning_rate for record in history.epochs))
        entries += _plot_rate_behind(axes, rate)
    style.set_header(axes, "Accuracy", entries)


def draw_layer_rates(history: History, *, use_log_scale: bool) -> Figure:
    """Draw the learning rate of each pattern of the layer-wise rates over the epochs.

    Patterns with the same rates lie on each other: the earlier ones are drawn wider, so that all are seen.

    Args:
        history: The finished epochs.
        use_log_scale: Whether the axis of the rates is logarithmic; rates of 0 then fall off its lower end.
    """
    figure, axes = style.new_axes()
    _draw_layer_rates(axes, history, use_log_scale=use_log_scale)
    return figure


def _draw_layer_rates(axes: Axes, history: History, *, use_log_scale: bool) -> None:
    curves = [
        _curve(pattern, history, (record.layer_rates.get(pattern) for record in history.epochs))
        for pattern in _patterns(history)
    ]
    style.set_epoch_axis(axes, [record.epoch for record in history.epochs])
    style.set_label(axes, "Learning rate")
    style.set_header(axes, "Layer-wise learning rates", [])
    styles = layers.layer_styles(len(curves))
    lines = [
        _plot(axes, curve, color, "o", width=width, linestyle=dashes)
        for curve, width, (color, dashes) in zip(curves, _nested_widths(curves), styles, strict=True)
    ]
    values = [value for curve in curves for value in curve.finite]
    if not values:
        style.show_message(axes, "no finite values" if curves else "no layer-wise learning rates")
    elif use_log_scale and max(values) > 0:
        _use_log_scale(axes)
    else:
        _start_at_zero(axes, values)
    figure = axes.get_figure(root=True)
    assert figure is not None
    layers.name_layers(figure, axes, lines, [_layer_label(curve) for curve in curves])


def draw_metrics(run: Run, history: History, look: RecallLook = USUAL_LOOK) -> Figure:
    """Draw all metrics of a run in one figure.

    Args:
        run: The run.
        history: Its finished epochs, at least one.
        look: How an encoder's recalls are drawn.

    Raises:
        RunError: Its config is damaged.
    """
    if history.embedding:
        return draw_experiment(read_experiment(run, history), look)
    layer_wise = bool(_patterns(history))
    columns = 3 if layer_wise else 2
    figure, panels = style.new_panels(1, columns, (columns * style.FIGURE_SIZE[0], style.FIGURE_SIZE[1]))
    _draw_loss(panels[0], history)
    _draw_accuracy(panels[1], history, show_learning_rate=not layer_wise)
    if layer_wise:
        _draw_layer_rates(panels[2], history, use_log_scale=_wants_log_scale(run))
    return figure


def write_metrics_figures(
    run: Run, output_dir: Path | None = None, *, history: History | None = None, look: RecallLook = USUAL_LOOK
) -> list[Path]:
    """Draw the graphs of a run's metrics.

    Args:
        run: The run.
        output_dir: Where they go, made where missing; the run's own directory by default.
        history: What is drawn; by default the run's own history.
        look: How an encoder's recalls are drawn.

    Returns:
        The files written: loss and accuracy, or all of an encoder, and with layer-wise rates those.

    Raises:
        RunError: The run has no finished epoch, or a file of it is damaged.
        StorageError: A file cannot be written.
    """
    history = finished_epochs(run) if history is None else history
    layer_wise = bool(_patterns(history))
    if history.embedding:
        figures = {"experiment": draw_experiment(read_experiment(run, history), look)}
    else:
        figures = {
            "loss": draw_loss(history),
            "accuracy": draw_accuracy(history, show_learning_rate=not layer_wise),
        }
    if layer_wise:
        figures["layer_wise_lr"] = draw_layer_rates(history, use_log_scale=_wants_log_scale(run))
    if output_dir is None:
        make_parts(run.layout)
    written = []
    for kind, figure in figures.items():
        path = run.layout.metrics_figure(kind)
        path = output_dir / path.name if output_dir is not None else path
        save_figure(figure, path)
        written.append(path)
    return written


def finished_epochs(run: Run) -> History:
    """Read what there is to draw of a run.

    Raises:
        RunError: It has no finished epoch, or its history is damaged.
    """
    history = run.history
    if not len(history):
        raise RunError(f"the run {run.directory} has no finished epoch to draw")
    return history


def _wants_log_scale(run: Run) -> bool:
    config = read_json(run.layout.config_json)
    try:
        return bool(config["layer_wise_lr_config"]["graph_config"]["use_log_scale"])
    except KeyError:  # an omitted key has its default
        return False
    except TypeError as error:
        raise RunError(f"{run.layout.config_json} is not a config: {error}") from error


def _patterns(history: History) -> list[str]:
    return list(history.epochs[0].layer_rates) if history.epochs else []


def _curve(name: str, history: History, values: Iterable[float | None]) -> _Curve:
    measured = list(values)
    drawn = tuple(
        value if value is not None and abs(value) < _LARGEST else math.nan  # false for NaN and infinity
        for value in measured
    )
    lost = sum(math.isnan(shown) and value is not None for shown, value in zip(drawn, measured, strict=True))
    return _Curve(name, tuple(record.epoch for record in history.epochs), drawn, lost)


def _plot_metrics(axes: Axes, train: _Curve, validation: _Curve) -> list[style.LegendEntry]:
    entries = [(_plot(axes, train, style.TRAIN_COLOR, "o"), train.legend)]
    if not validation.is_empty:
        entries.append((_plot(axes, validation, style.VALIDATION_COLOR, "s"), validation.legend))
    if not train.finite and not validation.finite:
        style.show_message(axes, "no finite values")
    return entries


def _plot(
    axes: Axes, curve: _Curve, color: str, marker: str, *, width: float = 1.8, linestyle: str = "-"
) -> Line2D:
    if len(curve.epochs) > 10 * style.MARKED_EPOCHS:
        width = min(width, 1.2)
    (line,) = axes.plot(
        curve.epochs,
        curve.values,
        color=color,
        linewidth=width,
        linestyle=linestyle,
        marker=marker,
        markersize=max(4.5, width + 2),
        markevery=style.marked([not math.isnan(value) for value in curve.values]),
    )
    line.set_label(curve.name)
    return line


def _mark_best(axes: Axes, curve: _Curve, metric: str) -> tuple[Line2D, int, float] | None:
    """Ring the best value; on a tie the earlier epoch, as for the best model."""
    place = best_place(curve.values, metric)
    if place is None:
        return None
    best = curve.epochs[place], curve.values[place]
    ring = style.ring(axes, *best)
    ring.set_label("best")
    return ring, *best


def _plot_rate_behind(axes: Axes, rate: _Curve) -> list[style.LegendEntry]:
    twin = axes.twinx()
    twin.spines[["top", "left"]].set_visible(False)
    style.style_axis(twin)
    twin.set_zorder(axes.get_zorder() - 1)
    axes.patch.set_visible(False)
    line = _plot(twin, rate, style.RATE_COLOR, "", width=1.3, linestyle="--")
    style.set_label(twin, "Learning rate", style.RATE_COLOR)
    if len(rate.epochs) == 1:
        line.set_marker("D")
    if not rate.finite:
        twin.set_yticks([])
    elif _span_more_than(10, rate.finite):
        _use_log_scale(twin)
    else:
        _start_at_zero(twin, rate.finite)
    return [(line, rate.legend)]


def _span_more_than(ratio: float, values: Sequence[float]) -> bool:
    # A value of 0 has no place on a logarithmic axis.
    return bool(values) and min(values) > 0 and max(values) / min(values) > ratio


def _use_log_scale(axes: Axes) -> None:
    axes.set_yscale("log")
    style.style_log_axis(axes)


def _start_at_zero(axes: Axes, values: Sequence[float]) -> None:
    if max(values) > 0 <= min(values):
        axes.set_ylim(0, 1.08 * max(values))


def _set_percent_limits(axes: Axes, values: Sequence[float]) -> None:
    """Fit the axis to the values, never beyond 0 and 100 percent."""
    low, high = min(values), max(values)
    margin = max(0.05 * (high - low), 1.0)
    axes.set_ylim(max(low - margin, min(low, 0.0)), min(high + margin, max(high, 100.0)))
    for line in axes.lines:  # a curve at 100 percent lies on the edge and would lose half its width
        line.set_clip_on(False)


def _nested_widths(curves: Sequence[_Curve]) -> list[float]:
    widths = []
    for index, curve in enumerate(curves):
        covering = sum(_same(curve, later) for later in curves[index + 1 :])
        widths.append(min(1.8 + 2.2 * covering, 9.0))
    return widths


def _same(one: _Curve, other: _Curve) -> bool:
    return all(
        math.isclose(a, b, rel_tol=1e-3) or (math.isnan(a) and math.isnan(b))
        for a, b in zip(one.values, other.values, strict=True)
    )


def _layer_label(curve: _Curve) -> str:
    return style.drawable(curve.name) + curve.legend.removeprefix(curve.name)
