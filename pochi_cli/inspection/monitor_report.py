"""What is known of the course of a training. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.monitor_panels import Panel, make_panels
from pochi_cli.inspection.monitor_verdicts import judge_training
from pochi_cli.inspection.monitored_steps import MonitoredSteps
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run, RunStatus
from pochi_cli.runs.monitor_record import read_monitor_epochs
from pochi_cli.runs.records import read_json


@dataclass(frozen=True)
class BlockUpdates:
    """How far the weights of a block moved.

    Attributes:
        block: Its name.
        first, last: Median update ratio of the first and the last epoch with one; `None` where there is none.
        least, largest: Over all measured steps.
    """

    block: str
    first: float | None
    last: float | None
    least: float | None
    largest: float | None


@dataclass(frozen=True)
class SeenSteps:
    """What the monitor saw, in numbers.

    Attributes:
        recorded: Steps in the file.
        epochs: Those that they are of.
        passed_over: Steps that the scaler of the loss (fp16) passed over.
        grad_norm: Median gradient norm of the last recorded epoch; `None` where none is finite.
        samples_per_second: Median over the recorded steps; `None` where it was not measured.
        measured: Steps whose updates were measured.
        updates: Of each block, in the order of the network.
    """

    recorded: int
    epochs: tuple[int, ...]
    passed_over: int
    grad_norm: float | None
    samples_per_second: float | None
    measured: int
    updates: tuple[BlockUpdates, ...]


@dataclass(frozen=True)
class MonitorReport:
    """The course of a training.

    Attributes:
        run: Its name.
        status, reason: How it stands, and why it ended before its time.
        epochs: How many it was to have.
        history: The finished ones.
        is_monitored: Whether the monitor was on.
        seen: What the monitor saw; `None` where that is nothing.
        findings: The verdicts.
        panels: What the figure shows.
    """

    run: str
    status: RunStatus
    reason: str | None
    epochs: int
    history: History
    is_monitored: bool
    seen: SeenSteps | None
    findings: tuple[Finding, ...]
    panels: tuple[Panel, ...]

    @property
    def has_error(self) -> bool:
        """Whether something was found that keeps the network from learning."""
        return any(finding.severity == "error" for finding in self.findings)

    @property
    def last(self) -> EpochRecord | None:
        """The last finished epoch."""
        return self.history.epochs[-1] if len(self.history) else None

    def best(self, metric: str) -> EpochRecord | None:
        """The epoch that is best by a metric; on a tie the earlier, `None` where it was not measured."""
        return self.history.best(metric)

    def to_record(self, figure: Path) -> dict[str, Any]:
        """Plain values for JSON."""
        best = {metric: self.best(metric) for metric in (self.last.metrics if self.last else ())}
        return {
            "run": self.run,
            "status": self.status,
            "reason": self.reason,
            "epochs": self.epochs,
            "epochs_done": len(self.history),
            "last": None if self.last is None else asdict(self.last),
            "best": {metric: None if record is None else asdict(record) for metric, record in best.items()},
            "steps": None if self.seen is None else asdict(self.seen),
            "missing": {panel.title: panel.missing for panel in self.panels if panel.missing},
            "findings": [finding.to_record() for finding in self.findings],
            "figure": str(figure),
        }


def inspect_monitor(run: Run) -> MonitorReport:
    """Judge the course of a training by what the run recorded.

    Raises:
        RunError: A file of it is damaged.
    """
    history, epochs = run.history, read_monitor_epochs(run.layout)
    steps = MonitoredSteps.of(epochs) if epochs else None
    is_monitored = _is_monitored(run)
    return MonitorReport(
        run=run.layout.name,
        status=run.status,
        reason=run.record.reason,
        epochs=run.record.epochs,
        history=history,
        is_monitored=is_monitored,
        seen=None if steps is None else _summarize(steps),
        findings=tuple(judge_training(history, epochs, len(run.record.class_names) or None)),
        panels=make_panels(history, epochs, is_monitored),
    )


def _is_monitored(run: Run) -> bool:
    """Whether the config says so; a run of before there was a monitor has no such key."""
    config = read_json(run.layout.config_json)
    monitor = config.get("monitor") if isinstance(config, dict) else None
    return isinstance(monitor, dict) and monitor.get("enabled") is True


def _summarize(steps: MonitoredSteps) -> SeenSteps:
    return SeenSteps(
        recorded=len(steps.steps),
        epochs=tuple(np.unique(steps.epochs).tolist()),
        passed_over=int(steps.is_passed_over.sum()),
        grad_norm=_median(steps.grad_norms[steps.rows_of_epochs()[-1]]),
        samples_per_second=_median(steps.speeds),
        measured=len(steps.update_ratios),
        updates=tuple(_updates(steps, at) for at in range(len(steps.blocks))),
    )


def _updates(steps: MonitoredSteps, at: int) -> BlockUpdates:
    ratios = steps.update_ratios[:, at]
    is_there = np.isfinite(ratios)
    epochs = steps.epochs[steps.update_rows]
    if not is_there.any():
        return BlockUpdates(steps.blocks[at], None, None, None, None)
    first, last = epochs[is_there][[0, -1]]
    return BlockUpdates(
        steps.blocks[at],
        _median(ratios[epochs == first]),
        _median(ratios[epochs == last]),
        float(ratios[is_there].min()),
        float(ratios[is_there].max()),
    )


def _median(values: np.typing.NDArray[np.float64]) -> float | None:
    finite = values[np.isfinite(values)]
    return float(np.median(finite)) if finite.size else None
