"""train.log: what was told while training, with the time of each line."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from os import SEEK_END
from pathlib import Path

from pochi_cli.engine.progress import Progress, StepRecord
from pochi_cli.runs.atomic import appending
from pochi_cli.runs.gradient_record import GradientEpoch
from pochi_cli.runs.records import EpochRecord


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

    def start(self, run_name: str, first_epoch: int, epochs: int, batches: int, val_batches: int) -> None:
        """Keep and pass on."""
        self.write(f"run {run_name}: epoch {first_epoch} to {epochs}, {batches} batches each")
        self._progress.start(run_name, first_epoch, epochs, batches, val_batches)

    def epoch(self, epoch: int, batches_done: int) -> None:
        """Pass on."""
        self._epoch = epoch
        self._progress.epoch(epoch, batches_done)

    def wants_metrics(self) -> bool:
        """Pass on."""
        return self._progress.wants_metrics()

    def step(self, record: StepRecord) -> None:
        """Keep one of every `log_every_steps`, and pass on."""
        if record.is_due:
            self.write(
                f"epoch {self._epoch}, batch {record.batches}: "
                f"loss {record.loss:.4f} accuracy {record.accuracy:.2f} %"
            )
        self._progress.step(record)

    def validation(self, batches_done: int) -> None:
        """Pass on."""
        self._progress.validation(batches_done)

    def epoch_done(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> None:
        """Keep and pass on."""
        values = [
            f"epoch {record.epoch}",
            f"train loss {record.train_loss:.4f} accuracy {record.train_accuracy:.2f} %",
        ]
        if record.val_loss is not None and record.val_accuracy is not None:
            values.append(f"val loss {record.val_loss:.4f} accuracy {record.val_accuracy:.2f} %")
        values.append(f"learning rate {record.learning_rate:g}")
        values.append(f"{record.images_per_second:.1f} images/s")
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
