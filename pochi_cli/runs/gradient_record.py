"""What was traced of the gradients, and its two files."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_text
from pochi_cli.runs.layout import RunLayout

Array = NDArray[np.float64]

_MOST_ROWS = 100_000
"""Of the file of the steps, about; a longer training keeps fewer steps of each epoch."""
_FEWEST_STEPS = 20
_STEP_COLUMNS = ("epoch", "step", "block", "norm", "ratio", "rms", "non_finite")


@dataclass(frozen=True, eq=False)
class GradientEpoch:
    """What was traced of an epoch.

    Attributes:
        epoch: From 1.
        blocks: Their names, in the order of the network.
        norms: float64 (steps, blocks), L2 norms of the gradients merged over each block's parameters; NaN
            where no parameter of the block had one.
        ratios: The same of each gradient's norm over that of its parameter at the end of the epoch.
        rms: The same of the root mean square of each gradient's entries.
        non_finite: int64 (steps, blocks), parameters whose gradient was not finite.
    """

    epoch: int
    blocks: tuple[str, ...]
    norms: Array
    ratios: Array
    rms: Array
    non_finite: NDArray[np.int64]

    def means(self) -> list[float | None]:
        """Mean norm of each block over the steps that gave it a gradient; `None` where none did."""
        means: list[float | None] = []
        for norms, bad in zip(self.norms.T, self.non_finite.T, strict=True):
            counted = norms[~np.isnan(norms) | (bad > 0)]
            means.append(float(counted.mean()) if len(counted) else None)
        return means

    def kept_steps(self, most: int) -> list[int]:
        """Choose steps, from 0: evenly spread, with the first, the last, and some that were not finite."""
        count = len(self.norms)
        chosen = {round(at) for at in np.linspace(0, count - 1, min(count, most))}
        chosen.update(np.flatnonzero(self.non_finite.any(axis=1))[:_FEWEST_STEPS].tolist())
        return sorted(chosen)


class GradientFiles:
    """Writes the trace of a run; both files are whole at every moment.

    Args:
        layout: Where they go.
        epochs_done: What they hold of later epochs is left out: a run that was killed traces them again.
        recorded_epochs: How many epochs will be recorded in all.

    Raises:
        RunError: What is there is damaged.
    """

    def __init__(self, layout: RunLayout, epochs_done: int, recorded_epochs: int) -> None:
        self._layout = layout
        self._recorded_epochs = recorded_epochs
        self._trace = list(_kept_lines(layout.gradient_trace, epochs_done))
        self._steps = list(_kept_lines(layout.gradient_steps, epochs_done))

    def add(self, epoch: GradientEpoch) -> None:
        """Add what was traced of an epoch.

        Raises:
            StorageError: Writing failed.
        """
        if not self._trace:
            self._trace.append(_lines([["epoch", *epoch.blocks]]))
            self._steps.append(_lines([_STEP_COLUMNS]))
        means = ("" if value is None else repr(value) for value in epoch.means())
        self._trace.append(_lines([[epoch.epoch, *means]]))
        most = max(_FEWEST_STEPS, _MOST_ROWS // (len(epoch.blocks) * max(1, self._recorded_epochs)))
        self._steps.append(_lines(_step_rows(epoch, epoch.kept_steps(most))))
        write_text(self._layout.gradient_steps, "".join(self._steps))
        write_text(self._layout.gradient_trace, "".join(self._trace))


def _step_rows(epoch: GradientEpoch, steps: Iterable[int]) -> Iterator[list[object]]:
    for step in steps:
        for at, block in enumerate(epoch.blocks):
            norm, bad = float(epoch.norms[step, at]), int(epoch.non_finite[step, at])
            if np.isnan(norm) and not bad:
                continue  # it had no gradient
            values = (norm, float(epoch.ratios[step, at]), float(epoch.rms[step, at]))
            yield [epoch.epoch, step + 1, block, *map(repr, values), bad]


def _lines(rows: Iterable[Iterable[object]]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows(rows)
    return buffer.getvalue()


def _kept_lines(path: Path, epochs_done: int) -> Iterator[str]:
    """Read the lines of the finished epochs, and the header."""
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return
    except (OSError, ValueError) as error:
        raise RunError(f"cannot read {path}: {error}") from error
    for number, row in enumerate(csv.reader(io.StringIO(text))):
        if number and not row[0].isdecimal():
            raise RunError(
                f"{path} is damaged: row {number + 1} begins with no epoch",
                hint="move it away: the trace then begins anew",
            )
        if not number or int(row[0]) <= epochs_done:
            yield _lines([row])
