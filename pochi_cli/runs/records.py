"""The record of a run and its files: run.json, train_history.json, the metrics CSV."""

from __future__ import annotations

import json
import stat
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.history import History
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.typed import Moment, Seconds, Stamp, Status, read_fields, shown

if TYPE_CHECKING:  # numpy takes longer to import than a list of runs to make
    from pochi_cli.runs.gradient_record import GradientEpoch, GradientFiles
    from pochi_cli.runs.monitor_record import MonitorEpoch, MonitorFiles

_LARGEST = 500_000_000
"""Bytes of a record; a history of a million epochs takes a third of it."""


@dataclass(frozen=True)
class RunRecord:
    """The contents of run.json.

    Attributes:
        id: Name of the run's directory.
        experiment_id: UUID.
        status: How it stood when this was written; `Run.status` knows whether a running one still runs.
        reason: Why it failed or was interrupted.
        started_at, ended_at: ISO 8601 with time zone.
        stamp: The start, part of file names.
        duration_s: Time spent training, over all its sessions, in seconds.
        epochs_done, epochs: Finished and configured epochs.
        class_names: In the order of the labels.
        process_id, host: The process that trains or trained it last, and its machine.
        data_fingerprint: SHA-256 over the names and sizes of the image files, or over the vectors.
        baselines: Recall of encodings that are not learnt, by their names and `recall_at_<k>`.
        best_epoch, best_value: By `best_metric`; `None` without validation data.
        skipped_images: Files that could not be decoded and were left out.
        waiting_share: Share of the time, from 0 to 1, that the training waited for data; the mean of what the
            history has of each epoch.
        environment: Versions, platform, git commit.
        settings: What was chosen at run time: device, precision, layout, workers, threads, seed.
    """

    id: str
    experiment_id: str
    task: str
    model_name: str
    status: Status
    started_at: Moment
    stamp: Stamp
    epochs: int
    class_names: tuple[str, ...]
    data_fingerprint: str
    process_id: int
    host: str
    environment: Mapping[str, Any]
    settings: Mapping[str, Any]
    epochs_done: int = 0
    best_metric: str = "val_accuracy"
    best_epoch: int | None = None
    best_value: float | None = None
    ended_at: Moment | None = None
    duration_s: Seconds = 0.0
    skipped_images: int = 0
    waiting_share: float | None = None
    reason: str | None = None
    baselines: Mapping[str, Any] | None = None


class RunFiles:
    """Writes the records of one run; every file is whole at every moment.

    Args:
        layout: Where they go.
        record: The run so far.
        export_metrics: Whether the metrics CSV is written.
        gradients: The trace of the gradients, if there will be one.
        monitor: What the monitor sees, if there is one.
    """

    def __init__(
        self,
        layout: RunLayout,
        record: RunRecord,
        *,
        export_metrics: bool,
        gradients: GradientFiles | None = None,
        monitor: MonitorFiles | None = None,
    ) -> None:
        self.layout = layout
        self._gradients = gradients
        self._monitor = monitor
        self.record = record
        self._export_metrics = export_metrics
        write_json(layout.run_json, asdict(record))

    def update(self, **changes: Any) -> None:
        """Change fields of run.json.

        Raises:
            StorageError: Writing failed.
        """
        self.record = replace(self.record, **changes)
        write_json(self.layout.run_json, asdict(self.record))

    def write_gradients(self, epoch: GradientEpoch) -> Sequence[GradientEpoch]:
        """Add an epoch to the trace of the gradients.

        Returns:
            The whole trace.

        Raises:
            StorageError: Writing failed.
        """
        assert self._gradients is not None
        self._gradients.add(epoch)
        return self._gradients.epochs

    def write_monitor(self, epoch: MonitorEpoch) -> None:
        """Add an epoch to what the monitor saw.

        Raises:
            StorageError: Writing failed.
        """
        assert self._monitor is not None
        self._monitor.add(epoch)

    def write_history(self, history: History) -> None:
        """Write train_history.json and the metrics CSV.

        Raises:
            StorageError: Writing failed.
        """
        write_history(self.layout, history, export_metrics=self._export_metrics)


class NoFiles:
    """Keeps the record of a run that another process writes.

    Args:
        layout: Where that process writes.
        record: The run so far.
    """

    def __init__(self, layout: RunLayout, record: RunRecord) -> None:
        self.layout = layout
        self.record = record

    def update(self, **changes: Any) -> None:
        """Change fields of the record."""
        self.record = replace(self.record, **changes)

    def write_gradients(self, epoch: GradientEpoch) -> Sequence[GradientEpoch]:
        """Do nothing."""
        return (epoch,)

    def write_monitor(self, epoch: MonitorEpoch) -> None:
        """Do nothing."""

    def write_history(self, history: History) -> None:
        """Do nothing."""


def write_history(layout: RunLayout, history: History, *, export_metrics: bool) -> None:
    """Write a run's train_history.json, and its metrics CSV.

    Raises:
        StorageError: Writing failed.
    """
    write_json(layout.history_json, history.to_dict())
    if export_metrics:
        write_text(layout.metrics_csv, history.to_csv())


def read_run_record(path: Path) -> RunRecord:
    """Read a run.json, which may be of a newer version: fields that are not known are left out.

    Raises:
        RunError: It is missing or damaged.
    """
    content = read_json(path)
    try:
        return read_fields(RunRecord, content)
    except ValueError as error:
        raise RunError(f"{path} is not a run's record: {error}") from error


def read_history(path: Path) -> History:
    """Read a train_history.json; a run without one has no finished epoch.

    Raises:
        RunError: It is damaged.
    """
    if not path.exists():
        return History()
    try:
        return History.from_dict(read_json(path))
    except KeyError as error:
        raise RunError(f"{path} is not a training history: it has no {error.args[0]}") from error
    except (AttributeError, TypeError, ValueError, OverflowError) as error:
        raise RunError(f"{path} is not a training history: {error}") from error


def read_config(path: Path) -> dict[str, Any]:
    """Read a config.json as it is: configs of other versions, too, can be looked at.

    Raises:
        RunError: It is missing or damaged.
    """
    content = read_json(path)
    if not isinstance(content, dict):
        raise RunError(f"{path} is not a config: it is no object but {shown(content)}")
    return content


def require_file(path: Path) -> None:
    """Check that a file of a run is one: a pipe or a device, which a stranger's run may hold, has no end.

    Raises:
        RunError: It is missing or no regular file, or too large for what it should hold.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error
    if not stat.S_ISREG(status.st_mode):
        raise RunError(f"{path} is damaged: it is no regular file")
    if status.st_size > _LARGEST and path.suffix != ".pth":
        raise RunError(f"{path} is damaged: it has more than {_LARGEST:,} bytes")


def read_bytes(path: Path) -> bytes:
    """Read a file of a run.

    Raises:
        RunError: It is missing, cannot be read, or is none.
    """
    require_file(path)
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"cannot read {path}: {error.strerror or error}") from error


def read_json(path: Path) -> Any:
    """Read a JSON file of a run.

    Raises:
        RunError: It is missing or damaged.
    """
    content = read_bytes(path)
    try:
        return json.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
