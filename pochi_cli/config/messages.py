"""pydantic's errors, said in the user's terms: keys, values and what is allowed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import Tag, ValidationError
from pydantic_core import ErrorDetails

from pochi_cli.config.likeness import closest
from pochi_cli.config.recalls import recall_name
from pochi_cli.config.rewriting import described, number_in, rewritten
from pochi_cli.config.root import ROOTS, root_of
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.suggestions import meant_key, meant_word, misspelt_name
from pochi_cli.config.values import show
from pochi_cli.errors import Diagnostic, KeyPath, format_key

_TYPES: Mapping[str, str] = {
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "a string in quotes",
    "tuple_type": "an array [...]",
    "list_type": "an array [...]",
    "dict_type": "a table",
    "model_type": "a table",
    "model_attributes_type": "a table",
}
_SHAPES: Mapping[str, str] = {
    "word": "a string in quotes",
    "number": "a number",
    "list": "an array [...]",
    "flag": "true or false",
}
_BOUNDS: Mapping[str, tuple[str, str]] = {
    "greater_than": ("above", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("below", "lt"),
    "less_than_equal": ("at most", "le"),
}
_LAYER_RATES = ("layer_wise_lr_config", "layer_rates")
_EXAMPLES: Mapping[str, str] = {
    "epochs": "epochs = 50",
    "learning_rate": "learning_rate = 0.01",
    "train_vectors": 'train_vectors = "embeddings.npy"',
    "train_transform": 'train_transform = [{ name = "Resize", size = [224, 224] }, { name = "ToTensor" }]',
}
"""What a required key looks like."""
_SPACE_KEYS: Mapping[str, frozenset[str]] = {
    'type = "categorical"': frozenset({"choices"}),
    'type = "float" or "int"': frozenset({"low", "high"}),
}
"""What a part of the search space probably is, by its keys."""
MOST = 500
"""Mistakes that are told one by one: nobody reads more, and each is looked up among the known names."""


def diagnose(error: ValidationError, raw: Mapping[str, Any]) -> list[Diagnostic]:
    """Translate a validation error.

    Args:
        error: What pydantic raised.
        raw: The config that it raised it for.

    Returns:
        One diagnostic per mistake.
    """
    # A default that depends on an invalid key is not the user's mistake.
    lines = [line for line in error.errors(include_url=False) if line["type"] != "default_factory_not_called"]
    told = [line for line in lines[:MOST] if not _follows(line, lines)]
    lengths = _lengths(told)
    diagnostics = [_translate(line, raw, lengths) for line in told]
    if len(lines) > MOST:
        diagnostics.append(
            Diagnostic("too-many-errors", f"{len(lines) - MOST:,} more mistakes are not shown")
        )
    return list(dict.fromkeys(diagnostics))  # an array that lacks two entries is said to be too short once


def _follows(line: ErrorDetails, lines: list[ErrorDetails]) -> bool:
    """Tell whether an array counts as too short only because its items are wrong."""
    depth = len(line["loc"])
    return line["type"] == "too_short" and any(
        len(other["loc"]) > depth and other["loc"][:depth] == line["loc"] for other in lines
    )


def _lengths(lines: list[ErrorDetails]) -> dict[tuple[int | str, ...], int]:
    """Find how many entries the arrays need that lack some."""
    lengths: dict[tuple[int | str, ...], int] = {}
    for line in lines:
        *array, last = line["loc"]
        if line["type"] == "missing" and isinstance(last, int):
            lengths[tuple(array)] = max(lengths.get(tuple(array), 0), last + 1)
    return lengths


def key_path(loc: Iterable[str | int], raw: Any, *, keep_last: bool) -> KeyPath:
    """Reduce pydantic's location to the keys that the file has.

    Union members add their tags to a location; what isn't found in the raw data is such a tag, and so is a
    step's name after its position.

    Args:
        loc: pydantic's location.
        raw: The config.
        keep_last: Whether the last part names a key that may be absent.
    """
    parts = list(loc)
    path: list[str | int] = []
    node = raw
    for position, part in enumerate(parts):
        after_index = position > 0 and isinstance(parts[position - 1], int)
        if after_index and isinstance(node, dict) and node.get("name") == part:
            continue
        inside = (isinstance(node, dict) and part in node) or (
            isinstance(node, list | tuple) and isinstance(part, int) and part < len(node)
        )
        if inside:
            node = node[part]
            path.append(part)
        elif keep_last and position == len(parts) - 1:
            path.append(part)
        elif position == 0:  # a default that was validated, such as scheduler_params
            path.append(part)
            node = None
    return tuple(path)


def _translate(
    line: ErrorDetails, raw: Mapping[str, Any], lengths: Mapping[tuple[int | str, ...], int]
) -> Diagnostic:
    kind, value, context = line["type"], line["input"], line.get("ctx", {})
    path = key_path(line["loc"], raw, keep_last=kind in ("missing", "extra_forbidden"))
    name = format_key(path)
    if kind == "missing" and isinstance(path[-1], int):
        return _wrong_length(path[:-1], value, str(lengths[line["loc"][:-1]]))
    if kind == "missing":
        return _missing(path, raw)
    if kind == "union_tag_not_found" and context["discriminator"] == "'type'":
        return _untyped_space(path, value)
    if kind == "union_tag_not_found":  # a step
        if isinstance(value, dict) and (misspelt := misspelt_name(value)):
            wrong = (*path, misspelt)
            remedy = "did you mean `name`? (required, and missing)"
            return Diagnostic(
                "unknown-key", f"unknown key `{format_key(wrong)}`", wrong, help=remedy, at="key"
            )
        return Diagnostic(
            "missing-key",
            f"`{name}.name` is missing",
            (*path, "name"),
            help='a step is a table with its name, such as { name = "ToTensor" }',
        )
    if kind == "extra_forbidden":
        return Diagnostic("unknown-key", f"unknown key `{name}`", path, help=meant_key(path, raw), at="key")
    if kind == "literal_error":
        return _unknown_value(path, value, str(context["expected"]), raw)
    if kind == "union_tag_invalid":
        expected = str(context["expected_tags"])
        tag = context["discriminator"].strip("'")
        if tag in ("name", "type"):
            return _unknown_value((*path, tag), value[tag], expected, raw)
        shapes = [tag.strip("'") for tag in expected.split(", ")]
        return _wrong_type(path, value, _either([_SHAPES[shape] for shape in shapes]))
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return Diagnostic(
            "out-of-range", f"{name} is {show(value)}, but must be {word} {show(context[key])}", path
        )
    if kind == "finite_number":
        return Diagnostic("out-of-range", f"{name} is {show(value)}, but must be a finite number", path)
    if kind == "too_short":
        return _wrong_length(path, value, f"at least {context['min_length']}")
    if kind == "too_long":
        return _wrong_length(path, value, str(context["max_length"]))
    if kind == "string_too_short":
        return Diagnostic("out-of-range", f"{name} is empty", path, help="name it, or leave the key out")
    if kind == "string_pattern_mismatch":
        remedy = "use cpu, mps, cuda, or cuda:N"
        if path[-1] == "monitor":
            remedy = f"use val_total_loss, or {recall_name(5)} with any number of neighbours"
        return Diagnostic("unknown-value", f"{name} is {show(value)}", path, help=remedy)
    if kind == "value_error":
        return Diagnostic("out-of-range", f"{name}: {context['error']}", path)
    if kind == "conflict":
        return Diagnostic(
            "conflict", line["msg"], path, help="give a scheduler, or leave scheduler_params out", at="key"
        )
    if kind in _TYPES:
        return _wrong_type(path, value, _either([_TYPES[kind], *_alternatives(path, raw)[1]]))
    return Diagnostic("wrong-type", f"{name} is {show(value)}, which is not allowed", path)


def _untyped_space(path: KeyPath, value: Mapping[str, Any]) -> Diagnostic:
    """Tell that a part of the search space does not say what it is."""
    inner = next((key for key, part in value.items() if isinstance(part, dict)), None)
    if inner is not None:
        # `[optuna.search_space.optimizer_params.momentum]` without quotes is a table in a table.
        name = f"{path[-1]}.{inner}"
        return Diagnostic(
            "wrong-type",
            f"{format_key(path)} is a table of tables, but must say what is searched",
            path,
            help=f"a name with a dot needs quotes: [{format_key(path[:-1])}.{show(name)}]",
            at="key",
        )
    if misspelt := next((key for key in value if closest(key, ["type"])), None):
        wrong = (*path, misspelt)
        remedy = "did you mean `type`? (required, and missing)"
        return Diagnostic("unknown-key", f"unknown key `{format_key(wrong)}`", wrong, help=remedy, at="key")
    remedy = next(
        (f"add it: {text}" for text, keys in _SPACE_KEYS.items() if keys & value.keys()),
        'add it, such as type = "float", with low and high',
    )
    return Diagnostic("missing-key", f"`{format_key(path)}.type` is missing", (*path, "type"), help=remedy)


def _either(forms: list[str]) -> str:
    *first, last = (part for form in forms for part in form.split(" or "))
    return f"{', '.join(first)} or {last}" if first else last


def _wrong_length(path: KeyPath, value: Any, needed: str) -> Diagnostic:
    name, count = format_key(path), len(value)
    if not count:
        entries = "entry" if needed.endswith(" 1") else "entries"
        return Diagnostic("out-of-range", f"{name} is empty, but needs {needed} {entries}", path)
    entries = "entry" if count == 1 else "entries"
    message = f"{name} has {count} {entries}, but needs {needed}: {show(value)}"
    return Diagnostic("out-of-range", message, path)


def _missing(path: KeyPath, raw: Mapping[str, Any]) -> Diagnostic:
    name, remedy = format_key(path), None
    called_by: KeyPath = ()
    if path[0] == "scheduler_params":
        remedy, called_by = f"scheduler = {show(raw['scheduler'])} needs it", ("scheduler",)
    elif example := _EXAMPLES.get(name):
        remedy = f"add it, such as {example}"
    elif path == ("optuna", "search_space"):
        remedy = "add a table such as [optuna.search_space.learning_rate], with its type, low and high"
    elif isinstance(path[-2], int):
        step = STEPS.get(str(_at(raw, path[:-1]).get("name")))
        if step and (description := step.model_fields[str(path[-1])].description):
            remedy = f"{step.__name__} needs it: {description[0].lower()}{description[1:]}"
    return Diagnostic(
        "missing-key", f"`{format_key(path)}` is missing", path, help=remedy, called_by=called_by
    )


def _at(node: Any, path: KeyPath) -> Any:
    for part in path:
        node = node[part]
    return node


def _wrong_type(path: KeyPath, value: Any, expected: str) -> Diagnostic:
    if path[:2] == _LAYER_RATES and len(path) == 3 and isinstance(value, dict):
        # `layer2.0 = 0.1` without quotes is a table in TOML.
        pattern = str(path[-1])
        while isinstance(value, dict) and len(value) == 1:
            part, value = next(iter(value.items()))
            pattern += f"\\.{part}"
        return Diagnostic(
            "wrong-type",
            f"{format_key(path)} is a table, but must be a number",
            path,
            help=f"a pattern with a dot needs quotes: {show(pattern)} = {show(value)}",
            at="key",
        )
    message = f"{format_key(path)} is {described(value)}, but must be {expected}"
    if path[:2] == ("optuna", "search_space") and len(path) == 3 and isinstance(value, list | tuple):
        remedy = f'write {{ type = "categorical", choices = {show(value)} }}'
        return Diagnostic("wrong-type", message, path, help=remedy)
    fix = rewritten(path, value, expected)
    return Diagnostic("wrong-type", message, path, help=fix and f"write {fix}")


def _unknown_value(path: KeyPath, value: Any, allowed: str, raw: Mapping[str, Any]) -> Diagnostic:
    if path == ("task",):  # it chose the class that refused it
        allowed = ", ".join(ROOTS)
    choices = [choice.strip("'") for choice in allowed.replace(" or ", ", ").split(", ")]
    others = _alternatives(path, raw)[0]
    if not isinstance(value, str):
        message = f"{format_key(path)} is {described(value)}, but must be a string in quotes"
        return Diagnostic("wrong-type", message, path, help=meant_word("", choices, others))
    message = f"{format_key(path)} is {show(value)}"
    if "a number" in others and (number := number_in(value.strip(), float)):
        return Diagnostic("wrong-type", f"{message} (a string)", path, help=f"write {number} without quotes")
    return Diagnostic("unknown-value", message, path, help=meant_word(value, choices, others))


def _alternatives(path: KeyPath, raw: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """Look up a key whose value may be a word or something else.

    Returns:
        The other forms, and the words; both empty for every other key.
    """
    field = root_of(raw).model_fields.get(str(path[0])) if len(path) == 1 else None
    shapes: list[str] = []
    words: list[str] = []
    for member in get_args(field.annotation) if field else ():
        tags = [part.tag for part in getattr(member, "__metadata__", ()) if isinstance(part, Tag)]
        if tags == ["word"]:
            words = [f'"{word}"' for word in get_args(get_args(member)[0])]
        else:
            shapes.extend(_SHAPES[tag] for tag in tags)
    return shapes, words
