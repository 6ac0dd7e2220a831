"""Starting several processes on this machine that train together, by PyTorch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import uuid
from collections.abc import Sequence
from pathlib import Path

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pochi_cli.errors import Interrupted, TrainingError
from pochi_cli.ranks import BY_POCHI

_SAVING_S = 60
"""How long processes that a signal stops may take for their step and for saving; one that hangs is killed."""


def launch(processes: int, arguments: Sequence[str]) -> None:
    """Run this program in several processes, and wait for them. Where one ends badly, so do the others.

    Args:
        processes: How many.
        arguments: Of the command line.

    Raises:
        TrainingError: One was killed.
        Interrupted: A signal stopped them; they have told what was saved.
        SystemExit: They failed, and have told why.
    """
    for name, logger in logging.root.manager.loggerDict.items():
        if name.startswith("torch.distributed.elastic") and isinstance(logger, logging.Logger):
            logger.setLevel(logging.CRITICAL)  # what it would tell is told below
    # Like the command itself, not with the working directory among the places of modules.
    safe = [] if {"", str(Path.cwd())} & set(sys.path) else ["-P"]
    os.environ[BY_POCHI] = "1"
    with tempfile.TemporaryDirectory() as directory:
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=processes,
            run_id=uuid.uuid4().hex,
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            local_addr="localhost",
            max_restarts=0,
            logs_specs=DefaultLogsSpecs(log_dir=directory),
        )
        if hasattr(config, "shutdown_timeout"):  # since torch 2.12; before, it is half a minute
            config.shutdown_timeout = _SAVING_S
        try:
            elastic_launch(config, sys.executable)(*safe, "-m", "pochi_cli", *arguments)
        except SignalException as stop:
            stopped = Interrupted(stop.sigval)
            stopped.is_told = True
            raise stopped from None
        except ChildFailedError as error:
            _raise_failure(processes, list(error.failures.items()))


def _raise_failure(processes: int, failures: list[tuple[int, ProcessFailure]]) -> None:
    # The launcher stops the others with SIGTERM.
    rank, first = min(
        failures, key=lambda failure: (failure[1].exitcode == -signal.SIGTERM, failure[1].timestamp)
    )
    if first.exitcode > 0:
        raise SystemExit(first.exitcode)
    name = signal.Signals(-first.exitcode).name
    raise TrainingError(
        f"process {rank} of {processes} (number {first.pid}) was killed by {name}, so the others were ended",
        hint="go on from what was saved with --resume"
        + ("; it may have run out of memory" if name == "SIGKILL" else ""),
    )
