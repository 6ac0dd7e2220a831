"""What a step computes. The loop knows a task only through this."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor, nn

from pochi_cli.data.datasets import Batch
from pochi_cli.engine.losses import CrossEntropy, SampleLosses
from pochi_cli.engine.mixing import Mixing, NoMixing


@dataclass(frozen=True)
class StepInput:
    """A batch as the model gets it.

    Attributes:
        images: float32 (N, 3, H, W), on the device.
        targets: int64 (N,), or probabilities float32 (N, K) after mixing.
        weight: Sum of the samples' weights, float32 ().
    """

    images: Tensor
    targets: Tensor
    weight: Tensor


class Objective(Protocol):
    """What is learnt from a batch, and how it is judged."""

    def prepare(self, batch: Batch, epoch: int, number: int) -> StepInput:
        """Turn batch `number` of an epoch into what a training step takes."""

    def training_losses(self, logits: Tensor, step: StepInput) -> SampleLosses:
        """Compute what is minimised."""

    def validation_losses(self, logits: Tensor, labels: Tensor) -> SampleLosses:
        """Compute what is reported for validation data."""


class ClassificationObjective(nn.Module):
    """Cross-entropy, with MixUp or CutMix and label smoothing in training only.

    Args:
        training_loss: With label smoothing.
        validation_loss: Without.
        mixing: MixUp, CutMix or neither.
    """

    def __init__(
        self, training_loss: CrossEntropy, validation_loss: CrossEntropy, mixing: Mixing | NoMixing
    ) -> None:
        super().__init__()
        self.training_loss = training_loss
        self.validation_loss = validation_loss
        self.mixing = mixing

    def prepare(self, batch: Batch, epoch: int, number: int) -> StepInput:
        """Mix the batch, and weigh it."""
        images, targets = self.mixing(batch.images, batch.labels, epoch, number)
        return StepInput(images, targets, self.training_loss.weight_of(targets))

    def training_losses(self, logits: Tensor, step: StepInput) -> SampleLosses:
        """Compute the smoothed, weighted cross-entropy of each sample."""
        losses: SampleLosses = self.training_loss(logits, step.targets)
        return losses

    def validation_losses(self, logits: Tensor, labels: Tensor) -> SampleLosses:
        """Compute the weighted cross-entropy of each sample."""
        losses: SampleLosses = self.validation_loss(logits, labels)
        return losses
