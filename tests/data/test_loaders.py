from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pochi_cli.config.data import DataConfig
from pochi_cli.cores import usable_cores
from pochi_cli.data.batches import Loaders
from pochi_cli.data.datasets import Batch, ImageDataset
from pochi_cli.data.folder import index_folder
from pochi_cli.data.images import read_rgb
from pochi_cli.data.loaders import BatchLoader, create_loaders
from pochi_cli.data.loading import Workers, resolve_workers
from pochi_cli.data.prepare import prepare_data
from pochi_cli.data.sampling import EpochBatchSampler
from pochi_cli.data.transforms import BuiltStep
from pochi_cli.errors import DataError
from tests.data.photos import write_photos
from tests.data.test_datasets import RANDOM_STEPS
from tests.data.test_transforms import TO_TENSOR, build

# Python 3.12 and 3.13 warn of every fork in a process with threads, which torch always has.
pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


@pytest.fixture(scope="module")
def few(digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve training and four validation images of each digit."""
    root = tmp_path_factory.mktemp("few")
    for part, count in (("train", 12), ("val", 4)):
        for directory in (digits / part).iterdir():
            (root / part / directory.name).mkdir(parents=True)
            for file in sorted(directory.iterdir())[:count]:
                shutil.copy(file, root / part / directory.name)
    return root


LETTERBOX = {"name": "Letterbox", "size": 16}


def loaders(root: Path, sampler: Any = "shuffle", **keys: Any) -> Loaders[BatchLoader]:
    keys = {
        "train_transform": RANDOM_STEPS,
        "val_transform": [LETTERBOX, TO_TENSOR],
        "num_workers": 0,
        **keys,
    }
    config = DataConfig.model_validate({"train_data_root": str(root / "train"), **keys})
    return create_loaders(config, prepare_data(config, 0), seed=0, device_type="cpu", order=sampler)


def same(first: list[tuple[int, Batch]], second: list[tuple[int, Batch]]) -> bool:
    return len(first) == len(second) > 0 and all(
        m == n and all(map(torch.equal, (a.images, a.labels, a.indices), (b.images, b.labels, b.indices)))
        for (m, a), (n, b) in zip(first, second, strict=True)
    )  # fmt: skip


@pytest.mark.parametrize("sampler", ["shuffle", "balanced"])
def test_workers_do_not_matter(few: Path, sampler: str) -> None:
    by_workers = []
    for workers in (0, 1, 2):
        train = loaders(few, sampler, num_workers=workers, batch_size=17).train
        # The second epoch first: what was loaded before does not matter either.
        by_workers.append([list(train.batches(epoch)) for epoch in (1, 0, 1)])
    for epochs in by_workers:
        assert same(epochs[0], epochs[2])
        assert not same(epochs[0], epochs[1])
        assert all(same(mine, first) for mine, first in zip(epochs, by_workers[0], strict=True))


@pytest.mark.parametrize("workers", [0, 2])
def test_start_batch_goes_on_where_it_stopped(few: Path, workers: int) -> None:
    train = loaders(few, num_workers=workers, batch_size=16).train
    whole = list(train.batches(3))
    assert [number for number, _ in whole] == list(range(8))
    assert len(train) == 8
    for _ in train.batches(3):
        break  # abandoned: what was loaded ahead must not come later
    assert same(list(train.batches(3, start_batch=5)), whole[5:])
    assert list(train.batches(3, start_batch=8)) == []


@pytest.mark.parametrize("workers", [0, 1])
def test_the_process_random_state_is_untouched(few: Path, workers: int) -> None:
    train = loaders(few, num_workers=workers, batch_size=50).train
    before = torch.get_rng_state()
    list(train.batches(0))
    list(train.batches(1))
    assert torch.equal(torch.get_rng_state(), before)


def test_validation_is_in_order_and_complete(few: Path) -> None:
    val = loaders(few, val_data_root=str(few / "val"), batch_size=13).val
    assert val is not None
    batches = [batch for _, batch in val.batches(0)]
    assert [len(batch) for batch in batches] == [13, 13, 13, 1]
    assert torch.cat([batch.indices for batch in batches]).tolist() == list(range(40))
    assert torch.cat([batch.labels for batch in batches]).tolist() == list(val.dataset.index.labels)
    assert loaders(few).val is None


def photos(tmp_path: Path, *broken: str, **keys: Any) -> BatchLoader:
    root = write_photos(tmp_path / "train")
    for name in broken:
        (root / name).write_bytes(b"broken")
    keys = {"train_transform": [LETTERBOX, TO_TENSOR], "batch_size": 4, **keys}
    return loaders(tmp_path, **keys).train


@pytest.mark.parametrize("workers", [0, 1])
def test_bad_image_is_an_error_that_names_it(tmp_path: Path, workers: int) -> None:
    train = photos(tmp_path, "cats/new.png", num_workers=workers)
    with pytest.raises(DataError, match=r"train/cats/new\.png: not an image") as caught:
        list(train.batches(0))
    assert "--set on_bad_image=skip" in str(caught.value.hint)


def test_bad_images_are_skipped_and_listed_once(tmp_path: Path) -> None:
    train = photos(tmp_path, "cats/new.png", "dogs/new.jpg", on_bad_image="skip")
    for epoch in range(3):
        batches = [batch for _, batch in train.batches(epoch)]
        assert sum(map(len, batches)) == 10
    assert sorted(Path(bad.path).name for bad in train.skipped) == ["new.jpg", "new.png"]


def test_training_batches_of_one_good_image_are_passed_over(tmp_path: Path) -> None:
    photos(tmp_path, *(f"cats/{i}.png" for i in range(5)))
    data = loaders(
        tmp_path, train_transform=[LETTERBOX, TO_TENSOR], val_data_root=str(tmp_path / "train"),
        batch_size=2, on_bad_image="skip",
    )  # fmt: skip
    assert data.val is not None
    sizes = [len(batch) for epoch in range(5) for _, batch in data.train.batches(epoch)]
    assert set(sizes) == {2, 3}  # 15 images: the last one joins the batch before
    assert len(sizes) < 5 * len(data.train)
    val = list(data.val.batches(0))
    assert sum(len(batch) for _, batch in val) == 10
    assert min(len(batch) for _, batch in val) == 1
    # cats/0.png to 4.png come first but for the directory: two batches are empty, and their numbers missing.
    assert [number for number, _ in val][:2] == [2, 3]


def test_batch_size_one_passes_nothing_over(tmp_path: Path) -> None:
    train = photos(tmp_path, "cats/new.png", batch_size=1, on_bad_image="skip")
    assert [len(batch) for _, batch in train.batches(0)] == [1] * 10


def test_no_good_image_at_all(tmp_path: Path) -> None:
    train = photos(tmp_path, on_bad_image="skip")
    for path in train.dataset.index.paths:
        (train.dataset.index.root / path).write_bytes(b"broken")
    with pytest.raises(DataError, match=r"no batch .* could be used: 10 bad images"):
        list(train.batches(0))


@pytest.mark.parametrize("on_bad_image", ["error", "skip"])
def test_a_crop_larger_than_the_image_is_an_error_in_any_case(tmp_path: Path, on_bad_image: str) -> None:
    steps = [{"name": "RandomCrop", "size": 20}, TO_TENSOR]
    train = photos(tmp_path, train_transform=steps, on_bad_image=on_bad_image)
    with pytest.raises(DataError, match=r"\.(png|jpg|gif|JPG): the transform cannot take its \d+ x \d+"):
        list(train.batches(0))


def test_mixed_sizes_name_two_files(tmp_path: Path) -> None:
    index = index_folder(write_photos(tmp_path), "train_data_root")
    sampler = EpochBatchSampler(index.labels, 4, 0, "sequential")
    data = ImageDataset(index, build(TO_TENSOR), 0)
    loader = BatchLoader(data, sampler, workers=Workers(0), device_type="cpu", on_bad_image="skip", minimum=1)
    first, second = index.file(0), index.file(1)
    sizes = [f"({image.height} x {image.width})" for image in (read_rgb(first), read_rgb(second))]
    with pytest.raises(DataError) as caught:
        list(loader.batches(0))
    assert f"{first} {sizes[0]} and {second} {sizes[1]}" in caught.value.message


class PlainPipeline:
    is_random = False
    varied = (BuiltStep("Plain", lambda image: image, "either", False),)

    def prepare(self, image: Any) -> Any:
        return image

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        return images


class DyingPipeline(PlainPipeline):
    def vary(self, _image: Any) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGKILL)
        raise AssertionError


class BuggyPipeline(PlainPipeline):
    def vary(self, _image: Any) -> torch.Tensor:
        raise KeyError("a bug")


class CountingThreads(PlainPipeline):
    """Gets the signals that a whole group of processes gets."""

    told = False

    def vary(self, _image: Any) -> torch.Tensor:
        if not self.told:
            self.told = True
            for number in (signal.SIGINT, signal.SIGTERM):
                os.kill(os.getpid(), number)
        return torch.full((3, 1, 1), float(torch.get_num_threads()))


def loader_with(digits: Path, pipeline: Any, workers: int) -> BatchLoader:
    index = index_folder(digits / "train", "train_data_root")
    return BatchLoader(
        ImageDataset(index, pipeline, 0), EpochBatchSampler(index.labels, 100, 0, "shuffle"),
        workers=Workers(workers), device_type="cpu", on_bad_image="error", minimum=1,
    )  # fmt: skip


def test_a_dead_worker_is_told(digits: Path) -> None:
    with pytest.raises(DataError, match="a process that loads images died") as caught:
        list(loader_with(digits, DyingPipeline(), 1).batches(0))
    assert "num_workers" in str(caught.value.hint)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_bug_stays_a_bug(digits: Path, workers: int) -> None:
    with pytest.raises(KeyError, match="a bug"):
        list(loader_with(digits, BuggyPipeline(), workers).batches(0))


def test_workers_compute_alone_and_leave_signals_to_the_main_process(digits: Path) -> None:
    _, batch = next(loader_with(digits, CountingThreads(), 1).batches(0))
    assert set(batch.images.flatten().tolist()) == {1.0}


class TellingProcess(PlainPipeline):
    def vary(self, _image: Any) -> torch.Tensor:
        return torch.full((3, 1, 1), float(os.getpid()))


def test_workers_stay_for_the_next_epoch(few: Path) -> None:
    loader = loader_with(few, TellingProcess(), 1)
    processes = {float(batch.images[0, 0, 0, 0]) for epoch in range(3) for _, batch in loader.batches(epoch)}
    assert len(processes) == 1
    assert os.getpid() not in processes


@pytest.mark.parametrize(
    ("num_workers", "device", "cores", "expected"),
    [
        ("auto", "cuda", 16, 8),
        ("auto", "cuda", 4, 3),
        ("auto", "cuda", 1, 0),
        ("auto", "cpu", 1, 0),
        ("auto", "cpu", 2, 2),
        ("auto", "cpu", 4, 4),
        ("auto", "cpu", 64, 8),
        ("auto", "mps", 8, 7),
        (6, "cpu", 2, 6),
        (0, "cuda", 16, 0),
    ],
)
def test_number_of_workers(num_workers: Any, device: str, cores: int, expected: int) -> None:
    assert resolve_workers(num_workers, device, cores) == expected


def test_number_of_workers_here() -> None:
    assert 0 <= resolve_workers("auto", "cuda") <= 8


@pytest.mark.parametrize(
    ("loading_s", "using_s", "batches", "device", "processes"),
    [
        (0.01, 0.05, 50, "cpu", False),  # half a second in all
        (0.01, 0.04, 500, "cpu", True),
        (0.01, 0.06, 500, "cpu", False),  # a small share
        (0.01, 0.06, 500, "cuda", True),
    ],
)
def test_the_first_batches_decide_whether_processes_load(
    loading_s: float, using_s: float, batches: int, device: str, processes: bool
) -> None:
    workers = Workers("auto", device, batches)
    workers.watch(5.0, 5.0)  # the first, which is always slower
    for _ in range(8):
        assert (workers.is_open, workers.count) == (True, 0)
        workers.watch(loading_s, using_s)
    assert not workers.is_open
    if usable_cores() > 1:
        assert (workers.count > 0) == bool(workers.text) == processes


@pytest.mark.parametrize(
    ("asked", "had", "cores", "count", "is_open"),
    [
        ("auto", True, 4, 4, False),
        ("auto", True, 1, 0, True),
        ("auto", False, 4, 0, True),
        (1, True, 4, 1, False),
    ],
)
def test_a_run_that_goes_on_loads_as_before(
    asked: Any, had: bool, cores: int, count: int, is_open: bool
) -> None:
    workers = Workers(asked, "cpu", 1000, cores, had=had)
    assert (workers.count, workers.is_open) == (count, is_open)
    expected = f"loads with {count} processes, as the run did before" if asked == "auto" and count else ""
    assert workers.text == expected


def test_more_processes_than_cores_are_told(few: Path, recwarn: pytest.WarningsRecorder) -> None:
    asked = usable_cores() + 1
    train = loaders(few, num_workers=asked).train
    assert train.newly_decided() == [
        f"num_workers is {asked} for {usable_cores()} cores: more than these seldom help"
    ]
    assert list(train.batches(1))
    assert not any("DataLoader" in str(warned.message) for warned in recwarn)  # torch would tell it, too


@pytest.mark.parametrize(("num_workers", "returned"), [(1, 1), (0, 0), ("auto", 1)])
def test_processes_do_not_begin_with_memory_that_is_free(
    num_workers: Any, returned: int, few: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[int] = []
    monkeypatch.setattr("pochi_cli.data.loaders.return_freed_memory", lambda: calls.append(1))
    train = loaders(few, num_workers=num_workers, batch_size=8).train
    if num_workers == "auto":
        train.workers = Workers("auto", "cuda", 10**9)  # they begin in the middle of the epoch
        returned = 1 if usable_cores() > 1 else 0
    for epoch in (1, 2):
        assert list(train.batches(epoch))
    assert len(calls) == returned


def test_processes_keep_little_of_what_they_free(few: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = multiprocessing.Value("i", 0)

    def count() -> None:
        with calls.get_lock():
            calls.value += 1

    monkeypatch.setattr("pochi_cli.data.worker_processes.keep_little", count)
    assert list(loaders(few, num_workers=0).train.batches(1))
    assert calls.value == 0
    assert list(loaders(few, num_workers=2).train.batches(1))
    assert calls.value == 2


@pytest.mark.parametrize("start_batch", [0, 3])
def test_processes_take_over_in_the_middle_of_an_epoch(few: Path, start_batch: int) -> None:
    train, plain = (loaders(few, num_workers=count, batch_size=8).train for count in ("auto", 0))
    train.workers = Workers("auto", "cuda", 10**9)  # however quick it is, it is worth it
    first = list(train.batches(1, start_batch))
    assert same(first, list(plain.batches(1, start_batch)))
    if usable_cores() > 1:
        assert train.worker_count > 0
        assert len(train.newly_decided()) == 1
    assert train.newly_decided() == []
    assert same(list(train.batches(2)), list(plain.batches(2)))
