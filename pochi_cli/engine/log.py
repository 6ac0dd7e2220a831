"""train.log: what was told while training, with the time of each line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from os import SEEK_END
from pathlib import Path

from pochi_cli.engine.progress import Progress, Start, StepRecord
from pochi_cli.runs.atomic import appending
from pochi_cli.runs.epoch_text import epoch_text, means_text
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.gradient_record import GradientEpoch


class LoggedProgress:
    """Passes everything on, and writes to a file what is worth keeping.

    Args:
        progress: Told everything.
        path: The log, which is appended to.
    """

    def __init__(self, progress: Progress, path: Path) -> None:
        self._progress = progress
        self._path = path
        self._epoch = 0

    def write(self, text: str) -> None:
        """Append a line.

        Raises:
            StorageError: Writing failed.
        """
        line = f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S%z} {text}\n"
        with appending(self._path) as file:
            if file.tell() and file.seek(-1, SEEK_END) and file.read(1) != b"\n":
                line = f"\n{line}"  # a process that was killed left half a line
            file.write(line.encode("utf-8", "backslashreplace"))

    def message(self, text: str) -> None:
        """Keep and pass on."""
        self.write(text)
        self._progress.message(text)

    def warning(self, text: str) -> None:
        """Keep and pass on."""
        self.write(f"warning: {text}")
        self._progress.warning(text)

    def start(self, start: Start) -> None:
        """Keep and pass on."""
        self.write(
            f"run {start.run}: epoch {start.first_epoch} to {start.epochs}, {start.batches} batches each"
        )
        self._progress.start(start)

    def epoch(self, epoch: int, batches_done: int) -> None:
        """Pass on."""
        self._epoch = epoch
        self._progress.epoch(epoch, batches_done)

    def wants_metrics(self) -> bool:
        """Pass on."""
        return self._progress.wants_metrics()

    def step(self, record: StepRecord) -> None:
        """Keep one of every `log_every_steps`, and pass on."""
        if record.is_due and record.means is not None:
            self.write(f"epoch {self._epoch}, batch {record.batches}: {means_text(record.means)}")
        self._progress.step(record)

    def validation(self, batches_done: int) -> None:
        """Pass on."""
        self._progress.validation(batches_done)

    def epoch_done(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> None:
        """Keep and pass on."""
        values = [f"epoch {record.epoch}", *epoch_text(record)]
        values += ["best so far"] if is_best else []
        values += [f"saved {checkpoint}"] if checkpoint else []
        self.write(", ".join(values))
        self._progress.epoch_done(record, is_best=is_best, checkpoint=checkpoint)

    def gradients(self, epochs: Sequence[GradientEpoch]) -> None:
        """Pass on: they have files of their own."""
        self._progress.gradients(epochs)

    def stop(self) -> None:
        """Pass on."""
        self._progress.stop()
