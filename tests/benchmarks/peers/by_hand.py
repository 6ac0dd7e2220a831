"""Model and loaders as they are written by hand with torchvision; more than one peer uses them."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder
from torchvision.models import resnet18
from torchvision.transforms import v2

from tests.benchmarks.peers.job import CIFAR_PADDING, MEAN, STD, Job


def build_model(job: Job) -> nn.Module:
    """Build the network with random weights, in the layout of the job."""
    if job.model == "resnet18":
        model: nn.Module = resnet18(weights=None, num_classes=job.classes)
    else:
        from pochi_cli.models.vgg import CompactVGG

        model = CompactVGG(job.classes)
    return model.to(memory_format=memory_format(job))


def memory_format(job: Job) -> torch.memory_format:
    """The layout as torch names it."""
    return torch.channels_last if job.channels_last else torch.contiguous_format


def train_transform(job: Job) -> v2.Compose:
    """Random crop and mirroring, from an image of Pillow's to a normalised tensor."""
    crop = v2.RandomCrop(job.size, padding=CIFAR_PADDING) if job.is_small else v2.RandomResizedCrop(job.size)
    return v2.Compose([crop, v2.RandomHorizontalFlip(), *_to_tensor()])


def val_transform(job: Job) -> v2.Compose:
    """The middle of the image as a normalised tensor."""
    crop = [] if job.is_small else [v2.Resize(round(job.size / 0.875)), v2.CenterCrop(job.size)]
    return v2.Compose([*crop, *_to_tensor()])


def _to_tensor() -> list[nn.Module]:
    return [v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)]


def create_loaders(job: Job) -> tuple[DataLoader[Any], DataLoader[Any] | None]:
    """Create the loaders of training and, where the job validates, validation images."""
    create = partial(
        DataLoader, batch_size=job.batch_size, num_workers=job.workers, persistent_workers=job.workers > 0
    )
    train = ImageFolder(job.train, train_transform(job))
    val = create(ImageFolder(job.val, val_transform(job))) if job.validates else None
    return create(train, shuffle=True), val
