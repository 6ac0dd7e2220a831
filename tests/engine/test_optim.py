"""Parameter groups and the rates that they really get."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torchvision.models import resnet18

from pochi_cli.engine.optim import BASE, create_optimizer, set_learning_rates
from tests.engine.tiny import tiny_config


def layer_wise(rates: dict[str, float], **changes: Any) -> dict[str, Any]:
    return {"enable_layer_wise_lr": True, "layer_wise_lr_config": {"layer_rates": rates}, **changes}


def test_every_parameter_gets_the_rate_of_its_first_pattern() -> None:
    model = resnet18()
    config = tiny_config(**layer_wise({r"layer1\.0": 0.001, "layer1": 0.002, "fc": 0.01}))
    optimizer = create_optimizer(config, model)
    rate_of = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rate_of) == len(list(model.parameters()))
    for name, parameter in model.named_parameters():
        expected = (
            0.001
            if name.startswith("layer1.0.")
            else 0.002
            if name.startswith("layer1.")
            else 0.01
            if name.startswith("fc.")
            else config.learning_rate
        )
        assert rate_of[id(parameter)] == expected, name


def test_scheduler_and_warmup_scale_every_group() -> None:
    config = tiny_config(
        **layer_wise({"fc": 0.01}),
        epochs=10,
        scheduler="StepLR",
        scheduler_params={"step_size": 1, "gamma": 0.5},
        warmup_epochs=1,
    )
    optimizer = create_optimizer(config, resnet18())
    assert set_learning_rates(optimizer, config, 1) == {"fc": 0.005, BASE: config.learning_rate / 2}
    assert set_learning_rates(optimizer, config, 4) == {"fc": 0.0025, BASE: config.learning_rate / 4}
    assert [group["lr"] for group in optimizer.param_groups] == [0.0025, config.learning_rate / 4]


def test_frozen_parameters_are_in_no_group() -> None:
    model = resnet18()
    model.conv1.requires_grad_(False)
    optimizer = create_optimizer(tiny_config(), model)
    assert model.conv1.weight not in {p for group in optimizer.param_groups for p in group["params"]}


@pytest.mark.parametrize(
    ("name", "params", "kind"),
    [
        ("SGD", {"momentum": 0.5, "weight_decay": 0.01, "nesterov": True}, torch.optim.SGD),
        ("Adam", {"betas": [0.8, 0.99], "eps": 1e-7, "amsgrad": True}, torch.optim.Adam),
        ("AdamW", {"weight_decay": 0.3}, torch.optim.AdamW),
    ],
)
def test_arguments_reach_the_optimizer(
    name: str, params: dict[str, Any], kind: type[torch.optim.Optimizer]
) -> None:
    optimizer = create_optimizer(tiny_config(optimizer=name, optimizer_params=params), resnet18())
    assert type(optimizer) is kind
    for key, value in params.items():
        got = optimizer.param_groups[0][key]
        assert got == (tuple(value) if isinstance(value, list) else value)
