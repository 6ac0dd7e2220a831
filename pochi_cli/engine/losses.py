"""The losses, as sums over samples, so that means never depend on how samples fell into batches."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn


class SampleLosses(NamedTuple):
    """Losses of a batch.

    Attributes:
        losses: Weighted loss of each sample, float32 (N,).
        weight: What their sum is divided by for a mean: the sum of the samples' weights, float32 ().
    """

    losses: Tensor
    weight: Tensor


class CrossEntropy(nn.Module):
    """Weighted cross-entropy with label smoothing, as torch.nn.CrossEntropyLoss defines it.

    For class labels y the mean is sum(w_y l) / sum(w_y). For class probabilities (MixUp, CutMix) the
    class weights scale the terms of each sample's sum and the mean is over the number of samples.

    Args:
        class_weights: One per class, or `None` for equal ones.
        label_smoothing: Share of the target spread over all classes (Szegedy et al., 2016, section 7).
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> SampleLosses:
        """Compute the losses of a batch.

        Args:
            logits: (N, K), any floating dtype; computed in float32.
            targets: Labels int64 (N,), or probabilities float32 (N, K).
        """
        losses = F.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return SampleLosses(losses, self.weight_of(targets))

    def weight_of(self, targets: Tensor) -> Tensor:
        """Sum the weights of a batch's samples: known before the forward pass, float32 ()."""
        if self.class_weights is None or targets.is_floating_point():
            return torch.full((), float(len(targets)), device=targets.device)
        return self.class_weights[targets].sum()
