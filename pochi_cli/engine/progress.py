"""What a training tells while it goes on. The terminal's form of it is in `pochi_cli.display`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.gradient_record import GradientEpoch


@dataclass(frozen=True)
class StepRecord:
    """How far an epoch has got.

    Attributes:
        batches: Batches done in this epoch.
        samples: Samples seen in this epoch by this process; a resumed epoch starts from 0.
        learning_rate: As in `EpochRecord`.
        means: Running means of the epoch by their names; `None` where they were not read.
        is_due: Whether it is one of every `log_every_steps`.
    """

    batches: int
    samples: int
    learning_rate: float
    means: Mapping[str, float] | None = None
    is_due: bool = False


@dataclass(frozen=True)
class Start:
    """What a training begins, or goes on, with.

    Attributes:
        run: The run's directory.
        first_epoch, epochs: The epoch that begins or goes on, from 1, and the last.
        batches, val_batches: Batches of an epoch.
        metrics: Names of what the record of an epoch holds, in their order.
        shown_metric: Of several recalls the one that is shown.
    """

    run: str
    first_epoch: int
    epochs: int
    batches: int
    val_batches: int
    metrics: Sequence[str]
    shown_metric: str


class Progress(Protocol):
    """Told by the engine how far it is."""

    def message(self, text: str) -> None:
        """Something that the user should know."""

    def warning(self, text: str) -> None:
        """Something that is legal and probably not meant."""

    def start(self, start: Start) -> None:
        """Training begins."""

    def epoch(self, epoch: int, batches_done: int) -> None:
        """An epoch begins, or goes on after an interruption."""

    def wants_metrics(self) -> bool:
        """Whether to read the running metrics from the device now, which costs a synchronisation."""

    def step(self, record: StepRecord) -> None:
        """A step is done."""

    def validation(self, batches_done: int) -> None:
        """Batches of the validation data are done; 0 when it begins."""

    def epoch_done(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> None:
        """An epoch is done; `checkpoint` names a numbered one that was saved."""

    def gradients(self, epochs: Sequence[GradientEpoch]) -> None:
        """The gradients of one more epoch are recorded: all epochs that the run's trace holds, rising."""

    def stop(self) -> None:
        """Training ended, however."""


class SilentProgress:
    """Tells nothing."""

    def message(self, text: str) -> None:
        """Do nothing."""

    def warning(self, text: str) -> None:
        """Do nothing."""

    def start(self, start: Start) -> None:
        """Do nothing."""

    def epoch(self, epoch: int, batches_done: int) -> None:
        """Do nothing."""

    def wants_metrics(self) -> bool:
        """Never."""
        return False

    def step(self, record: StepRecord) -> None:
        """Do nothing."""

    def validation(self, batches_done: int) -> None:
        """Do nothing."""

    def epoch_done(self, record: EpochRecord, *, is_best: bool, checkpoint: str | None) -> None:
        """Do nothing."""

    def gradients(self, epochs: Sequence[GradientEpoch]) -> None:
        """Do nothing."""

    def stop(self) -> None:
        """Do nothing."""
