"""pydantic's errors, said in the user's terms: keys, values and what is allowed."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from pydantic import BaseModel, Tag, ValidationError
from pydantic_core import ErrorDetails

from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.steps.nested import AnyStep
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
_STEPS: Mapping[str, type[BaseModel]] = {step.__name__: step for step in get_args(get_args(AnyStep)[0])}


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
    diagnostics = [_translate(line, raw) for line in lines if not _follows(line, lines)]
    return list(dict.fromkeys(diagnostics))  # an array that lacks two entries is said to be too short once


def _follows(line: ErrorDetails, lines: list[ErrorDetails]) -> bool:
    """Tell whether an array counts as too short only because its items are wrong."""
    depth = len(line["loc"])
    return line["type"] == "too_short" and any(
        len(other["loc"]) > depth and other["loc"][:depth] == line["loc"] for other in lines
    )


def fold_misspelt(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Make one diagnostic of a missing key and an unknown one that resembles it."""
    missing = {d.key: d for d in diagnostics if d.code == "missing-key"}
    folded: list[Diagnostic] = []
    for diagnostic in diagnostics:
        if diagnostic.code != "unknown-key":
            continue
        siblings = [str(key[-1]) for key in missing if key[:-1] == diagnostic.key[:-1]]
        if close := _closest(str(diagnostic.key[-1]), siblings, cutoff=0.7):
            del missing[(*diagnostic.key[:-1], close)]
            remedy = f"did you mean `{close}`? (required, and missing)"
            folded.append(Diagnostic("unknown-key", diagnostic.message, diagnostic.key, help=remedy))
        else:
            folded.append(diagnostic)
    others = [d for d in diagnostics if d.code not in ("missing-key", "unknown-key")]
    return [*missing.values(), *folded, *others]


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


def _translate(line: ErrorDetails, raw: Mapping[str, Any]) -> Diagnostic:
    kind, value, context = line["type"], line["input"], line.get("ctx", {})
    path = key_path(line["loc"], raw, keep_last=kind in ("missing", "extra_forbidden"))
    name = format_key(path)
    if kind == "missing" and isinstance(path[-1], int):
        array = format_key(path[:-1])
        return Diagnostic("out-of-range", f"{array} has too few entries: {show(value)}", path[:-1])
    if kind == "missing":
        return _missing(path, raw)
    if kind == "union_tag_not_found":  # a step, the only table that says by a key of its own what it is
        return Diagnostic(
            "missing-key",
            f"`{name}.name` is missing",
            (*path, "name"),
            help='a step is a table with its name, such as { name = "ToTensor" }',
        )
    if kind == "extra_forbidden":
        return Diagnostic("unknown-key", f"unknown key `{name}`", path, help=_did_you_mean(path, raw))
    if kind == "literal_error":
        return _unknown_value(path, value, str(context["expected"]))
    if kind == "union_tag_invalid":
        expected = str(context["expected_tags"])
        if context["discriminator"] == "'name'":
            return _unknown_value((*path, "name"), value["name"], expected)
        shapes = [tag.strip("'") for tag in expected.split(", ")]
        return _wrong_type(path, value, " or ".join(_SHAPES[shape] for shape in shapes))
    if kind in _BOUNDS:
        word, key = _BOUNDS[kind]
        return Diagnostic(
            "out-of-range", f"{name} is {show(value)}, but must be {word} {show(context[key])}", path
        )
    if kind == "finite_number":
        return Diagnostic("out-of-range", f"{name} is {show(value)}, but must be a finite number", path)
    if kind in ("too_short", "string_too_short"):
        why = "has too few entries" if value else "is empty"
        return Diagnostic("out-of-range", f"{name} {why}: {show(value)}", path)
    if kind == "too_long":
        return Diagnostic("out-of-range", f"{name} has too many entries: {show(value)}", path)
    if kind == "string_pattern_mismatch":
        return Diagnostic(
            "unknown-value", f"{name} is {show(value)}", path, help="use cpu, mps, cuda, or cuda:N"
        )
    if kind == "value_error":
        return Diagnostic("out-of-range", f"{name}: {context['error']}", path)
    if kind == "conflict":
        return Diagnostic(
            "conflict", line["msg"], path, help="give a scheduler, or leave scheduler_params out"
        )
    if kind in _TYPES:
        return _wrong_type(path, value, " or ".join([_TYPES[kind], *_alternatives(path)[1]]))
    return Diagnostic("wrong-type", f"{name} is {show(value)}, which is not allowed", path)


def _missing(path: KeyPath, raw: Mapping[str, Any]) -> Diagnostic:
    remedy = None
    if path[0] == "scheduler_params":
        remedy = f"scheduler = {show(raw['scheduler'])} needs it"
    elif len(path) == 1:
        remedy = ClassificationConfig.model_fields[str(path[0])].description
    return Diagnostic("missing-key", f"`{format_key(path)}` is missing", path, help=remedy)


def _wrong_type(path: KeyPath, value: Any, expected: str) -> Diagnostic:
    remedy = None
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
        )
    if isinstance(value, str) and isinstance(path[-1], int) and expected == "a table":
        remedy = f"write {{ name = {show(value)} }}"
    message = f"{format_key(path)} is {show(value)} ({_type_of(value)}), but must be {expected}"
    return Diagnostic("wrong-type", message, path, help=remedy)


def _unknown_value(path: KeyPath, value: Any, allowed: str) -> Diagnostic:
    choices = [choice.strip("'") for choice in allowed.replace(" or ", ", ").split(", ")]
    listed = "allowed: " + ", ".join([*choices, *_alternatives(path)[0]])
    if not isinstance(value, str):
        message = f"{format_key(path)} is {show(value)} ({_type_of(value)}), but must be a string in quotes"
        return Diagnostic("wrong-type", message, path, help=listed)
    close = _closest(value, choices, cutoff=0.5)
    return Diagnostic(
        "unknown-value",
        f"{format_key(path)} is {show(value)}",
        path,
        help=f'did you mean "{close}"? {listed}' if close else listed,
    )


def _alternatives(path: KeyPath) -> tuple[list[str], list[str]]:
    """Look up a key whose value may be a word or something else.

    Returns:
        The other forms, and the words; both empty for every other key.
    """
    field = ClassificationConfig.model_fields.get(str(path[0])) if len(path) == 1 else None
    shapes: list[str] = []
    words: list[str] = []
    for member in get_args(field.annotation) if field else ():
        tags = [part.tag for part in getattr(member, "__metadata__", ()) if isinstance(part, Tag)]
        if tags == ["word"]:
            words = [f'"{word}"' for word in get_args(get_args(member)[0])]
        else:
            shapes.extend(_SHAPES[tag] for tag in tags)
    return shapes, words


def _closest(word: str, candidates: Iterable[str], cutoff: float) -> str | None:
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None


def _did_you_mean(path: KeyPath, raw: Mapping[str, Any]) -> str | None:
    known = known_keys(path[:-1], raw)
    if close := _closest(str(path[-1]), known, cutoff=0.6):
        return f"did you mean `{close}`?"
    return f"known here: {', '.join(sorted(known))}" if 0 < len(known) <= 12 else None


def known_keys(table: KeyPath, raw: Mapping[str, Any]) -> list[str]:
    """List the keys that a table of a config may have; none for one whose keys are the user's."""
    if not table:
        return list(ClassificationConfig.model_fields)
    if table == ("optimizer_params",):
        return _fields(OPTIMIZER_PARAMS.get(str(raw.get("optimizer", "SGD"))))
    if table == ("scheduler_params",):
        return _fields(SCHEDULER_PARAMS.get(str(raw.get("scheduler"))))
    if isinstance(table[-1], int):
        node: Any = raw
        for part in table:
            node = node[part]
        return _fields(_STEPS.get(str(node.get("name")))) if isinstance(node, dict) else []
    model: Any = ClassificationConfig
    for part in table:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else None
    return _fields(model)


def _fields(model: Any) -> list[str]:
    return list(getattr(model, "model_fields", {}))


def _type_of(value: Any) -> str:
    for kind, name in (
        (bool, "true or false"),
        (str, "a string"),
        (int, "a whole number"),
        (float, "a number"),
        (list, "an array"),
        (dict, "a table"),
    ):
        if isinstance(value, kind):
            return name
    return "a date or time"
