"""A comparison of runs in words and in JSON."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, NamedTuple

from pochi_cli.characters import visible
from pochi_cli.runs.comparison import Comparison, Difference, Measure
from pochi_cli.runs.listing_text import status_text
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.runs.value_text import names_text, value_text

_BEST = " *"
_FINGERPRINT = 12
"""Characters of a fingerprint or commit that are told."""


class Section(NamedTuple):
    """A table with one column for each run.

    Attributes:
        title: Its heading.
        rows: A name, and a cell for each run.
    """

    title: str
    rows: tuple[tuple[str, ...], ...]


def describe_comparison(comparison: Comparison) -> tuple[Section, ...]:
    """Describe how runs differ, what matters most first; what is the same in all is left out."""
    runs = comparison.runs
    standing = [
        ("model", *(run.record.model_name for run in runs)),
        ("status", *map(status_text, runs, comparison.statuses)),
        ("epochs", *(f"{run.record.epochs_done}/{run.record.epochs}" for run in runs)),
    ]
    sections = (
        Section("Runs", _cells([*standing, *chain.from_iterable(map(_measure_rows, comparison.measures))])),
        Section(
            "Data and versions that differ: the numbers do not compare one to one",
            _cells(map(_caution_row, comparison.cautions)),
        ),
        Section("Config", _cells((item.key, *map(value_text, item.values)) for item in comparison.config)),
        Section(
            "Where and how they ran, and what they wrote",
            _cells((item.key, *map(value_text, item.values)) for item in comparison.circumstances),
        ),
    )
    return tuple(section for section in sections if section.rows)


def verdict(comparison: Comparison) -> str:
    """Say which run was best, or why that cannot be said."""
    if len(comparison.watched) > 1:
        return f"best: no telling, the runs watched different metrics: {', '.join(comparison.watched)}"
    metric = comparison.watched[0]
    if not comparison.best:
        measured = zip(comparison.labels, comparison.runs, strict=True)
        having = [label for label, run in measured if run.record.best_value is not None]
        return f"best: no telling, {f'only {having[0]}' if having else 'no run'} has a {metric}"
    winners = [comparison.runs[position].record for position in comparison.best]
    value = metric_text(metric, winners[0].best_value or 0.0)
    names = " and ".join(comparison.labels[position] for position in comparison.best)
    epochs = " and ".join(str(record.best_epoch) for record in winners)
    return f"best: {names}, {metric} {value} in epoch {epochs}"


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Make a record for JSON; a key's value that is not given is null."""
    return {
        "runs": [
            {
                "label": label,
                "name": run.layout.name,
                "experiment_id": run.record.experiment_id,
                "directory": str(run.directory),
                "status": status,
                "model_name": run.record.model_name,
                "epochs_done": run.record.epochs_done,
                "epochs": run.record.epochs,
                "best_metric": run.record.best_metric,
                "best_value": run.record.best_value,
                "best_epoch": run.record.best_epoch,
            }
            for run, label, status in zip(
                comparison.runs, comparison.labels, comparison.statuses, strict=True
            )
        ],
        "measures": [measure._asdict() for measure in comparison.measures],
        "config": [item._asdict() for item in comparison.config],
        "circumstances": [item._asdict() for item in comparison.circumstances],
        "cautions": [item._asdict() for item in comparison.cautions],
        "watched": comparison.watched,
        "best": comparison.best,
    }


def _cells(rows: Iterable[Sequence[str]]) -> tuple[tuple[str, ...], ...]:
    return tuple(tuple(map(visible, row)) for row in rows)


def _measure_rows(measure: Measure) -> Iterator[tuple[str, ...]]:
    known = sum(value is not None and not math.isnan(value) for value in measure.values)
    marked = measure.best if len(measure.best) < known else ()  # where all are equal none stands out
    numbers = ("-" if value is None else _number(measure.name, value) for value in measure.values)
    cells = (text + (_BEST if at in marked else "") for at, text in enumerate(numbers))
    yield (_NAMES.get(measure.name, measure.name), *cells)
    if not measure.name.startswith("final_") and any(epoch is not None for epoch in measure.epochs):
        yield ("  in epoch", *("-" if epoch is None else str(epoch) for epoch in measure.epochs))


_NAMES = {
    "val_accuracy": "best val_accuracy",
    "val_loss": "best val_loss",
    "final_train_accuracy": "last train_accuracy",
    "final_train_loss": "last train_loss",
    "images_per_second": "images per second",
    "duration_s": "duration",
}


def _number(name: str, value: float) -> str:
    if name == "duration_s":
        return duration_text(value)
    return f"{value:,.0f}" if name == "images_per_second" else metric_text(name, value)


def _caution_row(item: Difference) -> tuple[str, ...]:
    if item.key == "data_fingerprint":
        return ("data", *(str(value)[:_FINGERPRINT] for value in item.values))
    if item.key == "class_names":
        return ("classes", *_classes(item.values))
    if item.key == "git_commit":
        return (item.key, *(value_text(value)[:_FINGERPRINT] for value in item.values))
    return (item.key, *map(value_text, item.values))


def _classes(all_names: tuple[tuple[str, ...], ...]) -> list[str]:
    """Tell of each run's classes those that not all runs have; else their order is what differs."""
    common = set(all_names[0]).intersection(*all_names)
    cells = []
    for names in all_names:
        own = [name for name in names if name not in common]
        if any(set(other) != common for other in all_names):
            told = f", also {names_text(own)}" if own else ""
        else:
            told = f" in the order {names_text(names)}"
        cells.append(f"{len(names):,}{told}")
    return cells
