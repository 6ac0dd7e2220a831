"""What is known of the activations of a trained model. Free of torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pochi_cli.inspection.activation_record import ActivationSurvey
from pochi_cli.inspection.activation_verdicts import ActivationFinding
from pochi_cli.runs.index import Run


@dataclass(frozen=True, eq=False)
class ActivationReport:
    """The activations of a model over data.

    Attributes:
        name: What the model is called: its run, or the file of the checkpoint.
        run: Its run; `None` for a checkpoint elsewhere.
        survey: The activations.
        findings: The verdicts on them.
        checkpoint: Where the weights come from.
        epoch: The finished epochs of the checkpoint.
        is_averaged: Whether they are averaged weights.
        data: What the inputs are: `validation images`, say.
        source: Where these lie.
        samples: How many of them were run.
        available: How many there are.
        device: What it was computed on.
        precision: In what.
        remarks: What should be known, such as that the data have changed.
    """

    name: str
    run: Run | None
    survey: ActivationSurvey
    findings: tuple[ActivationFinding, ...]
    checkpoint: Path
    epoch: int
    is_averaged: bool
    data: str
    source: str
    samples: int
    available: int
    device: str
    precision: str
    remarks: tuple[str, ...] = ()

    @property
    def has_error(self) -> bool:
        """Whether something was found that keeps the network from learning."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_record(self, figure: Path) -> dict[str, Any]:
        """Plain values for JSON.

        Args:
            figure: Where the picture lies.
        """
        return {
            "run": None if self.run is None else self.name,
            "checkpoint": str(self.checkpoint),
            "checkpoint_epoch": self.epoch,
            "averaged": self.is_averaged,
            "data": self.data,
            "source": self.source,
            "samples": self.samples,
            "available": self.available,
            "batches": self.survey.batches,
            "device": self.device,
            "precision": self.precision,
            "remarks": list(self.remarks),
            "findings": [finding.to_record() for finding in self.findings],
            "layers": [layer.to_record() for layer in self.survey.layers],
            "figure": str(figure),
        }
