"""The choice of precision and memory layout by measuring: what is tried, for how long, and what is chosen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import product

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.tuning import FEWEST_STEPS, SHARE, Step, fastest, measure

FP32, FP32_CL, BF16, BF16_CL = (
    Runtime(torch.device("cpu"), precision, channels_last, 1)  # type: ignore[arg-type]
    for precision, channels_last in product(("fp32", "bf16"), (False, True))
)
IN_ORDER = (BF16_CL, FP32, FP32_CL, BF16)
"""What the rule chooses, then plain fp32, then the others."""


class Machine:
    """A machine whose steps take given times; the first step after a change takes 1.4 times that.

    Args:
        step_s: Seconds of a step; may depend on when it is.
        full: What it has too little memory for.
        preparing_s: Seconds that a first step takes besides.
    """

    def __init__(
        self,
        step_s: Mapping[Runtime, float] | Callable[[Runtime, float], float],
        full: tuple[Runtime, ...] = (),
        preparing_s: float = 0.0,
    ) -> None:
        self._preparing_s = preparing_s
        self._step_s = (lambda runtime, _: step_s[runtime]) if isinstance(step_s, Mapping) else step_s
        self._full = full
        self.now = 0.0
        self.steps: list[Runtime] = []

    def clock(self) -> float:
        return self.now

    @contextmanager
    def open(self, runtime: Runtime) -> Iterator[Step]:
        if runtime in self._full:
            raise RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory")
        is_first = True

        def step() -> None:
            nonlocal is_first
            step_s = self._step_s(runtime, self.now)
            self.now += 1.4 * step_s + self._preparing_s if is_first else step_s
            self.steps.append(runtime)
            is_first = False

        yield step


def test_the_fastest_step_of_each_candidate_is_found() -> None:
    machine = Machine({BF16_CL: 1.0, FP32: 1.1, FP32_CL: 1.05, BF16: 0.8})
    timing = measure(IN_ORDER, machine.open, 10_000, clock=machine.clock)
    assert timing.step_s == pytest.approx({BF16_CL: 1.0, FP32: 1.1, FP32_CL: 1.05, BF16: 0.8})
    assert (timing.is_complete, timing.is_steady, timing.far_slower) == (True, True, ())
    assert list(dict.fromkeys(machine.steps)) == list(IN_ORDER)


def test_what_is_far_slower_gets_one_step_and_a_second_where_that_is_doubtful() -> None:
    machine = Machine({BF16_CL: 1.0, FP32: 4.0, FP32_CL: 3.0, BF16: 1.3})
    timing = measure(IN_ORDER, machine.open, 10_000, clock=machine.clock)
    assert set(timing.step_s) == {BF16_CL}
    assert machine.steps.count(FP32) == machine.steps.count(FP32_CL) == 1
    assert machine.steps.count(BF16) == 2
    assert timing.far_slower == (FP32, FP32_CL, BF16)
    assert timing.is_complete  # it is known how slow they are


def test_a_first_step_that_was_disturbed_is_no_reason_to_give_up() -> None:
    # The first step of FP32 begins at 3.4 seconds, when something else begins to run for a second.
    machine = Machine(lambda _, now: 1.7 if 3.0 < now < 4.0 else 1.0)
    timing = measure((BF16_CL, FP32), machine.open, 10_000, clock=machine.clock)
    assert timing.step_s[FP32] == pytest.approx(1.0)
    assert (timing.far_slower, timing.is_steady) == ((), True)
    # There is no time to find out: it is given up, and that is not to be remembered.
    short = Machine(lambda _, now: 1.7 if 3.0 < now < 4.0 else 1.0)
    timing = measure((BF16_CL, FP32), short.open, 195, clock=short.clock)
    assert (timing.far_slower, timing.is_steady) == ((FP32,), False)


def test_what_a_gpu_prepares_is_not_on_the_account_of_measuring() -> None:
    on_gpu = [Runtime(torch.device("cuda"), "bf16", True, 1), Runtime(torch.device("cuda"), "fp32", False, 1)]
    machine = Machine(dict.fromkeys(on_gpu, 0.005), preparing_s=2.0)
    timing = measure(on_gpu, machine.open, 4_000, clock=machine.clock)
    assert set(timing.step_s) == set(on_gpu)


def test_a_first_step_that_only_warms_up_is_no_reason_to_give_up() -> None:
    machine = Machine({BF16_CL: 1.0, FP32: 1.1, FP32_CL: 1.0, BF16: 0.9})
    assert set(measure(IN_ORDER, machine.open, 10_000, clock=machine.clock).step_s) == set(IN_ORDER)
    # The kernels of a short step take longer to make than the step itself.
    short = Machine({BF16_CL: 0.01, FP32: 0.02, FP32_CL: 0.03, BF16: 0.009}, preparing_s=0.05)
    assert set(measure(IN_ORDER, short.open, 10_000, clock=short.clock).step_s) == set(IN_ORDER)


@pytest.mark.parametrize("steps", [FEWEST_STEPS, 500, 1_000])
@pytest.mark.parametrize("others", [0.8, 1.0, 1.1, 1.5])
def test_measuring_takes_no_more_than_its_share_of_the_run(steps: int, others: float) -> None:
    times = {BF16_CL: 1.0, FP32: others, FP32_CL: others, BF16: others}
    machine = Machine(times)
    timing = measure(IN_ORDER, machine.open, steps, clock=machine.clock)
    best = min(timing.step_s.values())
    # A step that was begun is finished, and a first one may be of a slow candidate.
    assert machine.now <= SHARE * steps * best + 1.4 * max(times.values())
    assert FP32 in timing.step_s or others >= 1.2


def test_a_budget_that_is_too_small_for_all_is_told() -> None:
    machine = Machine(dict.fromkeys(IN_ORDER, 1.0))
    timing = measure(IN_ORDER, machine.open, FEWEST_STEPS, clock=machine.clock)
    assert set(timing.step_s) == {BF16_CL, FP32}
    assert not timing.is_complete
    assert measure(IN_ORDER[:2], machine.open, FEWEST_STEPS, clock=machine.clock).is_complete


def test_close_ones_are_measured_again_in_turns() -> None:
    def step_s(runtime: Runtime, now: float) -> float:
        if runtime is FP32:
            return 0.95 if now > 12 else 1.02  # something disturbed its first steps
        return {BF16_CL: 1.0, FP32_CL: 1.2, BF16: 1.2}[runtime]

    machine = Machine(step_s)
    timing = measure(IN_ORDER, machine.open, 10_000, clock=machine.clock)
    assert timing.step_s[FP32] == pytest.approx(0.95)
    assert machine.steps.count(FP32_CL) == machine.steps.count(BF16) < machine.steps.count(FP32)


def test_a_candidate_without_enough_memory_is_none() -> None:
    machine = Machine({BF16_CL: 1.0, FP32_CL: 1.1, BF16: 0.9}, full=(FP32,))
    timing = measure(IN_ORDER, machine.open, 10_000, clock=machine.clock)
    assert (set(timing.step_s), timing.no_memory) == ({BF16_CL, FP32_CL, BF16}, (FP32,))
    nothing = measure(IN_ORDER, Machine({}, full=IN_ORDER).open, 10_000)
    assert nothing.no_memory == IN_ORDER
    assert fastest(BF16_CL, nothing.step_s) is BF16_CL


def test_other_errors_are_not_taken_for_a_lack_of_memory() -> None:
    @contextmanager
    def broken(_: Runtime) -> Iterator[Step]:
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        yield

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        measure(IN_ORDER, broken, 1_000)


def test_a_disturbed_measurement_is_told() -> None:
    machine = Machine(lambda _, now: 3.0 if 2 < now < 6 else 1.0)
    assert not measure((BF16_CL, FP32), machine.open, 400, clock=machine.clock).is_steady
    quiet = Machine(dict.fromkeys(IN_ORDER, 1.0))
    assert measure((BF16_CL, FP32), quiet.open, 400, clock=quiet.clock).is_steady


@pytest.mark.parametrize(
    ("times", "chosen"),
    [
        ({BF16_CL: 1.0, FP32: 2.0}, BF16_CL),
        ({BF16_CL: 1.0, FP32: 1.1, BF16: 0.98}, BF16_CL),
        ({BF16_CL: 1.0, FP32: 1.1, BF16: 0.96}, BF16),
        ({BF16_CL: 1.0, FP32: 0.99}, FP32),
        ({BF16_CL: 1.0, FP32: 0.995, BF16: 0.98}, BF16),
        ({FP32: 2.0, FP32_CL: 1.5}, FP32_CL),
        ({}, BF16_CL),
    ],
)
def test_only_what_is_clearly_faster_replaces_the_rules_choice(
    times: dict[Runtime, float], chosen: Runtime
) -> None:
    assert fastest(BF16_CL, times) is chosen


@given(
    st.dictionaries(st.sampled_from(IN_ORDER), st.floats(1e-3, 1e3), min_size=1), st.sampled_from(IN_ORDER)
)
def test_the_choice_is_never_slower_than_plain_fp32(times: dict[Runtime, float], rule: Runtime) -> None:
    times.setdefault(FP32, 1.0)
    assert times[fastest(rule, times)] <= times[FP32]
