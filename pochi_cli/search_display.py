"""How far a search has got: a live table on a terminal, plain lines in a log or a pipe."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pochi_cli.console import stderr_console
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.search.progress import RunningTrial
from pochi_cli.search.records import StudyRecord, TrialRecord, TrialState
from pochi_cli.search.summary import counts_text, params_text
from pochi_cli.tables import plain

_ECHO = 3
"""Columns left free at the right, where the terminal echoes ^C."""
_NAME = 10
_BAR = 14
_INDENT = "    "
_ENDED: tuple[TrialState, ...] = ("pruned", "failed")


def create_view() -> LiveView | PlainView:
    """Choose the form that stderr can show."""
    return LiveView() if stderr_console().is_terminal else PlainView()


def trial_line(trial: TrialRecord, study: StudyRecord, *, is_best: bool) -> str:
    """Tell of a trial that has ended."""
    if trial.state == "complete" and trial.value is not None:
        told = f"{study.metric} {metric_text(study.metric, trial.value)}" + (", the best" if is_best else "")
    elif trial.state == "pruned":
        last = f", {metric_text(study.metric, trial.metric[-1])}" if trial.metric else ""
        told = f"pruned after epoch {trial.epochs} of {study.optuna_epochs}{last}"
    else:
        told = f"failed: {trial.reason}"
    time_ = "" if trial.duration_s is None else f" ({duration_text(trial.duration_s)})"
    return f"trial {trial.number}: {told}{time_}; {params_text(trial.params)}"


class PlainView:
    """A line for each trial."""

    def __init__(self) -> None:
        self._console = stderr_console()

    def message(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def warning(self, text: str) -> None:
        """Print a marked line."""
        self._console.print(f"warning: {text}", markup=False)

    def start(self, study: StudyRecord, directory: str, jobs: int, timeout_s: float | None) -> None:  # noqa: ARG002
        """Name the study."""
        self._console.print(_heading(study, directory, jobs), markup=False)

    def update(self, study: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """Print nothing: the trial's line follows."""

    def trial_done(self, trial: TrialRecord, study: StudyRecord, *, is_best: bool) -> None:
        """Print the trial's line."""
        line = trial_line(trial, study, is_best=is_best)
        self._console.print(f"[{len(study.finished)}/{study.n_trials}] {line}", markup=False)

    def stop(self) -> None:
        """Print nothing."""


def _heading(study: StudyRecord, directory: str, jobs: int) -> str:
    text = f"study {study.study_name}: {study.n_trials} trials of {study.optuna_epochs} epochs"
    text += f", {jobs} at a time" if jobs > 1 else ""
    if study.finished:
        text += f"; goes on after {len(study.finished)}"
    return f"{text}; {directory}"


class LiveView:
    """The trials that run and the best so far, below the lines of those that have ended."""

    def __init__(self) -> None:
        self._console = stderr_console(soft_wrap=False)
        self._live: Live | None = None
        self._timeout_s: float | None = None
        self._began = 0.0
        self._done_before = 0

    def message(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, markup=False, style="dim")

    def warning(self, text: str) -> None:
        """Print a marked line above the table."""
        self._console.print(Text.assemble(("warning:", "yellow"), " ", plain(text)), soft_wrap=True)

    def start(self, study: StudyRecord, directory: str, jobs: int, timeout_s: float | None) -> None:
        """Name the study and show the table."""
        self._began, self._timeout_s, self._done_before = time.monotonic(), timeout_s, len(study.finished)
        heading = _heading(study, directory, jobs)
        self._console.print(heading, markup=False, style="bold")
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def update(self, study: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """Show how far it is."""
        if self._live is not None:
            self._live.update(self._picture(study, running))

    def trial_done(self, trial: TrialRecord, study: StudyRecord, *, is_best: bool) -> None:
        """Print the trial's line, and below it what does not fit."""
        style = {"complete": "green" if is_best else "", "pruned": "dim", "failed": "red"}[trial.state]
        line = plain(trial_line(trial, study, is_best=is_best), style)
        first, *rest = line.wrap(self._console, self._console.width - len(_INDENT))
        for part in (first, *(Text(_INDENT) + more for more in rest)):
            part.rstrip()
            self._console.print(part, soft_wrap=True)

    def stop(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None

    def _picture(self, study: StudyRecord, running: Sequence[RunningTrial]) -> RenderableType:
        text_width = max(self._console.width - _ECHO - _NAME - _BAR - 4, 10)
        rows = Table.grid(padding=(0, 2, 0, 0))
        rows.add_column(no_wrap=True, width=_NAME)
        rows.add_column(no_wrap=True, width=_BAR)
        rows.add_column(no_wrap=True, overflow="ellipsis", width=text_width)
        share = ProgressBar(total=1.0, completed=_share(study, running))
        counts = plain(f"{counts_text(study, _ENDED)}; {self._times(study, running)}")
        self._add(rows, "trials", share, counts, text_width)
        for trial in running:
            epoch = max(trial.epoch, 1)
            last = f"{metric_text(study.metric, trial.metric[-1], 2)}; " if trial.metric else ""
            rows.add_row(
                f"trial {trial.number}",
                ProgressBar(total=study.optuna_epochs, completed=epoch - 1 + trial.done),
                plain(f"epoch {epoch}/{study.optuna_epochs}; {last}{params_text(trial.params)}"),
            )
        if (best := study.best) is not None and best.value is not None:
            value = plain(metric_text(study.metric, best.value))
            told = plain(f"trial {best.number}; {params_text(best.params)}")
            self._add(rows, "best", value, told, text_width)
        return rows

    def _add(self, rows: Table, name: str, middle: RenderableType, told: Text, width: int) -> None:
        """Add a row, and rows below it for what does not fit."""
        first, *rest = told.wrap(self._console, width)
        rows.add_row(name, middle, first)
        for line in rest:
            rows.add_row("", "", line)

    def _times(self, study: StudyRecord, running: Sequence[RunningTrial]) -> str:
        elapsed = time.monotonic() - self._began
        done = _done(study, running) - self._done_before
        text = f"{duration_text(elapsed)} so far"
        limit = None if self._timeout_s is None else max(self._timeout_s - elapsed, 0.0)
        if done > 0.5:
            left = max((study.n_trials - self._done_before - done) * elapsed / done, 0.0)
            text += f", about {duration_text(left if limit is None else min(left, limit))} left"
        return text


def _done(study: StudyRecord, running: Sequence[RunningTrial]) -> float:
    parts = (max(trial.epoch - 1, 0) + trial.done for trial in running)
    return len(study.finished) + sum(parts) / study.optuna_epochs


def _share(study: StudyRecord, running: Sequence[RunningTrial]) -> float:
    return min(1.0, _done(study, running) / max(study.n_trials, 1))
