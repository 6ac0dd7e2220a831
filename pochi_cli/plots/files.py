"""Figures become files."""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO, TYPE_CHECKING

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
    with atomic_writer(path) as file:
        _draw(figure, file, compress_level=1)  # pictures of few colours hardly get smaller by more effort


def figure_png(figure: Figure) -> bytes:
    """Draw a figure as PNG in memory, compressed as far as it goes."""
    buffer = io.BytesIO()
    _draw(figure, buffer, compress_level=9)
    return buffer.getvalue()


def _draw(figure: Figure, file: IO[bytes], *, compress_level: int) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    # `savefig` would draw it twice, once for nothing but the layout, which drawing makes anyway.
    canvas = FigureCanvasAgg(figure)
    canvas.print_png(file, pil_kwargs={"compress_level": compress_level})  # type: ignore[no-untyped-call]
