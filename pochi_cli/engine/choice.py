"""Which precision and memory layout a run computes in, and why."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pochi_cli.engine.remembered import Measurement
from pochi_cli.engine.runtime import Runtime

_LINE = 79
"""Characters that a terminal of 80 columns shows in a line."""


@dataclass(frozen=True)
class Choice:
    """A precision and layout, and where it comes from.

    Attributes:
        runtime: The choice.
        source: What chose it.
        reason: Why nothing was measured, where there is a choice.
        measurement: What was measured, now or before.
    """

    runtime: Runtime
    source: Literal["config", "rule", "measured", "remembered"]
    reason: str | None = None
    measurement: Measurement | None = None

    def to_record(self) -> dict[str, Any]:
        """Plain values for the record of a run."""
        record: dict[str, Any] = {"choice_from": self.source}
        if self.reason is not None:
            record["reason"] = self.reason
        if (found := self.measurement) is not None:
            record |= {
                "measured_on": found.measured_on,
                "images_per_second": dict(found.images_per_second),
                "far_slower": list(found.far_slower),
            }
        return record

    def messages(self) -> tuple[str, ...]:
        """Tell what was chosen and why; nothing where there was no choice."""
        text = f"computes in {self.runtime.arithmetic}"
        if (found := self.measurement) is None:
            return () if self.reason is None else (f"{text}, by rule: {self.reason}",)
        ordered = sorted(found.images_per_second.items(), key=lambda item: -item[1])
        speeds = ", ".join(f"{name} {_rounded(speed)}" for name, speed in ordered)
        if found.far_slower:
            speeds += f"; far slower: {', '.join(found.far_slower)}"
        how = "measured" if self.source == "measured" else f"as measured on {found.measured_on}"
        line = f"{text}, {how} (images/s): {speeds}"
        return (line,) if len(line) <= _LINE else (f"{text}, {how} (images/s):", f"  {speeds}")


def _rounded(speed: float) -> str:
    return f"{speed:.0f}" if speed >= 100 else f"{speed:.3g}"
