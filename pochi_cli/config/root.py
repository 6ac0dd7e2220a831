"""The whole config of a classification run."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from pochi_cli.config.base import StrictModel
from pochi_cli.config.data import DEFAULT_BATCH_SIZE, DataConfig
from pochi_cli.config.model import ModelConfig
from pochi_cli.config.optim import OptimConfig
from pochi_cli.config.recording import HardwareConfig, RecordingConfig


class TaskConfig(StrictModel):
    """What is learnt."""

    task: Literal["classification"] = Field("classification", description="What is learnt.")


# The file is flat, so the parts are bases: each builder takes the part that it needs by its type.
# pydantic orders fields from the last base to the first, which makes this the order of the file.
class ClassificationConfig(RecordingConfig, HardwareConfig, OptimConfig, DataConfig, ModelConfig, TaskConfig):
    """Every key of a classification config, validated."""

    @property
    def images_per_step(self) -> int:
        """Images that an optimizer step takes; with `auto` as many as with the default batch size."""
        batch_size = DEFAULT_BATCH_SIZE if self.batch_size == "auto" else self.batch_size
        return batch_size * self.accumulate_steps
