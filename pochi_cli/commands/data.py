"""`pochi data`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Make and check image folders.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    pass


@app.command("digits")
def digits(
    directory: Annotated[Path, typer.Argument(help="Directory to write; must not exist or be empty.")],
    seed: Annotated[int, typer.Option(help="Decides the split.", min=0)] = 0,
) -> None:
    """Write the embedded demo data: 1,797 handwritten digits as an image folder, split for validation."""
    from pochi_cli.console import show
    from pochi_cli.data.digits import write_digits

    counts = write_digits(directory, seed=seed)
    parts = " and ".join(f"{count} images in {directory / part}" for part, count in counts._asdict().items())
    show(f"wrote {parts}")
