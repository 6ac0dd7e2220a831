"""Quantities of runs as the cells of a table."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pochi_cli.config.recalls import is_recall
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.measures import ABOVE_PCA, Measure
from pochi_cli.runs.quantities import duration_text, loss_text, metric_text
from pochi_cli.runs.seeds import GroupMeasure, Spread

_BEST = " *"
_NAMES = {
    "val_accuracy": "best val_accuracy",
    "val_loss": "best val_loss",
    "val_total_loss": "best held-out total",
    "final_val_total_loss": "last held-out total",
    "final_pairdist_loss": "last pairdist loss",
    "samples_per_second": "images per second",
    "duration_s": "duration",
}
BASELINE_NAMES = {"pca": "PCA", "random_projection": "random projection", "truncation": "truncation"}


def measure_text(name: str, task: str) -> str:
    """Name a measure as a table does."""
    if name == "samples_per_second" and task == "embedding":
        return "vectors per second"
    if name in _NAMES:
        return _NAMES[name]
    if name.startswith("final_"):
        return f"last {metric_name(name.removeprefix('final_'))}"
    kind, _, metric = name.partition(".")
    if kind == ABOVE_PCA:
        return "  better than PCA by"
    if metric:
        return f"  {BASELINE_NAMES.get(kind, kind)}"
    return metric_name(name)


def number_text(name: str, value: float) -> str:
    """Write a measure's value with its unit."""
    if name == "duration_s":
        return duration_text(value)
    if name == "samples_per_second":
        return f"{value:,.0f}"
    if name.startswith(f"{ABOVE_PCA}."):
        return f"{value:+.4f}"
    metric = name.removeprefix("final_")
    # Those of classifiers have four decimals always.
    return loss_text(value) if metric.endswith(_ENCODER_LOSSES) else metric_text(metric, value)


_ENCODER_LOSSES = ("total_loss", "rank_loss", "pairdist_loss")


def spread_text(name: str, spread: Spread) -> str:
    """Write a mean and its spread: `0.6123 ± 0.0042`."""
    mean = number_text(name, spread.mean)
    if spread.deviation is None:
        return mean
    if name == "duration_s":
        return f"{mean} ± {duration_text(spread.deviation)}"
    number, _, unit = mean.partition(" ")
    return f"{number} ± {_deviation_text(number, spread.deviation)}{unit and f' {unit}'}"


def _deviation_text(mean: str, deviation: float) -> str:
    """Write a deviation with as many decimals as its mean, or shortly where that has an exponent."""
    if "e" in mean or (deviation and deviation < 1e-4 and "." in mean):
        return f"{deviation:.1e}".replace("e-0", "e-")
    return f"{deviation:,.{len(mean.partition('.')[2])}f}"


def measure_rows(
    measure: Measure, task: str, spreads: Sequence[Spread | None] = ()
) -> Iterator[tuple[str, ...]]:
    """Write a measure, and the epochs of its values, as rows of a table with a column for each run.

    Args:
        measure: The measure.
        task: Of the runs.
        spreads: The same of groups of runs, which have further columns.
    """
    marked = _marked([value is not None and not math.isnan(value) for value in measure.values], measure.best)
    cells = ["-" if value is None else number_text(measure.name, value) for value in measure.values]
    cells = [text + (_BEST if at in marked else "") for at, text in enumerate(cells)]
    more = [_spread_cell(measure.name, spread) for spread in spreads]
    yield (measure_text(measure.name, task), *cells, *more)
    if not measure.name.startswith("final_") and any(epoch is not None for epoch in measure.epochs):
        epochs = ("-" if epoch is None else str(epoch) for epoch in measure.epochs)
        yield ("  in epoch", *epochs, *("" for _ in more))


def group_row(grouped: GroupMeasure, task: str) -> tuple[str, ...]:
    """Write a measure as a row of a table with a column for each group."""
    marked = _marked(
        [spread is not None and not math.isnan(spread.mean) for spread in grouped.spreads], grouped.best
    )
    cells = (_spread_cell(grouped.name, spread) for spread in grouped.spreads)
    return (
        measure_text(grouped.name, task),
        *(text + (_BEST if at in marked else "") for at, text in enumerate(cells)),
    )


def _spread_cell(name: str, spread: Spread | None) -> str:
    return "-" if spread is None else spread_text(name, spread)


def _marked(is_known: Sequence[bool], best: Sequence[int]) -> Sequence[int]:
    return best if len(best) < sum(is_known) else ()  # where all are equal none stands out


def is_of_recall(name: str) -> bool:
    """Tell the measures that are recalls, the learned ones and others."""
    return is_recall(name.rpartition(".")[2])
