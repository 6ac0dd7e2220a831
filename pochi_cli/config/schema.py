"""The JSON Schema of the config, for editors.

It is made of the models and says less than they do: rules over several keys stay with `validate`, which
decides. What `validate` accepts, the schema accepts.

It is written in draft 7, the newest that Taplo (behind "Even Better TOML") reads, and for what Taplo
completes from: `properties`, `anyOf` and `oneOf`, but neither `if` nor what stands beside `allOf` or `$ref`.
A table that depends on a value is therefore written twice: as an `anyOf` of all its forms that refuses
nothing, to complete from, and under `dependencies` as a choice by that value, whose errors are exact.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic_core import to_jsonable_python

from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ROOTS, ClassificationConfig, Config
from pochi_cli.config.search import SPACES
from pochi_cli.config.steps.nested import STEPS

Schema = dict[str, Any]

SCHEMA_FILE = "pochi.schema.json"
SCHEMA_TITLE = "Pochi config"

_DEFINITION = "#/definitions/"


def config_schema() -> Schema:
    """Build the JSON Schema of a config: that of its task, which an absent `task` leaves classification."""
    definitions: dict[str, Schema] = {"Step": _step(list(STEPS)), "Space": _space()}
    roots = {}
    for task, model in ROOTS.items():
        made = model.model_json_schema(ref_template=_DEFINITION + "{model}")
        raw = made.pop("$defs")
        definitions |= {name: _tidy(raw[name], raw) for name in raw}
        roots[task] = model.__name__
        definitions[model.__name__] = _root(model, _tidy(made, raw))
    used = list(roots.values())
    for name in used:  # grows while it is read
        used.extend(found for found in _references(definitions[name]) if found not in used)
    embedding = {"properties": {"task": {"const": "embedding"}}, "required": ["task"]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": SCHEMA_TITLE,
        "description": "A config that `pochi train` takes; `pochi validate-config` checks it in full.",
        **_any_of(roots.values()),
        "if": embedding,
        "then": _refer(roots["embedding"]),
        "else": _refer(roots["classification"]),
        "definitions": {name: {"title": name, **definitions[name]} for name in sorted(used)},
    }


def root_schema(schema: Schema, model: type[Config]) -> Schema:
    """Find the part of a config's schema that is about the configs of one task."""
    part: Schema = schema["definitions"][model.__name__]
    return part


def _root(model: type[Config], root: Schema) -> Schema:
    """Complete the schema of a task's configs: defaults, and what depends on values."""
    fixed = {
        name: field.default for name, field in model.model_fields.items() if field.default_factory is None
    }
    for name, field in model.model_fields.items():
        if field.default_factory is not None:
            default = to_jsonable_python(field.get_default(call_default_factory=True, validated_data=fixed))
            if not isinstance(default, dict):
                root["properties"][name]["default"] = default
    for key, models in (("optimizer_params", OPTIMIZER_PARAMS), ("scheduler_params", SCHEDULER_PARAMS)):
        root["properties"][key] |= _any_of(params.__name__ for params in models.values())
    kept = {key: part for key, part in root.items() if key not in ("title", "description")}
    conditions = _conditions(model)
    if model is ClassificationConfig:
        conditions["dependencies"] |= _IMAGES_CALL_FOR
        conditions |= _IMAGES_REQUIRE
    return {"description": inspect.getdoc(model), **kept, **conditions}


def schema_text() -> str:
    """Write the JSON Schema as a file holds it."""
    return json.dumps(config_schema(), indent=2, ensure_ascii=False) + "\n"


def is_pochi_schema(text: str) -> bool:
    """Tell whether the text of a file is a schema that Pochi wrote."""
    try:
        schema = json.loads(text)
    except (ValueError, RecursionError):
        return False
    return isinstance(schema, dict) and schema.get("title") == SCHEMA_TITLE


def _tidy(node: Any, definitions: Mapping[str, Any]) -> Any:
    """Rewrite a part of pydantic's schema: shorter, and in draft 7."""
    if isinstance(node, list):
        return [_tidy(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "discriminator" in node:
        return _refer("Step" if node["discriminator"]["propertyName"] == "name" else "Space")
    if node.keys() > {"$ref"}:
        target = definitions[node["$ref"].removeprefix(_DEFINITION)]
        return _tidy(target | {key: part for key, part in node.items() if key != "$ref"}, definitions)
    if {"type": "null"} in node.get("anyOf", ()):  # the key is left out: TOML has no null
        choices = [choice for choice in node["anyOf"] if choice != {"type": "null"}]
        rest = {key: part for key, part in node.items() if key not in ("anyOf", "default")}
        return _tidy(rest | (choices[0] if len(choices) == 1 else {"anyOf": choices}), definitions)
    tidied: Schema = {}
    for key, part in node.items():
        if key == "properties":
            tidied[key] = {name: _tidy(schema, definitions) for name, schema in part.items()}
        elif key == "prefixItems":
            alike = all(item == part[0] for item in part)
            tidied["items"] = _tidy(part[0] if alike else part, definitions)
        elif key == "default" and isinstance(part, dict):
            continue  # each key of a table has its own
        elif key != "title":
            tidied[key] = part if key in ("default", "enum", "const") else _tidy(part, definitions)
    return tidied


def _references(node: Any) -> list[str]:
    """List the definitions that a schema refers to."""

    def walk(node: Any) -> Iterator[str]:
        if isinstance(node, dict):
            if isinstance(node.get("$ref"), str):
                yield node["$ref"].removeprefix(_DEFINITION)
            for part in node.values():
                yield from walk(part)
        elif isinstance(node, list):
            for part in node:
                yield from walk(part)

    return list(dict.fromkeys(walk(node)))


def _step(names: list[str]) -> Schema:
    return {
        "description": "One step of a pipeline.",
        "properties": {"name": {"description": "Name of the step.", "enum": names, "type": "string"}},
        "required": ["name"],
        **_any_of(names),
        "dependencies": {"name": _by_value("name", {name: _refer(name) for name in names})},
    }


def _space() -> Schema:
    models = {name: model.__name__ for name, model in SPACES.items()}
    return {
        "description": "What a parameter is drawn from.",
        "properties": {
            "type": {"description": "What is drawn.", "enum": list(models), "type": "string"},
        },
        "required": ["type"],
        **_any_of(models.values()),
        "dependencies": {"type": _by_value("type", {name: _refer(model) for name, model in models.items()})},
    }


def _conditions(model: type[Config]) -> dict[str, Any]:
    """What a key calls for, by its value."""
    optimizers = {value: _arguments("optimizer_params", params) for value, params in OPTIMIZER_PARAMS.items()}
    schedulers = {value: _arguments("scheduler_params", params) for value, params in SCHEDULER_PARAMS.items()}
    default = model.model_fields["optimizer"].default
    return {
        "dependencies": {
            "optimizer_params": _by_value("optimizer", optimizers, default),
            "scheduler": _by_value("scheduler", schedulers),
            "scheduler_params": ["scheduler"],
        },
    }


_IMAGES_CALL_FOR: Schema = {"val_data_root": ["val_transform"], "val_split": ["val_transform"]}
_IMAGES_REQUIRE: Schema = {
    # Also true of a config without the key, whose data set is a folder.
    "if": {"properties": {"dataset": {"const": "folder"}}},
    "then": {"required": ["train_data_root"]},
    "else": {
        "required": ["val_transform"],
        "if": {"properties": {"dataset": {"const": "digits"}}},
        "else": {"required": ["train_data_root"]},
    },
}


def _arguments(key: str, model: type[BaseModel]) -> Schema:
    """Say that a key holds this table, and must be there when the table has required keys."""
    required = any(field.is_required() for field in model.model_fields.values())
    return {"properties": {key: _refer(model.__name__)}} | ({"required": [key]} if required else {})


def _by_value(key: str, rules: Mapping[str, Schema], default: str | None = None) -> Schema:
    """Choose one of some rules by the value of a key; the default's rule is also that of an absent key."""
    return {
        "allOf": [
            {
                "if": {"properties": {key: {"const": value}}, "required": [key] if value != default else []},
                "then": rule,
            }
            for value, rule in rules.items()
        ]
    }


def _refer(name: str) -> Schema:
    return {"$ref": _DEFINITION + name}


def _any_of(names: Iterable[str]) -> Schema:
    """A table; what it may hold is told to completion, and not enforced."""
    return {"type": "object", "anyOf": [*map(_refer, names), {}]}
