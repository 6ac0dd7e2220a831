"""The whole config of a classification run."""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field

from pochi_cli.config.base import StrictModel
from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.data import DEFAULT_BATCH_SIZE, DataConfig
from pochi_cli.config.model import ModelConfig
from pochi_cli.config.optim import OptimConfig
from pochi_cli.config.recording import GradientTrackingConfig, HardwareConfig, RecordingConfig
from pochi_cli.config.search import OptunaConfig


class TaskConfig(StrictModel):
    """What is learnt."""

    task: Literal["classification"] = Field("classification", description="What is learnt.")


class SearchConfig(StrictModel):
    """What `pochi optimize` adds to a config."""

    optuna: OptunaConfig | None = Field(
        None, description="What `pochi optimize` searches; a training leaves it alone."
    )


# The file is flat, so the parts are bases: each builder takes the part that it needs by its type.
# pydantic orders fields from the last base to the first, which makes this the order of the file.
class ClassificationConfig(
    SearchConfig, RecordingConfig, HardwareConfig, OptimConfig, DataConfig, ModelConfig, TaskConfig
):
    """Every key of a classification config, validated."""

    @property
    def untraced(self) -> tuple[str, ...]:
        """Patterns of the parameters whose gradients are not recorded, searched in their names.

        The default ones are meant to leave out the head, which not every model calls `fc`.
        """
        given = self.gradient_tracking_config.exclude_patterns
        if given != GradientTrackingConfig().exclude_patterns:
            return given
        return (*given, rf"\A{re.escape(CATALOGUE[self.model_name].head)}\.")

    @property
    def images_per_step(self) -> int:
        """Images that an optimizer step takes; with `auto` as many as with the default batch size."""
        batch_size = DEFAULT_BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        return batch_size * self.accumulate_steps
