"""How even the classes are, and what evens them out. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence


def balanced_weights(class_counts: Sequence[int]) -> list[float]:
    """Weigh classes by inverse frequency: w_c = N / (K n_c), as scikit-learn's "balanced"."""
    total, classes = sum(class_counts), len(class_counts)
    return [total / (classes * count) for count in class_counts]
