"""What is trained in the comparison, and on which images."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.benchmarks.comparison.image_folders import (
    SMALL,
    SMALL_CLASSES,
    copy_small_images,
    write_photographs,
    write_small_images,
)
from tests.benchmarks.peers.job import Job


@dataclass(frozen=True)
class Case:
    """A row of the comparison.

    Attributes:
        model: As in `Job`.
        is_small: Whether the images are CIFAR-10's or like them; else they are photographs.
        train, val: Numbers of images; without any for validation, only the second epoch's speed counts.
    """

    model: Literal["resnet18", "vgg_compact"]
    is_small: bool
    train: int
    val: int
    batch_size: int
    epochs: int

    @property
    def title(self) -> str:
        """What it is, in words."""
        images = f"{self.train:,} images of {SMALL} px" if self.is_small else f"{self.train:,} photographs"
        validated = f", {self.val:,} for validation" if self.val else ""
        return f"{self.model}, batch {self.batch_size}, {images}{validated}, {self.epochs} epochs"

    def job(self, data: Path) -> Job:
        """Make the job.

        Args:
            data: Where the images of `write_images` are.
        """
        return Job(
            data=str(data),
            model=self.model,
            classes=SMALL_CLASSES if self.is_small else 2,
            size=SMALL if self.is_small else 224,
            is_small=self.is_small,
            batch_size=self.batch_size,
            epochs=self.epochs,
            validates=self.val > 0,
        )

    def write_images(self, root: Path, source: Path | None) -> None:
        """Make the image folder.

        Args:
            root: Where `train` and `val` go.
            source: CIFAR-10 as a folder; without it small images are made.
        """
        if not self.is_small:
            write_photographs(root, self.train, self.val)
        elif source is None:
            write_small_images(root, self.train, self.val)
        else:
            copy_small_images(source, root, self.train, self.val)


# Six turns of at least ten whole batches where parts of an epoch take turns.
CASES = {
    "photos": Case("resnet18", is_small=False, train=960, val=0, batch_size=16, epochs=2),
    "cifar-resnet18": Case("resnet18", is_small=True, train=19_200, val=0, batch_size=128, epochs=2),
    "cifar-vgg": Case("vgg_compact", is_small=True, train=9_600, val=0, batch_size=128, epochs=2),
    "short-photos": Case("resnet18", is_small=False, train=244, val=153, batch_size=16, epochs=2),
    "short-cifar": Case("resnet18", is_small=True, train=5_000, val=1_000, batch_size=128, epochs=3),
}
