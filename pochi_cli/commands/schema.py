"""`pochi schema`."""

from __future__ import annotations


def schema() -> None:
    """Print the JSON Schema of the config, with which editors complete and check it.

    An editor finds it by the config's first line, `#:schema ./pochi.schema.json`.
    """
    from pochi_cli.config.schema import schema_text
    from pochi_cli.console import show

    show(schema_text().removesuffix("\n"))
