"""`pochi schema`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer


class Format(StrEnum):
    """What describes the config."""

    JSON = "json"
    MARKDOWN = "markdown"


def schema(
    form: Annotated[
        Format, typer.Option("--format", help="json: for editors; markdown: the reference of all keys.")
    ] = Format.JSON,
) -> None:
    """Print what a config may hold: its JSON Schema, with which editors complete and check it.

    An editor finds it by the config's first line, `#:schema ./pochi.schema.json`.
    """
    from pochi_cli.config.reference import reference_text
    from pochi_cli.config.schema import schema_text
    from pochi_cli.console import show

    text = schema_text() if form is Format.JSON else reference_text()
    show(text.removesuffix("\n"))
