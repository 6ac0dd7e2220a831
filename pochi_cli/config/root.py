"""The whole configs, one class for each task."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field

from pochi_cli.config.base import StrictModel
from pochi_cli.config.catalogue import CATALOGUE, parameter_shapes
from pochi_cli.config.data import DEFAULT_BATCH_SIZE, DataConfig
from pochi_cli.config.embedding import (
    DIGITS,
    DistanceLossConfig,
    EmbeddingOptimConfig,
    EncoderConfig,
    RecallConfig,
    VectorDataConfig,
)
from pochi_cli.config.likeness import closest
from pochi_cli.config.model import ModelConfig
from pochi_cli.config.optim import EarlyStoppingConfig, LossConfig, OptimConfig
from pochi_cli.config.recalls import is_recall, recall_name
from pochi_cli.config.recording import (
    GradientTrackingConfig,
    HardwareConfig,
    ImageHardwareConfig,
    PictureConfig,
    RecordingConfig,
)
from pochi_cli.config.search import OptunaConfig

_TASK = "What is learnt: `classification` of images, or an `embedding` of vectors."


class SearchConfig(StrictModel):
    """What `pochi optimize` adds to a config."""

    optuna: OptunaConfig | None = Field(
        None, description="What `pochi optimize` searches; a training leaves it alone."
    )


class TrainingConfig(SearchConfig, RecordingConfig, HardwareConfig, OptimConfig):
    """What the configs of all tasks have in common."""

    @property
    @abstractmethod
    def network(self) -> str:
        """What the model is called where runs are told apart."""

    @property
    @abstractmethod
    def model_key(self) -> str:
        """The key that decides which parameters there are."""

    @property
    @abstractmethod
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the model's parameters, from the input to the output."""

    @property
    @abstractmethod
    def head(self) -> str:
        """Name of the model's last layer."""

    @property
    @abstractmethod
    def has_validation(self) -> bool:
        """Whether some data are kept for validation."""

    @property
    @abstractmethod
    def best_metric(self) -> str:
        """What chooses the best model."""

    @property
    def shown_metric(self) -> str:
        """What is shown where there is room for one metric."""
        return self.best_metric

    @property
    def untraced(self) -> tuple[str, ...]:
        """Patterns of the parameters whose gradients are not recorded, searched in their names."""
        return self.gradient_tracking_config.exclude_patterns


class ClassificationTask(StrictModel):
    """What is learnt."""

    task: Literal["classification"] = Field("classification", description=_TASK)


class EmbeddingTask(StrictModel):
    """What is learnt."""

    task: Literal["embedding"] = Field(description=_TASK)


# The file is flat, so the parts are bases: each builder takes the part that it needs by its type.
# pydantic orders fields from the last base to the first, which makes this the order of the file.
class ClassificationConfig(
    PictureConfig,
    ImageHardwareConfig,
    TrainingConfig,
    LossConfig,
    DataConfig,
    ModelConfig,
    ClassificationTask,
):
    """Every key of a classification config, validated."""

    early_stopping: EarlyStoppingConfig = Field(
        EarlyStoppingConfig(),
        description="When to stop before the last epoch, and which metric chooses the best model.",
    )

    @property
    def model_key(self) -> str:
        """The key that decides which parameters there are."""
        return "model_name"

    @property
    def network(self) -> str:
        """The model's name in the catalogue."""
        return self.model_name

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the model's parameters, from the input to the output."""
        return tuple(parameter_shapes(self.model_name))

    @property
    def head(self) -> str:
        """Name of the model's last layer."""
        return CATALOGUE[self.model_name].head

    @property
    def downloads(self) -> bool:
        """Whether images or weights may have to be downloaded or made before the training."""
        return self.dataset is not None or (self.pretrained and self.weights is None)

    @property
    def has_validation(self) -> bool:
        """Whether the config names validation data (the named data sets bring their own)."""
        return self.val_data_root is not None or self.val_split is not None or self.dataset != "folder"

    @property
    def best_metric(self) -> str:
        """What chooses the best model."""
        return self.early_stopping.monitor

    @property
    def untraced(self) -> tuple[str, ...]:
        """Patterns of the parameters whose gradients are not recorded, searched in their names.

        The default ones are meant to leave out the head, which not every model calls `fc`.
        """
        given = self.gradient_tracking_config.exclude_patterns
        if given != GradientTrackingConfig().exclude_patterns:
            return given
        return (*given, rf"\A{re.escape(self.head)}\.")

    @property
    def images_per_step(self) -> int:
        """Images that an optimizer step takes; with `auto` as many as with the default batch size."""
        batch_size = DEFAULT_BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        return batch_size * self.accumulate_steps


class EmbeddingConfig(
    RecallConfig,
    DistanceLossConfig,
    EmbeddingOptimConfig,
    TrainingConfig,
    VectorDataConfig,
    EncoderConfig,
    EmbeddingTask,
):
    """Every key of an embedding config, validated."""

    @property
    def model_key(self) -> str:
        """The key that decides which parameters there are."""
        return "hidden_dims"

    @property
    def network(self) -> str:
        """The widths of the encoder, from its hidden layers to its output."""
        return "encoder-" + "-".join(map(str, (*self.hidden_dims, self.latent_dim)))

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """Names of the encoder's parameters, from the input to the output."""
        layers = [f"hidden.{place}" for place in range(len(self.hidden_dims))]
        first = ["projection"] if self.init == "pca_residual" else []
        return tuple(
            f"{layer}.{kind}" for layer in (*first, *layers, self.head) for kind in ("weight", "bias")
        )

    @property
    def head(self) -> str:
        """Name of the encoder's last layer."""
        return "head"

    @property
    def downloads(self) -> bool:
        """Whether vectors have to be made before the training."""
        return self.train_vectors == DIGITS

    @property
    def has_validation(self) -> bool:
        """Whether some rows are held out."""
        return self.holdout > 0

    @property
    def best_metric(self) -> str:
        """What chooses the best encoder."""
        return self.early_stopping.monitor or recall_name(self.k)

    @property
    def shown_metric(self) -> str:
        """The recall by which the encoder is judged."""
        return self.judged_recall

    @property
    def judged_recall(self) -> str:
        """The recall by which the encoder is said to be better than others or not."""
        return self.best_metric if is_recall(self.best_metric) else recall_name(self.k)

    @property
    def measured_ks(self) -> tuple[int, ...]:
        """Numbers of neighbours of which the recall is measured, rising."""
        return tuple(sorted({*self.recall_ks, self.k}))

    def has_recall(self, epoch: int) -> bool:
        """Tell whether the recall is measured after an epoch, from 1."""
        every = self.recall_every_epochs or self.save_interval
        return self.has_validation and (epoch % every == 0 or epoch == self.epochs)


Config = ClassificationConfig | EmbeddingConfig
"""A config of any task."""

ROOTS: Mapping[str, type[Config]] = {"classification": ClassificationConfig, "embedding": EmbeddingConfig}
"""The class of the configs of each task."""


def root_of(raw: Mapping[str, Any]) -> type[Config]:
    """Choose the class that a raw config is validated with: by its task, or what looks like one.

    That of images, where it names none.
    """
    task = raw.get("task")
    meant = closest(task, ROOTS) if isinstance(task, str) else None
    return ROOTS[meant] if meant else ClassificationConfig
