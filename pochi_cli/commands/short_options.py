"""Options of `pochi train` that stand for keys, and the environment variable that does."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pochi_cli.config.document import Document

_VARIABLE, _VARIABLE_KEY = "SAVE_INTERVAL", "save_interval"


@dataclass(frozen=True)
class Change:
    """A key that is replaced.

    Attributes:
        source: What replaces it, as the user wrote it.
        argument: `key=value`, as for `--set`.
    """

    source: str
    argument: str

    @property
    def is_short(self) -> bool:
        """Whether an option of its own stands for the key."""
        return self.source.startswith("--") and self.source != "--set"

    @property
    def key(self) -> str:
        """The key."""
        return self.argument.partition("=")[0].strip()


def option_changes(options: Mapping[str, Any], overrides: Sequence[str]) -> list[Change]:
    """List what the command line replaces, what comes later before what comes earlier.

    Args:
        options: Values of the short options by the keys that they stand for; `None` where one is not given.
        overrides: The arguments of `--set`.
    """
    changes = [Change("--set", argument) for argument in overrides]
    for key, value in options.items():
        if value is not None:
            name = "--lr" if key == "learning_rate" else f"--{key.replace('_', '-')}"
            changes.append(Change(name, f"{key}={json.dumps(value, ensure_ascii=False)}"))
    return changes


def environment_changes(document: Document, changes: Sequence[Change]) -> list[Change]:
    """List what the environment replaces in a config of vectors, where the command line does not.

    Args:
        document: The config, with the changes of the command line.
        changes: These.
    """
    value = os.environ.get(_VARIABLE)
    is_set = any(change.key == _VARIABLE_KEY for change in changes)
    if not value or is_set or document.raw.get("task") != "embedding":
        return []
    return [Change(f"{_VARIABLE}={value}", f"{_VARIABLE_KEY}={value}")]


def described(
    changes: Sequence[Change], before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[str]:
    """Tell what was replaced by what, and by whom.

    Args:
        changes: What was asked for.
        before: The contents of the file.
        after: The contents with the changes.
    """
    from pydantic_core import PydanticUndefined

    from pochi_cli.config.root import root_of
    from pochi_cli.config.values import show

    for change in changes:
        key = change.key
        if key not in after or (key in before and before[key] == after[key]):
            continue  # inside a table, or nothing new
        if key in before:
            old = f"{show(before[key])} in the file"
        else:
            field = root_of(after).model_fields.get(key)
            default = field.get_default() if field and not field.default_factory else None
            old = "nothing" if default in (None, PydanticUndefined) else f"{show(default)} by default"
        yield f"{key} = {show(after.get(key))} by {change.source}, instead of {old}"
