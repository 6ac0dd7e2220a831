"""Some images of a data set, to look at what a model makes of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from pochi_cli.data.datasets import ImageDataset, Sample
from pochi_cli.data.sampling import SampleKey


def spread(count: int, most: int) -> list[int]:
    """Evenly spread positions among `count`, `most` of them or all: data lie class by class."""
    chosen = min(count, most)
    return [position * count // chosen for position in range(chosen)]


def load_examples(dataset: ImageDataset, indices: Iterable[int]) -> list[Sample]:
    """Load images, float32, leaving out bad ones and those whose tensor has another size than the first."""
    loaded = [dataset[SampleKey(0, index, 0)] for index in indices]
    good = [sample for sample in loaded if isinstance(sample, Sample)]
    return [
        replace(sample, image=dataset.pipeline.finish(sample.image))
        for sample in good
        if sample.image.shape == good[0].image.shape
    ]
