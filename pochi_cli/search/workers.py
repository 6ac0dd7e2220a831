"""The processes that train trials, as the searching process sees them."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import IO

from pochi_cli.search.messages import Message, receive, send

_TAIL_BYTES = 20_000
_ASKING = {signal.SIGINT, signal.SIGTERM}
_END_S = 10.0
"""How long a process may take to end in good order."""


@dataclass(frozen=True)
class Event:
    """Something that a process told, or its end.

    Attributes:
        worker: The process.
        message: What it told; `None` for its end.
    """

    worker: Worker
    message: Message | None


class Worker:
    """A process that trains one trial after the other.

    Args:
        index: Which of the processes it is, from 0.
        jobs: How many there are.
        threads: Threads that its libraries may start; `None` leaves it to them.
        events: Where what it tells goes.
    """

    def __init__(self, index: int, jobs: int, threads: int | None, events: queue.Queue[Event]) -> None:
        self.index = index
        limits = (
            {} if threads is None else dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(threads))
        )
        self._errors: IO[bytes] = tempfile.TemporaryFile()  # noqa: SIM115 - closed with the process
        self._process = subprocess.Popen(
            [sys.executable, "-m", "pochi_cli.search.trainer", str(jobs), str(index)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            encoding="utf-8",
            env={**os.environ, **limits},
        )
        self._reader = threading.Thread(target=self._read, args=(events,), daemon=True)
        self._reader.start()
        threading.Thread(target=self._wait, args=(events,), daemon=True).start()

    def tell(self, message: Message) -> None:
        """Send a message; one that is gone gets none, and its end is told."""
        assert self._process.stdin is not None
        with suppress(OSError):
            send(self._process.stdin, message)

    def stop(self) -> None:
        """Ask it to stop what it does: it ends after the step."""
        self._process.terminate()

    def close(self) -> None:
        """End it, with what it does."""
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._reader.join(_END_S)
        self._errors.close()

    @property
    def was_asked_to_end(self) -> bool:
        """Whether a signal ended it that asks a process to end."""
        return -(self._process.returncode or 0) in _ASKING

    @property
    def end(self) -> str:
        """How it ended, in a line."""
        code = self._process.returncode
        if code is not None and code < 0:
            name = signal.Signals(-code).name
            return f"its process was ended by {name}" + (
                ", perhaps for want of memory" if name == "SIGKILL" else ""
            )
        return f"its process ended with exit code {code}"

    @property
    def last_words(self) -> str:
        """The end of what it wrote to stderr."""
        self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, self._errors.tell() - _TAIL_BYTES))
        return self._errors.read().decode("utf-8", "replace").strip()

    def _read(self, events: queue.Queue[Event]) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as told:
            for line in told:
                if line.endswith("\n"):  # else it was killed within a message
                    events.put(Event(self, receive(line)))

    def _wait(self, events: queue.Queue[Event]) -> None:
        self._process.wait()
        # What it told before comes first. Processes that load images for it may hold the pipe a bit longer.
        self._reader.join(1.0)
        events.put(Event(self, None))
