"""Options that several commands share."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Replace a key of the config, checked like the file; repeatable. "
        "KEY may be dotted, VALUE is TOML, a bare word is a string.",
        show_default=False,
    ),
]
WorkDir = Annotated[
    Path, typer.Option("--work-dir", help="Where runs are looked up by name, UUID or `latest`.")
]
RunName = Annotated[str, typer.Argument(help="Run directory, name, UUID, or `latest`.")]
Device = Annotated[
    str | None,
    typer.Option("--device", help="cpu, mps, cuda or cuda:N; the run's own by default.", show_default=False),
]
RunOrCheckpoint = Annotated[
    str,
    typer.Argument(
        metavar="RUN|CHECKPOINT", help="Run directory, name, UUID, or `latest`; or the path of a checkpoint."
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def quoted(text: str) -> str:
    """Write a text as a TOML string, for an option that stands for a key."""
    return json.dumps(text, ensure_ascii=False)
