"""What is to be trained, and how it is told and answered between processes: a line of JSON each way."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

CIFAR_PADDING = 4
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclass(frozen=True)
class Job:
    """A training as all peers are asked for it: SGD with momentum, a constant rate, random weights.

    Attributes:
        data: Directory of `train` and `val`, with a directory for each class.
        model: `resnet18` with ImageNet's stem, or Pochi's `vgg_compact`.
        size: Height and width of the tensors in pixels. Photographs are cropped and resized to it at random,
            small images padded and cropped; both are mirrored at random.
        is_small: Whether the images have that size already.
        validates: Whether each epoch ends with the validation images.
        precision, channels_last, workers: What a user of the peer would choose by trying.
    """

    data: str
    model: Literal["resnet18", "vgg_compact"]
    classes: int
    size: int
    is_small: bool
    batch_size: int
    epochs: int
    validates: bool
    precision: Literal["fp32", "bf16"] = "fp32"
    channels_last: bool = False
    workers: int = 0
    learning_rate: float = 0.01
    momentum: float = 0.9

    @property
    def train(self) -> Path:
        """Directory of the training images."""
        return Path(self.data) / "train"

    @property
    def val(self) -> Path:
        """Directory of the validation images."""
        return Path(self.data) / "val"

    @property
    def settings(self) -> str:
        """The choices, in words."""
        layout = " channels-last" if self.channels_last else ""
        return f"{self.precision}{layout}, {self.workers} workers"

    def argument(self) -> str:
        """Write it for a process."""
        return json.dumps(asdict(self))


def read_job() -> Job:
    """Read the first argument of this process."""
    return Job(**json.loads(sys.argv[1]))


def answer(rates: Sequence[float] = (), accuracy: float | None = None, note: str = "", **more: Any) -> None:
    """Answer with the last line of the output.

    Args:
        rates: Training images per second of each epoch, where they are measured.
        accuracy: Of the last validation, in percent.
        note: What differs from the job.
        more: What else there is to tell.
    """
    told = {"rates": list(rates), "accuracy": accuracy, "note": note, **more}
    sys.stdout.write(f"\n{json.dumps(told)}\n")
