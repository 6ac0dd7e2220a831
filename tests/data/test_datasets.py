from __future__ import annotations

import multiprocessing
import pickle
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from pochi_cli.data.datasets import BadImage, Batch, ImageDataset, MixedSizes, Sample, collate, seeded
from pochi_cli.data.folder import index_folder
from pochi_cli.data.sampling import SampleKey
from tests.data.photos import write_photos
from tests.data.test_transforms import TO_TENSOR, build

RANDOM_STEPS: list[dict[str, Any]] = [
    {"name": "RandomResizedCrop", "size": 8},
    {"name": "ColorJitter", "brightness": 0.4, "hue": 0.1},
    {"name": "RandAugment"},
    {"name": "AugMix"},
    {"name": "RandomChoice", "transforms": [{"name": "RandomInvert"}, {"name": "RandomHorizontalFlip"}]},
    TO_TENSOR,
    {"name": "RandomErasing", "value": "random", "p": 1.0},
]


def dataset(digits: Path, *steps: dict[str, Any], seed: int = 0) -> ImageDataset:
    return ImageDataset(index_folder(digits / "train", "train_data_root"), build(*steps), seed)


def image(data: ImageDataset, *key: int) -> torch.Tensor:
    sample = data[SampleKey(*key)]
    assert isinstance(sample, Sample)
    return sample.image


def test_sample(digits: Path) -> None:
    data = dataset(digits, TO_TENSOR)
    sample = data[SampleKey(0, 700, 0)]
    assert isinstance(sample, Sample)
    with Image.open(data.index.file(700)) as gray:
        expected = torch.from_numpy(np.asarray(gray).copy()) / 255
    for channel in range(3):
        torch.testing.assert_close(data.pipeline.finish(sample.image)[channel], expected)
    assert (sample.label, sample.index) == (data.index.labels[700], 700)
    assert len(data) == len(data.index)


def test_randomness_is_a_function_of_seed_and_key(digits: Path) -> None:
    data = dataset(digits, *RANDOM_STEPS)
    first = image(data, 1, 5, 0)
    for other in ((2, 5, 0), (1, 5, 1), (1, 6, 0)):
        assert not torch.equal(image(data, *other), first)
    assert not torch.equal(image(dataset(digits, *RANDOM_STEPS, seed=1), 1, 5, 0), first)
    # The states of the generators around it do not matter: v2 draws from torch's alone, which is seeded.
    for noise in (1, 2):
        torch.manual_seed(noise)
        random.seed(noise)
        np.random.seed(noise)
        assert torch.equal(image(data, 1, 5, 0), first)


@pytest.mark.parametrize("steps", [RANDOM_STEPS, [TO_TENSOR]], ids=["random", "plain"])
def test_the_process_random_state_is_untouched(digits: Path, steps: list[dict[str, Any]]) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    image(dataset(digits, *steps), 0, 3, 0)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]


def test_the_state_is_restored_after_a_failure() -> None:
    before = torch.get_rng_state()
    with pytest.raises(KeyError), seeded(3):
        raise KeyError
    assert torch.equal(torch.get_rng_state(), before)


def test_bad_files_are_values(tmp_path: Path) -> None:
    root = write_photos(tmp_path)
    (root / "cats" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    index = index_folder(root, "train_data_root")
    data = ImageDataset(index, build({"name": "Letterbox", "size": 16}, TO_TENSOR), 0)
    samples = [data[SampleKey(0, i, 0)] for i in range(len(index))]
    (bad,) = (sample for sample in samples if isinstance(sample, BadImage))
    assert bad.path == str(root / "cats" / "broken.png")
    assert bad.reason
    assert bad.stage == "decode"
    batch = collate(samples)
    assert isinstance(batch, Batch)
    assert batch.images.shape == (10, 3, 16, 16)
    assert batch.bad == (bad,)
    position = index.paths.index("cats/broken.png")
    assert batch.indices.tolist() == [i for i in range(11) if i != position]
    assert batch.labels.tolist() == [index.labels[i] for i in batch.indices.tolist()]


@pytest.mark.parametrize(
    ("steps", "name"),
    [
        ([{"name": "RandomCrop", "size": 32}, TO_TENSOR], "RandomCrop"),
        ([{"name": "GaussianBlur", "kernel_size": 23}, TO_TENSOR], "GaussianBlur"),
        ([TO_TENSOR, {"name": "Pad", "padding": 9, "padding_mode": "reflect"}], "Pad"),
        ([TO_TENSOR, {"name": "Pad", "padding": 9, "padding_mode": "symmetric"}], "Pad"),
    ],
)
def test_a_step_that_cannot_take_an_image(digits: Path, steps: list[dict[str, Any]], name: str) -> None:
    bad = dataset(digits, *steps)[SampleKey(0, 0, 0)]
    assert isinstance(bad, BadImage)
    assert bad.stage == "transform"
    assert f"its 8 x 8 (height x width): {name}: " in bad.reason


def sample_of(height: int, width: int, index: int = 0) -> Sample:
    return Sample(torch.full((3, height, width), float(index)), index % 3, index)


def test_collate() -> None:
    batch = collate([sample_of(2, 3, 7), sample_of(2, 3, 8)])
    assert isinstance(batch, Batch)
    assert (batch.images.dtype, batch.labels.dtype, batch.indices.dtype) == (
        torch.float32, torch.int64, torch.int64,
    )  # fmt: skip
    assert batch.indices.tolist() == [7, 8]
    assert batch.labels.tolist() == [1, 2]
    assert batch.images[1, 0, 0, 0] == 8
    assert len(batch) == 2


def test_batch_of_bad_images_is_empty() -> None:
    bad = BadImage("a.png", "broken")
    batch = collate([bad, bad])
    assert isinstance(batch, Batch)
    assert len(batch) == 0
    assert batch.images.shape == (0, 3, 0, 0)
    assert batch.bad == (bad, bad)


def test_mixed_sizes_are_told() -> None:
    mixed = collate([sample_of(2, 3, 4), sample_of(2, 3, 5), BadImage("a", "b"), sample_of(3, 2, 6)])
    assert mixed == MixedSizes((4, 6), ((2, 3), (3, 2)))


@pytest.mark.parametrize("channels_last", [False, True])
def test_batch_moves(channels_last: bool) -> None:
    batch = collate([sample_of(4, 5, i) for i in range(3)])
    assert isinstance(batch, Batch)
    moved = batch.to("cpu", channels_last=channels_last)
    assert torch.equal(moved.images, batch.images)
    assert moved.images.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert batch.to("meta").images.device.type == "meta"
    assert batch.to("meta").labels.device.type == batch.to("meta").indices.device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="page-locked memory needs a CUDA device")
def test_batch_is_pinned() -> None:
    batch = collate([sample_of(4, 5, i) for i in range(3)])
    assert isinstance(batch, Batch)
    pinned = batch.pin_memory()
    assert pinned.images.is_pinned()
    assert pinned.labels.is_pinned()
    assert pinned.indices.is_pinned()


def fetch(data: ImageDataset, key: SampleKey) -> Any:
    sample = data[key]
    assert isinstance(sample, Sample)
    return sample.image.numpy()


def test_pickled_dataset_works_in_a_spawned_process(digits: Path) -> None:
    data = dataset(digits, *RANDOM_STEPS)
    assert torch.equal(image(pickle.loads(pickle.dumps(data)), 0, 9, 0), image(data, 0, 9, 0))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(fetch, (data, SampleKey(0, 9, 0)))
    assert torch.equal(torch.from_numpy(there), image(data, 0, 9, 0))
