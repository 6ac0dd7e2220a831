"""Pictures laid out in one. Free of torch."""

from __future__ import annotations

import io
import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]
"""uint8 (count, height, width, 3)."""


def lay_out(pictures: Pixels, *, columns: int, rows: int, gap: int = 0) -> NDArray[np.uint8]:
    """Lay pictures out row by row, on white.

    Args:
        pictures: At most rows x columns.
        columns: Pictures in a row.
        rows: How many of them.
        gap: White pixels around each picture.

    Returns:
        uint8 (height, width, 3).
    """
    count, height, width, _ = pictures.shape
    height, width = height + 2 * gap, width + 2 * gap
    cells = np.full((rows * columns, height, width, 3), 255, dtype=np.uint8)
    cells[:count, gap : height - gap, gap : width - gap] = pictures
    sheet = cells.reshape(rows, columns, height, width, 3).swapaxes(1, 2)
    return sheet.reshape(rows * height, columns * width, 3)


def square_edge(count: int) -> int:
    """Edge of the smallest square that has room for so many pictures."""
    return math.ceil(math.sqrt(count))


def thumbnails(pictures: Pixels, longest: int) -> Pixels:
    """Shrink pictures whose longer edge has more pixels than `longest`."""
    height, width = pictures.shape[1:3]
    scale = longest / max(height, width)
    if scale >= 1:
        return pictures
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return np.stack(
        [np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BOX)) for picture in pictures]
    )


def png(picture: NDArray[np.uint8]) -> bytes:
    """Encode a picture, uint8 (height, width, 3)."""
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()
