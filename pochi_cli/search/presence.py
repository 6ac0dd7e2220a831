"""Which process runs a trial, and whether that process still lives.

A running trial names its owner: the machine, and a file that the owner holds locked; the system lets go of
the lock however the owner ends. Where that cannot be seen, on another machine, a beat tells: a value that the
owner changes while it lives.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from os import getpid
from pathlib import Path
from socket import gethostname
from typing import Any

from optuna.trial import FrozenTrial

from pochi_cli.runs.lock import is_held, locked
from pochi_cli.runs.search_layout import SearchLayout

OWNER = "pochi_owner"
BEAT = "pochi_beat"
"""Attributes of a running trial."""

_GRACE_S = 60.0
"""How long a process of another machine may be silent before it counts as gone."""


@contextmanager
def present(layout: SearchLayout) -> Iterator[Mapping[str, Any]]:
    """Be there for other processes to see.

    Yields:
        What names this process as the owner of a trial.
    """
    mark = layout.processes / f"{getpid()}-{time.time_ns()}"
    layout.processes.mkdir(exist_ok=True)
    with locked(mark):
        try:
            yield {"host": gethostname(), "process": getpid(), "mark": str(mark.absolute())}
        finally:
            mark.unlink(missing_ok=True)
            with suppress(OSError):  # others are there
                layout.processes.rmdir()


class Watch:
    """Tells of the owners of trials whether they are gone."""

    def __init__(self) -> None:
        self._seen: dict[int, tuple[Any, float]] = {}

    def is_gone(self, trial: FrozenTrial) -> bool:
        """Tell whether the process is gone that runs a trial."""
        owner = trial.user_attrs.get(OWNER)
        if owner is not None and owner["host"] == gethostname():
            mark = Path(owner["mark"])
            held = is_held(mark) if mark.parent.is_dir() else None
            if held is False:
                mark.unlink(missing_ok=True)
            if held is not None:
                return not held
        return self._is_silent(trial)

    def _is_silent(self, trial: FrozenTrial) -> bool:
        """Tell whether the beat has not changed for long; by the clock of this machine alone."""
        beat, now = trial.user_attrs.get(BEAT), time.monotonic()
        before, since = self._seen.setdefault(trial.number, (beat, now))
        if before != beat:
            self._seen[trial.number] = (beat, now)
            return False
        return now - since > _GRACE_S
