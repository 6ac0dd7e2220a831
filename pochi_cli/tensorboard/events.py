"""Event files, as TensorBoard reads them. Free of torch."""

from __future__ import annotations

import os
import time
from pathlib import Path
from socket import gethostname

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.graph_pb2 import GraphDef
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.record_writer import RecordWriter

from pochi_cli.runs.atomic import appending
from pochi_cli.runs.layout import RunLayout, make_part

_VERSION = "brain.Event:2"


class EventFile:
    """Collects events and appends them to a file of its own, in the thread that says so.

    TensorBoard's own writer does it in another thread, which hides the errors of a full disk until later.

    Args:
        layout: Of the run; each session writes one more file to its directory.
        purge_step: What the files of earlier sessions hold from this step on is to be forgotten. The first
            session has one, too: readers take the first that they see for the beginning.

    Raises:
        StorageError: The directory cannot be made.
    """

    def __init__(self, layout: RunLayout, purge_step: int) -> None:
        make_part(layout.tensorboard)
        self._path = _new_file(layout)
        start = SessionLog(status=SessionLog.START)
        self._events = [
            Event(wall_time=time.time(), file_version=_VERSION),
            Event(wall_time=time.time(), step=purge_step, session_log=start),
        ]

    def add(self, summary: Summary, step: int) -> None:
        """Add a summary."""
        self._events.append(Event(wall_time=time.time(), step=step, summary=summary))

    def add_graph(self, graph: GraphDef) -> None:
        """Add the graph of the model."""
        self._events.append(Event(wall_time=time.time(), graph_def=graph.SerializeToString()))

    def flush(self) -> None:
        """Write what was added since the last time.

        Raises:
            StorageError: Writing failed.
        """
        with appending(self._path) as file:
            records = RecordWriter(file)
            for event in self._events:
                records.write(event.SerializeToString())
        self._events = []


def _new_file(layout: RunLayout) -> Path:
    there = sum(1 for _ in layout.tensorboard.glob(layout.event_pattern))
    return layout.event_file(int(time.time()), f"{gethostname()}.{os.getpid()}", there)
