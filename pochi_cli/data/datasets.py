"""Images as tensors: the data set, and its batches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import torch
from PIL import Image
from torch.utils.data import Dataset

from pochi_cli.characters import printable
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import BadImageError
from pochi_cli.data.sampling import SampleKey, derive_seed
from pochi_cli.data.transforms import ImagePipeline, StepError


@dataclass(frozen=True, eq=False)
class Sample:
    """One image: float32 (3, height, width), its label, and its position in the data."""

    image: torch.Tensor
    label: int
    index: int


@dataclass(frozen=True)
class BadImage:
    """An image that could not be turned into a tensor.

    It travels as a value: an exception that crosses processes loses its type.

    Attributes:
        path: The file.
        reason: Why.
        stage: `read` where a file that was there when the run began cannot be read any more; `decode` where
            the file is at fault; `transform` where a step cannot take an image like this, such as a crop
            larger than the image.
    """

    path: str
    reason: str
    stage: Literal["read", "decode", "transform"] = "decode"


@dataclass(frozen=True)
class MixedSizes:
    """Two images of a batch whose tensors differ in size.

    Attributes:
        indices: Their positions in the data.
        sizes: Height and width of each tensor.
    """

    indices: tuple[int, int]
    sizes: tuple[tuple[int, int], tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Batch:
    """Images of one size.

    Attributes:
        images: float32 (N, 3, height, width); (0, 3, 0, 0) where every image was bad.
        labels: int64 (N,).
        indices: int64 (N,), positions in the data.
        bad: The images that are missing from the batch.
    """

    images: torch.Tensor
    labels: torch.Tensor
    indices: torch.Tensor
    bad: tuple[BadImage, ...] = ()

    def __len__(self) -> int:
        """Count the images."""
        return len(self.labels)

    def to(
        self, device: torch.device | str, *, non_blocking: bool = False, channels_last: bool = False
    ) -> Batch:
        """Copy to a device; with `channels_last` the images are rearranged there."""
        images = self.images.to(device, non_blocking=non_blocking)
        if channels_last:
            images = images.contiguous(memory_format=torch.channels_last)
        labels = self.labels.to(device, non_blocking=non_blocking)
        return Batch(images, labels, self.indices.to(device, non_blocking=non_blocking), self.bad)

    def pin_memory(self) -> Batch:
        """Copy to page-locked memory; the loader calls it where a GPU is used."""
        return Batch(self.images.pin_memory(), self.labels.pin_memory(), self.indices.pin_memory(), self.bad)


class ImageDataset(Dataset[Sample | BadImage]):
    """The images of a folder as tensors.

    A sample is a function of the seed and its key alone, whichever process makes it and in whatever order.

    Args:
        index: The images.
        pipeline: What turns an image into a tensor.
        seed: Seed of the random steps.
    """

    def __init__(self, index: FolderIndex, pipeline: ImagePipeline, seed: int) -> None:
        self.index = index
        self.pipeline = pipeline
        self.seed = seed

    def __len__(self) -> int:
        """Count the images."""
        return len(self.index)

    def __getitem__(self, key: SampleKey) -> Sample | BadImage:
        """Decode and transform one image; what cannot be is returned as a `BadImage`."""
        path = self.index.file(key.index)
        try:
            image = self.index.read_rgb(key.index)
        except BadImageError as error:
            is_lost = error.is_unread and self.index.file_bytes[key.index] >= 0
            return BadImage(printable(path), error.reason, "read" if is_lost else "decode")
        try:
            tensor = self._transform(image, key)
        except StepError as error:
            size = f"{image.height} x {image.width} (height x width)"
            return BadImage(printable(path), f"the transform cannot take its {size}: {error}", "transform")
        return Sample(tensor, self.index.labels[key.index], key.index)

    def _transform(self, image: Image.Image, key: SampleKey) -> torch.Tensor:
        if not self.pipeline.is_random:
            return self.pipeline(image)
        with seeded(derive_seed(self.seed, *key)):
            return self.pipeline(image)


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Seed torch's default CPU generator for a while, and leave it as it was found.

    It is the only one that torchvision's v2 transforms draw from; `random` and numpy stay untouched, whose
    states are forty times as expensive to save and restore.

    Args:
        seed: 64 bits.
    """
    # torch.manual_seed would seed the accelerators as well.
    generator = torch.default_generator
    state = generator.get_state()
    generator.manual_seed(seed)
    try:
        yield
    finally:
        generator.set_state(state)


def collate(samples: Sequence[Sample | BadImage]) -> Batch | MixedSizes:
    """Make a batch of what the data set returned.

    Returns:
        The good images with the bad ones listed, or `MixedSizes` where the images cannot be stacked.
    """
    bad = tuple(sample for sample in samples if isinstance(sample, BadImage))
    good = [sample for sample in samples if isinstance(sample, Sample)]
    for sample in good:
        if sample.image.shape != good[0].image.shape:
            return MixedSizes((good[0].index, sample.index), (_size(good[0]), _size(sample)))
    images = torch.stack([sample.image for sample in good]) if good else torch.empty(0, 3, 0, 0)
    labels = torch.tensor([sample.label for sample in good], dtype=torch.int64)
    return Batch(images, labels, torch.tensor([sample.index for sample in good], dtype=torch.int64), bad)


def _size(sample: Sample) -> tuple[int, int]:
    height, width = sample.image.shape[-2:]
    return (height, width)
