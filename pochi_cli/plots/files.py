"""Figures become files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.errors import StorageError
from pochi_cli.runs.atomic import atomic_writer

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def save_figure(figure: Figure, path: Path) -> None:
    """Write a figure as PNG, whole or not at all; its directory is made where missing.

    Raises:
        StorageError: It cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {path.parent}: {error.strerror or error}") from error
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    with atomic_writer(path) as file:
        # `savefig` would draw it twice, once for nothing but the layout, which drawing makes anyway.
        # And pictures of few colours hardly get smaller by more effort.
        FigureCanvasAgg(figure).print_png(file, pil_kwargs={"compress_level": 1})  # type: ignore[no-untyped-call]
