"""Images per second of a training, beside the limits that its parts set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from pochi_cli.data.decoding import usable_cores
from tests.benchmarks.comparison.cases import Case
from tests.benchmarks.comparison.contestants import PEER_OF, Commands, choice_of, second_epoch
from tests.benchmarks.comparison.turns import (
    FailedError,
    Finished,
    note,
    ratios,
    spread,
    take_turns,
    write_table,
)
from tests.benchmarks.peers.job import Job

STEP, LOADER, CORES, CEILING = "training step alone", "loader alone", "loader alone, all cores", "ceiling"
NONE, RAM = 'pochi, cache = "none"', 'pochi, cache = "ram"'
LOOPS = ("careful loop fp32", "careful loop bf16")


def compare(case: Case, data: Path, commands: Commands, rounds: int, workers: Sequence[int]) -> None:
    """Measure and print a case.

    Args:
        case: What is trained.
        data: Its images.
        commands: What runs the contestants.
        rounds: How often each is measured.
        workers: Numbers of workers that are tried for the loops written by hand.

    Raises:
        FailedError: One of the limits could not be measured, or no loop ran.
    """
    job = case.job(data)
    note("what pochi chooses")
    _, first = commands.pochi(job, cache="none")
    chosen = choice_of(job, first)
    config = str(first.layout.config_toml)
    entries: dict[str, Callable[[], float]] = {
        STEP: lambda: _last(
            commands.script("pure_step", chosen.argument(), str(case.train // case.batch_size))
        ),
        LOADER: lambda: _last(commands.script("pochi_loader", config, f"num_workers={chosen.workers}")),
        CORES: lambda: _last(commands.script("pochi_loader", config, f"num_workers={usable_cores()}")),
        NONE: lambda: second_epoch(commands.pochi(job, cache="none")[1]),
        RAM: lambda: second_epoch(commands.pochi(job, cache="ram")[1]),
    }
    settings = {STEP: chosen.settings.split(",")[0], LOADER: f"{chosen.workers} workers"}
    for name in LOOPS:
        loop = commands.best(PEER_OF[name], job, workers, lambda done: -_last(done))
        settings[name] = loop.settings
        entries[name] = partial(_loop, commands, name, loop)
    measured, failed = take_turns(entries, rounds)
    if lacking := failed.keys() & {STEP, LOADER, CORES}:
        raise FailedError("; ".join(f"{name} {failed[name]}" for name in lacking))
    for loader, name in ((LOADER, CEILING), (CORES, f"{CEILING}, all cores")):
        measured[name] = [
            1 / (1 / step + 1 / load) for step, load in zip(measured[STEP], measured[loader], strict=True)
        ]
    _print(case, measured, failed, settings)


def _loop(commands: Commands, name: str, job: Job) -> float:
    return _last(commands.peer(PEER_OF[name], job))


def _last(done: Finished) -> float:
    return float(done.answer["rates"][-1])


def _print(
    case: Case,
    measured: dict[str, list[float]],
    failed: dict[str, str],
    settings: dict[str, str],
) -> None:
    rows = [
        [name, spread(values), f"{median(ratios(values, measured[STEP])):.2f}", settings.get(name, "")]
        for name, values in measured.items()
    ]
    rows += [[name, "failed", "", reason] for name, reason in failed.items()]
    write_table(case.title, ("second epoch", "images/s", "of the step", "settings"), rows)
    for name, other, bar in (
        (NONE, CEILING, 0.95),
        (NONE, f"{CEILING}, all cores", 0.95),
        (RAM, STEP, 0.95),
        (NONE, LOOPS[0], 2.5),
        (RAM, LOOPS[0], 2.5),
        (NONE, LOOPS[1], 1.0),
        (RAM, LOOPS[1], 1.0),
    ):
        if name in measured and other in measured:
            told = spread(ratios(measured[name], measured[other]), 3)
            sys.stdout.write(f"  {name} / {other}: {told}; wanted {bar}\n")
