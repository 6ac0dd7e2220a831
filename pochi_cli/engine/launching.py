"""Starting several processes on this machine that train together, by PyTorch's own launcher."""

from __future__ import annotations

import logging
import os
import signal
import sys
import tempfile
import threading
import uuid
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Self

from torch.distributed.elastic.multiprocessing import DefaultLogsSpecs, SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from pochi_cli.data.findings import counted
from pochi_cli.errors import Interrupted, TrainingError
from pochi_cli.ranks import BY_POCHI

_PATIENCE_S = 5.0
"""How long they are waited for without a word."""
_AT_ONCE_S = 2.0
"""How long they may take to stop at once; one that hangs is killed."""
_HEEDED = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_SAVING_S = 60
"""How long processes that a signal stops may take for their step and for saving; one that hangs is killed."""


def launch(processes: int, arguments: Sequence[str], tell: Callable[[str], None]) -> None:
    """Run this program in several processes, and wait for them. Where one ends badly, so do the others.

    Args:
        processes: How many.
        arguments: Of the command line.
        tell: Told what takes a while.

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
    with tempfile.TemporaryDirectory() as directory, _Signals(Path(directory), tell) as signals:
        os.environ[BY_POCHI] = directory
        try:
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
            if hasattr(config, "signals_to_handle"):
                # Torch's own handlers would begin anew to wait for the processes at every further signal.
                config.signals_to_handle = ""
            elastic_launch(config, sys.executable)(*safe, "-m", "pochi_cli", *arguments)
        except SignalException as stop:
            raise signals.interrupted(stop.sigval) from None
        except ChildFailedError as error:
            _raise_failure(processes, list(error.failures.items()))


class _Signals:
    """Lets the first signal stop the processes in good order, and a second SIGINT at once.

    Args:
        directory: Where the processes name themselves.
        tell: Told what is waited for.
    """

    def __init__(self, directory: Path, tell: Callable[[str], None]) -> None:
        self._directory = directory
        self._tell = tell
        self._number: int | None = None
        self._timers: list[threading.Timer] = []

    def __enter__(self) -> Self:
        heeded = [number for number in _HEEDED if signal.getsignal(number) is not signal.SIG_IGN]
        self._before = {number: signal.signal(number, self._note) for number in heeded}
        return self

    def __exit__(self, *_: object) -> None:
        for timer in self._timers:
            timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, _frame: FrameType | None) -> None:
        if self._number is None:
            self._number = number
            self._after(_PATIENCE_S, self._tell_waiting)
            raise SignalException("a signal asks to stop", signal.Signals(number))
        if number == signal.SIGINT:
            self._send(signal.SIGINT)
            self._after(_AT_ONCE_S, self._kill)

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        timer = threading.Timer(seconds, action)
        timer.daemon = True
        timer.start()
        self._timers.append(timer)

    def _tell_waiting(self) -> None:
        running = counted(len(self._running()), "process", "processes")
        self._tell(
            f"waiting for {running} to end the step and to save, {_SAVING_S} seconds at most; "
            "Ctrl-C ends them at once"
        )

    def _kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        for process in self._running():
            with suppress(ProcessLookupError):
                os.kill(process, number)

    def _running(self) -> list[int]:
        return [int(file.name) for file in self._directory.iterdir() if file.name.isdecimal()]

    def interrupted(self, number: signal.Signals) -> Interrupted:
        """Tell what the processes themselves could not tell, if they were killed in the end."""
        stopped = Interrupted(
            number,
            "stopped before it was saved; --resume goes on from what was saved last, if anything was",
        )
        stopped.is_told = not self._running()
        return stopped


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
        hint="if the run had begun, go on from what it has saved with --resume"
        + ("; it may have run out of memory" if name == "SIGKILL" else ""),
    )
