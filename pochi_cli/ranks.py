"""Which of several processes that train together this one is. Standard library only."""

from __future__ import annotations

import atexit
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

_NAMES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


@dataclass(frozen=True)
class Rank:
    """The place of a process among those that train together, as PyTorch's launcher tells it.

    Attributes:
        rank: Number of the process, from 0; the first one writes and tells.
        world_size: How many there are.
        local_rank, local_world_size: The same, of the processes on this machine.
        jobs: How many such trainings this machine has at a time.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1
    jobs: int = 1

    @property
    def sharers(self) -> int:
        """How many processes share the memory and the cores of this machine."""
        return self.local_world_size * self.jobs

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1


BY_POCHI = "POCHI_LAUNCHED"
"""Environment variable of what `pochi train --nproc` launches: a directory where they name themselves."""


def report_to_launcher() -> bool:
    """Let `pochi train --nproc`, if it launched this process, know that it runs, until it ends.

    Returns:
        Whether it did; it has told what concerns all processes.
    """
    directory = os.environ.get(BY_POCHI)
    if directory is None:
        return False
    file = Path(directory) / str(os.getpid())
    with suppress(OSError):  # the launcher has gone
        file.touch()
        atexit.register(file.unlink, missing_ok=True)
    return True


def missing_variables() -> list[str]:
    """List what a launcher other than PyTorch's has left out: without all of them each process is alone."""
    if os.environ.get("WORLD_SIZE", "1") == "1" or "RANK" not in os.environ:
        return []
    return [name for name in _NAMES if not os.environ.get(name)]


def launched_rank() -> Rank:
    """Read the place of this process from what torchrun, or `pochi train --nproc`, put into the environment.

    Other launchers set some of these variables for purposes of their own: only all of them count.
    """
    values = [os.environ.get(name, "") for name in _NAMES]
    if not all(values) or not all(value.isdecimal() for value in values[:4]):
        return Rank()
    return Rank(*map(int, values[:4]))
