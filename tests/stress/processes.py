"""`pochi` in processes that are watched and killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from pochi_cli.errors import RunError
from pochi_cli.runs.atomic import TEMPORARY_PREFIX
from pochi_cli.runs.index import open_run

POLL_S = 0.02
ENDS_WITHIN_S = 120.0
"""For how long a process that was asked to stop may take, also on a machine that does other things."""


class Pochi:
    """One process of `pochi`, the leader of a group of its own, with its output in a file.

    Args:
        arguments: Of the command line.
        output: The file.
    """

    def __init__(self, *arguments: str | Path, output: Path) -> None:
        self.output = output
        self.started = time.monotonic()
        with output.open("wb") as file:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "pochi_cli", *map(str, arguments)],
                cwd=output.parent,
                env={**os.environ, "COLUMNS": "200"},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.id = self._process.pid

    @property
    def told(self) -> str:
        """What it printed."""
        return self.output.read_text("utf-8", "replace")

    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def end(self, timeout_s: float = ENDS_WITHIN_S) -> int:
        """Wait for its end.

        Returns:
            Its exit code; of one that a signal ended, minus the signal.

        Raises:
            AssertionError: It took longer than allowed, and was killed.
        """
        try:
            return self._process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            os.killpg(self.id, signal.SIGKILL)
            self._process.wait()
            raise AssertionError(
                f"process {self.id} did not end within {timeout_s:.0f} s; it told:\n{self.told}"
            ) from None

    def wait(self, seconds: float) -> None:
        """Let it work for a while, or to its end."""
        until = time.monotonic() + seconds
        while not self.has_ended() and (left := until - time.monotonic()) > 0:
            time.sleep(min(POLL_S, left))

    def trains(self, work_dir: Path) -> bool:
        """Whether it has begun, or gone on with, a run in a work_dir: it then can lose something."""
        for path in work_dir.glob("*/run.json"):
            try:
                if open_run(path.parent).record.process_id == self.id:
                    return True
            except RunError:
                continue  # what the files are is judged elsewhere
        return False

    def wait_until_it_trains(self, work_dir: Path) -> None:
        """Wait until then, or for its end."""
        while not self.has_ended() and not self.trains(work_dir):
            time.sleep(POLL_S)

    def wait_until_it_writes(self, work_dir: Path) -> None:
        """Wait until one of its files is half written, for its end, or a few seconds."""
        until = time.monotonic() + 5
        before = set(work_dir.rglob(f"{TEMPORARY_PREFIX}*"))
        while not self.has_ended() and time.monotonic() < until:
            if set(work_dir.rglob(f"{TEMPORARY_PREFIX}*")) - before:
                return
            time.sleep(0.002)

    def signal(self, number: int) -> None:
        """Send a signal as it comes in life: Ctrl-C reaches the whole group, others this process alone."""
        if self.has_ended():
            return
        if number == signal.SIGINT:
            os.killpg(self.id, number)
        else:
            os.kill(self.id, number)


def survivors(groups: set[int], within_s: float = 20.0) -> list[int]:
    """Find processes of these groups that are still there after a while; zombies have ended.

    Processes that load images look every 5 s whether their main process is still there.
    """
    until = time.monotonic() + within_s
    while (found := _members(groups)) and time.monotonic() < until:
        time.sleep(0.5)
    return found


def _members(groups: set[int]) -> list[int]:
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # pid (name) state parent group ...: the name may hold anything.
            state, _, group = path.read_text("utf-8", "replace").rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has just ended
        if int(group) in groups and state != "Z":
            found.append(int(path.parent.name))
    return found
