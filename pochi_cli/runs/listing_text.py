"""A list of runs in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from pochi_cli.characters import visible
from pochi_cli.config.recalls import is_recall, neighbors_in
from pochi_cli.runs.index import Run
from pochi_cli.runs.listing import ListedRun
from pochi_cli.runs.quantities import age_text, duration_text, metric_text

LIST_HEADER = ("name", "id", "task", "model", "status", "epochs", "best", "duration", "age")
NUMBERS = ("epochs", "best", "duration", "age")
"""Columns that are aligned to the right."""
SHORTENED = ("model", "status")
"""Columns to cut, in this order, where the terminal is too narrow for all."""
LEFT_OUT = ("task", "id", "duration", "age", "model", "epochs")
"""Columns to leave out, in this order, where that does not suffice."""


def describe_list(runs: Iterable[ListedRun]) -> Iterator[tuple[str, ...]]:
    """Describe each run by one line of cells for `LIST_HEADER`."""
    for listed in runs:
        name = listed.directory.name
        if listed.run is None:
            yield (name, "-", "-", "-", listed.status, "-", "-", "-", "-")
            continue
        record = listed.run.record
        cells = (
            name,
            listed.short_id or "-",
            record.task,
            record.model_name,
            status_text(listed.run, listed.status),
            f"{record.epochs_done}/{record.epochs}",
            _best(listed.run),
            duration_text(record.duration_s),
            "-" if listed.age_s is None else age_text(listed.age_s),
        )
        yield tuple(map(visible, cells))


def status_text(run: Run, status: str) -> str:
    """Name a status; what is said of another machine is hearsay, so that one is named."""
    return f"running on {run.record.host}" if status == "running" and not run.is_local else status


def _best(run: Run) -> str:
    record = run.record
    if record.best_value is None:
        return "-"
    metric = record.best_metric
    if is_recall(metric):
        return f"{record.best_value:.4f} r@{neighbors_in(metric)}"
    digits, short = (2, "acc") if metric.endswith("accuracy") else (4, "loss")
    return f"{metric_text(metric, record.best_value, digits)} {short}"
