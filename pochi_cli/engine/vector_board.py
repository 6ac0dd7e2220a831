"""What an encoder's training writes for TensorBoard beside what every training does."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from pochi_cli.config.recalls import is_recall, neighbors_in
from pochi_cli.engine.tensorboard import TensorBoardWriter
from pochi_cli.runs.epochs import EmbeddingEpoch, EpochRecord

_TAGS = {
    "total_loss": "loss/total",
    "rank_loss": "loss/rank",
    "pairdist_loss": "loss/pairdist",
    "val_total_loss": "loss/val_total",
}


class VectorBoard(TensorBoardWriter):
    """Adds the losses and the recalls. There are no pictures and no classes, and so no projector."""

    _compared = ("loss/val_total", "loss/total")

    def batch(self, inputs: Tensor) -> None:  # noqa: ARG002
        """See that the training has begun; vectors are not drawn."""
        self._has_begun = True

    @property
    def sees_validation(self) -> bool:
        """It does not."""
        return False

    def validation(self, outputs: Tensor, targets: Tensor) -> None:
        """Do nothing."""

    def _scalars(self, record: EpochRecord) -> Mapping[str, float]:
        assert isinstance(record, EmbeddingEpoch)
        return {_tag(name): value for name, value in record.metrics.items() if value is not None}

    def _running(self, means: Mapping[str, float]) -> Mapping[str, float]:
        return {"loss/train_running": means["total_loss"]}

    def _example(self) -> Tensor | None:
        _, batch = next(iter(self._loaders.train.batches(epoch=0)))
        example: Tensor = batch.vectors[:2].to(self._runtime.device)
        return example

    def _write_more(self) -> None:
        """There is nothing more."""

    def _write_embedding(self) -> None:
        """There is no embedding."""


def _tag(metric: str) -> str:
    return f"recall/at_{neighbors_in(metric)}" if is_recall(metric) else _TAGS[metric]
