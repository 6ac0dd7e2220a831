"""The table of torchvision's arguments, held against torchvision."""

from __future__ import annotations

import inspect

import pytest
from torchvision import transforms
from torchvision.transforms import v2

from pochi_cli.migration.transforms import PARAMETERS, known_steps

OURS = {"Letterbox"}


@pytest.mark.parametrize("module", [transforms, v2])
@pytest.mark.parametrize("name", PARAMETERS)
def test_parameters_are_torchvisions_in_its_order(module: object, name: str) -> None:
    signature = inspect.signature(getattr(module, name))
    assert PARAMETERS[name].split() == list(signature.parameters)


def test_every_step_of_torchvision_is_listed() -> None:
    listed = set(PARAMETERS) - {"Compose"}
    assert {name for name in known_steps() if hasattr(v2, name)} == listed
    assert set(known_steps()) - listed == OURS


def test_every_argument_of_a_step_is_torchvisions() -> None:
    for name, model in known_steps().items():
        if name not in OURS:
            assert set(model.model_fields) - {"name"} <= set(PARAMETERS[name].split()), name
