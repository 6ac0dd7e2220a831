"""All runs of a work_dir at a glance."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run, RunStatus, open_run, run_directories

_SHORT_ID = 8
"""Characters of an experiment's UUID that are told where they suffice."""


@dataclass(frozen=True)
class ListedRun:
    """A run's directory, and what could be read of it.

    Attributes:
        directory: The run's directory.
        status: How it stands; `damaged` where its record cannot be read.
        run: The run, unless it is damaged.
        short_id: As much of the experiment's UUID as tells it from the others of the list.
        age_s: Seconds since the run began.
        reason: Why it failed, was interrupted, or cannot be read.
    """

    directory: Path
    status: RunStatus | Literal["damaged"]
    run: Run | None = None
    short_id: str | None = None
    age_s: float | None = None
    reason: str | None = None

    def to_record(self) -> dict[str, Any]:
        """Make a record for JSON; of a damaged run most is `None`."""
        record = self.run.record if self.run else None
        names = (
            "experiment_id", "task", "model_name", "epochs_done", "epochs", "best_metric", "best_value",
            "best_epoch", "started_at", "ended_at", "duration_s", "host", "process_id",
        )  # fmt: skip
        return {
            "name": self.directory.name,
            "directory": str(self.directory),
            "status": self.status,
            "reason": self.reason,
            **{name: record and getattr(record, name) for name in names},
            "age_s": self.age_s,
        }


def list_runs(work_dir: Path, now: datetime) -> tuple[ListedRun, ...]:
    """List the runs of a work_dir, oldest first; a damaged one hides no other.

    Args:
        work_dir: Directory of the runs; one that is not there has none.
        now: The time that ages count to, with its zone.

    Raises:
        RunError: The directory cannot be read.
    """
    opened: list[tuple[Path, Run | RunError]] = []
    for directory in run_directories(work_dir):
        try:
            opened.append((directory, open_run(directory)))
        except RunError as error:
            opened.append((directory, error))
    short = shortest_prefixes(run.record.experiment_id for _, run in opened if isinstance(run, Run))
    return tuple(
        ListedRun(directory, "damaged", reason=run.message)
        if isinstance(run, RunError)
        else ListedRun(
            directory=directory,
            status=run.status,
            run=run,
            short_id=short[run.record.experiment_id],
            age_s=age_s(run, now),
            reason=run.record.reason,
        )
        for directory, run in opened
    )


def age_s(run: Run, now: datetime) -> float:
    """Tell how many seconds ago a run began."""
    return (now - datetime.fromisoformat(run.record.started_at)).total_seconds()


def shortest_prefixes(texts: Iterable[str], least: int = _SHORT_ID) -> dict[str, str]:
    """Cut texts to as many characters, but at least a few, as tell each from the others."""
    ordered = sorted(set(texts))
    lengths = dict.fromkeys(ordered, least)
    for one, other in pairwise(ordered):
        common = next(
            (at for at, (a, b) in enumerate(zip(one, other, strict=False)) if a != b),
            min(len(one), len(other)),
        )
        for text in (one, other):
            lengths[text] = max(lengths[text], common + 1)
    return {text: text[:length] for text, length in lengths.items()}
