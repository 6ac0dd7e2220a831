"""A config as a flat table of keys and values."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

from pochi_cli.errors import format_key


def flatten(config: Mapping[str, Any]) -> dict[str, Any]:
    """Give each value its dotted key: `optimizer_params.momentum`.

    A pipeline becomes the names of its steps, in their order, and one entry for the arguments of each step:
    `train_transform.RandomCrop`, or `train_transform.RandomCrop[2]` for the second of that name. So a step
    more in one pipeline does not make all that follow it look different.
    """
    return dict(_entries(config, ()))


def _entries(table: Mapping[str, Any], path: tuple[str, ...]) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        here = (*path, key)
        if isinstance(value, Mapping):
            yield from _entries(value, here)
        elif _is_pipeline(value):
            yield format_key(here), [step["name"] for step in value]
            seen: Counter[str] = Counter()
            for step in value:
                name = str(step["name"])
                seen[name] += 1
                count = f"[{seen[name]}]" if seen[name] > 1 else ""
                arguments = {argument: of for argument, of in step.items() if argument != "name"}
                if arguments:
                    yield f"{format_key((*here, name))}{count}", arguments
        else:
            yield format_key(here), value


def _is_pipeline(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(step, Mapping) and isinstance(step.get("name"), str) for step in value)
    )
