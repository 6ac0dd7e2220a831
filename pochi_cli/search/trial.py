"""A trial that this process runs, until its end."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

from pochi_cli.runs.history import best_place
from pochi_cli.search.progress import RunningTrial
from pochi_cli.search.records import TrialState
from pochi_cli.search.study import Taken


@dataclass(frozen=True)
class End:
    """What a trial came to.

    Attributes:
        state: `complete`, `pruned` or `failed`.
        reason: Why it was pruned or failed.
        value: The metric of its best epoch, if it is complete.
        best_epoch: That epoch, from 1.
    """

    state: TrialState
    reason: str | None = None
    value: float | None = None
    best_epoch: int | None = None


@dataclass
class UnderWay:
    """A trial that is trained.

    Attributes:
        taken: The trial.
        started: When, by the monotonic clock.
        epoch: The epoch that it is in, from 1; 0 before the first.
        done: Share of that epoch that is done.
        metric: The metric after each finished epoch.
        is_pruned: Whether it was told to end.
    """

    taken: Taken
    started: float
    epoch: int = 0
    done: float = 0.0
    metric: list[float] = field(default_factory=list)
    is_pruned: bool = False

    def seen(self) -> RunningTrial:
        """Tell how far it has got."""
        return RunningTrial(
            self.taken.number,
            self.taken.params,
            self.epoch,
            self.done,
            tuple(self.metric),
            time.monotonic() - self.started,
        )

    def end(self, metric: str, *, is_of_others: bool) -> End:
        """Tell what it came to, now that it is trained.

        Args:
            metric: What is compared.
            is_of_others: Whether its images are not those of the trials before.
        """
        best = best_place(self.metric, metric)
        if is_of_others:
            return End("failed", "its images are not those of the trials before")
        if self.is_pruned:
            return End("pruned", f"hopeless after epoch {len(self.metric)}")
        if best is None or not math.isfinite(self.metric[best]):
            return End("failed", f"{metric} was never finite")
        return End("complete", None, self.metric[best], best + 1)
