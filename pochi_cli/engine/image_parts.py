"""What the training of a classifier works with: its images or their features, and its loss."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from pochi_cli.allocator import return_freed_memory
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.cores import usable_cores
from pochi_cli.data.batches import Loader, Loaders
from pochi_cli.data.cache_choice import CacheMode, cache_text
from pochi_cli.data.datasets import Batch
from pochi_cli.data.held import Room
from pochi_cli.data.loaders import BatchLoader, create_loaders
from pochi_cli.data.prepare import Data
from pochi_cli.data.published import Tell
from pochi_cli.data.sampling import EpochBatchSampler, Order
from pochi_cli.data.shares import Peers
from pochi_cli.engine.classification_objective import ClassificationObjective
from pochi_cli.engine.features import FeatureLoader, Tail, compute_features, frozen_tail
from pochi_cli.engine.losses import CrossEntropy
from pochi_cli.engine.memory import share_of_memory
from pochi_cli.engine.mixing import create_mixing
from pochi_cli.engine.objectives import Parts
from pochi_cli.engine.runtime import Runtime

_PLACE = "features"
"""What a run's settings say of where images are kept, if their features are."""
_SHARE = 0.25
"""Share of the free memory that features may take."""


def are_images_fixed(config: ClassificationConfig) -> bool:
    """Tell whether the model sees an image the same in each epoch, and nothing else looks at images."""
    pipelines = (config.train_transform, config.val_transform or ())
    return (
        config.cache != "none"
        and config.epochs > 1
        and not (config.mixup_alpha or config.cutmix_alpha or config.enable_tensorboard)
        and not any(step.is_random for steps in pipelines for step in steps)
    )


@dataclass(frozen=True)
class ImageParts:
    """Makes them.

    Attributes:
        config: Without open choices.
        data: The images.
        class_weights: In the loss; `None` for equal ones.
        runtime: Device, precision and layout.
    """

    config: ClassificationConfig
    data: Data
    class_weights: Sequence[float] | None
    runtime: Runtime

    def images(self, epochs: int, before: Mapping[str, Any] | None = None) -> Parts:
        """Train on images, which are read so many times.

        Args:
            epochs: How many.
            before: The settings with which a run began that goes on.
        """
        had = [count > 0 for count in (before or {}).get("num_workers", ())]
        loaders = self._loaders(epochs, self.config.cache, self.config.sampler, self.runtime.team, had)
        cached = [loader.cached for loader in loaders if loader]
        return Parts(
            loaders,
            self._objective(loaders.val),
            messages=cache_text(cached),
            warnings=tuple(one.warning for one in cached if one.warning),
            settings={"cache": [one.place for one in cached]},
        )

    def features(self, model: nn.Module, tell: Tell, before: Mapping[str, Any] | None) -> Parts | None:
        """Train on features of the images, if nothing but what comes behind them is trained.

        Args:
            model: Frozen as it will be trained.
            tell: Told what takes a while.
            before: The settings with which a run began that goes on. It keeps to what it did: features and
                images give the same but for rounding.

        Returns:
            `None` where the images are needed in each epoch, or the features don't fit into memory.
        """
        team = self.runtime.team
        free = share_of_memory(self.runtime.device, team.place.sharers)
        limit = None if free is None or before is not None else int(free * _SHARE)
        is_wanted = are_images_fixed(self.config) if before is None else _PLACE in before.get("cache", ())
        tail = frozen_tail(model, self.config.head) if is_wanted else None
        if tail is None:
            return None
        images = self._loaders(1, "none", "sequential", team)
        limit = team.first(limit)  # so that all decide alike
        size = self.config.images_per_batch
        wanted: tuple[tuple[BatchLoader | None, Order, int], ...] = (
            (images.train, self.config.sampler, min(2, size)),
            (images.val, "sequential", 1),
        )
        loaders: list[FeatureLoader] = []
        for part, order, minimum in wanted:
            if part is None:
                continue
            features = compute_features(model, tail, part, self.runtime, limit, tell)
            if features is None:
                return None
            labels = part.dataset.index.labels
            sampler = EpochBatchSampler(labels, size, self.config.seed, order, team.rank, team.size)
            loaders.append(FeatureLoader(part.dataset, features, sampler, minimum))
        return_freed_memory()  # a backbone takes far more than what is trained now
        train, val = loaders[0], loaders[1] if len(loaders) > 1 else None
        return Parts(
            Loaders(train, val),
            self._objective(val, tail),
            messages=("trains on features that were computed once",),
            settings={"cache": [_PLACE] * len(loaders)},
        )

    def _loaders(
        self,
        epochs: int,
        cache: CacheMode,
        order: Order,
        peers: Peers,
        had_workers: Sequence[bool] = (),
    ) -> Loaders[BatchLoader]:
        place, workers = self.runtime.team.place, self.config.num_workers
        if workers != "auto":
            workers = -(-workers // place.local_world_size)
        return create_loaders(
            self.config.model_copy(update={"cache": cache, "num_workers": workers}),
            self.data,
            seed=self.config.seed,
            device_type=self.runtime.device.type,
            order=order,
            epochs=epochs,
            free_memory=share_of_memory(torch.device("cpu"), place.sharers),
            room=self._room,
            peers=peers,
            cores=max(1, usable_cores() // place.sharers),
            had_workers=had_workers,
            fills_cache=place.local_rank == 0,
        )

    @property
    def _room(self) -> Room | None:
        """Where images may be held: on the device that computes, if that is a CUDA device."""
        device = self.runtime.device
        if device.type != "cuda":
            return Room(torch.device("cpu"))
        return None if self.config.cache == "none" else Room(device)

    def _objective(
        self, validation: Loader[Batch] | None, tail: Tail | None = None
    ) -> ClassificationObjective:
        config = self.config
        return ClassificationObjective(
            CrossEntropy(self.class_weights, config.label_smoothing),
            CrossEntropy(self.class_weights),
            create_mixing(config, len(self.data.class_names), config.seed),
            self.runtime,
            validation,
            tail,
        )
