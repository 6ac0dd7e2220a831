"""A job as a config of Pochi's: what the job fixes, and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.benchmarks.peers.job import CIFAR_PADDING, Job


def config_of(job: Job, work_dir: Path, **changes: Any) -> dict[str, Any]:
    """Write a job as a raw config.

    Args:
        job: Its precision, layout and workers are left to Pochi.
        work_dir: Where the run goes.
        changes: Other keys.
    """
    crop: dict[str, Any] = {"name": "RandomResizedCrop", "size": job.size}
    middle = [{"name": "Resize", "size": round(job.size / 0.875)}, {"name": "CenterCrop", "size": job.size}]
    if job.is_small:
        crop = {"name": "RandomCrop", "size": job.size, "padding": CIFAR_PADDING}
        middle = []
    tensor = [{"name": "ToTensor"}, {"name": "Normalize"}]
    config: dict[str, Any] = {
        "model_name": job.model,
        "train_data_root": str(job.train),
        "work_dir": str(work_dir),
        "device": "cpu",
        "epochs": job.epochs,
        "batch_size": job.batch_size,
        "learning_rate": job.learning_rate,
        "optimizer": "SGD",
        "optimizer_params": {"momentum": job.momentum},
        "train_transform": [crop, {"name": "RandomHorizontalFlip"}, *tensor],
    }
    if job.model == "resnet18":
        config |= {"stem": "imagenet", "pretrained": False}
    if job.validates:
        config |= {"val_data_root": str(job.val), "val_transform": [*middle, *tensor]}
    return config | changes
