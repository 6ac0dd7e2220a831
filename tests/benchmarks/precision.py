"""What half precision costs in accuracy: `python tests/benchmarks/precision.py --data DIR [--images N]`.

Trains on CIFAR-10, as a folder of `DIR/train/<class>` and `DIR/test/<class>`, in fp32 and in bf16 with the
same seeds, at 32 px and enlarged, and prints the validation accuracy of each with the difference in units of
its standard error. A difference below two of them is noise. Every seed has its own initial weights and order,
the same in both precisions, but what rounding changes grows as different as other seeds would be: the
difference is taken of the means, not of pairs.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from pochi_cli import api
from pochi_cli.config.load import validate
from tests.benchmarks.comparison.image_folders import copy_small_images
from tests.benchmarks.comparison.turns import note, write_table

PRECISIONS = ("fp32", "bf16")


def main() -> None:
    """Train everything in turn, and print a row for each size."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, required=True, help="CIFAR-10 as a folder of images")
    parser.add_argument("--images", type=int, default=10_000, help="for training (default: 10,000)")
    parser.add_argument("--val-images", type=int, default=5_000, help="for validation (default: 5,000)")
    parser.add_argument("--epochs", type=int, default=6, help="(default: 6)")
    parser.add_argument("--seeds", type=int, default=3, help="how many (default: 3)")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64], help="pixels (default: 32 64)")
    options = parser.parse_args()
    if options.seeds < 2:
        parser.error("one seed has no spread: --seeds must be at least 2")
    rows = []
    with tempfile.TemporaryDirectory() as home:
        copy_small_images(options.data, Path(home) / "images", options.images, options.val_images)
        for size in options.sizes:
            accuracies: dict[str, list[float]] = {precision: [] for precision in PRECISIONS}
            for seed in range(options.seeds):
                for precision in PRECISIONS:
                    raw = raw_config(Path(home), size, options.epochs, precision, seed)
                    accuracy = api.train(validate(raw)).history.classification[-1].val_accuracy
                    assert accuracy is not None
                    accuracies[precision].append(accuracy)
                    note(f"{size} px, seed {seed}, {precision}: {accuracy:.2f} %")
            rows.append(row(size, accuracies["fp32"], accuracies["bf16"]))
    title = f"resnet18, {options.images:,} images, {options.epochs} epochs, {options.seeds} seeds"
    header = ("px", "fp32 %", "bf16 %", "bf16 - fp32", "in standard errors")
    write_table(f"{title}: validation accuracy", header, rows)


def raw_config(home: Path, size: int, epochs: int, precision: str, seed: int) -> dict[str, Any]:
    """Write the config of one training, which ends with a rate near 0 so that accuracies settle."""
    enlarge: list[dict[str, Any]] = [{"name": "Resize", "size": size}] if size != 32 else []
    tensor: list[dict[str, Any]] = [{"name": "ToTensor"}, {"name": "Normalize"}]
    crop: list[dict[str, Any]] = [
        {"name": "RandomCrop", "size": size, "padding": size // 8},
        {"name": "RandomHorizontalFlip"},
    ]
    return {
        "model_name": "resnet18",
        "stem": "imagenet",
        "pretrained": False,
        "train_data_root": str(home / "images" / "train"),
        "val_data_root": str(home / "images" / "val"),
        "work_dir": str(home / "runs"),
        "epochs": epochs,
        "batch_size": 128,
        "learning_rate": 0.05,
        "optimizer": "SGD",
        "optimizer_params": {"momentum": 0.9, "weight_decay": 5e-4},
        "warmup_epochs": min(1, epochs - 1),
        "scheduler": "CosineAnnealingLR",
        "scheduler_params": {"T_max": max(1, epochs - 1)},
        "precision": precision,
        "channels_last": precision == "bf16",
        "seed": seed,
        "train_transform": [*enlarge, *crop, *tensor],
        "val_transform": [*enlarge, *tensor],
    }


def row(size: int, full: list[float], half: list[float]) -> list[str]:
    """Means, spreads and the difference of two lists of accuracies."""
    difference = mean(half) - mean(full)
    error = math.sqrt(sum(stdev(values) ** 2 / len(values) for values in (full, half)))
    told = [f"{mean(values):.2f} ± {stdev(values):.2f}" for values in (full, half)]
    errors = f"{difference / error:+.1f}" if error else "-"  # tiny trainings may agree exactly
    return [str(size), *told, f"{difference:+.2f}", errors]


if __name__ == "__main__":
    main()
