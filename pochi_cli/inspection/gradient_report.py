"""What is known of the gradients of a run: its trace, judged, and a fresh backward pass. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.gradient_flow import GradientFlow
from pochi_cli.inspection.gradient_rows import GradientOverview


@dataclass(frozen=True)
class FreshPass:
    """A backward pass with the weights of a checkpoint over some training batches.

    Attributes:
        flow: The gradients.
        checkpoint: Where the weights come from.
        epoch: The finished epochs of the checkpoint.
        is_averaged: Whether they are the averaged weights (`ema_decay`), which then are those that count.
        samples: In all batches together.
        device: What it was computed on.
        remarks: What should be known, such as that the data have changed.
    """

    flow: GradientFlow
    checkpoint: Path
    epoch: int
    is_averaged: bool
    samples: int
    device: str
    remarks: tuple[str, ...] = ()

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        flow = self.flow
        return {
            "checkpoint": str(self.checkpoint),
            "checkpoint_epoch": self.epoch,
            "averaged": self.is_averaged,
            "device": self.device,
            "batches": flow.batches,
            "samples": self.samples,
            "loss": flow.loss,
            "remarks": list(self.remarks),
            "layers": [layer.to_record() for layer in flow.layers],
            "smallest": [layer.name for layer in flow.smallest()],
            "largest": [layer.name for layer in flow.largest()],
            "frozen": list(flow.frozen),
            "unused": [name for name, _ in flow.unused],
        }


@dataclass(frozen=True)
class GradientReport:
    """The gradients of a run.

    Attributes:
        run: Its name.
        trace: The traced gradients, where there are any.
        findings: The verdicts on the trace, then those on the fresh pass.
        fresh: The fresh pass, where there could be one.
        obstacle: Why there could not.
    """

    run: str
    trace: GradientOverview | None
    findings: tuple[Finding, ...]
    fresh: FreshPass | None
    obstacle: str | None

    @property
    def epochs(self) -> tuple[int, ...]:
        """Those whose gradients were traced."""
        return self.trace.epochs if self.trace else ()

    @property
    def has_error(self) -> bool:
        """Whether something was found that keeps the network from learning."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_record(self, figure: Path | None) -> dict[str, Any]:
        """Plain values for JSON; without a fresh pass what it would tell is null.

        Args:
            figure: Where the picture lies, if there is one.
        """
        fresh = dict.fromkeys(_FRESH_KEYS) if self.fresh is None else self.fresh.to_record()
        return {
            "run": self.run,
            "epochs": list(self.epochs),
            "findings": [finding.to_record() for finding in self.findings],
            "obstacle": self.obstacle,
            **fresh,
            "figure": None if figure is None else str(figure),
        }


_FRESH_KEYS = (
    "checkpoint",
    "checkpoint_epoch",
    "averaged",
    "device",
    "batches",
    "samples",
    "loss",
    "remarks",
    "layers",
    "smallest",
    "largest",
    "frozen",
    "unused",
)
