"""scikit-learn's handwritten digits as an image folder, for a first run without any data. Free of torch."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple
from uuid import uuid4

import numpy as np
from PIL import Image

from pochi_cli.data.holdout import hold_out
from pochi_cli.errors import DataError, StorageError


class DigitsCount(NamedTuple):
    """Number of images written."""

    train: int
    val: int


def write_digits(directory: Path, seed: int = 0, val_fraction: float = 0.2) -> DigitsCount:
    """Write the 1,797 digits, 8 by 8 pixels, as an image folder for training and one for validation.

    Files are 8-bit gray PNG: `train/<digit>/<number>.png` and `val/<digit>/<number>.png`. The
    number is the image's place in scikit-learn's data set. The directory appears once it is complete.

    Args:
        directory: Where to; must be missing or empty.
        seed: Decides which images are for validation.
        val_fraction: Share of each class for validation, above 0 and below 1.

    Raises:
        DataError: If the directory exists and is not empty, or is a file.
        StorageError: If it cannot be written.
    """
    if directory.exists() and not (directory.is_dir() and not any(directory.iterdir())):
        raise DataError(f"{directory} exists and is not empty", "choose another directory, or remove it")
    # An empty directory stays the one it is: it may be the working directory, or a mount point.
    exists = directory.exists()
    temporary = (directory if exists else directory.parent) / f".{directory.name}.{uuid4().hex}"
    try:
        temporary.mkdir(parents=True)
        count = _write(temporary, seed, val_fraction)
        if exists:
            for part in ("val", "train"):
                (temporary / part).rename(directory / part)
        else:
            temporary.rename(directory)
    except OSError as error:
        raise StorageError(f"the digits cannot be written to {directory}: {error.strerror}") from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    return count


def _write(directory: Path, seed: int, val_fraction: float) -> DigitsCount:
    images, labels = _load()
    names = [f"{number:04d}.png" for number in range(len(labels))]
    counts = {"train": 0, "val": 0}
    for digit in range(10):
        of_digit = [number for number, label in enumerate(labels) if label == digit]
        held_out = hold_out((names[number] for number in of_digit), val_fraction, seed)
        for part in counts:
            (directory / part / str(digit)).mkdir(parents=True)
        for number in of_digit:
            part = "val" if names[number] in held_out else "train"
            Image.fromarray(images[number]).save(directory / part / str(digit) / names[number])
            counts[part] += 1
    return DigitsCount(**counts)


def _load() -> tuple[np.ndarray[tuple[int, ...], np.dtype[np.uint8]], Sequence[int]]:
    """Images, uint8 (1797, 8, 8), and labels."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)
    images = np.rint(values.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return images, [int(label) for label in labels]


def cache_directory() -> Path:
    """Directory for what can be made again: $POCHI_CACHE_DIR, or `pochi` in the user's cache."""
    if own := os.environ.get("POCHI_CACHE_DIR"):
        return Path(own)
    shared = Path(os.environ.get("XDG_CACHE_HOME", ""))
    # The XDG specification says to ignore a relative path.
    return (shared if shared.is_absolute() else Path.home() / ".cache") / "pochi"


def digits_root(cache_root: Path | None = None) -> Path:
    """Directory of the digits in the cache, made at first use.

    Args:
        cache_root: The cache; by default `cache_directory()`.

    Raises:
        DataError: If something else stands in its place.
        StorageError: If it cannot be written.
    """
    root = (cache_root or cache_directory()) / "digits"
    if not _is_complete(root):
        try:
            write_digits(root)
        except (DataError, StorageError):
            if not _is_complete(root):  # else another process was faster
                raise
    return root


def digits_vectors(cache_root: Path | None = None) -> Path:
    """File of the digits' pixels as vectors in the cache, made at first use.

    float32 (1797, 64), from 0 to 1, in the order of scikit-learn's data set.

    Args:
        cache_root: The cache; by default `cache_directory()`.

    Raises:
        StorageError: It cannot be written.
    """
    path = (cache_root or cache_directory()) / "digits.npy"
    if path.is_file():
        return path
    images, labels = _load()
    temporary = path.with_name(f".{path.name}.{uuid4().hex}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("wb") as file:
            np.save(file, (images.reshape(len(labels), -1) / 255).astype(np.float32))
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StorageError(f"the digits cannot be written to {path}: {error.strerror}") from error
    return path


def _is_complete(root: Path) -> bool:
    # Directories are renamed into place when they are complete.
    return (root / "train").is_dir() and (root / "val").is_dir()
