"""Raw configs as the TOML parser gives them, and a shorthand for what is wrong with one."""

from __future__ import annotations

from typing import Any

import pytest
from jsonschema import Draft7Validator

from pochi_cli.config.load import check, validate
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.schema import config_schema
from pochi_cli.errors import ConfigError, Diagnostic, format_key
from tests.engine.tiny import classifier

TO_TENSOR = {"name": "ToTensor"}
EDITOR = Draft7Validator(config_schema())
"""What an editor makes of a config by its JSON Schema."""


def folder(**keys: Any) -> dict[str, Any]:
    """A config of only the required keys, and these."""
    return {
        "epochs": 20,
        "learning_rate": 0.1,
        "train_data_root": "data/train",
        "train_transform": [TO_TENSOR],
        **keys,
    }


def valid(**keys: Any) -> ClassificationConfig:
    """Validate a config, which the schema must accept, too."""
    EDITOR.validate(folder(**keys))
    return classifier(validate(folder(**keys)))


def mistakes(raw: dict[str, Any]) -> list[Diagnostic]:
    with pytest.raises(ConfigError) as caught:
        validate(raw)
    return [diagnostic for diagnostic in caught.value.diagnostics if diagnostic.severity == "error"]


def doubts(raw: dict[str, Any]) -> list[Diagnostic]:
    return [diagnostic for diagnostic in check(raw).diagnostics if diagnostic.severity == "warning"]


def found(raw: dict[str, Any]) -> set[tuple[str, str]]:
    """Code and key of each mistake; fails when one is told twice."""
    diagnostics = mistakes(raw)
    pairs = [(diagnostic.code, format_key(diagnostic.key)) for diagnostic in diagnostics]
    assert len(set(pairs)) == len(pairs), pairs
    return set(pairs)
