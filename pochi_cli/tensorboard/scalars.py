"""The scalars of a run's event files, without the web page. Free of torch."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from google.protobuf.message import DecodeError
from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.tensorflow_stub.pywrap_tensorflow import masked_crc32c

from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run
from pochi_cli.runs.records import require_file
from pochi_cli.runs.rows import csv_lines

_COLUMNS = ("tag", "step", "wall_time", "value")
_HEADER = struct.Struct("<QI")
"""Length of a record and its check sum."""
_CHECK_SUM = struct.Struct("<I")


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


class Scalars(NamedTuple):
    """The scalars of a run.

    Attributes:
        points: By the names of the tags, then as they were written.
        damages: Where files are damaged; what stands there and behind it in the same file is missing.
    """

    points: tuple[Point, ...]
    damages: tuple[str, ...]


class _DamageError(Exception):
    """A record that is not as it was written."""


def read_scalars(run: Run) -> Scalars:
    """Read every scalar of a run, as TensorBoard shows them: of each step what was written last.

    Raises:
        RunError: The run has no event files, or nothing of them can be read.
    """
    directory = run.layout.tensorboard
    files = sorted(directory.glob(run.layout.event_pattern)) if directory.is_dir() else []
    if not files:
        raise RunError(
            f"{run.layout.name} has no event files in {directory}",
            hint="train with enable_tensorboard = true; the metrics of every run are in its visualization "
            "directory",
        )
    points: list[Point] = []
    damages = []
    is_readable = False
    for file in files:
        require_file(file)
        try:
            for event in _events(file):
                is_readable = True
                if event.session_log.status == SessionLog.START:  # of a training that went on
                    points = [point for point in points if point.step < event.step]
                points += [
                    Point(value.tag, event.step, event.wall_time, value.simple_value)
                    for value in event.summary.value
                    if value.HasField("simple_value")
                ]
        except _DamageError as damage:
            damages.append(f"{file} is damaged: {damage}")
    if not is_readable:
        raise RunError(damages[0] if damages else f"{files[0]} is damaged: it is empty")
    return Scalars(tuple(sorted(points, key=lambda point: point.tag)), tuple(damages))


def _events(path: Path) -> Iterator[Event]:
    """Read the records of an event file; one that is cut off at the end may be about to be written.

    Raises:
        _DamageError: A record has the wrong check sum, or is no event; names the place.
    """
    content = memoryview(path.read_bytes())
    at = 0
    while at + _HEADER.size <= len(content):
        length, check_sum = _HEADER.unpack_from(content, at)
        if masked_crc32c(bytes(content[at : at + 8])) != check_sum:
            raise _DamageError(f"a wrong check sum at byte {at:,}")
        start, end = at + _HEADER.size, at + _HEADER.size + length
        if end + _CHECK_SUM.size > len(content):
            return
        record = bytes(content[start:end])
        if masked_crc32c(record) != _CHECK_SUM.unpack_from(content, end)[0]:
            raise _DamageError(f"a wrong check sum at byte {start:,}")
        try:
            yield Event.FromString(record)
        except DecodeError as error:
            raise _DamageError(f"no event at byte {start:,}") from error
        at = end + _CHECK_SUM.size


def scalars_csv(points: Sequence[Point]) -> str:
    """Write scalars as CSV `tag,step,wall_time,value`, one row each; values as short as float32 allows."""
    rows = [(tag, step, wall_time, str(np.float32(value))) for tag, step, wall_time, value in points]
    return csv_lines([_COLUMNS, *rows])
