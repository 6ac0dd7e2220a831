"""MixUp and CutMix on batches, drawn from (seed, epoch, batch) alone."""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from pochi_cli.config.optim import LossConfig
from pochi_cli.data.transfer import to_device


class NoMixing:
    """Leaves batches as they are."""

    def __call__(self, images: Tensor, labels: Tensor, epoch: int, batch: int) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Return the batch unchanged."""
        return images, labels


class Mixing:
    """Mixes each image with another one of its batch, and their labels alike.

    MixUp (Zhang et al., 2018) blends the two, CutMix (Yun et al., 2019) pastes a rectangle of the other.
    With both on, each batch takes one of them with equal probability.

    Args:
        mixup_alpha, cutmix_alpha: Parameter of the symmetric Beta distribution of lambda; 0 is off.
        num_classes: K.
        seed: Of the run.
    """

    def __init__(self, mixup_alpha: float, cutmix_alpha: float, num_classes: int, seed: int) -> None:
        self.mixup_alpha = mixup_alpha
        self.cutmix_alpha = cutmix_alpha
        self.num_classes = num_classes
        self.seed = seed

    def __call__(self, images: Tensor, labels: Tensor, epoch: int, batch: int) -> tuple[Tensor, Tensor]:
        """Mix a batch.

        Args:
            images: float32 (N, 3, H, W).
            labels: int64 (N,).
            epoch: From 1.
            batch: Number of the batch within the epoch.

        Returns:
            Images of the same shape, and class probabilities float32 (N, K).
        """
        random = np.random.default_rng([self.seed, epoch, batch])
        cut = self.cutmix_alpha > 0 and (self.mixup_alpha == 0 or random.random() < 0.5)
        alpha = self.cutmix_alpha if cut else self.mixup_alpha
        ratio = float(random.beta(alpha, alpha))
        partner = to_device(torch.from_numpy(random.permutation(len(images))), images.device)
        if cut:
            images, ratio = self._paste(images, images[partner], ratio, random)
        else:
            images = torch.lerp(images[partner], images, ratio)
        one_hot = F.one_hot(labels, self.num_classes).to(torch.float32)
        return images, torch.lerp(one_hot[partner], one_hot, ratio)

    @staticmethod
    def _paste(
        images: Tensor, others: Tensor, ratio: float, random: np.random.Generator
    ) -> tuple[Tensor, float]:
        """Paste a rectangle of area 1 - ratio at a uniform place; returns the ratio really kept."""
        height, width = images.shape[-2:]
        edge = math.sqrt(1 - ratio)
        row, column = int(random.integers(height)), int(random.integers(width))
        half_height, half_width = int(edge * height) // 2, int(edge * width) // 2
        top, bottom = max(row - half_height, 0), min(row + half_height, height)
        left, right = max(column - half_width, 0), min(column + half_width, width)
        images = images.clone()
        images[..., top:bottom, left:right] = others[..., top:bottom, left:right]
        return images, 1 - (bottom - top) * (right - left) / (height * width)


def create_mixing(config: LossConfig, num_classes: int, seed: int) -> Mixing | NoMixing:
    """Build what the config asks for."""
    if config.mixup_alpha == 0 and config.cutmix_alpha == 0:
        return NoMixing()
    return Mixing(config.mixup_alpha, config.cutmix_alpha, num_classes, seed)
