"""The configuration reference: every key of the file, made of the models, as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from inspect import getdoc
from typing import Any

from pydantic import BaseModel

from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ClassificationConfig, EmbeddingConfig
from pochi_cli.config.schema import config_schema, root_schema
from pochi_cli.config.search import SPACES
from pochi_cli.config.sections import EMBEDDING_SECTIONS, SCHEDULER_EXAMPLES, SECTIONS, STEP_GROUPS, Section
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.values import show

_INTRO = """\
# Configuration reference

Every key of a config. It is written by `pochi schema --format markdown`; do not edit it by hand.

A config is one [TOML](https://toml.io) file. Every key may be left out that is not marked as required.
An unknown key is an error, and no value is converted: `"3"` is no number. `pochi validate-config` tells every
mistake at once; `--set key=value` replaces a key on the command line, dotted ones too. With
`#:schema ./pochi.schema.json` as the first line, editors complete and check the file.
"""

_MOST_CHOICES = 10
"""Words that are listed where a key's value is told; more of them are listed below the table."""


def reference_text() -> str:
    """Write the reference.

    Raises:
        ValueError: If a key of the config is in no section, or in two.
    """
    schema = config_schema()
    images, vectors = (root_schema(schema, model) for model in (ClassificationConfig, EmbeddingConfig))
    own = {key: part for key, part in vectors["properties"].items() if images["properties"].get(key) != part}
    check_complete(SECTIONS, images["properties"])
    check_complete(EMBEDDING_SECTIONS, own)
    blocks = [_INTRO, "\n".join(_contents())]
    for section in SECTIONS:
        blocks.extend(_section(section, images, schema["definitions"]))
    blocks.append(_embedding_intro(vectors["properties"].keys() - own.keys()))
    for section in EMBEDDING_SECTIONS:
        blocks.extend(_section(section, vectors, schema["definitions"]))
    return "\n".join(block.rstrip("\n") + "\n" for block in blocks)


def check_complete(sections: tuple[Section, ...], keys: Mapping[str, object]) -> None:
    """Check that each key is in one section.

    Raises:
        ValueError: It is in none, or in two; or a section lists one that does not exist.
    """
    listed = [key for section in sections for key in section.keys]
    odd = sorted({*keys} ^ {*listed} | {key for key in listed if listed.count(key) > 1})
    if odd:
        raise ValueError(f"not in exactly one section of the reference: {', '.join(odd)}")


def _contents() -> Iterator[str]:
    places = {key: section.title for section in SECTIONS for key in section.keys}
    for section in (*SECTIONS, *EMBEDDING_SECTIONS):
        yield f"- {_link(section.title, section.title)}"
    yield ""
    yield "All keys: " + ", ".join(_link(f"`{key}`", places[key]) for key in sorted(places)) + "."


def _link(text: str, title: str) -> str:
    return f"[{text}](#{title.lower().replace(' ', '-')})"


def _embedding_intro(shared: Iterable[str]) -> str:
    listed = ", ".join(f"`{key}`" for key in sorted(shared))
    return (
        '## The embedding task\n\nWith `task = "embedding"` an encoder of vectors is trained, as the '
        "[guide](embedding.md) tells. These keys are the same as above: "
        f"{listed}. The others follow; keys of images are errors."
    )


def _section(section: Section, root: Mapping[str, Any], definitions: Mapping[str, Any]) -> Iterator[str]:
    yield f"## {section.title}\n\n{section.intro}"
    yield _toml(section.example)
    properties = {key: root["properties"][key] for key in section.keys}
    # A key that another one calls for by its value is required in some configs only: its description says so.
    yield _table(_rows(properties, root["required"]))
    for key, part in properties.items():
        if len(part.get("enum", ())) > _MOST_CHOICES:
            yield f"The {len(part['enum'])} values of `{key}`: " + ", ".join(map(_code, part["enum"])) + "."
    if "optimizer_params" in properties:
        for name, model in OPTIMIZER_PARAMS.items():
            yield from _arguments(f"### {name}", model, definitions)
    if "scheduler_params" in properties:
        for name, scheduler in SCHEDULER_PARAMS.items():
            yield from _arguments(f"### {name}", scheduler, definitions)
            yield _toml(f'scheduler = "{name}"\nscheduler_params = {SCHEDULER_EXAMPLES[name]}')
    if "train_transform" in properties:
        yield from _steps(definitions)
    if "optuna" in properties:
        for name, space in SPACES.items():
            yield from _arguments(f'### type = "{name}"', space, definitions)


def _steps(definitions: Mapping[str, Any]) -> Iterator[str]:
    yield "The steps: " + ", ".join(_link(f"`{name}`", name) for name in sorted(STEPS)) + "."
    for module, title in STEP_GROUPS.items():
        yield f"### {title}"
        for name, step in STEPS.items():
            if step.__module__.rpartition(".")[2] == module:
                yield from _arguments(f"#### {name}", step, definitions)


def _arguments(heading: str, model: type[BaseModel], definitions: Mapping[str, Any]) -> Iterator[str]:
    part = definitions[model.__name__]
    yield f"{heading}\n\n{getdoc(model)}"
    properties = {
        key: argument for key, argument in part["properties"].items() if key not in ("name", "type")
    }
    yield _table(_rows(properties, part.get("required", []))) if properties else "It has no arguments."


def _table(rows: Iterator[tuple[str, ...]]) -> str:
    lines = [("Key", "Value", "Default", "Meaning"), ("---",) * 4, *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _rows(
    properties: Mapping[str, Mapping[str, Any]], required: list[str], table: str = ""
) -> Iterator[tuple[str, ...]]:
    """Describe keys: name, value, default and meaning, those of tables within them included."""
    for key, part in properties.items():
        name = f"{table}{key}"
        default = _code(part["default"]) if "default" in part else ""
        yield f"`{name}`", _value(part), "**required**" if key in required else default, part["description"]
        yield from _rows(part.get("properties", {}), part.get("required", []), f"{name}.")


def _code(value: object) -> str:
    return f"`{show(value)}`"


def _value(part: Mapping[str, Any]) -> str:
    """Say in TOML's words what a value may be."""
    if choices := part.get("oneOf"):
        return ", or ".join(map(_value, choices))
    if "const" in part:
        return _code(part["const"])
    if "enum" in part:
        if len(part["enum"]) > _MOST_CHOICES:
            return "string, one of those below"
        return _either([_code(word) for word in part["enum"]])
    if part["type"] == "array":
        return _array(part)
    if part["type"] == "object":
        inner = part.get("additionalProperties")
        return f"table of {_plural(inner)}" if isinstance(inner, dict) else "table"
    return _NAMES[part["type"]] + _range(part)


_REFERRED = {"Step": "steps", "Space": "tables, by their `type`"}
_NAMES = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`", "string": "string"}


def _array(part: Mapping[str, Any]) -> str:
    fewest, most = part.get("minItems", 0), part.get("maxItems")
    count = f"{fewest} " if fewest == most else "one or more " if fewest == 1 else ""
    return f"array of {count}{_plural(part['items'])}"


def _plural(part: Mapping[str, Any]) -> str:
    if "$ref" in part:
        return _REFERRED[part["$ref"].rpartition("/")[2]]
    if not part:
        return "values of any kind"
    return f"{_NAMES[part['type']]}s" + _range(part).replace("(", "(each ")


def _range(part: Mapping[str, Any]) -> str:
    low, high = part.get("minimum"), part.get("maximum")
    if low is not None and high is not None:
        return f" ({show(low)} to {show(high)})"
    words = (("minimum", "at least"), ("exclusiveMinimum", "above"), ("maximum", "at most"))
    limits = [
        f"{word} {show(part[key])}" for key, word in (*words, ("exclusiveMaximum", "below")) if key in part
    ]
    return f" ({' and '.join(limits)})" if limits else ""


def _either(words: list[str]) -> str:
    return " or ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _toml(text: str) -> str:
    return f"```toml\n{text.rstrip()}\n```"
