"""Any image file becomes RGB here, or a `BadImageError` that says why not. Free of torch."""

from __future__ import annotations

import os
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
from PIL import Image, UnidentifiedImageError

from pochi_cli.characters import printable
from pochi_cli.errors import DataError

IMAGE_SUFFIXES = frozenset(
    (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm", ".pbm")
)
"""Suffixes, in lower case, of the files that are taken for images."""

# What Pillow's decoders raise on damaged files, beyond the OSError and SyntaxError that they mean to.
_DECODE_FAILURES = (
    OSError, SyntaxError, ValueError, TypeError, IndexError, KeyError, EOFError, AttributeError,
    ArithmeticError, NotImplementedError, struct.error, zlib.error, Image.DecompressionBombError,
)  # fmt: skip

_ORIENTATION_TAG = 0x0112
_TRANSPOSE = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns an image with this EXIF orientation upright; 5 to 8 exchange width and height."""


class BadImageError(DataError):
    """An image file that cannot be used.

    Args:
        path: The file.
        reason: Why, in words.
        is_unread: Whether the system failed to read the file, so that nothing is known of the image.
    """

    def __init__(self, path: str | Path, reason: str, *, is_unread: bool = False) -> None:
        super().__init__(f"{printable(path)}: {reason}")
        self.path = path
        self.reason = reason
        self.is_unread = is_unread


def is_image(name: str) -> bool:
    """Tell by the suffix, whatever its case, whether a file is taken for an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - ten times as fast as Path


class Decoded(NamedTuple):
    """An image, and what its file was like.

    Attributes:
        image: The first frame, upright, in mode RGB, independent of the file.
        mode: Pillow's name of what the file holds: RGB, L, P, I;16 and so on.
        format: Pillow's name of the file's format.
        turned: Whether its EXIF orientation said to turn or mirror it.
    """

    image: Image.Image
    mode: str
    format: str
    turned: bool


def read_rgb(path: str | Path) -> Image.Image:
    """Decode an image file's first frame, upright, as RGB.

    The EXIF orientation is applied, transparent parts are laid over white, 16-bit values are scaled from
    0..65535 and floating point values from 0..1 to 0..255.

    Args:
        path: The file.

    Returns:
        The decoded image in mode RGB, independent of the file.

    Raises:
        BadImageError: If the file cannot be read or decoded, or has values that have no meaning as colours.
    """
    with without_pillow_warnings(), opened(path) as file:
        return decode(file, path).image


def read_size(path: str | Path) -> tuple[int, int]:
    """Read an image's height and width as `read_rgb` would give them, without decoding it.

    Raises:
        BadImageError: If the file's header cannot be read.
    """
    with without_pillow_warnings(), opened(path) as file:
        try:
            with Image.open(file) as image:
                if image.format == "TIFF":
                    # Until it is loaded, Pillow's version decides whether `size` has the orientation in it.
                    image.load()
                # A PNG without EXIF in its header would be decoded in search of it.
                turned = (image.format != "PNG" or "exif" in image.info) and _orientation(image) in (
                    5,
                    6,
                    7,
                    8,
                )
                return image.size if turned else (image.height, image.width)
        except _DECODE_FAILURES as error:
            raise BadImageError(path, _reason(file, error)) from error


@contextmanager
def without_pillow_warnings() -> Iterator[None]:
    """Silence Pillow's warnings, which name no file: of large sizes, of damaged EXIF data.

    The filter belongs to the whole process: threads that decode do so within one such block, around them all.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@contextmanager
def opened(path: str | Path) -> Iterator[BinaryIO]:
    """Open an image file.

    Raises:
        BadImageError: If it cannot be opened.
    """
    try:
        # What fails inside the block is not about opening it; and Path is slow for many files.
        file = open(path, "rb")  # noqa: SIM115, PTH123
    except (OSError, ValueError) as error:  # ValueError: a null character
        raise BadImageError(path, _reason(None, error), is_unread=True) from error
    with file:
        yield file


def decode(file: BinaryIO, path: str | Path) -> Decoded:
    """Decode an open image file as `read_rgb` does, within `without_pillow_warnings`.

    Args:
        file: The file, at its beginning.
        path: Its name, for messages.

    Raises:
        BadImageError: If it cannot be decoded, or has values that have no meaning as colours.
    """
    try:
        with Image.open(file) as image:
            mode, file_format = image.mode, image.format or ""
            # Newer Pillow turns a TIFF upright itself when it loads it, and forgets its orientation.
            turned = image.format == "TIFF" and _orientation(image) in _TRANSPOSE
            image.load()
            method = _TRANSPOSE.get(_orientation(image))
            upright = _detached(image) if method is None else image.transpose(method)
    except _DECODE_FAILURES as error:
        # Pillow's own errors are OSErrors as well, but have no number.
        is_unread = isinstance(error, OSError) and error.errno is not None
        raise BadImageError(path, _reason(file, error), is_unread=is_unread) from error
    try:
        return Decoded(_to_rgb(upright), mode, file_format, turned or method is not None)
    except ValueError as error:
        raise BadImageError(path, str(error)) from error


def as_rgb(image: Image.Image, name: str) -> Image.Image:
    """Turn an image that is open already into what `read_rgb` makes of its file.

    Args:
        image: Of any mode; it stays as it is.
        name: What messages call it.

    Raises:
        BadImageError: If it cannot be decoded, or has values that have no meaning as colours.
    """
    with without_pillow_warnings():
        try:
            image.load()
            method = _TRANSPOSE.get(_orientation(image))
            return _to_rgb(image if method is None else image.transpose(method))
        except _DECODE_FAILURES as error:
            raise BadImageError(name, _reason(None, error)) from error


def _orientation(image: Image.Image) -> int:
    try:
        return int(image.getexif().get(_ORIENTATION_TAG, 1))
    except _DECODE_FAILURES:
        return 1  # damaged metadata of an intact picture: shown as it lies, as viewers do


def _detached(image: Image.Image) -> Image.Image:
    """Copy an image that no conversion would separate from its file."""
    return image.copy() if image.mode == "RGB" and not image.has_transparency_data else image


def _reason(file: BinaryIO | None, error: BaseException) -> str:
    if isinstance(error, UnidentifiedImageError):
        empty = file is not None and os.fstat(file.fileno()).st_size == 0
        return "the file is empty" if empty else "not an image, or of a format that Pillow does not read"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror.lower()
    text = str(error) or type(error).__name__
    return text.lower() if text.istitle() and " " in text else text  # "Truncated File Read"


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode == "F" or image.mode.startswith("I"):
        image = _to_8_bit(image)
    if image.has_transparency_data:
        return _over_white(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _to_8_bit(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and floating point gray values to 0..255."""
    values = np.asarray(image).astype(np.float64)
    top, meaning = (1.0, "floating point") if image.mode == "F" else (65535.0, "integer")
    if not (values.min() >= 0 and values.max() <= top):  # also where a value is NaN
        raise ValueError(
            f"its {meaning} values reach from {values.min():g} to {values.max():g}; "
            f"only 0 to {top:g} can be scaled"
        )
    gray = Image.fromarray(np.rint(values * (255 / top)).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        gray.putalpha(Image.fromarray(np.where(values == transparent, 0, 255).astype(np.uint8)))
    return gray


def _over_white(image: Image.Image) -> Image.Image:
    # Premultiplied gray only converts to gray with alpha.
    rgba = (image.convert("LA") if image.mode == "La" else image).convert("RGBA")
    white = Image.new("RGBA", rgba.size, "white")
    return Image.alpha_composite(white, rgba).convert("RGB")
