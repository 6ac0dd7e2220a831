"""Images per second of a training, beside the limits that its parts set."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import chain
from pathlib import Path
from statistics import median

from tests.benchmarks.comparison.cases import Case
from tests.benchmarks.comparison.contestants import PEER_OF, Commands, choice_of, second_epoch
from tests.benchmarks.comparison.turns import FailedError, Finished, ratios, spread, take_turns, write_table
from tests.benchmarks.peers.job import Job

CACHES = {'pochi, cache = "none"': "none", 'pochi, cache = "ram"': "ram"}
NONE, RAM = CACHES
IN_TURNS = {f"{name}, in turns": cache for name, cache in CACHES.items()}
NONE_IN_TURNS, RAM_IN_TURNS = IN_TURNS
LOOPS = ("careful loop fp32", "careful loop bf16")

TRAINING, STEP, CEILING, CORES_CEILING = "training", "step", "ceiling", "ceiling, all cores"
LIMITS = {
    STEP: "training step alone",
    "loader": "loader alone",
    "cores": "loader alone, all cores",
    CEILING: CEILING,
    CORES_CEILING: CORES_CEILING,
}
"""What has turns beside a training, or is made of those, as it is printed."""

Turns = Mapping[str, Sequence[float]]
"""Images per second of each turn, by what had it."""


def compare(case: Case, data: Path, commands: Commands, rounds: int, workers: Sequence[int]) -> None:
    """Measure and print a case.

    Args:
        case: What is trained.
        data: Its images.
        commands: What runs the contestants.
        rounds: How often each is measured.
        workers: Numbers of workers that are tried for the loops written by hand.

    Raises:
        FailedError: A training of Pochi's failed, or no loop ran.
    """
    job = case.job(data)
    settings: dict[str, str] = {}

    def in_turns(name: str) -> Turns:
        answer = commands.in_turns(job, IN_TURNS[name]).answer
        settings[name] = answer["settings"]
        return with_ceilings(answer["turns"])

    def pochi(name: str) -> Turns:
        _, trained = commands.pochi(job, cache=CACHES[name])
        settings[name] = choice_of(job, trained).settings
        return {TRAINING: [second_epoch(trained)]}

    entries: dict[str, Callable[[], Turns]] = {name: partial(in_turns, name) for name in IN_TURNS}
    entries |= {name: partial(pochi, name) for name in CACHES}
    for name in LOOPS:
        best = commands.best(PEER_OF[name], job, workers, lambda done: -_last(done))
        settings[name] = best.settings
        entries[name] = partial(_loop, commands, name, best)
    measured, failed = take_turns(entries, rounds)
    if lacking := failed.keys() & (IN_TURNS | CACHES):
        raise FailedError("; ".join(f"{name} {failed[name]}" for name in lacking))
    _print(case, measured, failed, settings)


def with_ceilings(turns: Turns) -> Turns:
    """Add, where there are turns of loaders, what step and loader allow together: 1 / (1/step + 1/loader)."""
    ceilings = {
        name: [1 / (1 / step + 1 / loader) for step, loader in zip(turns[STEP], turns[source], strict=True)]
        for name, source in ((CEILING, "loader"), (CORES_CEILING, "cores"))
        if source in turns
    }
    return {**turns, **ceilings}


def _loop(commands: Commands, name: str, job: Job) -> Turns:
    return {TRAINING: [_last(commands.peer(PEER_OF[name], job))]}


def _last(done: Finished) -> float:
    return float(done.answer["rates"][-1])


def _print(
    case: Case,
    measured: Mapping[str, Sequence[Turns]],
    failed: Mapping[str, str],
    settings: Mapping[str, str],
) -> None:
    steps = list(chain.from_iterable(turns[STEP] for name in IN_TURNS for turns in measured[name]))
    rows = [[LIMITS[STEP], spread(steps), "1.00", ""]]
    rows += [
        [told, *_rates(measured[NONE_IN_TURNS], limit), ""] for limit, told in LIMITS.items() if limit != STEP
    ]
    rows += [[name, *_rates(measured[name], TRAINING), settings[name]] for name in IN_TURNS]
    for name in (name for name in measured if name not in IN_TURNS):
        rates = _second_epochs(measured[name])
        rows.append([name, spread(rates), f"{median(rates) / median(steps):.2f}", settings[name]])
    rows += [[name, "failed", "", reason] for name, reason in failed.items()]
    write_table(case.title, ("second epoch", "images/s", "of the step", "settings"), rows)
    for name, limit in (
        (NONE_IN_TURNS, CEILING),
        (NONE_IN_TURNS, CORES_CEILING),
        (RAM_IN_TURNS, STEP),
    ):
        shares = list(chain.from_iterable(ratios(turns[TRAINING], turns[limit]) for turns in measured[name]))
        _tell(f"{name} / {LIMITS[limit]}", shares, 0.95)
    for loop, bar in zip(LOOPS, (2.5, 1.0), strict=True):
        for name in CACHES if loop in measured else ():
            found = ratios(_second_epochs(measured[name]), _second_epochs(measured[loop]))
            _tell(f"{name} / {loop}", found, bar)


def _rates(measured: Sequence[Turns], name: str) -> tuple[str, str]:
    """The rates in all rounds, and their share of the step's in the same turn."""
    rates = list(chain.from_iterable(turns[name] for turns in measured))
    steps = list(chain.from_iterable(turns[STEP] for turns in measured))
    return spread(rates), f"{median(ratios(rates, steps)):.2f}"


def _second_epochs(measured: Sequence[Turns]) -> list[float]:
    """The rates of what had one turn a round, the whole epoch."""
    return [turns[TRAINING][0] for turns in measured]


def _tell(what: str, found: Sequence[float], bar: float) -> None:
    sys.stdout.write(f"  {what}: {spread(found, 3)}; wanted {bar}\n")
