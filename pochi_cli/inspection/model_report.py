"""What is known of a network: its structure, its weights and what it costs. Free of torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.model_costs import BatchMemory, SpeedSweep, TrainingMemory
from pochi_cli.inspection.model_structure import ModelStructure
from pochi_cli.inspection.model_weights import WeightStatistics


@dataclass(frozen=True)
class Origin:
    """Where a network comes from.

    Attributes:
        name: Of its run, its checkpoint or its config.
        network: What the config calls it.
        task: What it is for, as in the config.
        checkpoint: Where its weights are from; `None` for a config, whose network is not trained.
        epoch: The finished epochs of the checkpoint.
        is_averaged: Whether its weights are averaged.
        remarks: What should be known.
    """

    name: str
    network: str
    task: str
    checkpoint: Path | None = None
    epoch: int | None = None
    is_averaged: bool = False
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True)
class StepCosts:
    """Memory of the training step that a config asks for.

    Attributes:
        training: Of any batch.
        batch_size: Samples in a batch; with several batches in a step, in each.
        optimizer: Whose state is counted.
        precision: Of the arithmetic.
        device: Where it was measured.
        available: Bytes that the process may still take, the network itself being there; `None` where the
            system does not tell.
        largest_batch: Samples of the largest batch that fits into them; `None` where they are not known.
    """

    training: TrainingMemory
    batch_size: int
    optimizer: str
    precision: str
    device: str
    available: int | None
    largest_batch: int | None

    @property
    def batch(self) -> BatchMemory:
        """The memory for the config's batch."""
        return self.training.of(self.batch_size)

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            **asdict(self.batch),
            **self.training.to_record(),
            "optimizer": self.optimizer,
            "precision": self.precision,
            "device": self.device,
            "available": self.available,
            "largest_batch": self.largest_batch,
        }


@dataclass(frozen=True)
class ModelReport:
    """A network, described.

    Attributes:
        origin: Where it comes from.
        structure: Its layers, for an input of one sample.
        weights: The values of its parameters.
        memory: What a training step takes; `None` where it could not be measured.
        speed: How long forward passes take; `None` then, too.
        findings: The verdicts on the weights.
        unmeasured: Why it could not be measured.
    """

    origin: Origin
    structure: ModelStructure
    weights: WeightStatistics
    memory: StepCosts | None
    speed: SpeedSweep | None
    findings: tuple[Finding, ...]
    unmeasured: str | None = None

    @property
    def has_error(self) -> bool:
        """Whether something was found that makes the network useless."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_record(self, figures: Mapping[str, Path]) -> dict[str, Any]:
        """Plain values for JSON.

        Args:
            figures: Where the pictures lie, by what they show.
        """
        origin = self.origin
        return {
            "name": origin.name,
            "network": origin.network,
            "task": origin.task,
            "checkpoint": None if origin.checkpoint is None else str(origin.checkpoint),
            "checkpoint_epoch": origin.epoch,
            "averaged": origin.is_averaged,
            "remarks": list(origin.remarks),
            "structure": self.structure.to_record(),
            "weights": self.weights.to_record(),
            "memory": None if self.memory is None else self.memory.to_record(),
            "speed": None if self.speed is None else self.speed.to_record(),
            "unmeasured": self.unmeasured,
            "findings": [finding.to_record() for finding in self.findings],
            "figures": {name: str(path) for name, path in figures.items()},
        }
