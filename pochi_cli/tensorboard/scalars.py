"""The scalars of a run's event files, without the web page. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run
from pochi_cli.runs.records import require_file
from pochi_cli.runs.rows import csv_lines

_COLUMNS = ("tag", "step", "wall_time", "value")


class Point(NamedTuple):
    """A scalar.

    Attributes:
        tag: What it is.
        step: Optimizer steps since the beginning of the training.
        wall_time: When it was written, in seconds since 1970.
        value: As float32, which is what event files hold.
    """

    tag: str
    step: int
    wall_time: float
    value: float


def read_scalars(run: Run) -> tuple[Point, ...]:
    """Read every scalar of a run, tag by tag in the order of the names, as TensorBoard would show them.

    Raises:
        RunError: The run has no event files, or they cannot be read.
    """
    directory = run.layout.tensorboard
    files = sorted(directory.glob(run.layout.event_pattern)) if directory.is_dir() else []
    if not files:
        raise RunError(
            f"{run.layout.name} has no event files in {directory}",
            hint="train with enable_tensorboard = true; the metrics of every run are in its visualization "
            "directory",
        )
    for file in files:
        require_file(file)
    from tensorboard.backend.event_processing.event_accumulator import SCALARS, EventAccumulator
    from tensorboard.util.tb_logging import get_logger

    get_logger().setLevel("ERROR")  # it warns of every run that went on
    everything = 0
    accumulator = EventAccumulator(str(directory), size_guidance={SCALARS: everything}).Reload()
    return tuple(
        Point(tag, event.step, event.wall_time, event.value)
        for tag in sorted(accumulator.Tags()[SCALARS])
        for event in accumulator.Scalars(tag)
    )


def scalars_csv(points: Sequence[Point]) -> str:
    """Write scalars as CSV `tag,step,wall_time,value`, one row each; values as short as float32 allows."""
    rows = [(tag, step, wall_time, str(np.float32(value))) for tag, step, wall_time, value in points]
    return csv_lines([_COLUMNS, *rows])
