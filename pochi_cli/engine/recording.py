"""The records of a run from its beginning to its end, however it ends."""

from __future__ import annotations

import shlex
import signal
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from multiprocessing import active_children
from os import getpid
from socket import gethostname
from typing import Any

import tomli_w
import torch

from pochi_cli.engine.log import LoggedProgress
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.signals import SignalFlag
from pochi_cli.engine.tasks import Task
from pochi_cli.errors import Interrupted, PochiError, StorageError, first_line
from pochi_cli.runs.atomic import write_json, write_text
from pochi_cli.runs.gradient_record import GradientFiles
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.metadata import describe_environment
from pochi_cli.runs.monitor_record import MonitorFiles
from pochi_cli.runs.records import RunFiles, RunRecord, write_history

_LONGEST_REASON = 500
"""Characters kept of an error that nobody foresaw: a compiler's can be of a hundred kilobytes."""


def open_files(
    layout: RunLayout,
    task: Task,
    values: dict[str, Any],
    runtime: Runtime,
    history: History,
    blocks: tuple[str, ...],
    run: Run | None,
    chosen: Mapping[str, Any],
) -> RunFiles:
    """Write the records that a run has from its beginning.

    Args:
        layout: Where they go.
        task: The resolved config and the data.
        values: The config as plain values.
        runtime: What it is computed on.
        history: The finished epochs.
        blocks: Those whose gradients are traced, if any.
        run: The run that goes on, if one does.
        chosen: More settings that were chosen at run time.

    Raises:
        StorageError: Writing failed.
        RunError: The trace of the run is damaged, or of other blocks.
    """
    config = task.config
    environment = {**describe_environment(), "torch": torch.__version__}
    settings = {
        "device": str(runtime.device),
        "device_name": _device_name(runtime.device),
        "precision": runtime.precision,
        "threads": config.threads,
        "seed": config.seed,
        **task.settings(runtime),
        **chosen,
    }
    if run is None:
        record = RunRecord(
            id=layout.name,
            experiment_id=str(uuid.uuid4()),
            task=config.task,
            model_name=config.network,
            status="running",
            started_at=_now(),
            stamp=layout.stamp,
            epochs=config.epochs,
            class_names=task.class_names,
            data_fingerprint=task.fingerprint,
            process_id=getpid(),
            host=gethostname(),
            environment=environment,
            settings=settings,
            best_metric=config.best_metric,
            baselines=task.baselines,
        )
    else:
        metric = config.best_metric
        best = history.best(metric)
        record = replace(
            run.record,
            status="running",
            reason=None,
            ended_at=None,
            process_id=getpid(),
            host=gethostname(),
            environment=environment,
            settings=settings,
            epochs=config.epochs,
            epochs_done=len(history),
            best_epoch=None if best is None else best.epoch,
            best_value=None if best is None else best.metrics[metric],
        )
    write_text(layout.config_toml, tomli_w.dumps(values))
    write_json(layout.config_json, {"experiment_id": record.experiment_id, **values})
    if len(history):
        write_history(layout, history, export_metrics=config.enable_metrics_export)
    gradients = None
    if blocks:
        recorded = -(-config.epochs // config.gradient_tracking_config.record_frequency) + 1
        gradients = GradientFiles(layout, blocks, len(history), recorded)
    monitor = MonitorFiles(layout, len(history), config.epochs) if config.monitor.enabled else None
    # Last of all: only now the run is one, or is running again, and `closing` will tell how it ended.
    return RunFiles(
        layout, record, export_metrics=config.enable_metrics_export, gradients=gradients, monitor=monitor
    )


def _device_name(device: torch.device) -> str:
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


@contextmanager
def closing(files: RunFiles, progress: LoggedProgress, signals: SignalFlag) -> Iterator[None]:
    """Record how the run ended."""
    try:
        yield
    except Interrupted as stop:
        reason = f"stopped by {signal.Signals(stop.signal_number).name}"
        _close(files, progress, stop, status="interrupted", reason=reason)
        raise
    except BaseException as error:
        if signals.at_once or isinstance(error, KeyboardInterrupt):
            for child in active_children():
                child.kill()  # one that hangs would keep this process from its end
            command = f"pochi train --resume {shlex.quote(str(files.layout.directory))}"
            at_once = Interrupted(
                signal.SIGINT, f"stopped at once; go on from what was saved before with: {command}"
            )
            _close(files, progress, at_once, status="interrupted", reason="stopped at once by SIGINT")
            raise at_once from None
        if isinstance(error, PochiError):
            reason = error.message
        else:
            reason = f"{type(error).__name__}: {first_line(error)}"[:_LONGEST_REASON]
        _close(files, progress, error, status="failed", reason=reason)
        raise
    else:
        progress.stop()
        files.update(status="finished", ended_at=_now())
        progress.write("finished")


def _close(
    files: RunFiles, progress: LoggedProgress, error: BaseException, *, status: str, reason: str
) -> None:
    progress.stop()
    try:
        files.update(status=status, reason=reason, ended_at=_now())
        progress.write(f"{status}: {reason}")
    except StorageError as second:
        # The disk that failed the run may also refuse its epitaph; the first error is the one to tell.
        if second.message != str(error):
            error.add_note(f"the run's record could not be closed either: {second.message}")


def _now() -> str:
    return datetime.now().astimezone().isoformat(timespec="seconds")
