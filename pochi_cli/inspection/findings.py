"""What inspections find. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

Gravity = Literal["error", "warning", "note"]
GRAVITIES: tuple[Gravity, ...] = ("error", "warning", "note")
"""The worst first."""


@dataclass(frozen=True)
class Finding:
    """A fault that was found, with its evidence.

    Attributes:
        code: Stable, lower-case with hyphens, such as `dead-block`.
        severity: `error` for what keeps the network from learning, `warning` for what may, `note` for what
            should be known.
        where: The block or layer; of several that with which it began, or that has it worst.
        epoch: When it was first seen, from 1; `None` for what belongs to no epoch.
        step: The optimizer step of that epoch, from 1, where it is known.
        message: What is wrong, in one line, with the place.
        value: What was measured; `None` where it was not finite or nothing.
        threshold: What it was held against; `None` where there is none.
        evidence: How the judgement came about, with its numbers.
        suggestion: An edit of the config, or what to look at.
        also: The others that it holds for, in the order of the network.
    """

    code: str
    severity: Gravity
    where: str
    epoch: int | None
    step: int | None
    message: str
    value: float | None
    threshold: float | None
    evidence: str
    suggestion: str
    also: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def network_finding(
    code: str,
    severity: Gravity,
    where: str,
    message: str,
    evidence: str,
    suggestion: str,
    *,
    value: float | None = None,
    threshold: float | None = None,
    also: Sequence[str] = (),
) -> Finding:
    """Make a finding about a network as it is, which belongs to no epoch; see `Finding` for the arguments."""
    return Finding(
        code=code,
        severity=severity,
        where=where,
        epoch=None,
        step=None,
        message=message,
        value=value,
        threshold=threshold,
        evidence=evidence,
        suggestion=suggestion,
        also=tuple(also),
    )
