"""Devices, precision, and the state of the process."""

from __future__ import annotations

import random

import numpy as np
import pytest
import torch

from pochi_cli.engine.runtime import choose_runtime, configured, random_state, restore_random_state
from pochi_cli.errors import DeviceError
from tests.engine.tiny import tiny_config


def test_cpu_computes_in_fp32_unless_told_otherwise() -> None:
    runtime = choose_runtime(tiny_config(threads=1))
    assert (runtime.device.type, runtime.precision, runtime.channels_last, runtime.threads) == (
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
