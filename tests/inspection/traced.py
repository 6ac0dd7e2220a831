"""What no training traced, and what nobody found in it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from pochi_cli.inspection.findings import Finding, Gravity
from pochi_cli.runs.gradient_record import GradientEpoch


def make_epochs(means: Mapping[str, Sequence[float | None]], first: int = 1) -> list[GradientEpoch]:
    """Make epochs of one step each from the norms of each block."""
    return [
        GradientEpoch(
            epoch=first + at,
            blocks=tuple(means),
            means=column,
            steps=(1,),
            norms=np.array([[math.nan if mean is None else mean for mean in column]]),
            ratios=np.full((1, len(means)), 0.01),
            rms=np.full((1, len(means)), 0.01),
            non_finite=np.zeros((1, len(means)), np.int64),
            dead_layers=(frozenset(),),
        )
        for at, column in enumerate(zip(*means.values(), strict=True))
    ]


def make_finding(
    where: str, code: str = "dead-block", severity: Gravity = "error", message: str = ""
) -> Finding:
    """Make a finding of the first epoch."""
    return Finding(
        code=code,
        severity=severity,
        where=where,
        epoch=1,
        step=None,
        message=message or f"{where} gets no gradient",
        value=0.0,
        threshold=None,
        evidence=f"the norms of {where} were exactly 0 at 23 of 23 steps of the epochs 1 to 3",
        suggestion=f'learn faster: layer_rates."{where}" = 0.1, or begin from other weights',
    )
