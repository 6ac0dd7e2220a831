"""Seconds of a whole command, from the start of its process to the end."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

from tests.benchmarks.comparison.cases import Case
from tests.benchmarks.comparison.contestants import PEER_OF, Commands, choice_of
from tests.benchmarks.comparison.turns import FailedError, Finished, ratios, spread, take_turns, write_table

POCHI = "pochi"
IMPORTS = "import torch, torchvision"


def compare(
    case: Case, data: Path, commands: Commands, rounds: int, workers: Sequence[int], names: Sequence[str]
) -> None:
    """Measure and print a case.

    Args:
        case: What is trained.
        data: Its images.
        commands: What runs the contestants.
        rounds: How often each is measured.
        workers: Numbers of workers that are tried for the peers.
        names: The peers, as in `PEER_OF`.
    """
    job = case.job(data)
    settings: dict[str, str] = {}
    unable: dict[str, str] = {}

    def pochi() -> Finished:
        done, trained = commands.pochi(job, is_fresh=True)
        settings[POCHI] = choice_of(job, trained).settings
        accuracy = trained.history.classification[-1].val_accuracy
        return Finished(done.started, done.ended, done.memory_mib, {"accuracy": accuracy})

    entries: dict[str, Callable[[], Finished]] = {POCHI: pochi}
    for name in names:
        try:
            best = commands.best(PEER_OF[name], job, workers, lambda done: done.seconds)
        except FailedError as error:
            unable[name] = str(error)
        else:
            settings[name] = best.settings
            entries[name] = partial(commands.peer, PEER_OF[name], best)
    measured, failed = take_turns(entries, rounds)
    _print(case, measured, unable | failed, settings)
    _print_timeline(case, commands, data, rounds)


def _print(
    case: Case,
    measured: dict[str, list[Finished]],
    failed: dict[str, str],
    settings: dict[str, str],
) -> None:
    seconds = {name: [done.seconds for done in all_done] for name, all_done in measured.items()}
    rows = []
    for name, all_done in measured.items():
        last = all_done[-1].answer
        told = "; ".join(filter(None, (settings[name], last.get("note"))))
        ratio = spread(ratios(seconds[name], seconds[POCHI]), 2) if POCHI in seconds else ""
        memory = f"{median(done.memory_mib for done in all_done):,.0f}"
        rows.append([name, spread(seconds[name]), ratio, memory, f"{last['accuracy']:.1f}", told])
    rows += [[name, "failed", "", "", "", reason] for name, reason in failed.items()]
    header = ("whole command", "seconds", "over pochi's", "MiB", "val. %", "settings")
    write_table(case.title, header, rows)


def _print_timeline(case: Case, commands: Commands, data: Path, rounds: int) -> None:
    """Print when a training of Pochi's begins to compute, and how long it goes on after that."""
    job = case.job(data)
    entries = {
        IMPORTS: partial(commands.python, IMPORTS),
        POCHI: partial(commands.timeline, job),
    }
    measured, failed = take_turns(entries, rounds)
    for name, reason in failed.items():
        sys.stdout.write(f"  {name} failed: {reason}\n")
    if failed:
        return
    imports = [done.seconds for done in measured[IMPORTS]]
    done = measured[POCHI]
    loop = [one.answer["loop"] - one.started for one in done]
    first = [one.answer["first_step"] - one.started for one in done]
    end = [one.ended - one.answer["last_batch"] for one in done]
    beyond = [at - loaded for at, loaded in zip(loop, imports, strict=True)]
    rows = [
        [IMPORTS, spread(imports, 2), ""],
        ["start of the process to the first epoch", spread(loop, 2), ""],
        ["  the same beyond the imports", spread(beyond, 2), "at most 2"],
        ["start of the process to the end of the first step", spread(first, 2), ""],
        ["last batch to the end of the process", spread(end, 2), "at most 1.5"],
    ]
    write_table(f"{case.title}: where pochi's seconds go", ("", "seconds", "wanted"), rows)
