"""The steps that the training monitor saw as arrays, for judging and drawing them. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pochi_cli.runs.monitor_record import MonitorEpoch

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class MonitoredSteps:
    """All recorded steps of a training, one after the other.

    Attributes:
        epochs, steps: Place of each step, from 1, int64 (steps,).
        positions: Epochs that were done when the step ended, with the part of its own, float64 (steps,).
        losses, grad_norms, speeds: As in `MonitorEpoch`, float64 (steps,).
        is_passed_over: bool (steps,).
        blocks: Those whose updates are measured, in the order of the network.
        update_rows: The row of each measured step among all steps, or of the nearest before it that is
            recorded, int64 (update steps,).
        update_positions: float64 (update steps,).
        update_ratios: float64 (update steps, blocks); NaN where there was no update.
        update_rates: The learning rate at each, float64 (update steps,).
    """

    epochs: NDArray[np.int64]
    steps: NDArray[np.int64]
    positions: Array
    losses: Array
    grad_norms: Array
    speeds: Array
    is_passed_over: Mask
    blocks: tuple[str, ...]
    update_rows: NDArray[np.int64]
    update_positions: Array
    update_ratios: Array
    update_rates: Array

    @classmethod
    def of(cls, epochs: Sequence[MonitorEpoch]) -> MonitoredSteps:
        """Put the steps of some epochs together; at least one."""
        per_epoch = max(epoch.steps[-1] for epoch in epochs)  # a failed epoch ends early
        steps = np.concatenate([epoch.steps for epoch in epochs]).astype(np.int64)
        numbers = np.repeat([epoch.epoch for epoch in epochs], [len(epoch.steps) for epoch in epochs])
        positions = numbers - 1 + steps / per_epoch
        updates = np.concatenate(
            [epoch.epoch - 1 + np.array(epoch.update_steps) / per_epoch for epoch in epochs]
        )
        measured = [len(epoch.update_steps) for epoch in epochs]
        return cls(
            epochs=numbers,
            steps=steps,
            positions=positions,
            losses=np.concatenate([epoch.losses for epoch in epochs]),
            grad_norms=np.concatenate([epoch.grad_norms for epoch in epochs]),
            speeds=np.concatenate([epoch.samples_per_second for epoch in epochs]),
            is_passed_over=np.concatenate([epoch.is_passed_over for epoch in epochs]),
            blocks=epochs[0].blocks,
            update_rows=np.maximum(np.searchsorted(positions, updates + 1e-9) - 1, 0),
            update_positions=updates,
            update_ratios=np.concatenate([epoch.update_ratios for epoch in epochs]),
            update_rates=np.repeat([epoch.learning_rate for epoch in epochs], measured),
        )

    def place(self, row: int) -> tuple[int, int]:
        """Epoch and step of a row."""
        return int(self.epochs[row]), int(self.steps[row])

    def rows_of_epochs(self) -> list[NDArray[np.intp]]:
        """The rows of each epoch."""
        return [np.flatnonzero(self.epochs == epoch) for epoch in np.unique(self.epochs)]
