"""Published data sets in small: torchvision's reading, what is missing, what is damaged."""

from __future__ import annotations

import multiprocessing
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args
from urllib.error import URLError

import numpy as np
import pytest
import torch
from torchvision import datasets
from torchvision.datasets import utils

from pochi_cli.config.data import DataConfig
from pochi_cli.config.named_datasets import NAMED_DATASETS, PublishedName
from pochi_cli.data.check import check_config_data
from pochi_cli.data.datasets import ImageDataset, Sample
from pochi_cli.data.loaders import create_loaders
from pochi_cli.data.pixels import Pixels
from pochi_cli.data.prepare import Data, prepare_data
from pochi_cli.data.sampling import SampleKey
from pochi_cli.data.transforms import build_pipeline
from pochi_cli.errors import DataError
from tests.data.published_files import write_published

TO_TENSOR = {"name": "ToTensor"}
NAMES: tuple[PublishedName, ...] = get_args(PublishedName)
every_name = pytest.mark.parametrize("name", NAMES)


@pytest.fixture(autouse=True)
def _no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise URLError("Temporary failure in name resolution")

    monkeypatch.setattr(utils.urllib.request, "urlopen", refuse)


def config(name: str, root: Path, **keys: Any) -> DataConfig:
    raw: dict[str, Any] = {
        "dataset": name,
        "train_data_root": str(root),
        "train_transform": [TO_TENSOR],
        "val_transform": [TO_TENSOR],
        "batch_size": 8,
    }
    return DataConfig.model_validate(raw | keys)


def silent(text: str) -> None:
    raise AssertionError(text)


def test_what_is_known_without_files_is_what_torchvision_says() -> None:
    for name, dataset in (("mnist", datasets.MNIST), ("fashion_mnist", datasets.FashionMNIST)):
        assert list(NAMED_DATASETS[name].class_names) == dataset.classes
    fine = NAMED_DATASETS["cifar100"].class_names
    assert len(fine) == 100
    assert list(fine) == sorted(fine)
    assert len(NAMED_DATASETS["cifar10"].class_names) == 10
    assert set(NAMES) == set(NAMED_DATASETS) - {"digits"}


@every_name
def test_a_data_set_is_unpacked_and_read(
    name: PublishedName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_published(name, tmp_path, monkeypatch)
    told: list[str] = []
    data = prepare_data(config(name, tmp_path), 0, tell=told.append)
    assert told == [f"unpacking {name} in {tmp_path}"]
    assert data.class_names == NAMED_DATASETS[name].class_names
    assert data.size == data.val_size == NAMED_DATASETS[name].image_size
    assert data.val is not None
    for part, index in (("train", data.train), ("test", data.val)):
        assert list(index.labels) == truth[f"{part}_labels"]
        for i in (0, len(index) // 2, len(index) - 1):
            pixels = truth[part][i]
            image = index.read_rgb(i)
            assert image.mode == "RGB"
            rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
            assert np.array_equal(np.asarray(image), rgb)
    again = prepare_data(config(name, tmp_path), 0, tell=silent)
    assert again.fingerprint == data.fingerprint


@every_name
def test_the_test_part_is_left_alone_where_a_share_is_split_off(
    name: PublishedName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    truth = write_published(name, tmp_path, monkeypatch)
    whole = prepare_data(config(name, tmp_path), 0)
    first, again, other = (prepare_data(config(name, tmp_path, val_split=0.2), seed) for seed in (0, 0, 1))
    assert first.val is not None
    assert len(first.train) + len(first.val) == len(truth["train"])
    assert first.fingerprint == again.fingerprint
    assert len({first.fingerprint, other.fingerprint, whole.fingerprint}) == 3
    images = {path: i for i, path in enumerate(whole.train.paths)}
    for part in (first.train, first.val):
        for i, path in enumerate(part.paths):
            assert part.labels[i] == truth["train_labels"][images[path]]
            assert part.read_rgb(i).tobytes() == whole.train.read_rgb(images[path]).tobytes()


@pytest.mark.parametrize("change", ["image", "label"])
def test_the_fingerprint_covers_values_and_labels(
    change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published("mnist", tmp_path, monkeypatch)
    before = prepare_data(config("mnist", tmp_path), 0).fingerprint
    kind = "images-idx3" if change == "image" else "labels-idx1"
    file = tmp_path / "MNIST" / "raw" / f"train-{kind}-ubyte"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    assert prepare_data(config("mnist", tmp_path), 0).fingerprint != before


@pytest.fixture
def cifar10(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Data]:
    write_published("cifar10", tmp_path, monkeypatch)
    yield prepare_data(config("cifar10", tmp_path), 0)


RANDOM = [{"name": "RandomCrop", "size": 32, "padding": 4}, {"name": "RandomHorizontalFlip"}, TO_TENSOR]


def sample(data: Data, *key: int, seed: int = 0) -> torch.Tensor:
    steps = config("cifar10", Path(), train_transform=RANDOM)
    dataset = ImageDataset(data.train, build_pipeline(steps.train_transform, steps.mean, steps.std), seed)
    made = dataset[SampleKey(*key)]
    assert isinstance(made, Sample)
    return made.image


def test_a_sample_is_a_function_of_its_key(cifar10: Data) -> None:
    first = sample(cifar10, 1, 5, 0)
    assert torch.equal(sample(cifar10, 1, 5, 0), first)
    assert not torch.equal(sample(cifar10, 2, 5, 0), first)
    assert not torch.equal(sample(cifar10, 1, 5, 0, seed=1), first)


def test_processes_load_the_same_batches(cifar10: Data, tmp_path: Path) -> None:
    batches = []
    for workers in (0, 2):
        keys = config("cifar10", tmp_path, num_workers=workers, train_transform=RANDOM)
        train, val = create_loaders(keys, cifar10, seed=3, device_type="cpu")
        assert val is not None
        batches.append([batch for epoch in (0, 1) for _, batch in train.batches(epoch)])
        batches[-1] += [batch for _, batch in val.batches(0)]
    assert len(batches[0]) == len(batches[1])
    for one, other in zip(*batches, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.labels, other.labels)


def test_the_array_is_shared_with_processes_that_are_not_forked() -> None:
    pixels = Pixels(np.zeros((3, 4, 5, 3), np.uint8))
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    process = context.Process(target=write_there, args=(pixels, queue))
    process.start()
    queue.get(timeout=60)
    process.join()
    assert pixels.values[1, 2, 3, 0] == 7  # what the other process wrote: both have one array
    copy = pickle.loads(pickle.dumps(pixels))
    assert np.array_equal(copy.values, pixels.values)


def write_there(pixels: Pixels, queue: Any) -> None:
    pixels.values[1, 2, 3, 0] = 7
    queue.put("done")


@every_name
def test_a_report_on_the_data(name: PublishedName, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    truth = write_published(name, tmp_path, monkeypatch)
    report = check_config_data(config(name, tmp_path), 0)
    train, val = report.splits
    assert (train.images, val.images) == (len(truth["train"]), len(truth["test"]))
    assert train.formats == {"array": train.images}
    assert train.modes == {"RGB" if name.startswith("cifar") else "L": train.images}
    assert train.total_bytes == truth["train"].nbytes
    assert report.train_size == NAMED_DATASETS[name].image_size
    assert [finding for finding in report.findings if finding.severity == "error"] == []
    assert not any(finding.code == "duplicate-images" for finding in report.findings)


@pytest.mark.parametrize(
    ("name", "file", "md5", "directory"),
    [
        ("cifar10", "cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", ""),
        ("cifar100", "cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85", ""),
        ("mnist", "train-images-idx3-ubyte.gz", "f68b3c2dcbeaaa9fbdd348bbdeb94873", "MNIST/raw"),
        (
            "fashion_mnist",
            "t10k-labels-idx1-ubyte.gz",
            "bb300cfdad3c16e7a12a480ee83cd310",
            "FashionMNIST/raw",
        ),
    ],
)
def test_without_a_network_it_is_said_which_file_to_put_where(
    name: str, file: str, md5: str, directory: str, tmp_path: Path
) -> None:
    told: list[str] = []
    with pytest.raises(DataError) as caught:
        prepare_data(config(name, tmp_path / "data"), 0, tell=told.append)
    (text,) = told
    assert text.startswith(f"downloading {name} to {tmp_path / 'data'}: ")
    assert file in text
    target = tmp_path / "data" / directory
    assert f"not in {target} and could not be downloaded from http" in caught.value.message
    assert caught.value.message.endswith("Temporary failure in name resolution")
    assert str(caught.value.hint).startswith("put ")
    assert f"{file} (MD5 {md5})" in str(caught.value.hint)
    assert str(caught.value.hint).endswith(f" into {target}")


def test_only_what_is_missing_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published("mnist", tmp_path, monkeypatch)
    (tmp_path / "MNIST" / "raw" / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(DataError, match=r"mnist: t10k-labels-idx1-ubyte\.gz is not in") as caught:
        prepare_data(config("mnist", tmp_path), 0)
    assert "train-images" not in str(caught.value.hint)


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("cifar10", "cifar-10-batches-py/data_batch_3"),
        ("cifar10", "cifar-10-batches-py/batches.meta"),
        ("cifar100", "cifar-100-python/train"),
        ("mnist", "MNIST/raw/train-images-idx3-ubyte"),
        ("mnist", "MNIST/raw/t10k-labels-idx1-ubyte"),
        ("fashion_mnist", "FashionMNIST/raw/train-labels-idx1-ubyte"),
    ],
)
@pytest.mark.parametrize("kept", [0, 3, 20, -1])
def test_a_truncated_file_is_named(
    name: PublishedName, file: str, kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published(name, tmp_path, monkeypatch)
    prepare_data(config(name, tmp_path), 0)
    content = (tmp_path / file).read_bytes()
    (tmp_path / file).write_bytes(content[:kept])
    with pytest.raises(DataError) as caught:
        prepare_data(config(name, tmp_path), 0, tell=silent)
    assert caught.value.message.startswith(f"{name}: {tmp_path / file} is damaged: ")
    assert str(caught.value.hint).startswith("delete it")
    (tmp_path / file).unlink()
    prepare_data(config(name, tmp_path), 0)
    assert (tmp_path / file).read_bytes() == content


@pytest.mark.parametrize(
    ("name", "file"),
    [("cifar10", "cifar-10-python.tar.gz"), ("mnist", "MNIST/raw/train-labels-idx1-ubyte.gz")],
)
def test_a_truncated_archive_is_named(
    name: PublishedName, file: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_published(name, tmp_path, monkeypatch)
    (tmp_path / file).write_bytes((tmp_path / file).read_bytes()[:-5])
    with pytest.raises(DataError, match=f"{file} is damaged: its MD5 is"):
        prepare_data(config(name, tmp_path), 0, tell=silent)


def test_labels_that_do_not_belong_to_the_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_published("mnist", tmp_path, monkeypatch)
    prepare_data(config("mnist", tmp_path), 0)
    raw = tmp_path / "MNIST" / "raw"
    (raw / "train-labels-idx1-ubyte").write_bytes((raw / "t10k-labels-idx1-ubyte").read_bytes())
    with pytest.raises(DataError, match="the train part has 50 images and 20 labels"):
        prepare_data(config("mnist", tmp_path), 0)


@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError])
def test_a_download_that_is_stopped_leaves_nothing_half_made(
    error: type[BaseException], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(_: str, file: str) -> None:
        Path(file).write_bytes(b"the beginning")
        raise error

    monkeypatch.setattr(utils, "_get_redirect_url", lambda url, **_: url)
    monkeypatch.setattr(utils, "_urlretrieve", stop)
    with pytest.raises(error if error is KeyboardInterrupt else DataError):
        prepare_data(config("mnist", tmp_path), 0)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_root_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"train_data_root: .*file is not a directory"):
        prepare_data(config("cifar10", tmp_path / "file"), 0)
