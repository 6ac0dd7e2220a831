"""What one epoch of a training gave, for each task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pochi_cli.config.recalls import recall_name


@dataclass(frozen=True, kw_only=True)
class EpochRecord:
    """What one epoch gave, whatever the task.

    Attributes:
        epoch: From 1.
        learning_rate: Rate used in this epoch; with layer-wise rates the configured one.
        layer_rates: Rate used for each pattern of the layer-wise rates.
        duration_s: Time of the whole epoch in seconds.
        samples_per_second: Training samples over the time of the training part.
        waiting_share: Share of that time, from 0 to 1, that was spent waiting for data; `None` where it was
            not measured.
    """

    epoch: int
    learning_rate: float
    layer_rates: Mapping[str, float] = field(default_factory=dict)
    duration_s: float = 0.0
    samples_per_second: float = 0.0
    waiting_share: float | None = None

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Its quantities by their names, in the order of the files; `None` where one was not measured."""
        raise NotImplementedError

    @property
    def loss(self) -> float:
        """What was minimised."""
        raise NotImplementedError

    @property
    def validation_loss(self) -> float | None:
        """The same of the validation data."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class ClassificationEpoch(EpochRecord):
    """What one epoch of a classifier gave.

    Attributes:
        train_loss, val_loss: Weighted mean over the samples; `val_loss` without label smoothing.
        train_accuracy, val_accuracy: In percent.
    """

    train_loss: float
    train_accuracy: float
    val_loss: float | None = None
    val_accuracy: float | None = None

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """Loss and accuracy of training and validation."""
        names = ("train_loss", "train_accuracy", "val_loss", "val_accuracy")
        return {name: getattr(self, name) for name in names}

    @property
    def loss(self) -> float:
        """`train_loss`."""
        return self.train_loss

    @property
    def validation_loss(self) -> float | None:
        """`val_loss`."""
        return self.val_loss


@dataclass(frozen=True, kw_only=True)
class EmbeddingEpoch(EpochRecord):
    """What one epoch of an encoder gave.

    Attributes:
        total_loss, rank_loss, pairdist_loss: Means over the batches, weighted by their sizes; the total
            weighs the others as the config says.
        val_total_loss: Of the held-out rows, in batches of the same size.
        recall: By the number of neighbours, rising, from 0 to 1; `None` where it was not measured.
    """

    total_loss: float
    rank_loss: float
    pairdist_loss: float
    val_total_loss: float | None = None
    recall: Mapping[int, float | None] = field(default_factory=dict)

    @property
    def metrics(self) -> Mapping[str, float | None]:
        """The losses and the recalls."""
        names = ("total_loss", "rank_loss", "pairdist_loss", "val_total_loss")
        recalls = {recall_name(k): value for k, value in self.recall.items()}
        return {**{name: getattr(self, name) for name in names}, **recalls}

    @property
    def has_recall(self) -> bool:
        """Whether the recall was measured."""
        return any(value is not None for value in self.recall.values())

    @property
    def loss(self) -> float:
        """`total_loss`."""
        return self.total_loss

    @property
    def validation_loss(self) -> float | None:
        """`val_total_loss`."""
        return self.val_total_loss
