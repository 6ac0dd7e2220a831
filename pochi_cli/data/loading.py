"""How many processes load images."""

from __future__ import annotations

from typing import Literal

from pochi_cli.cores import usable_cores

_WATCHED = 8
"""Batches that are watched, after a first one that is always slower."""
_WORTH_PROCESSES_S = 1.0
"""Seconds of loading in a whole run below which starting processes is not worth it."""
_SMALL_SHARE = 0.15
"""Share of the time below which loading is best left to the process that computes on the same cores: its
steps wait for their slowest thread, and so for whatever takes a core from one of them. On two cores
processes gained 1 or 2 % where loading took 12 to 16 % of the time, and lost 2 % where it took 6."""


class Workers:
    """Processes that load; where their number is left open, the first batches of a run decide it.

    Until then the process that computes loads itself, and watches how long that takes beside its other work.

    Args:
        asked: As in the config.
        device_type: Type of the device that computes.
        batches: How many will be loaded in all.
        cores: How many there are for them; `None`: those this process may use.
        had: Whether there were any before a run was interrupted that goes on: then they begin at once.

    Attributes:
        count: How many there are; 0: the process that computes loads itself.
        is_open: Whether that is to be decided.
        text: What was decided, and why, or what is doubtful about what was asked for; empty where nothing is.
    """

    def __init__(
        self,
        asked: int | Literal["auto"],
        device_type: str = "cpu",
        batches: int = 0,
        cores: int | None = None,
        *,
        had: bool = False,
    ) -> None:
        self._cores = usable_cores() if cores is None else cores
        open_count = resolve_workers("auto", device_type, self._cores) if had else 0
        self.count = open_count if asked == "auto" else asked
        self.is_open = asked == "auto" and self.count == 0
        self.text = ""
        if asked == "auto" and self.count:
            self.text = f"loads with {self.count} processes, as the run did before"
        if self.count > self._cores:
            self.text = f"num_workers is {self.count} for {self._cores} cores: more than these seldom help"
        self._device_type = device_type
        self._batches = batches
        self._watched: list[tuple[float, float]] = []

    def watch(self, loading_s: float, using_s: float) -> None:
        """Note how long a batch took to load, and what was done with it; decide when enough were watched."""
        self._watched.append((loading_s, using_s))
        if len(self._watched) <= _WATCHED:
            return
        self.is_open = False
        loading = sum(loading_s for loading_s, _ in self._watched[1:])
        share = loading / max(loading + sum(using_s for _, using_s in self._watched[1:]), 1e-9)
        if loading / _WATCHED * self._batches < _WORTH_PROCESSES_S:
            return
        # Beside a GPU processes are in nobody's way, and how long its steps take is not known here.
        if self._device_type == "cpu" and share < _SMALL_SHARE:
            return
        self.count = resolve_workers("auto", self._device_type, self._cores)
        if self.count:
            self.text = f"loads with {self.count} processes: {share:.0%} of the time went into loading"

    def end(self) -> None:
        """Load without processes from now on: all images are decoded, and batches are made at once."""
        self.is_open = False
        if self.count:
            self.text = "all images are decoded: from now on no processes load"
        self.count = 0


def resolve_workers(
    num_workers: int | Literal["auto"], device_type: str, cpu_count: int | None = None
) -> int:
    """Decide how many processes load, where they are worth it.

    Args:
        num_workers: A number, which is kept, or `auto`: one per core up to 8. Beside a GPU one core stays
            free; where the model is computed on the same cores, that comes before loading.
        device_type: Type of the device that computes.
        cpu_count: Cores; `None`: those this process may use.
    """
    if num_workers != "auto":
        return num_workers
    cores = usable_cores() if cpu_count is None else cpu_count
    if device_type == "cpu":
        return min(8, cores) if cores > 1 else 0
    return max(0, min(8, cores - 1))
