"""Every key says what it is: the schema, the reference and the messages tell users so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from pochi_cli.config.root import ClassificationConfig


def models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    """Every model that a type names, by itself or inside of others."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from models_in(part)


def all_models() -> list[type[BaseModel]]:
    """Every model that a config is made of."""
    known: list[type[BaseModel]] = [ClassificationConfig]
    for model in known:  # grows while it is read
        for field in model.model_fields.values():
            known.extend(found for found in models_in(field.annotation) if found not in known)
    return known


MODELS = all_models()
FIELDS = [(model, name) for model in MODELS for name in model.model_fields]


def test_every_kind_of_model_is_found() -> None:
    # The config, 3 optimizers, 5 schedulers, 8 tables, 3 kinds of ranges and the steps.
    assert len(MODELS) == 1 + 3 + 5 + 8 + 3 + 31


@pytest.mark.parametrize(("model", "name"), FIELDS, ids=lambda part: getattr(part, "__name__", part))
def test_every_key_is_described(model: type[BaseModel], name: str) -> None:
    description = model.model_fields[name].description
    assert description
    assert description.endswith(".")
    assert "  " not in description


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.__name__)
def test_every_table_is_described(model: type[BaseModel]) -> None:
    assert model.__doc__
    assert model.__doc__.partition("\n")[0].endswith(".")
