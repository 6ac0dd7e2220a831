"""Which of several processes that train together this one is. Standard library only."""

from __future__ import annotations

import os
from dataclasses import dataclass


@dataclass(frozen=True)
class Rank:
    """The place of a process among those that train together, as PyTorch's launcher tells it.

    Attributes:
        rank: Number of the process, from 0; the first one writes and tells.
        world_size: How many there are.
        local_rank, local_world_size: The same, of the processes on this machine.
    """

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1

    @property
    def is_first(self) -> bool:
        """Whether it is the one that writes and tells."""
        return self.rank == 0

    @property
    def is_alone(self) -> bool:
        """Whether there are no others."""
        return self.world_size == 1


BY_POCHI = "POCHI_LAUNCHED"
"""Environment variable of processes that `pochi train --nproc` launches."""


def is_launched_by_pochi() -> bool:
    """Tell whether `pochi train --nproc` launched this process, and has told what concerns them all."""
    return BY_POCHI in os.environ


def launched_rank() -> Rank:
    """Read the place of this process from what torchrun, or `pochi train --nproc`, put into the environment.

    Other launchers set some of these variables for purposes of their own: only all of them count.
    """
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")
    values = [os.environ.get(name, "") for name in names]
    if not all(values) or not all(value.isdecimal() for value in values[:4]):
        return Rank()
    return Rank(*map(int, values[:4]))
