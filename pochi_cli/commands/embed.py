"""`pochi embed`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import AsJson, Device, RunOrCheckpoint, WorkDir


def embed(
    model: RunOrCheckpoint,
    source: Annotated[Path, typer.Argument(metavar="IN", help="Vectors: .npy, .npz, .parquet or .jsonl.")],
    output: Annotated[Path, typer.Argument(metavar="OUT", help=".npy or .parquet; replaced if it exists.")],
    column: Annotated[
        str | None,
        typer.Option(
            "--column", help="Column, field or array of IN; default: as in training.", show_default=False
        ),
    ] = None,
    device: Device = None,
    work_dir: WorkDir = Path("work_dirs"),
    as_json: AsJson = False,
) -> None:
    """Encode vectors with a trained encoder: one row of OUT for each of IN, in the same order.

    Rows are read, encoded and written piece by piece: files larger than the memory can be encoded.
    """
    from pochi_cli import api, console
    from pochi_cli.display import counting
    from pochi_cli.installation import load_torch

    load_torch()
    loaded = api.load_encoder(model, work_dir, device)
    with counting("encoding vectors") as progress:
        rows = api.embed(loaded, source, output, column=column, tell=progress)
    if as_json:
        console.show_values(
            {
                "output": str(output),
                "rows": rows,
                "dim": loaded.dim,
                "latent_dim": loaded.config.latent_dim,
                "checkpoint": str(loaded.checkpoint),
                "epoch": loaded.epoch,
            }
        )
        return
    console.show_fields(
        f"{rows:,} vectors encoded",
        [
            ("dimensions", f"{loaded.dim} > {loaded.config.latent_dim}"),
            ("encoder", f"{loaded.checkpoint}, after epoch {loaded.epoch}"),
            ("written", str(output)),
        ],
    )
