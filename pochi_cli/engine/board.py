"""What a training tells TensorBoard; the package itself is imported only where it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor

from pochi_cli.data.batches import Loaders
from pochi_cli.engine.totals import EpochTotals
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.gradient_record import GradientEpoch
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.monitor_record import MonitorEpoch
from pochi_cli.runs.records import RunRecord

Tell = Callable[[str], None]
"""Told in words what is not written."""


class NoBoard:
    """Writes nothing.

    Attributes:
        sees_validation: Whether it makes something of the outputs for the validation data.
    """

    sees_validation = False

    def open(
        self, layout: RunLayout, loaders: Loaders[Any], steps: int, place: tuple[int, int], tell: Tell
    ) -> None:
        """Do nothing."""

    def batch(self, inputs: Tensor) -> None:
        """Do nothing."""

    def begin(self, totals: EpochTotals) -> None:
        """Do nothing."""

    def step(self, step: int, *, is_due: bool) -> None:
        """Do nothing."""

    def validation(self, outputs: Tensor, targets: Tensor) -> None:
        """Do nothing."""

    def gradients(self, traced: GradientEpoch) -> None:
        """Do nothing."""

    def updates(self, seen: MonitorEpoch) -> None:
        """Do nothing."""

    def epoch(self, record: EpochRecord, rates: Mapping[str, float]) -> None:
        """Do nothing."""

    def fail(self, reason: str) -> None:
        """Do nothing."""

    def end(self, record: RunRecord) -> None:
        """Do nothing."""

    def state_dict(self) -> None:
        """There is no state."""

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """There is no state."""
