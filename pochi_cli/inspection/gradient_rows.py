"""What a table of traced gradients says, block by block. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pochi_cli.inspection.findings import GRAVITIES, Finding
from pochi_cli.runs.gradient_record import GradientEpoch


@dataclass(frozen=True)
class GradientRow:
    """A block over the recorded epochs.

    Attributes:
        block: Its name.
        course: Its mean norm of each recorded epoch; `None` where it had no gradient.
        findings: Those on this block, the worst first.
    """

    block: str
    course: tuple[float | None, ...]
    findings: tuple[Finding, ...]

    @property
    def norm(self) -> float | None:
        """That of the last recorded epoch."""
        return self.course[-1]

    @property
    def change(self) -> float | None:
        """The last norm over the first; `None` where they cannot be compared."""
        first, last = self.course[0], self.course[-1]
        if len(self.course) < 2 or not first or last is None:
            return None
        ratio = last / first
        return ratio if math.isfinite(first) and math.isfinite(ratio) else None


@dataclass(frozen=True)
class GradientOverview:
    """All blocks of a trace.

    Attributes:
        epochs: The recorded ones, rising.
        rows: In the order of the network.
        findings: In the order in which the faults began, also those on no block of the trace.
    """

    epochs: tuple[int, ...]
    rows: tuple[GradientRow, ...]
    findings: tuple[Finding, ...]


def survey_gradients(epochs: Sequence[GradientEpoch], findings: Sequence[Finding]) -> GradientOverview:
    """Gather what is known of each block.

    Args:
        epochs: The recorded ones, rising; at least one.
        findings: What was found in them.
    """
    by_block: dict[str, list[Finding]] = {}
    for finding in sorted(findings, key=_gravity):
        for block in (finding.where, *finding.also):
            by_block.setdefault(block, []).append(finding)
    means = [dict(zip(epoch.blocks, epoch.means, strict=True)) for epoch in epochs]
    rows = (
        GradientRow(block, tuple(epoch.get(block) for epoch in means), tuple(by_block.get(block, ())))
        for block in epochs[-1].blocks
    )
    return GradientOverview(tuple(epoch.epoch for epoch in epochs), tuple(rows), tuple(findings))


def choose_rows(rows: Sequence[GradientRow], most: int) -> list[GradientRow]:
    """Choose the rows to show where there is no room for all.

    Those with findings come first, the worst ahead; the others are spread evenly over the network. Which
    these are depends on no norm: in a live table rows that come and go cannot be followed.

    Args:
        rows: In the order of the network.
        most: How many may be shown, from 1.
    """
    if len(rows) <= most:
        return list(rows)
    found = sorted((row for row in rows if row.findings), key=lambda row: _gravity(row.findings[0]))[:most]
    others = [row for row in rows if not row.findings]
    count = min(most - len(found), len(others))
    return found + [others[at * (len(others) - 1) // max(count - 1, 1)] for at in range(count)]


def _gravity(finding: Finding) -> int:
    return GRAVITIES.index(finding.severity)
