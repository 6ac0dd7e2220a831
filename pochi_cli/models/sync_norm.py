"""Batch normalisation over the images of all processes that share a batch."""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from pochi_cli.models.freezing import is_frozen


class _OfAll(_BatchNorm):
    """Normalises by mean and variance of all processes' images, as one process does that has them all.

    Attributes:
        is_whole: Whether each process has all images of the batch, and needs no others.
    """

    is_whole = False

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - as torch names it
        """Take any number of dimensions."""


class SyncedOnGPU(nn.SyncBatchNorm, _OfAll):
    """Torch's own, which is for GPUs alone."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise (n, C, ...)."""
        return _BatchNorm.forward(self, input) if self.is_whole else super().forward(input)


class SyncedOnCPU(_OfAll):
    """Adds up mean and then variance over the processes, and in the backward pass the gradients of both."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002
        """Normalise (n, C, ...)."""
        return super().forward(input) if self.is_whole or not self.training else self._by_all(input)

    def _by_all(self, images: Tensor) -> Tensor:
        values = images.float()
        others = [0, *range(2, values.ndim)]
        shape = [1, -1, *([1] * (values.ndim - 2))]
        count = values.new_full((1,), values.numel() / values.shape[1])
        sums = sum_over_processes(torch.cat([values.sum(others), count]))
        total = sums[-1]
        mean = sums[:-1] / total
        centred = values - mean.view(shape)
        variance = sum_over_processes(centred.square().sum(others)) / total
        self._update(mean.detach(), (variance * total / (total - 1)).detach())
        scale = torch.rsqrt(variance + self.eps)
        if self.affine:
            scale = scale * self.weight
        normalised = centred * scale.view(shape)
        if self.affine:
            normalised = normalised + self.bias.view(shape)
        return normalised.to(images.dtype)

    @torch.no_grad()
    def _update(self, mean: Tensor, variance: Tensor) -> None:
        """Update the running statistics, by the unbiased variance."""
        if not self.track_running_stats:
            return
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        self.num_batches_tracked += 1
        share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, share)
        self.running_var.lerp_(variance, share)


class _Sum(torch.autograd.Function):
    """A sum over the processes; each one's gradient is the sum of all gradients of it."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:  # noqa: ARG004
        values = values.clone()
        dist.all_reduce(values)
        return values

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ARG004
        gradient = gradient.clone()
        dist.all_reduce(gradient)
        return gradient


def sum_over_processes(values: Tensor) -> Tensor:
    """Add up what each process has; gradients flow back to all."""
    summed: Tensor = _Sum.apply(values)
    return summed


SYNCED = (SyncedOnGPU, SyncedOnCPU)


def synchronise(model: nn.Module, device_type: str) -> None:
    """Replace the batch norms of a model; parameters and buffers stay the same objects.

    Args:
        model: On its device.
        device_type: `cpu` or `cuda`.
    """
    for parent in list(model.modules()):
        for name, module in list(parent.named_children()):
            if isinstance(module, _BatchNorm):
                setattr(parent, name, _synced(module, device_type))


def synced_norms(model: nn.Module) -> list[SyncedOnGPU | SyncedOnCPU]:
    """List the batch norms that `synchronise` made."""
    return [module for module in model.modules() if isinstance(module, SYNCED)]


def normalising_by_own(model: nn.Module) -> list[_BatchNorm]:
    """List the batch norms that take mean and variance of the images of their own process, when trained."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    return [norm for norm in norms if not isinstance(norm, SYNCED) and not is_frozen(norm)]


def _synced(module: _BatchNorm, device_type: str) -> SyncedOnGPU | SyncedOnCPU:
    make = SyncedOnGPU if device_type == "cuda" else SyncedOnCPU
    made = make(module.num_features, module.eps, module.momentum, module.affine, module.track_running_stats)
    made.train(module.training)
    made.weight, made.bias = module.weight, module.bias
    made.running_mean, made.running_var = module.running_mean, module.running_var
    made.num_batches_tracked = module.num_batches_tracked
    return made
