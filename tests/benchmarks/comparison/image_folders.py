"""Image folders for benchmarks: photographs and small images, the same ones at every call."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_sample_images

PHOTOGRAPH = (500, 375)
"""Width and height in pixels."""
SMALL = 32
SMALL_CLASSES = 10


def write_photographs(root: Path, train: int, val: int) -> None:
    """Write JPEG files of random parts of scikit-learn's two sample photographs, a class of each."""
    originals = [Image.fromarray(pixels) for pixels in load_sample_images().images]
    random = np.random.default_rng(0)
    for path, label in _paths(root, train, val, len(originals)):
        original = originals[label]
        scale = random.uniform(0.5, 0.95)
        width, height = int(original.width * scale), int(original.height * scale)
        left = int(random.integers(0, original.width - width + 1))
        top = int(random.integers(0, original.height - height + 1))
        part = original.crop((left, top, left + width, top + height))
        part = part.resize(PHOTOGRAPH, Image.Resampling.BICUBIC)
        if random.random() < 0.5:
            part = part.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        part.save(path, quality=90)


def write_small_images(root: Path, train: int, val: int) -> None:
    """Write smooth noise of 32 px about a colour for each of ten classes."""
    random = np.random.default_rng(0)
    colours = random.integers(40, 216, (SMALL_CLASSES, 3))
    for path, label in _paths(root, train, val, SMALL_CLASSES):
        pixels = (colours[label] + random.normal(0, 50, (8, 8, 3))).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).resize((SMALL, SMALL), Image.Resampling.BICUBIC).save(path, quality=95)


def copy_small_images(source: Path, root: Path, train: int, val: int) -> None:
    """Copy as many images of each class from the folder's `train` and `test`."""
    for part, wanted in (("train", train), ("val", val)):
        folder = source / ("test" if part == "val" else part)
        classes = sorted(path for path in folder.iterdir() if path.is_dir())
        for directory in classes:
            target = root / part / directory.name
            target.mkdir(parents=True)
            for path in sorted(directory.iterdir())[: -(-wanted // len(classes))]:
                shutil.copyfile(path, target / path.name)


def _paths(root: Path, train: int, val: int, classes: int) -> Iterator[tuple[Path, int]]:
    for part, images in (("train", train), ("val", val)):
        for number in range(images):
            label = number % classes
            path = root / part / f"class_{label}" / f"{number:05}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            yield path, label
