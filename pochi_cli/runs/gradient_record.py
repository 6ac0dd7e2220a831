"""What was traced of the gradients, and its two files."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_text
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.rows import csv_lines, damaged, read_rows

Array = NDArray[np.float64]

_MOST_ROWS = 100_000
"""Of the file of the steps, about; a longer training keeps fewer steps of each epoch."""
_FEWEST_STEPS = 20
_BETWEEN = ";"
"""Stands between the names of layers in a cell."""
_STEP_COLUMNS = ("epoch", "step", "block", "norm", "ratio", "rms", "non_finite", "dead_layers")


@dataclass(frozen=True, eq=False)
class GradientEpoch:
    """What was traced of an epoch.

    Attributes:
        epoch: From 1.
        blocks: Their names, in the order of the network.
        means: Mean norm of each block over all optimizer steps that gave it a gradient; `None` where none
            did.
        steps: Those that the arrays hold, from 1, rising.
        norms: float64 (steps, blocks), L2 norms of the gradients merged over each block's parameters; NaN
            where no parameter of the block had one.
        ratios: The same of each gradient's norm over that of its parameter as the epoch began.
        rms: The same of the root mean square of each gradient's entries.
        non_finite: int64 (steps, blocks), parameters whose gradient was not finite.
        dead_layers: At each step the layers whose gradients are all exactly zero, with their blocks.
    """

    epoch: int
    blocks: tuple[str, ...]
    means: tuple[float | None, ...]
    steps: tuple[int, ...]
    norms: Array
    ratios: Array
    rms: Array
    non_finite: NDArray[np.int64]
    dead_layers: tuple[frozenset[tuple[str, str]], ...]

    def thinned(self, most: int) -> GradientEpoch:
        """Keep evenly spread steps, with the first, the last, and some that were not finite; or none."""
        count = len(self.steps)
        kept = {round(at) for at in np.linspace(0, count - 1, min(count, most))}
        if most:
            kept.update(np.flatnonzero(self.non_finite.any(axis=1))[:_FEWEST_STEPS].tolist())
        at = sorted(kept)
        return replace(
            self,
            steps=tuple(self.steps[position] for position in at),
            norms=self.norms[at],
            ratios=self.ratios[at],
            rms=self.rms[at],
            non_finite=self.non_finite[at],
            dead_layers=tuple(self.dead_layers[position] for position in at),
        )


class GradientFiles:
    """Writes the trace of a run; both files are whole at every moment.

    Args:
        layout: Where they go.
        blocks: Those that are traced.
        epochs_done: What they hold of later epochs is left out: a run that was killed traces them again.
        recorded_epochs: How many epochs will be recorded in all.

    Attributes:
        epochs: What the files hold.

    Raises:
        RunError: What is there is damaged, or of other blocks.
    """

    def __init__(
        self, layout: RunLayout, blocks: tuple[str, ...], epochs_done: int, recorded_epochs: int
    ) -> None:
        self._layout = layout
        self._recorded_epochs = recorded_epochs
        self.epochs = [epoch for epoch in read_gradient_epochs(layout) if epoch.epoch <= epochs_done]
        if any(epoch.blocks != blocks for epoch in self.epochs):
            raise RunError(
                f"{layout.gradient_trace} holds other blocks than those that would be traced now",
                hint="set gradient_tracking_config as it was, or move the two files of the trace away: "
                "it then begins anew",
            )
        self._trace = [_trace_line(epoch) for epoch in self.epochs]
        self._steps = [_step_lines(epoch) for epoch in self.epochs]

    def add(self, epoch: GradientEpoch) -> None:
        """Add what was traced of an epoch.

        Raises:
            StorageError: Writing failed.
        """
        most = max(_FEWEST_STEPS, _MOST_ROWS // (len(epoch.blocks) * max(1, self._recorded_epochs)))
        # Where there is no room for a few steps of every epoch, only every so many keep any.
        stride = -(-_FEWEST_STEPS * len(epoch.blocks) * self._recorded_epochs // _MOST_ROWS)
        is_kept = len(self.epochs) % stride == 0 or not all(map(_is_finite, epoch.means))
        kept = epoch.thinned(most if is_kept else 0)
        self.epochs.append(kept)
        self._trace.append(_trace_line(kept))
        self._steps.append(_step_lines(kept))
        write_text(self._layout.gradient_steps, "".join((csv_lines([_STEP_COLUMNS]), *self._steps)))
        header = csv_lines([("epoch", *epoch.blocks)])
        write_text(self._layout.gradient_trace, "".join((header, *self._trace)))


def read_gradient_epochs(layout: RunLayout) -> tuple[GradientEpoch, ...]:
    """Read the trace of a run; empty where it has none.

    Raises:
        RunError: A file cannot be read, or is damaged.
    """
    path = layout.gradient_trace
    if not path.exists() and not layout.gradient_steps.exists():
        return ()
    header, *rows = read_rows(path)
    blocks = tuple(header[1:])
    steps = _StepTable(layout.gradient_steps, blocks)
    try:
        return tuple(
            steps.epoch(int(row[0]), tuple(float(cell) if cell else None for cell in row[1:])) for row in rows
        )
    except (ValueError, IndexError) as error:
        raise damaged(path, str(error)) from error


class _StepTable:
    """The file of the steps, by epoch, step and block."""

    def __init__(self, path: Path, blocks: tuple[str, ...]) -> None:
        self._blocks = blocks
        self._cells: dict[int, dict[int, dict[int, tuple[float, ...]]]] = {}
        self._dead: dict[tuple[int, int], set[tuple[str, str]]] = {}
        column = {name: at for at, name in enumerate(blocks)}
        for number, row in enumerate(read_rows(path)[1:], start=2):
            try:
                epoch, step, block, *values, dead = row
                floats = tuple(map(float, values))
                if len(row) != len(_STEP_COLUMNS):
                    raise ValueError(f"{len(row)} cells")
                self._cells.setdefault(int(epoch), {}).setdefault(int(step), {})[column[block]] = floats
                names = {(block, layer) for layer in dead.split(_BETWEEN) if dead}
                self._dead.setdefault((int(epoch), int(step)), set()).update(names)
            except (ValueError, KeyError) as error:
                raise damaged(path, f"row {number} is none of its steps ({error})") from error

    def epoch(self, number: int, means: tuple[float | None, ...]) -> GradientEpoch:
        """Put together what is known of an epoch.

        Raises:
            ValueError: There are more means than blocks, or fewer.
        """
        if len(means) != len(self._blocks):
            raise ValueError(f"epoch {number} has {len(means)} values for {len(self._blocks)} blocks")
        steps = self._cells.get(number, {})
        values = np.full((len(steps), len(self._blocks), 4), np.nan)
        values[:, :, 3:] = 0
        for at, step in enumerate(sorted(steps)):
            for block, cells in steps[step].items():
                values[at, block] = cells
        norms, ratios, rms, non_finite = np.moveaxis(values, 2, 0)
        return GradientEpoch(
            number,
            self._blocks,
            means,
            tuple(sorted(steps)),
            norms,
            ratios,
            rms,
            non_finite.astype(np.int64),
            tuple(frozenset(self._dead[number, step]) for step in sorted(steps)),
        )


def _is_finite(mean: float | None) -> bool:
    return mean is None or math.isfinite(mean)


def _trace_line(epoch: GradientEpoch) -> str:
    return csv_lines([[epoch.epoch, *("" if mean is None else repr(mean) for mean in epoch.means)]])


def _step_lines(epoch: GradientEpoch) -> str:
    return csv_lines(_step_rows(epoch))


def _step_rows(epoch: GradientEpoch) -> Iterator[Sequence[object]]:
    for at, step in enumerate(epoch.steps):
        for column, block in enumerate(epoch.blocks):
            norm, bad = float(epoch.norms[at, column]), int(epoch.non_finite[at, column])
            if np.isnan(norm) and not bad:
                continue  # it had no gradient
            values = (norm, float(epoch.ratios[at, column]), float(epoch.rms[at, column]))
            dead = sorted(layer for of, layer in epoch.dead_layers[at] if of == block)
            yield (epoch.epoch, step, block, *map(repr, values), bad, _BETWEEN.join(dead))
