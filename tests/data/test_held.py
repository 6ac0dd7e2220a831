from __future__ import annotations

from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import pytest
import torch

from pochi_cli.config.data import DataConfig
from pochi_cli.data.batches import Loaders
from pochi_cli.data.datasets import ImageDataset
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.held import Room
from pochi_cli.data.images import read_size
from pochi_cli.data.loaders import BatchLoader, create_loaders
from pochi_cli.data.loading import Workers
from pochi_cli.data.pixels import Pixels
from pochi_cli.data.placing import Placements, placements
from pochi_cli.data.prepare import prepare_data
from pochi_cli.data.sampling import EpochBatchSampler
from pochi_cli.data.transforms import build_pipeline
from tests.data.photos import write_photos
from tests.data.test_transforms import TO_TENSOR, build, parse

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")

RESIZE = {"name": "Resize", "size": [12, 15]}
FLIP = {"name": "RandomHorizontalFlip"}
UPSIDE_DOWN = {"name": "RandomVerticalFlip", "p": 0.3}
NORMALIZE = {"name": "Normalize"}


def crop(size: Any, **keys: Any) -> dict[str, Any]:
    return {"name": "RandomCrop", "size": size, **keys}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    return write_photos(tmp_path / "photos")


def loaders(root: Path, steps: Any, *, held: bool = True, **keys: Any) -> Loaders[BatchLoader]:
    keys = {"batch_size": 4, "num_workers": 0, "cache": "ram", "train_transform": steps, **keys}
    config = DataConfig.model_validate({"train_data_root": str(root), **keys})
    room = Room(torch.device("cpu")) if held else None
    return create_loaders(
        config, prepare_data(config, 0), seed=5, device_type="cpu", epochs=3, free_memory=1 << 30, room=room
    )


def batches(loader: BatchLoader, epoch: int, start: int = 0) -> list[tuple[Any, ...]]:
    return [
        (number, batch.images, batch.to("cpu").images, batch.labels, batch.indices)
        for number, batch in loader.batches(epoch, start)
    ]


def assert_equal(found: list[tuple[Any, ...]], expected: list[tuple[Any, ...]]) -> None:
    assert len(found) == len(expected) > 0
    for one, other in zip(found, expected, strict=True):
        assert one[0] == other[0]
        for tensor, wanted in zip(one[1:], other[1:], strict=True):
            assert tensor.dtype == wanted.dtype
            assert tensor.stride() == wanted.stride()
            assert torch.equal(tensor, wanted)


def batches_one_by_one(loader: BatchLoader, epoch: int, start: int = 0) -> list[tuple[Any, ...]]:
    """What torchvision makes of each image by itself."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pochi_cli.data.datasets._SMALL_PIXELS", 0)
        return batches(loader, epoch, start)


def is_held(loader: BatchLoader) -> bool:
    return loader._held is not None


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize(
    "moves",
    [
        [],
        [FLIP],
        [UPSIDE_DOWN, FLIP],
        [crop(9)],
        [crop([9, 15])],
        [crop([12, 15])],
        [crop(12, padding=3), FLIP],
        [crop([12, 15], padding=[1, 2, 3, 4], fill=200), FLIP, UPSIDE_DOWN],
        [crop([30, 8], pad_if_needed=True, fill=7)],
        [crop([30, 40], padding=2, pad_if_needed=True)],
        [FLIP, crop(10, padding=2, fill=9), crop(11, pad_if_needed=True, fill=9), FLIP],
        [crop(12, padding=3, padding_mode="reflect"), FLIP],
        [crop(9, padding=[2, 11, 0, 3], padding_mode="reflect"), UPSIDE_DOWN],
        [crop(12, padding=[12, 1, 2, 3], padding_mode="symmetric"), FLIP],
        [crop([30, 40], padding=2, pad_if_needed=True, padding_mode="edge")],
        [crop(14, padding=2, fill=9), crop(15, padding=3, padding_mode="reflect")],
        [FLIP, {"name": "CenterCrop", "size": [7, 20]}],
        [FLIP, {"name": "CenterCrop", "size": [9, 12]}, crop(5)],
        [FLIP, {"name": "CenterCrop", "size": [16, 4]}, UPSIDE_DOWN],
    ],
    ids=repr,
)
def test_held_images_give_the_same_batches(photos: Path, moves: Any, workers: int) -> None:
    steps = [RESIZE, *moves, TO_TENSOR, NORMALIZE]
    held = loaders(photos, steps, num_workers=workers).train
    together = loaders(photos, steps, num_workers=workers, held=False, cache="none").train
    plain = loaders(photos, steps, held=False, cache="none").train
    for epoch in (1, 2, 3):
        expected = batches_one_by_one(plain, epoch)
        assert_equal(batches(held, epoch), expected)
        assert_equal(batches(together, epoch), expected)
        assert is_held(held) == (epoch > 1)
    assert_equal(batches(held, 4, start=2), batches_one_by_one(plain, 4, start=2))


@pytest.mark.parametrize("cache", ["none", "ram"])
@pytest.mark.parametrize("resized", [True, False])
def test_images_of_several_sizes_and_bad_ones_keep_their_places(
    photos: Path, resized: bool, cache: str
) -> None:
    areas = [height * width for height, width in map(read_size, photos.rglob("*.*"))]
    assert len(set(areas)) > 2
    next(photos.rglob("*.jpg")).write_bytes(b"no image")
    steps = [*([RESIZE] if resized else []), crop(10, pad_if_needed=True), FLIP, TO_TENSOR, NORMALIZE]
    mixed, plain = (
        loaders(photos, steps, held=False, cache=cached, on_bad_image="skip", batch_size=7).train
        for cached in (cache, "none")
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("pochi_cli.data.datasets._SMALL_PIXELS", median(areas))  # not all are small
        for epoch in (1, 2):
            assert_equal(batches(mixed, epoch), batches_one_by_one(plain, epoch))
    assert mixed.skipped == plain.skipped
    assert len(mixed.skipped) == 1


@pytest.mark.parametrize(
    ("steps", "together"),
    [
        ([RESIZE, FLIP], True),
        ([RESIZE, crop(64, pad_if_needed=True)], True),
        ([RESIZE, crop(65, pad_if_needed=True)], False),  # what comes out is large
        ([{"name": "Resize", "size": [64, 65]}, crop(9)], False),
        ([RESIZE], False),  # there is nothing to do
        ([crop(5, pad_if_needed=True)], False),  # of several sizes
    ],
    ids=repr,
)
def test_a_batch_is_made_at_once_of_small_images_of_one_size(
    photos: Path, steps: Any, together: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken: list[int] = []
    take = Placements.take

    def noted(self: Placements, pixels: Any, positions: Any, *rest: Any) -> torch.Tensor:
        taken.append(len(positions))
        return take(self, pixels, positions, *rest)

    monkeypatch.setattr(Placements, "take", noted)
    train = loaders(photos, [*steps, TO_TENSOR], held=False, cache="none").train
    made = batches(train, 1)
    assert taken == ([len(labels) for *_, labels, _ in made] if together else [])


@pytest.mark.parametrize("order", ["shuffle", "balanced", "sequential"])
def test_arrays_in_memory_are_held_at_once(tmp_path: Path, order: Any) -> None:
    values = np.random.default_rng(0).integers(0, 256, (23, 10, 9, 3), dtype=np.uint8)
    names, labels = tuple(map(str, range(23))), tuple(at % 3 for at in range(23))
    index = FolderIndex(tmp_path, ("a", "b", "c"), names, labels, (270,) * 23, pixels=Pixels(values))
    steps = parse(crop(8, padding=2), FLIP, TO_TENSOR, NORMALIZE)
    made = []
    for room, give in ((Room(torch.device("cpu")), batches), (None, batches_one_by_one)):
        dataset = ImageDataset(index, build_pipeline(steps, (0.5,) * 3, (0.2,) * 3), seed=3)
        sampler = EpochBatchSampler(labels, 4, 7, order)
        workers = Workers(0)
        loader = BatchLoader(
            dataset, sampler, workers=workers, device_type="cpu", on_bad_image="error", minimum=1, room=room
        )
        made.append([give(loader, epoch) for epoch in (1, 2)])
        assert is_held(loader) == (room is not None)
    for one, other in zip(*made, strict=True):
        assert_equal(one, other)


@pytest.mark.parametrize(
    "steps",
    [
        [RESIZE, {"name": "ColorJitter", "brightness": 0.2}, TO_TENSOR],
        [RESIZE, {"name": "RandomResizedCrop", "size": 9}, TO_TENSOR],
        [RESIZE, crop(12, padding=3, fill=1), crop(12, padding=3, fill=2), TO_TENSOR],
        [RESIZE, FLIP, TO_TENSOR, {"name": "RandomErasing"}],
        [RESIZE, crop([40, 9], pad_if_needed=True, padding_mode="symmetric"), TO_TENSOR],  # mirrored twice
        [crop(5, pad_if_needed=True), TO_TENSOR],  # the images themselves are of several sizes
    ],
    ids=["colours", "resized", "two fills", "erased", "mirrored", "sizes"],
)
def test_what_does_more_than_move_pixels_is_not_held(photos: Path, steps: Any) -> None:
    train, plain = loaders(photos, steps).train, loaders(photos, steps, held=False, cache="none").train
    for epoch in (1, 2, 3):
        assert_equal(batches(train, epoch), batches_one_by_one(plain, epoch))
    assert not is_held(train)


def test_where_an_image_is_bad_none_is_held(photos: Path) -> None:
    bad = next(photos.rglob("*.jpg"))
    bad.write_bytes(b"no image")
    train = loaders(photos, [RESIZE, FLIP, TO_TENSOR], on_bad_image="skip").train
    for epoch in (1, 2):
        assert sum(len(labels) for *_, labels, _ in batches(train, epoch)) == len(train.dataset) - 1
    assert not is_held(train)
    assert [skipped.path for skipped in train.skipped] == [str(bad)]


@pytest.mark.parametrize("cache", ["none", "disk"])
def test_files_are_held_only_in_memory(
    photos: Path, cache: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("POCHI_CACHE_DIR", str(tmp_path / "cache"))
    train = loaders(photos, [RESIZE, FLIP, TO_TENSOR], cache=cache).train
    for epoch in (1, 2):
        batches(train, epoch)
    assert not is_held(train)


def test_processes_end_once_all_images_are_decoded(photos: Path) -> None:
    train = loaders(photos, [RESIZE, FLIP, TO_TENSOR], num_workers=2).train
    batches(train, 1)
    assert train.worker_count == 2
    assert train.newly_decided() == []
    batches(train, 2)
    assert train.worker_count == 0
    assert train.newly_decided() == ["all images are decoded: from now on no processes load"]
    batches(train, 3)
    assert train.newly_decided() == []


def test_before_the_first_steps_fewer_images_are_held_on_a_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (1000, 5000))
    room = Room(torch.device("cuda"))
    assert [room.has(size, has_trained=False) for size in (50, 51)] == [True, False]
    assert [room.has(size, has_trained=True) for size in (250, 251)] == [True, False]
    assert Room(torch.device("cpu")).has(10**12, has_trained=False)


def test_a_crop_larger_than_the_image_is_left_to_what_can_name_the_file() -> None:
    assert placements(build(crop(13), TO_TENSOR).varied, (12, 15)) is None
    assert placements(build(crop(12), TO_TENSOR).varied, (12, 15)) is not None


def test_each_image_is_placed_by_its_key_alone(photos: Path) -> None:
    """Mirrored and cropped in about the shares that were asked for, and anew in each epoch."""
    steps = [RESIZE, crop(9), {"name": "RandomHorizontalFlip", "p": 0.5}, TO_TENSOR]
    train = loaders(photos, steps).train
    seen = set()
    for epoch in range(1, 30):
        for _, images, *_, indices in batches(train, epoch):
            chosen = (indices == 0).nonzero()
            if len(chosen):
                seen.add(images[int(chosen[0])].numpy().tobytes())
    # 4 x 7 places, mirrored or not.
    assert 12 < len(seen) <= 29
    assert np.all([len(one) == 9 * 9 * 3 for one in seen])


@pytest.mark.parametrize("step", [FLIP, UPSIDE_DOWN])
def test_what_is_copied_to_a_gpu_can_be_page_locked(
    photos: Path, monkeypatch: pytest.MonkeyPatch, step: dict[str, Any]
) -> None:
    """It is copied there as it lies, which torch refuses where several places share their memory."""

    def lock(values: torch.Tensor, device: torch.device) -> torch.Tensor:
        shape, stride = values.shape, values.stride()
        locked = torch.empty_strided(shape, stride, dtype=values.dtype).copy_(values)
        return locked.to(device)

    monkeypatch.setattr("pochi_cli.data.placing.to_device", lock)
    plain = loaders(photos, [RESIZE, step, TO_TENSOR, NORMALIZE], held=False).train
    held = loaders(photos, [RESIZE, step, TO_TENSOR, NORMALIZE]).train
    for epoch in (1, 2):
        assert_equal(batches(held, epoch), batches(plain, epoch))
