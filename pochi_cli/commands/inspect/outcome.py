"""What an inspection came to, and how it is shown."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import typer


class Outcome(NamedTuple):
    """What an inspection came to.

    Attributes:
        record: Everything, as plain values for JSON.
        has_error: Whether a finding is an error.
        show: Prints it for people.
    """

    record: dict[str, Any]
    has_error: bool
    show: Callable[[], None]


def finish(outcome: Outcome, *, strict: bool, as_json: bool) -> None:
    """Show an outcome, and end the command.

    Raises:
        typer.Exit: With code 1: a finding is an error, and `--strict` was given.
    """
    from pochi_cli import console

    if as_json:
        console.show_values(outcome.record)
    else:
        outcome.show()
    if strict and outcome.has_error:
        raise typer.Exit(1)
