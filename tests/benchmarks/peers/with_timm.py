"""timm: its model, loader and optimizer in the plainest correct loop; its own script is not in the wheel."""

from __future__ import annotations

from importlib import import_module

import torch

from tests.benchmarks.peers.by_hand import memory_format, train_transform, val_transform
from tests.benchmarks.peers.careful_loop import train_epoch, validate
from tests.benchmarks.peers.job import MEAN, STD, Job, answer, read_job

timm = import_module("timm")
timm_data = import_module("timm.data")
timm_optim = import_module("timm.optim")


def main() -> None:
    """Train."""
    job = read_job()
    torch.manual_seed(0)
    model = timm.create_model(job.model, pretrained=False, num_classes=job.classes)
    model = model.to(memory_format=memory_format(job))
    optimizer = timm_optim.create_optimizer_v2(
        model, opt="momentum", lr=job.learning_rate, momentum=job.momentum, weight_decay=0.0
    )
    train, val = _loader(job, is_training=True), _loader(job, is_training=False) if job.validates else None
    accuracy = None
    for _ in range(job.epochs):
        train_epoch(job, model, optimizer, train)
        accuracy = None if val is None else validate(job, model, val)
    answer(accuracy=accuracy)


def _loader(job: Job, *, is_training: bool):  # type: ignore[no-untyped-def]
    dataset = timm_data.create_dataset(
        "", root=str(job.data), split="train" if is_training else "val", is_training=is_training
    )
    loader = timm_data.create_loader(
        dataset,
        input_size=(3, job.size, job.size),
        batch_size=job.batch_size,
        is_training=is_training,
        color_jitter=None,
        interpolation="bilinear",
        mean=MEAN,
        std=STD,
        crop_pct=0.875,
        num_workers=job.workers,
        persistent_workers=job.workers > 0,
        device=torch.device("cpu"),
        use_prefetcher=False,  # it is for GPUs
    )
    if job.is_small:  # timm has no padded crop of its own
        dataset.transform = (train_transform if is_training else val_transform)(job)
    return loader


if __name__ == "__main__":
    main()
