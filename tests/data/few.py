"""A few digits as an image folder, as uneven as wanted."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path


def write_few_digits(digits: Path, directory: Path, train: Sequence[int], val: Sequence[int]) -> Path:
    """Copy the first images of the first classes.

    Args:
        digits: What `write_digits` wrote.
        directory: Where to.
        train: How many for training, of each class.
        val: How many for validation.
    """
    for part, counts in (("train", train), ("val", val)):
        for label, count in enumerate(counts):
            target = directory / part / str(label)
            target.mkdir(parents=True)
            for image in sorted((digits / part / str(label)).iterdir())[:count]:
                shutil.copy(image, target)
    return directory
