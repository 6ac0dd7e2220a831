"""Models to export, without a training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.images import read_rgb
from pochi_cli.data.transforms import build_pipeline
from pochi_cli.engine.checkpoint import FORMAT_VERSION, save_checkpoint
from pochi_cli.models.factory import create_model
from tests.engine.tiny import tiny_config

CLASS_NAMES = ("0", "1", "2", "３")


def write_model(path: Path, data: Path, size: tuple[int, int] = (32, 32), **changes: Any) -> Path:
    """Write the checkpoint of a model whose batch norms know the digits in `data`, as after a training."""
    config = tiny_config(data, **changes)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = create_model(config, len(CLASS_NAMES), size).model
        # vit_tiny's head starts at zero, and would hide all that lies before it.
        nn.init.normal_(model.get_parameter(f"{CATALOGUE[config.model_name].head}.weight"), std=0.1)
        _see(model, digit_images(config, data / "train", size))
    content = {
        "format_version": FORMAT_VERSION,
        "config": config.model_dump(mode="json", exclude_none=True),
        "class_names": list(CLASS_NAMES),
        "image_size": list(size),
        "class_weights": None,
        "epoch": 3,
        "sampler_state": {"batches": 0},
        "model_state_dict": model.state_dict(),
        "ema_state_dict": None,
    }
    save_checkpoint(content, [path])
    return path


def digit_images(config: ClassificationConfig, folder: Path, size: tuple[int, int]) -> Tensor:
    """Some digits as a model of that config sees them, (N, 3, height, width)."""
    assert config.val_transform is not None
    pipeline = build_pipeline(config.val_transform, config.mean, config.std)
    files = sorted(folder.rglob("*.png"))[::3]
    return torch.stack([pipeline(read_rgb(file).resize(size[::-1])) for file in files])


def _see(model: nn.Module, images: Tensor) -> None:
    """Fill the running statistics, without which the outputs of deep models vanish."""
    norms = [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm2d | nn.BatchNorm1d)]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.momentum = 1.0
    model.train()
    with torch.no_grad():
        model(images)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
