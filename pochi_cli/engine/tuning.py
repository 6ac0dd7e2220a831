"""Which precision and memory layout is the fastest, found by running steps in each."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass

from pochi_cli.engine.memory import is_out_of_memory
from pochi_cli.engine.runtime import Runtime

SHARE = 0.03
"""Share of a run's expected time that measuring may take."""
FEWEST_STEPS = 250
"""Steps of a run that pay for measuring two candidates: `SHARE` of them makes three or four steps of each."""

_TIMED_STEPS = 2
_MORE_ROUNDS = 2
_HOPELESS = 1.6
_PREPARING_S = 0.1
"""A first step takes up to 1.4 times a later one, and kernels have to be made for it, which takes this long
however short a step is: one that takes more of the best than the two explain is not of the fastest."""
_CERTAIN = 2.5
"""What a first step takes of the best, at least, that is no matter of what else the machine did meanwhile."""
_CLOSE = 1.1
"""What takes up to so much of the best is measured again: it may be the best itself."""
_STEADY = 1.25
"""What the second best of a candidate's steps takes of its best, at most, on an idle machine."""
_CLEARLY = 1.03
"""What the rule chooses stays unless it takes more of the best than this: else noise decides."""

Step = Callable[[], None]
"""Runs a training step and waits for its end."""
OpenSteps = Callable[[Runtime], AbstractContextManager[Step]]
"""Makes what a step in a precision and layout needs; raises where memory runs out."""


@dataclass(frozen=True)
class Timing:
    """What was measured.

    Attributes:
        step_s: Time of the fastest step of each candidate that was not given up before, in seconds.
        far_slower: Candidates that were given up for that after a step, or two.
        no_memory: Candidates whose steps ran out of memory.
        is_complete: Whether the budget was enough to try every candidate.
        is_steady: Whether nothing disturbed the machine much.
    """

    step_s: Mapping[Runtime, float]
    far_slower: tuple[Runtime, ...]
    no_memory: tuple[Runtime, ...]
    is_complete: bool
    is_steady: bool


def measure(
    candidates: Sequence[Runtime],
    open_steps: OpenSteps,
    steps: int,
    *,
    clock: Callable[[], float] = time.perf_counter,
) -> Timing:
    """Time steps of each candidate, as long as that takes no more than `SHARE` of the run's time.

    A candidate whose last warm-up step is far slower than the best, or that runs out of memory, is given up.
    What a GPU prepares in the first steps of all is not counted: the run needs it as well.
    Those that come close to the best are measured again, in turns, so that what disturbs a machine for a
    moment does not decide.

    Args:
        candidates: The likeliest first; all on one device.
        open_steps: Makes what runs steps of a candidate.
        steps: Steps of the run.
        clock: Seconds.
    """
    bench = _Bench(open_steps, steps, clock)
    # A GPU loads its kernels and tries algorithms in the first steps.
    warm_up = 3 if candidates[0].device.type == "cuda" else 1
    tried = [bench.visit(candidate, warm_up) for candidate in candidates]
    for _ in range(_MORE_ROUNDS):
        close = [one for one, step_s in bench.step_s().items() if step_s <= _CLOSE * bench.best_s()]
        if len(close) > 1:
            for candidate in close:
                bench.visit(candidate, warm_up)
    return Timing(
        bench.step_s(), tuple(bench.far_slower), tuple(bench.no_memory), all(tried), bench.is_steady()
    )


def fastest(rule: Runtime, step_s: Mapping[Runtime, float]) -> Runtime:
    """Choose by measured times.

    The rule's choice stays where nothing is clearly faster; plain fp32 need not be clearly faster.

    Args:
        rule: What is chosen without measuring.
        step_s: As in `Timing`; may be empty.
    """
    if not step_s:
        return rule
    best = min(step_s, key=lambda candidate: step_s[candidate])
    plain = [time for candidate, time in step_s.items() if candidate.is_plain]
    most = min([_CLEARLY * step_s[best], *plain])
    return rule if step_s.get(rule, math.inf) <= most else best


class _Bench:
    """Runs steps, and keeps the best times and the account of what they cost.

    Args:
        open_steps: Makes what runs steps of a candidate.
        steps: Steps of the run.
        clock: Seconds.
    """

    def __init__(self, open_steps: OpenSteps, steps: int, clock: Callable[[], float]) -> None:
        self.far_slower: list[Runtime] = []
        self.no_memory: list[Runtime] = []
        self._is_doubtful = False
        self._seconds: dict[Runtime, list[float]] = {}
        self._open_steps = open_steps
        self._steps = steps
        self._clock = clock
        self._began = clock()

    def step_s(self) -> dict[Runtime, float]:
        """The time of the fastest step of each candidate so far."""
        return {candidate: min(seconds) for candidate, seconds in self._seconds.items()}

    def best_s(self) -> float:
        """The time of the fastest step of all so far; infinite before there is one."""
        return min(self.step_s().values(), default=math.inf)

    def is_steady(self) -> bool:
        """Whether steps of a candidate took about the same time."""
        two_best = (sorted(seconds)[:2] for seconds in self._seconds.values())
        return not self._is_doubtful and all(best[-1] <= _STEADY * best[0] for best in two_best)

    def visit(self, candidate: Runtime, warm_up: int) -> bool:
        """Time a few steps of a candidate; returns whether there was time for it."""
        if not self._can_afford(warm_up + 1):
            return False
        try:
            with self._open_steps(candidate) as step:
                warming = [self._timed(step) for _ in range(warm_up)]
                if not self._seconds:
                    self._began = self._clock() - warming[-1]
                if self._is_hopeless(warming[-1], step):
                    if candidate not in self._seconds:
                        self.far_slower.append(candidate)
                    return True
                for _ in range(_TIMED_STEPS):
                    self._seconds.setdefault(candidate, []).append(self._timed(step))
                    if not self._can_afford(1):
                        break
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            self._seconds.pop(candidate, None)
            self.no_memory.append(candidate)
        return True

    def _is_hopeless(self, warming_s: float, step: Step) -> bool:
        """Judge a warm-up step; where something may have disturbed it, one more."""
        best = self.best_s()
        if warming_s <= _HOPELESS * best + _PREPARING_S:
            return False
        if warming_s > _CERTAIN * best + _PREPARING_S:
            return True
        if not self._can_afford(1):
            self._is_doubtful = True
            return True
        return self._timed(step) > _STEADY * best

    def _timed(self, step: Step) -> float:
        began = self._clock()
        step()
        return self._clock() - began

    def _can_afford(self, steps: int) -> bool:
        if not self._seconds:
            return True
        spent, step_s = self._clock() - self._began, self.best_s()
        return spent + steps * step_s <= SHARE * self._steps * step_s
