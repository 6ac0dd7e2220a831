"""How far a search has got: a live table on a terminal, plain lines in a log or a pipe."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pochi_cli.console import stderr_console
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.search.progress import RunningTrial
from pochi_cli.search.records import StudyRecord, TrialRecord
from pochi_cli.search.summary import counts_text, params_text
from pochi_cli.tables import plain

_ECHO = 3
"""Columns left free at the right, where the terminal echoes ^C."""
_BAR = 20


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

    def start(self, study: StudyRecord, directory: str, jobs: int) -> None:
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
        self._jobs = 1
        self._began = 0.0
        self._done_before = 0

    def message(self, text: str) -> None:
        """Print a line above the table."""
        self._console.print(text, markup=False, style="dim", soft_wrap=True)

    def warning(self, text: str) -> None:
        """Print a marked line above the table."""
        self._console.print(Text.assemble(("warning:", "yellow"), " ", plain(text)), soft_wrap=True)

    def start(self, study: StudyRecord, directory: str, jobs: int) -> None:
        """Name the study and show the table."""
        self._jobs, self._began, self._done_before = jobs, time.monotonic(), len(study.finished)
        heading = _heading(study, directory, jobs)
        self._console.print(heading, markup=False, style="bold", soft_wrap=True)
        self._live = Live(console=self._console, refresh_per_second=4, transient=True)
        self._live.start()

    def update(self, study: StudyRecord, running: Sequence[RunningTrial]) -> None:
        """Show how far it is."""
        if self._live is not None:
            self._live.update(self._picture(study, running))

    def trial_done(self, trial: TrialRecord, study: StudyRecord, *, is_best: bool) -> None:
        """Print the trial's line."""
        style = {"complete": "green" if is_best else "", "pruned": "dim", "failed": "red"}[trial.state]
        line = plain(trial_line(trial, study, is_best=is_best), style)
        self._console.print(line, soft_wrap=True)

    def stop(self) -> None:
        """Take the table away."""
        if self._live is not None:
            self._live.update("")
            self._live.stop()
            self._live = None

    def _picture(self, study: StudyRecord, running: Sequence[RunningTrial]) -> RenderableType:
        rows = Table.grid(padding=(0, 2))
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True)
        rows.add_column(no_wrap=True, overflow="ellipsis")
        share = _share(study, running)
        rows.add_row(
            "trials",
            ProgressBar(total=1.0, completed=share, width=_BAR),
            plain(f"{counts_text(study)}; {self._times(study, running)}"),
        )
        for trial in running:
            done = max(trial.epoch - 1, 0) + trial.done
            last = f"{metric_text(study.metric, trial.metric[-1])}; " if trial.metric else ""
            rows.add_row(
                f"trial {trial.number}",
                ProgressBar(total=study.optuna_epochs, completed=done, width=_BAR),
                plain(
                    f"epoch {max(trial.epoch, 1)}/{study.optuna_epochs}; {last}{params_text(trial.params)}"
                ),
            )
        if (best := study.best) is not None and best.value is not None:
            value = metric_text(study.metric, best.value)
            rows.add_row(
                "best",
                plain(f"{value} in trial {best.number}"),
                plain(params_text(best.params)),
            )
        return Constrain(Group(rows), self._console.width - _ECHO)

    def _times(self, study: StudyRecord, running: Sequence[RunningTrial]) -> str:
        elapsed = time.monotonic() - self._began
        done = _done(study, running) - self._done_before
        text = f"{duration_text(elapsed)} so far"
        if done > 0.5:
            left = (study.n_trials - self._done_before - done) * elapsed / done
            text += f", about {duration_text(max(left, 0.0))} left"
        return text


def _done(study: StudyRecord, running: Sequence[RunningTrial]) -> float:
    parts = (max(trial.epoch - 1, 0) + trial.done for trial in running)
    return len(study.finished) + sum(parts) / study.optuna_epochs


def _share(study: StudyRecord, running: Sequence[RunningTrial]) -> float:
    return min(1.0, _done(study, running) / max(study.n_trials, 1))
