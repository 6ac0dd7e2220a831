"""What a training tells TensorBoard; the package itself is imported only where it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.loaders import Loaders
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import EpochTotals
from pochi_cli.runs.gradient_record import GradientEpoch
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.monitor_record import MonitorEpoch
from pochi_cli.runs.records import EpochRecord, RunRecord

if TYPE_CHECKING:
    from pochi_cli.engine.tensorboard import TensorBoardWriter

Tell = Callable[[str], None]
"""Told in words what is not written."""


class NoBoard:
    """Writes nothing."""

    def open(self, layout: RunLayout, loaders: Loaders, place: tuple[int, int], tell: Tell) -> None:
        """Do nothing."""

    def batch(self, images: Tensor) -> None:
        """Do nothing."""

    def begin(self, totals: EpochTotals) -> None:
        """Do nothing."""

    def step(self, step: int, *, is_due: bool) -> None:
        """Do nothing."""

    def validation(self, logits: Tensor, labels: Tensor) -> None:
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


def create_board(
    config: ClassificationConfig,
    model: nn.Module,
    average: ExponentialAverage | NoAverage,
    runtime: Runtime,
    class_names: tuple[str, ...],
) -> TensorBoardWriter | NoBoard:
    """Build what the config asks for; the arguments are those of `TensorBoardWriter`."""
    if not config.enable_tensorboard:
        return NoBoard()
    from pochi_cli.engine.tensorboard import TensorBoardWriter

    return TensorBoardWriter(config, model, average, runtime, class_names)
