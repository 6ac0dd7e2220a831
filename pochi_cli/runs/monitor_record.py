"""What the training monitor saw, and its two files."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pochi_cli.runs.atomic import write_text
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.rows import csv_lines, damaged, read_rows

Array = NDArray[np.float64]

_MOST_ROWS = 100_000
"""Of each file, about; a longer training keeps fewer steps of each epoch."""
_FEWEST_STEPS = 20
_STEP_COLUMNS = ("epoch", "step", "loss", "grad_norm", "learning_rate", "passed_over", "samples_per_second")
_UPDATE_COLUMNS = ("epoch", "step", "block", "update_ratio")


@dataclass(frozen=True, eq=False)
class MonitorEpoch:
    """What was seen of an epoch.

    Attributes:
        epoch: From 1.
        steps: The optimizer steps that the arrays hold, from 1, rising.
        losses: float64 (steps,), mean loss over the samples of each step.
        grad_norms: float64 (steps,), L2 norm of the gradient of all trained parameters together, unscaled and
            before clipping.
        learning_rate: As in `EpochRecord`.
        is_passed_over: bool (steps,), whether the scaler of the loss (fp16) passed the step over.
        samples_per_second: float64 (steps,), samples of each step over the time since the one before; NaN
            where it was not measured.
        blocks: Names of the blocks whose updates are measured, in the order of the network.
        update_steps: The steps whose updates were measured, from 1, rising.
        update_ratios: float64 (update steps, blocks), norm of the change of the weights over that of the
            weights before, median over the block's tensors of more than one dimension; NaN where there was
            none: the step was passed over, or the weights before were all zero.
    """

    epoch: int
    steps: tuple[int, ...]
    losses: Array
    grad_norms: Array
    learning_rate: float
    is_passed_over: NDArray[np.bool_]
    samples_per_second: Array
    blocks: tuple[str, ...]
    update_steps: tuple[int, ...]
    update_ratios: Array

    def thinned(self, most: int, most_updates: int) -> MonitorEpoch:
        """Keep evenly spread steps, with the first, the last, and those where loss and gradient peak."""
        kept = _spread(len(self.steps), most)
        for values in (self.losses, self.grad_norms):
            kept.add(int(np.argmax(np.where(np.isnan(values), np.inf, values))))
        at = sorted(kept)
        measured = sorted(_spread(len(self.update_steps), most_updates))
        return replace(
            self,
            steps=tuple(self.steps[position] for position in at),
            losses=self.losses[at],
            grad_norms=self.grad_norms[at],
            is_passed_over=self.is_passed_over[at],
            samples_per_second=self.samples_per_second[at],
            update_steps=tuple(self.update_steps[position] for position in measured),
            update_ratios=self.update_ratios[measured],
        )


def _spread(count: int, most: int) -> set[int]:
    return {round(at) for at in np.linspace(0, count - 1, min(count, most))}


class MonitorFiles:
    """Writes what the monitor saw of a run; both files are whole at every moment.

    Args:
        layout: Where they go.
        epochs_done: What they hold of later epochs is left out: a run that was killed goes through them
            again.
        epochs: How many the run will have in all.

    Raises:
        RunError: What is there is damaged.
    """

    def __init__(self, layout: RunLayout, epochs_done: int, epochs: int) -> None:
        self._layout = layout
        self._epochs = epochs
        before = [epoch for epoch in read_monitor_epochs(layout) if epoch.epoch <= epochs_done]
        self._steps = [csv_lines(_step_rows(epoch)) for epoch in before]
        self._updates = [csv_lines(_update_rows(epoch)) for epoch in before]

    def add(self, epoch: MonitorEpoch) -> None:
        """Add what was seen of an epoch.

        Raises:
            StorageError: Writing failed.
        """
        most = max(_FEWEST_STEPS, _MOST_ROWS // self._epochs)
        kept = epoch.thinned(most, max(_FEWEST_STEPS, most // max(1, len(epoch.blocks))))
        self._steps.append(csv_lines(_step_rows(kept)))
        self._updates.append(csv_lines(_update_rows(kept)))
        write_text(self._layout.monitor_updates, csv_lines([_UPDATE_COLUMNS]) + "".join(self._updates))
        write_text(self._layout.monitor_steps, csv_lines([_STEP_COLUMNS]) + "".join(self._steps))


def read_monitor_epochs(layout: RunLayout) -> tuple[MonitorEpoch, ...]:
    """Read what the monitor saw of a run; empty where it was off.

    Raises:
        RunError: A file cannot be read, or is damaged.
    """
    if not layout.monitor_steps.exists():
        return ()
    updates = _UpdateTable(layout.monitor_updates)
    steps: dict[int, dict[int, tuple[float, ...]]] = {}
    for number, row in enumerate(read_rows(layout.monitor_steps)[1:], start=2):
        try:
            epoch, step, *cells = row
            values = tuple(map(_number, cells))
            if len(row) != len(_STEP_COLUMNS):
                raise ValueError(f"{len(row)} cells")
            steps.setdefault(int(epoch), {})[int(step)] = values
        except ValueError as error:
            raise damaged(layout.monitor_steps, f"row {number} is none of its steps ({error})") from error
    return tuple(_epoch(epoch, steps[epoch], updates) for epoch in sorted(steps))


def _epoch(epoch: int, steps: dict[int, tuple[float, ...]], updates: _UpdateTable) -> MonitorEpoch:
    numbers = tuple(sorted(steps))
    losses, grad_norms, rates, passed_over, speeds = np.array([steps[step] for step in numbers]).T
    update_steps, ratios = updates.of(epoch)
    return MonitorEpoch(
        epoch=epoch,
        steps=numbers,
        losses=losses,
        grad_norms=grad_norms,
        learning_rate=float(rates[0]),
        is_passed_over=passed_over > 0,
        samples_per_second=speeds,
        blocks=updates.blocks,
        update_steps=update_steps,
        update_ratios=ratios,
    )


class _UpdateTable:
    """The file of the updates, by epoch, step and block; empty where it is lost."""

    def __init__(self, path: Path) -> None:
        self._cells: dict[int, dict[int, dict[str, float]]] = {}
        for number, row in enumerate(read_rows(path)[1:] if path.exists() else (), start=2):
            try:
                epoch, step, block, ratio = row
                self._cells.setdefault(int(epoch), {}).setdefault(int(step), {})[block] = _number(ratio)
            except ValueError as error:
                raise damaged(path, f"row {number} is none of its updates ({error})") from error
        steps = [step for epoch in self._cells.values() for step in epoch.values()]
        # Every step has all blocks, in the order of the network.
        self.blocks = tuple(dict.fromkeys(block for step in steps for block in step))

    def of(self, epoch: int) -> tuple[tuple[int, ...], Array]:
        """The measured steps of an epoch, and their ratios, (steps, blocks)."""
        steps = self._cells.get(epoch, {})
        numbers = tuple(sorted(steps))
        cells = [[steps[step].get(block, np.nan) for block in self.blocks] for step in numbers]
        return numbers, np.array(cells, dtype=np.float64).reshape(len(numbers), len(self.blocks))


def _step_rows(epoch: MonitorEpoch) -> Iterator[Sequence[object]]:
    for at, step in enumerate(epoch.steps):
        yield (
            epoch.epoch,
            step,
            repr(float(epoch.losses[at])),
            repr(float(epoch.grad_norms[at])),
            repr(epoch.learning_rate),
            int(epoch.is_passed_over[at]),
            _cell(epoch.samples_per_second[at]),
        )


def _update_rows(epoch: MonitorEpoch) -> Iterator[Sequence[object]]:
    for at, step in enumerate(epoch.update_steps):
        for column, block in enumerate(epoch.blocks):
            yield epoch.epoch, step, block, _cell(epoch.update_ratios[at, column])


def _cell(value: float) -> str:
    return "" if np.isnan(value) else repr(float(value))


def _number(cell: str) -> float:
    return float(cell) if cell else np.nan
