"""How close `pochi infer` comes to its parts: `python tests/benchmarks/inference.py [--images N]`.

Predicting a folder of JPEGs takes turns with a bare loop of forward passes and with loading alone, both with
the same threads, processes and batches, so that what else the machine does meets all three. Printed are the
medians, and the ratios that matter: the forward pass as the summary tells it over the bare loop, and the
whole over the slower of its two parts.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image

from pochi_cli.engine.training import train
from pochi_cli.inference.images import ImageSource, find_images
from pochi_cli.inference.model import LoadedModel, load_model
from pochi_cli.inference.predict import ask, create_loader, synchronize
from tests.engine.tiny import tiny_config

STEPS = [{"name": "Resize", "size": 256}, {"name": "CenterCrop", "size": 224},
         {"name": "ToTensor"}, {"name": "Normalize"}]  # fmt: skip
SIZE = (500, 375)
BATCH = 32
ROUNDS = 5


def write_photos(root: Path, images: int) -> Path:
    """JPEGs that are as hard to decode as photographs: smooth noise."""
    random = np.random.default_rng(0)
    for at in range(images):
        small = Image.fromarray(random.integers(0, 256, (48, 64, 3), dtype=np.uint8))
        path = root / str(at % 2) / f"{at}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        small.resize(SIZE, Image.Resampling.BICUBIC).save(path, quality=90)
    return root


def forward_alone(loaded: LoadedModel, images: int) -> float:
    """Images per second of the bare loop."""
    runtime = loaded.runtime
    batch = torch.randn(BATCH, 3, 224, 224, device=runtime.device).to(memory_format=runtime.memory_format)
    repeats = max(images // BATCH, 3)
    with torch.inference_mode(), runtime.autocast():
        loaded.model(batch)
        synchronize(runtime.device)
        started = time.perf_counter()
        for _ in range(repeats):
            loaded.model(batch)
        synchronize(runtime.device)
    return repeats * BATCH / (time.perf_counter() - started)


def loading_alone(loaded: LoadedModel, source: ImageSource, workers: int) -> float:
    """Images per second of the loading, its start included."""
    started = time.perf_counter()
    images = sum(len(batch) for _, batch in create_loader(loaded, source.index, workers).batches(epoch=0))
    return images / (time.perf_counter() - started)


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=256)
    images = parser.parse_args().images
    directory = Path(tempfile.mkdtemp())
    try:
        data = write_photos(directory / "photos", images)
        few = write_photos(directory / "few" / "train", 8)
        shutil.copytree(few, few.parent / "val")
        config = tiny_config(
            few.parent, train_transform=STEPS, val_transform=STEPS, epochs=1, batch_size=4, threads=None,
            device=None, work_dir=str(directory / "runs"),
        )  # fmt: skip
        loaded = load_model(train(config).directory, overrides=[f"batch_size={BATCH}"])
        source = find_images(data, loaded.class_names, unlabelled=False)
        measured: dict[str, list[float]] = {name: [] for name in ("bare", "loading", "told", "whole")}
        for _ in range(ROUNDS):
            speed = ask(loaded, source).speed
            measured["told"].append(speed.forward_images_per_second)
            measured["whole"].append(speed.images_per_second)
            measured["bare"].append(forward_alone(loaded, images))
            measured["loading"].append(loading_alone(loaded, source, speed.num_workers))
    finally:
        shutil.rmtree(directory)
    medians = {name: median(values) for name, values in measured.items()}
    slower = min(medians["bare"], medians["loading"])
    told = ", ".join(f"{name} {value:.1f}" for name, value in medians.items())
    sys.stdout.write(f"images/s: {told}\n")
    sys.stdout.write(f"forward pass as told over the bare loop: {medians['told'] / medians['bare']:.3f}\n")
    sys.stdout.write(f"end to end over the slower part: {medians['whole'] / slower:.3f}\n")


if __name__ == "__main__":
    main()
