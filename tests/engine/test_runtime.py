"""Devices, precision, and the state of the process."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pochi_cli.engine import runtime
from pochi_cli.engine.distributed import Alone
from pochi_cli.engine.runtime import (
    by_rule,
    candidates,
    choose_runtime,
    configured,
    doubtful_threads,
    own_runtime,
    random_state,
    restore_random_state,
)
from pochi_cli.errors import DeviceError
from pochi_cli.ranks import Rank
from tests.engine.tiny import tiny_config


def test_cpu_computes_in_fp32_unless_told_otherwise() -> None:
    found = choose_runtime(tiny_config(threads=1))
    assert (found.device.type, found.precision, found.channels_last, found.threads) == (
        "cpu",
        "fp32",
        False,
        1,
    )
    chosen = choose_runtime(tiny_config(precision="bf16", channels_last=True))
    assert (chosen.precision, chosen.channels_last) == ("bf16", True)
    with chosen.autocast():
        assert (torch.ones(2, 2) @ torch.ones(2, 2)).dtype == torch.bfloat16


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_a_device_that_is_not_there_is_an_error() -> None:
    with pytest.raises(DeviceError, match="device is cuda, but there is no usable CUDA device"):
        choose_runtime(tiny_config(device="cuda"))


def test_fp16_needs_a_gpu() -> None:
    with pytest.raises(DeviceError, match="fp16"):
        choose_runtime(tiny_config().model_copy(update={"precision": "fp16"}))


@pytest.mark.parametrize(
    ("asked", "environment", "processes", "expected"),
    [
        (None, None, 1, 3),  # the cores that there is time for
        (None, None, 2, 1),
        (None, "5", 2, 8),  # torch has read the variable
        (6, "5", 2, 3),
        (6, None, 1, 6),
        (1, None, 2, 1),
    ],
)
def test_threads(
    monkeypatch: pytest.MonkeyPatch, asked: int | None, environment: str | None, processes: int, expected: int
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 8)
    monkeypatch.setattr(runtime, "usable_cores", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if environment:
        monkeypatch.setenv("OMP_NUM_THREADS", environment)
    place = Rank(world_size=processes, local_world_size=processes)
    found = candidates(tiny_config(threads=asked, device="cpu"), Alone(place))
    assert {one.threads for one in found} == {expected}


def test_more_threads_than_cores_are_doubtful(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "usable_cores", lambda: 3)
    many = choose_runtime(tiny_config(threads=4, device="cpu"))
    assert doubtful_threads(many) == (
        "computes with 4 threads on 3 cores: each step waits for its slowest thread",
    )
    assert not doubtful_threads(replace(many, threads=3))
    assert not doubtful_threads(replace(many, device=torch.device("cuda")))


def test_a_model_of_a_larger_machine_takes_the_threads_of_this_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "usable_cores", lambda: 3)
    found = [own_runtime(tiny_config(threads=threads, device="cpu")).threads for threads in (2, 64)]
    assert found == [2, 3]


def test_settings_of_the_process_are_put_back() -> None:
    config = tiny_config(threads=1, deterministic=True, seed=5)
    before = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    with configured(config, choose_runtime(config)):
        assert torch.get_num_threads() == 1
        assert torch.are_deterministic_algorithms_enabled()
        first = torch.rand(1), np.random.rand(), random.random()
    assert before == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())
    with configured(config, choose_runtime(config)):
        assert (torch.rand(1), np.random.rand(), random.random()) == first


def test_random_state_round_trip(tmp_path_factory: pytest.TempPathFactory) -> None:
    path = tmp_path_factory.mktemp("state") / "state.pth"
    np.random.standard_normal()  # leaves a second Gaussian in store
    torch.save(random_state(), path)
    expected = torch.rand(3), np.random.standard_normal(3), random.random()
    restore_random_state(torch.load(path, weights_only=True))
    assert torch.equal(torch.rand(3), expected[0])
    assert np.array_equal(np.random.standard_normal(3), expected[1])
    assert random.random() == expected[2]


@pytest.fixture
def native(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bf16, whether this one has it or not."""
    monkeypatch.setattr(runtime, "_processor_has_bf16", lambda: True)


def names(possible: tuple[runtime.Runtime, ...]) -> list[str]:
    return [candidate.arithmetic for candidate in possible]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, ["fp32", "fp32 channels-last", "bf16", "bf16 channels-last"]),
        ({"precision": "fp32"}, ["fp32", "fp32 channels-last"]),
        ({"precision": "bf16"}, ["bf16", "bf16 channels-last"]),
        ({"channels_last": True}, ["fp32 channels-last", "bf16 channels-last"]),
        ({"channels_last": False}, ["fp32", "bf16"]),
        ({"precision": "bf16", "channels_last": False}, ["bf16"]),
        ({"deterministic": True}, ["fp32"]),
        ({"deterministic": True, "channels_last": True}, ["fp32 channels-last"]),
    ],
)
@pytest.mark.usefixtures("native")
def test_what_the_config_fixes_is_no_choice(changes: dict[str, Any], expected: list[str]) -> None:
    assert names(candidates(tiny_config(**changes))) == expected


def test_what_a_processor_emulates_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runtime, "_processor_has_bf16", lambda: False)
    assert names(candidates(tiny_config())) == ["fp32", "fp32 channels-last"]
    assert names(candidates(tiny_config(precision="bf16", channels_last=True))) == ["bf16 channels-last"]


def test_native_bf16_is_what_the_kernel_says() -> None:
    flags = Path("/proc/cpuinfo")
    if not flags.exists():
        pytest.skip("this system has no /proc/cpuinfo")
    words = flags.read_text().split()
    has = "avx512_bf16" in words or "amx_bf16" in words
    assert (runtime.native_half(torch.device("cpu")) == "bf16") == has


@pytest.mark.parametrize(
    ("changes", "light", "heavy"),
    [
        ({}, "fp32", "bf16 channels-last"),
        ({"precision": "fp32"}, "fp32", "fp32"),
        ({"precision": "bf16"}, "bf16", "bf16 channels-last"),
        ({"channels_last": True}, "fp32 channels-last", "bf16 channels-last"),
        ({"channels_last": False}, "fp32", "bf16"),
        ({"deterministic": True}, "fp32", "fp32"),
    ],
)
@pytest.mark.usefixtures("native")
def test_the_rule(changes: dict[str, Any], light: str, heavy: str) -> None:
    possible = candidates(tiny_config(**changes))
    assert by_rule(possible, is_heavy=False).arithmetic == light
    assert by_rule(possible, is_heavy=True).arithmetic == heavy
