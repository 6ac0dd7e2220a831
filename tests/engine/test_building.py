"""The state that a training begins with."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import nn
from torchvision.models import resnet18

from pochi_cli.engine.building import build_state, equip
from pochi_cli.engine.runtime import choose_runtime
from pochi_cli.engine.tasks import prepare_task
from tests.engine.tiny import tiny_config


def strides(model: nn.Module) -> list[tuple[int, ...]]:
    return [parameter.stride() for parameter in model.parameters()]


@pytest.mark.parametrize("channels_last", [False, True])
def test_weights_are_laid_out_as_decided_and_trained_in_place(channels_last: bool) -> None:
    config = tiny_config(ema_decay=0.9)
    guessed = choose_runtime(config)
    task = prepare_task(config, lambda _: None).resolved(guessed)
    # Whatever was thought before, nothing of it stays.
    state, _ = build_state(task, replace(guessed, channels_last=not channels_last), from_scratch=True)
    decided = replace(guessed, channels_last=channels_last)
    expected = resnet18(num_classes=10).to(memory_format=decided.memory_format)
    trained = [parameter for group in state.optimizer.param_groups for parameter in group["params"]]
    equip(state, task, decided)
    assert strides(state.model) == strides(state.average.model) == strides(expected)
    convolution = state.model.get_parameter("layer1.0.conv1.weight")
    assert convolution.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert all(one is other for one, other in zip(trained, state.model.parameters(), strict=True))
