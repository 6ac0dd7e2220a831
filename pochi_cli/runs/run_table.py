"""Runs, or groups of them, as the rows of one table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pochi_cli.config.recalls import is_recall, neighbors_in
from pochi_cli.runs.comparison import Comparison
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.experiment import parameter_count
from pochi_cli.runs.history import History
from pochi_cli.runs.measure_text import spread_text
from pochi_cli.runs.measures import ABOVE_PCA
from pochi_cli.runs.records import read_config
from pochi_cli.runs.seeds import SeedGroup, Spread, spread_of


class TableRow(NamedTuple):
    """A run, or a group of runs.

    Attributes:
        cells: Its name first.
        is_best: Whether it is the best by what the runs watched.
    """

    cells: tuple[str, ...]
    is_best: bool


def describe_runs(comparison: Comparison) -> tuple[tuple[str, ...], tuple[TableRow, ...]]:
    """Describe each group of runs by a row.

    Returns:
        Names of the columns, and the rows.
    """
    grouping = comparison.grouping
    metric = comparison.watched[0] if len(comparison.watched) == 1 else None
    is_encoder = comparison.task == "embedding"
    by_name = {measure.name: measure.spreads for measure in (*grouping.measures, *grouping.baselines)}
    columns: list[tuple[str, list[str]]] = [
        ("run", [group.label for group in grouping.groups]),
        ("dimensions" if is_encoder else "model", [_kind(comparison, group) for group in grouping.groups]),
        ("parameters", [_parameters(comparison, group) for group in grouping.groups]),
        ("epochs", [_epochs(comparison, group) for group in grouping.groups]),
    ]

    def add(title: str, name: str, spreads: Sequence[Spread | None] | None) -> None:
        if spreads is not None:
            columns.append((title, ["-" if of is None else spread_text(name, of) for of in spreads]))

    if metric is not None and grouping.watched is not None:
        add(f"best {metric_name(metric)}", metric, grouping.watched.spreads)
        if is_recall(metric):
            add(f"final {metric_name(metric)}", metric, _final(comparison, metric))
            add("against PCA", f"{ABOVE_PCA}.{metric}", by_name.get(f"{ABOVE_PCA}.{metric}"))
    shown = (
        {"final_total_loss": "last total loss", "final_val_total_loss": "last held-out total"}
        if is_encoder
        else {"val_loss": "best val loss", "final_train_loss": "last train loss"}
    )
    shown |= {"duration_s": "time", "samples_per_second": "vectors/s" if is_encoder else "images/s"}
    for name, title in shown.items():
        if name != metric:
            add(title, name, by_name.get(name))
    best = () if grouping.watched is None else grouping.watched.best
    rows = zip(*(cells for _, cells in columns), strict=True)
    return (
        tuple(title for title, _ in columns),
        tuple(TableRow(cells, place in best) for place, cells in enumerate(rows)),
    )


def _kind(comparison: Comparison, group: SeedGroup) -> str:
    run = comparison.runs[group.members[0]]
    if comparison.task != "embedding":
        return run.record.model_name
    latent = read_config(run.layout.config_json).get("latent_dim", "?")
    return f"{run.record.settings.get('dim', '?')} → {latent}"


def _parameters(comparison: Comparison, group: SeedGroup) -> str:
    count = parameter_count(comparison.runs[group.members[0]])
    return "-" if count is None else f"{count:,}"


def _epochs(comparison: Comparison, group: SeedGroup) -> str:
    records = [comparison.runs[at].record for at in group.members]
    texts = dict.fromkeys(f"{record.epochs_done:,}/{record.epochs:,}" for record in records)
    return next(iter(texts)) if len(texts) == 1 else f"{min(record.epochs_done for record in records):,} …"


def _final(comparison: Comparison, metric: str) -> list[Spread | None]:
    values = tuple(_last(history, metric) for history in comparison.histories)
    return [spread_of(values, group) for group in comparison.grouping.groups]


def _last(history: History, metric: str) -> float | None:
    """Look up the last recall that was measured."""
    k = neighbors_in(metric)
    measured = [value for epoch in history.embedding if (value := epoch.recall.get(k)) is not None]
    return measured[-1] if measured else None
