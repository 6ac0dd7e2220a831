"""What a search tells while it goes on. The terminal's form of it is in `pochi_cli.search_display`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from pochi_cli.search.records import StudyRecord, TrialRecord


@dataclass(frozen=True)
class RunningTrial:
    """A trial that this process runs, as far as it has got.

    Attributes:
        number: Its number.
        params: What was drawn.
        epoch: The epoch that it is in, from 1; 0 before the first.
        done: Share of that epoch that is done.
        metric: The metric after each finished epoch.
        elapsed_s: Since it began.
    """

    number: int
    params: Mapping[str, Any]
    epoch: int
    done: float
    metric: tuple[float, ...]
    elapsed_s: float


class SearchView(Protocol):
    """Told by a search how far it is."""

    def message(self, text: str) -> None:
        """Something that the user should know."""

    def warning(self, text: str) -> None:
        """Something that is legal and probably not meant, or that went wrong with one trial."""

    def start(self, study: StudyRecord, directory: str, jobs: int, timeout_s: float | None) -> None:
        """The search begins or goes on; after so many seconds no further trial will begin."""

    def update(self, study: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """It goes on; called several times a second."""

    def trial_done(self, trial: TrialRecord, study: StudyRecord, *, is_best: bool) -> None:
        """A trial has ended; the study holds it."""

    def stop(self) -> None:
        """The search ended, however."""


class SilentView:
    """Tells nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def warning(self, text: str) -> None:
        """Do nothing."""

    def start(self, study: StudyRecord, directory: str, jobs: int, timeout_s: float | None) -> None:
        """Do nothing."""

    def update(self, study: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """Do nothing."""

    def trial_done(self, trial: TrialRecord, study: StudyRecord, *, is_best: bool) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
