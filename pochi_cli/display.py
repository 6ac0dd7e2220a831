"""How far something has got: live bars on a terminal, plain lines in a log or a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console, RenderableType
from rich.constrain import Constrain
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from pochi_cli.console import stderr_console
from pochi_cli.engine.progress import Start, StepRecord
from pochi_cli.gradient_table import LiveGradients, gradient_findings, gradient_table
from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.gradient_rows import GradientOverview, survey_gradients
from pochi_cli.inspection.verdicts import judge_gradients
from pochi_cli.runs.epoch_text import EpochTable, means_text, running_text
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.gradient_record import GradientEpoch

_PLAIN_INTERVAL_S = 10.0
_LIVE_INTERVAL_S = 0.5

_ECHO = 3
"""Columns left free beside the bars. There the terminal echoes ^C: on a line of its own it would shift the
display, which then leaves a line behind."""

Judge = Callable[[Sequence[GradientEpoch]], Sequence[Finding]]


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """Show how far a count has got: a bar on a terminal, else a line every few seconds.

    Args:
        what: What is being done, such as "decoding images".

    Yields:
        What to tell how many are done, and of how many.
    """
    console = stderr_console()
    if not console.is_terminal:
        yield _count_in_lines(console, what)
        return
    with _Bars(
        TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    ) as bars:
        task = bars.add_task(what, total=None)
        yield lambda done, total: bars.update(task, completed=done, total=total)


def _count_in_lines(console: Console, what: str) -> Callable[[int, int], None]:
    last_line = time.monotonic()

    def tell(done: int, total: int) -> None:
        nonlocal last_line
        if time.monotonic() - last_line >= _PLAIN_INTERVAL_S:
            last_line = time.monotonic()
            console.print(f"{what}: {done:,} of {total:,}", markup=False)

    return tell


class _Bars(Progress):
    """Live bars on stderr that vanish at their end.

    Attributes:
        above: Something else that belongs to the display.
    """

    def __init__(self, *columns: ProgressColumn) -> None:
        self.above: RenderableType | None = None
        self._stderr = stderr_console(soft_wrap=False)
        super().__init__(*columns, console=self._stderr, refresh_per_second=4, transient=True)

    def get_renderables(self) -> Iterable[RenderableType]:
        """All that is live, from above."""
        if self.above is not None:
            yield self.above
        for bars in super().get_renderables():
            yield Constrain(bars, self._stderr.width - _ECHO)


class TerminalProgress:
    """Live bars, and a table of the gradients, below the lines of the finished epochs.

    Args:
        judge: What finds faults in the gradients.
    """

    def __init__(self, judge: Judge = judge_gradients) -> None:
        self._judge = judge
        self._console = stderr_console()
        self._batches = 0
        self._val_batches = 0
        self._epoch = 0
        self._offset = 0
        self._text = ""
        self._started = 0.0
        self._last_reading = 0.0
        self._bars: _Bars | None = None
        self._overview: GradientOverview | None = None
        self._total: TaskID | None = None
        self._part: TaskID | None = None

    def message(self, text: str) -> None:
        """Print a line above the bars."""
        self._console.print(text, markup=False, style="dim")

    def warning(self, text: str) -> None:
        """Print a marked line above the bars."""
        self._console.print(Text.assemble(("warning:", "yellow"), f" {text}"))

    def start(self, start: Start) -> None:
        """Name the run and show the bars."""
        self._batches, self._val_batches = start.batches, start.val_batches
        self._table = EpochTable(start.metrics, start.shown_metric, start.epochs)
        self._console.print(f"run {start.run}", markup=False, style="bold")
        self._console.print(self._table.header(), markup=False, style="bold", soft_wrap=True)
        self._bars = _Bars(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[values]}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
        )
        self._console = self._bars.console
        self._total = self._bars.add_task(
            "epochs", total=start.epochs, completed=start.first_epoch - 1, values=""
        )
        self._part = self._bars.add_task("train", total=start.batches, values="")
        self._bars.start()

    def epoch(self, epoch: int, batches_done: int) -> None:
        """Begin the epoch's bar anew."""
        self._epoch, self._offset, self._text = epoch, batches_done, ""
        self._started = time.monotonic()
        if self._bars is not None and self._part is not None:
            self._bars.reset(self._part)
        self._update_part("train", self._batches, batches_done)

    def wants_metrics(self) -> bool:
        """Ask for a reading twice a second."""
        return time.monotonic() - self._last_reading >= _LIVE_INTERVAL_S

    def step(self, record: StepRecord) -> None:
        """Move the bars."""
        if record.means is not None:
            self._last_reading = time.monotonic()
            speed = record.samples / max(time.monotonic() - self._started, 1e-9)
            self._text = f"{running_text(record.means)} {speed:.0f}/s lr {record.learning_rate:.2g}"
        self._update_part("train", self._batches, record.batches)

    def validation(self, batches_done: int) -> None:
        """Show the validation's bar."""
        if batches_done == 0:
            self._text = ""
        self._update_part("validate", self._val_batches, batches_done)

    def epoch_done(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> None:
        """Print the epoch's line."""
        line = self._table.line(record, is_best=is_best, checkpoint=checkpoint)
        self._console.print(line, markup=False, style="green" if is_best else None, soft_wrap=True)
        if self._bars is not None and self._total is not None:
            self._bars.update(self._total, completed=record.epoch)

    def gradients(self, epochs: Sequence[GradientEpoch]) -> None:
        """Show them above the bars."""
        self._overview = survey_gradients(epochs, self._judge(epochs))
        if self._bars is not None:
            self._bars.above = LiveGradients(self._overview)

    def stop(self) -> None:
        """Take the bars away, and leave the whole table of the gradients."""
        if self._bars is not None:
            self._bars.stop()
            self._bars = None
        if self._overview is not None:
            _print_gradients(self._console, self._overview, self._console.width)
            self._overview = None

    def _update_part(self, name: str, total: int, done: int) -> None:
        if self._bars is None or self._part is None or self._total is None:
            return
        self._bars.update(self._part, description=name, total=total, completed=done, values=self._text)
        all_batches = max(self._batches + self._val_batches, 1)
        in_epoch = done + (self._batches if name == "validate" else 0)
        self._bars.update(self._total, completed=self._epoch - 1 + in_epoch / all_batches)


class PlainProgress:
    """Lines for logs and pipes: one per epoch, and one every few seconds within long ones.

    Args:
        judge: What finds faults in the gradients.
    """

    def __init__(self, judge: Judge = judge_gradients) -> None:
        self._judge = judge
        self._console = stderr_console()
        self._epochs = 0
        self._batches = 0
        self._epoch = 0
        self._last_line = 0.0
        self._overview: GradientOverview | None = None
        self._told: set[tuple[str, str]] = set()

    def message(self, text: str) -> None:
        """Print a line."""
        self._console.print(text, markup=False)

    def warning(self, text: str) -> None:
        """Print a marked line."""
        self._console.print(f"warning: {text}", markup=False)

    def start(self, start: Start) -> None:
        """Name the run."""
        self._epochs, self._batches = start.epochs, start.batches
        self._table = EpochTable(start.metrics, start.shown_metric, start.epochs)
        self._console.print(f"run {start.run}", markup=False)
        self._console.print(self._table.header(), markup=False)

    def epoch(self, epoch: int, batches_done: int) -> None:  # noqa: ARG002
        """Note the epoch."""
        self._epoch = epoch
        self._last_line = time.monotonic()

    def wants_metrics(self) -> bool:
        """Ask for a reading when a line is due."""
        return time.monotonic() - self._last_line >= _PLAIN_INTERVAL_S

    def step(self, record: StepRecord) -> None:
        """Print a line when one is due."""
        if record.means is None or time.monotonic() - self._last_line < _PLAIN_INTERVAL_S:
            return
        self._last_line = time.monotonic()
        self._console.print(
            f"epoch {self._epoch}/{self._epochs}, batch {record.batches}/{self._batches}: "
            f"{means_text(record.means)}",
            markup=False,
        )

    def validation(self, batches_done: int) -> None:
        """Print nothing: the epoch's line follows."""

    def epoch_done(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> None:
        """Print the epoch's line."""
        self._console.print(self._table.line(record, is_best=is_best, checkpoint=checkpoint), markup=False)

    def gradients(self, epochs: Sequence[GradientEpoch]) -> None:
        """Print what is newly found in them."""
        findings = self._judge(epochs)
        self._overview = survey_gradients(epochs, findings)
        for finding in findings:
            if (finding.code, finding.where) not in self._told:
                self._told.add((finding.code, finding.where))
                self._console.print(f"{finding.severity}: {finding.message}", markup=False)

    def stop(self) -> None:
        """Print the table of the gradients."""
        if self._overview is not None:
            _print_gradients(self._console, self._overview, None)
            self._overview = None


def _print_gradients(console: Console, overview: GradientOverview, width: int | None) -> None:
    console.print(
        gradient_table(overview, width),
        gradient_findings(overview, width),
        sep="\n\n",
        end="",
        soft_wrap=True,
    )


def create_progress() -> TerminalProgress | PlainProgress:
    """Choose the form that stderr can show."""
    return TerminalProgress() if stderr_console().is_terminal else PlainProgress()
