"""Features of a frozen backbone, computed once: each epoch then trains the head alone."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.modules.dropout import _DropoutNd
from torchvision.ops import StochasticDepth

from pochi_cli.data.datasets import BadImage, Batch, ImageDataset
from pochi_cli.data.loaders import BatchLoader
from pochi_cli.data.published import Tell
from pochi_cli.data.sampling import EpochBatchSampler
from pochi_cli.data.transfer import to_device
from pochi_cli.engine.preserving import preserved
from pochi_cli.engine.runtime import Runtime
from pochi_cli.models.freezing import train_mode

_TELL_EVERY_S = 10.0


@dataclass(frozen=True)
class Tail:
    """The last modules of a model, of which all before is frozen.

    Attributes:
        names: Their dotted names, in the order in which they are applied.
    """

    names: tuple[str, ...]

    def __call__(self, model: nn.Module, features: Tensor) -> Tensor:
        """Compute the model's outputs (N, K) from what it gives to the tail."""
        for name in self.names:
            features = model.get_submodule(name)(features)
        return features


def frozen_tail(model: nn.Module, head: str) -> Tail | None:
    """Find the modules behind a frozen backbone that gives the same for an image each time.

    Args:
        model: Frozen as it will be trained.
        head: Dotted name of its last layer.

    Returns:
        The head, and modules without parameters right before it, such as a dropout; `None` where more is
        trained, or where the backbone draws random numbers or uses statistics of the batch.
    """
    names = [head]
    parent, _, last = head.rpartition(".")
    container = model.get_submodule(parent)
    if isinstance(container, nn.Sequential):
        before = [name for name, _ in container.named_children()]
        for name in reversed(before[: before.index(last)]):
            if any(True for _ in container.get_submodule(name).parameters()):
                break
            names.insert(0, f"{parent}.{name}" if parent else name)
    tail = {id(module) for name in names for module in model.get_submodule(name).modules()}
    trained = {id(p) for name in names for p in model.get_submodule(name).parameters()}
    if any(p.requires_grad and id(p) not in trained for p in model.parameters()):
        return None
    with preserved(model):
        train_mode(model)
        varies = any(_varies(module) for module in model.modules() if id(module) not in tail)
    return None if varies else Tail(tuple(names))


def _varies(module: nn.Module) -> bool:
    """Tell whether what a module gives for an image depends on chance, or on the others of its batch."""
    if isinstance(module, _BatchNorm):
        return module.training
    if isinstance(module, _DropoutNd | StochasticDepth):
        return module.p > 0
    chances = (getattr(module, name, 0.0) for name in ("dropout", "attention_dropout"))
    return any(isinstance(chance, float) and chance > 0 for chance in chances)


@dataclass(frozen=True)
class Features:
    """What a backbone gives for images.

    Attributes:
        values: (N, ...), as the tail takes it, on the device; 0 where an image is bad.
        known: bool (N,), on the CPU: whether it is not.
        labels: int64 (N,).
        skipped: The bad images.
    """

    values: Tensor
    known: Tensor
    labels: Tensor
    skipped: tuple[BadImage, ...]


@torch.no_grad()
def compute_features(
    model: nn.Module, tail: Tail, loader: BatchLoader, runtime: Runtime, limit: int | None, tell: Tell
) -> Features | None:
    """Compute the features of all images of a loader that takes them in their order.

    The batches are always the same, and so are the features, also for a run that is resumed, and whichever of
    several processes computes a batch: these take them in turn, and give one another what they found.

    Args:
        model: As it is laid out; its modules stay in the modes in which they are.
        tail: What comes behind the backbone.
        loader: The images.
        runtime: Device, precision and layout, and the processes that compute together.
        limit: Bytes that the features may take, the same in all processes; `None` if unknown.
        tell: Told what takes a while, and how far it is.

    Returns:
        The features; `None` where they do not fit.

    Raises:
        DataError: All images are bad.
    """
    caught: list[Tensor] = []
    first = model.get_submodule(tail.names[0])
    # A copy: the modules behind may work in place.
    hook = first.register_forward_pre_hook(lambda _, inputs: caught.append(inputs[0].clone()))
    team, count = runtime.team, len(loader.dataset)
    values: Tensor | None = None
    known = torch.zeros(count, dtype=torch.uint8)
    told_at = time.monotonic()
    with hook, preserved(model):
        model.eval()
        for number, batch in loader.batches(epoch=0):
            moved = batch.to(runtime.device, channels_last=runtime.channels_last)
            with runtime.autocast():
                model(moved.images)
            found = caught.pop()
            if values is None:
                size = count * math.prod(found.shape[1:]) * found.element_size()
                if limit is not None and size > limit:
                    break
                if team.is_first:
                    of = f"the features of {count:,} images"
                    tell(f"computing {of} once: all but {tail.names[-1]} is frozen")
                values = found.new_zeros((count, *found.shape[1:]))
            values[moved.indices] = found
            known[batch.indices] = 1
            if time.monotonic() - told_at > _TELL_EVERY_S:
                told_at = time.monotonic()
                tell(f"features of {(number + 1) / len(loader):.0%} of the images are computed")
    loader.newly_skipped()
    like = next((one for one in team.gather(_like(values)) if one), None)
    if like is None:
        # No process has any: either all images are bad, or none may keep the features.
        loader.require_used(len(loader.dataset) - len(loader.skipped))
        return None
    if values is None:
        values = torch.zeros((count, *like[0]), dtype=like[1], device=runtime.device)
    labels = torch.tensor(loader.dataset.index.labels, dtype=torch.int64)
    # What a process did not compute is zero.
    return Features(team.sum(values), team.sum(known).bool(), labels, tuple(loader.skipped))


def _like(values: Tensor | None) -> tuple[tuple[int, ...], torch.dtype] | None:
    return None if values is None else (tuple(values.shape[1:]), values.dtype)


class FeatureLoader:
    """Batches of features in place of images.

    Args:
        dataset: The images.
        features: Of all of them.
        sampler: Their order, and what this process takes of the batches.
        minimum: Batches with fewer images that are not bad are passed over.

    Attributes:
        dataset: The images.
        skipped: The bad ones.
    """

    worker_count = 0

    def __init__(
        self, dataset: ImageDataset, features: Features, sampler: EpochBatchSampler, minimum: int
    ) -> None:
        self.dataset = dataset
        self.skipped: Sequence[BadImage] = features.skipped
        self._features = features
        self._sampler = sampler
        self._minimum = minimum
        self._told = False

    def __len__(self) -> int:
        """Count the batches of a whole epoch."""
        return len(self._sampler)

    def newly_decided(self) -> Sequence[str]:
        """Nothing ever is."""
        return ()

    def newly_skipped(self) -> Sequence[BadImage]:
        """List the bad images, once."""
        new = () if self._told else self.skipped
        self._told = True
        return new

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[tuple[int, Batch]]:
        """Yield the batches of an epoch, from one on; each comes with its number, from 0."""
        self._sampler.set_epoch(epoch, start_batch)
        known, values = self._features.known, self._features.values
        for number, keys in self._sampler.whole_batches():
            indices = torch.tensor([key.index for key in keys], dtype=torch.int64)
            indices = indices[known[indices]]
            if len(indices) < self._minimum:
                continue
            portion = self._sampler.portion(len(indices))
            indices = indices[portion.start : portion.stop]
            labels = self._features.labels[indices]
            chosen = values[to_device(indices, values.device)]
            yield number, Batch(chosen, labels, indices, portion=portion)
