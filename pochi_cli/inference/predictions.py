"""What a model makes of images. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

TOP = 5
"""How many of the most probable classes are told of each image."""


@dataclass(frozen=True, eq=False)
class Predictions:
    """A model's answers for N images and K classes.

    Attributes:
        class_names: Name of each label.
        paths: The images' files, or what else they are called; N.
        logits: float32 (N, K).
        labels: The right classes, int64 (N,); `None` where they are not known.
    """

    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    logits: NDArray[np.float32]
    labels: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        """Count the images."""
        return len(self.paths)

    @cached_property
    def probabilities(self) -> NDArray[np.float64]:
        """Softmax of the logits, (N, K); computed in float64, so that each row sums to 1."""
        logits = self.logits.astype(np.float64)
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: NDArray[np.float64] = powers / powers.sum(axis=1, keepdims=True)
        return shares

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable class of each image, (N,); of equal ones the first, as in training."""
        largest: NDArray[np.int64] = self.logits.argmax(axis=1)
        return largest

    @cached_property
    def confidence(self) -> NDArray[np.float64]:
        """Probability of the predicted class, 0 to 1, (N,)."""
        shares: NDArray[np.float64] = self.probabilities[np.arange(len(self)), self.predicted]
        return shares

    @cached_property
    def top(self) -> NDArray[np.int64]:
        """The most probable classes, five or all, the first first, (N, min(5, K))."""
        return np.argsort(-self.logits, axis=1, kind="stable")[:, :TOP]

    @property
    def predicted_names(self) -> list[str]:
        """Name of the predicted class of each image."""
        return [self.class_names[label] for label in self.predicted]

    @cached_property
    def correct(self) -> NDArray[np.bool_] | None:
        """Whether each prediction is right, (N,); `None` without labels."""
        return None if self.labels is None else self.predicted == self.labels
