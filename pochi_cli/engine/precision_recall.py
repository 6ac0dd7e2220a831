"""Precision-recall curves of every class, without keeping any prediction."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_THRESHOLDS = 127
"""As torch's writer has them; TensorBoard's slider counts them."""


class PrecisionRecall:
    """Counts of probabilities, one class against the others; adding to them never waits for the device.

    Args:
        classes: How many.
        device: Where the counts are kept.
    """

    def __init__(self, classes: int, device: torch.device) -> None:
        self._shape = (2, classes, _THRESHOLDS)
        self._device = device
        self._counts: Tensor | None = None

    @torch.no_grad()
    def add(self, logits: Tensor, labels: Tensor) -> None:
        """Add a batch; probabilities that are no number count as 0.

        Args:
            logits: (N, K), of any device.
            labels: int64 (N,), likewise.
        """
        if self._counts is None:
            self._counts = torch.zeros(self._shape, dtype=torch.int64, device=self._device).view(-1)
        logits, labels = logits.to(self._device), labels.to(self._device)
        _, classes, thresholds = self._shape
        bucket = (logits.float().softmax(1).nan_to_num() * (thresholds - 1)).floor().long()
        of_class = torch.arange(classes, device=self._device)
        is_true = (labels[:, None] == of_class).long()
        at = ((is_true * classes + of_class) * thresholds + bucket).ravel()
        self._counts.index_add_(0, at, torch.ones_like(at))

    def read(self) -> NDArray[np.float64] | None:
        """Wait for the device, and begin anew.

        Returns:
            (K, 6, thresholds): true positives, false positives, true negatives, false negatives, precision
            and recall where a probability of i / (thresholds - 1) or more counts as positive; precision is
            0 where nothing does. `None` if nothing was added.
        """
        if self._counts is None:
            return None
        false, true = self._counts.view(self._shape).cpu().numpy().astype(np.float64)
        self._counts = None
        tp, fp = (np.cumsum(counts[:, ::-1], axis=1)[:, ::-1] for counts in (true, false))
        tn, fn = fp[:, :1] - fp, tp[:, :1] - tp
        precision = tp / np.maximum(tp + fp, 1)
        recall = tp / np.maximum(tp + fn, 1)
        return np.stack([tp, fp, tn, fn, precision, recall], axis=1)
