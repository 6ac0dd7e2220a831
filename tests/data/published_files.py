"""Small files in the formats of the published data sets, which torchvision takes for the official ones."""

from __future__ import annotations

import gzip
import hashlib
import io
import pickle
import struct
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torchvision import datasets

from pochi_cli.config.named_datasets import NAMED_DATASETS, PublishedName

Bytes = NDArray[np.uint8]

PER_CLASS = {"train": 5, "t10k": 2}
"""Images of a class of the MNIST kind. Of CIFAR every file for training has two, that for testing one."""


def draw(name: str, labels: list[int], shape: tuple[int, ...]) -> Bytes:
    """Images whose values differ from each other and tell their class."""
    seed = int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big")
    noise = np.random.default_rng(seed).integers(0, 64, (len(labels), *shape))
    tint = np.asarray(labels).reshape(-1, *(1 for _ in shape)) * (190 // max(1, max(labels)))
    images: Bytes = (noise + tint).astype(np.uint8)
    return images


def write_published(name: PublishedName, root: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Write the archives of a data set, and have torchvision expect them.

    Only the table of check sums is replaced: everything that reads is torchvision's own.

    Args:
        name: The data set.
        root: torchvision's root; its files are archives, not unpacked yet.
        patch: Puts the true check sums back.

    Returns:
        Images, uint8 (N, height, width[, 3]), under `train` and `test`, and labels under `train_labels` and
        `test_labels`.
    """
    write = _write_cifar if name.startswith("cifar") else _write_mnist
    return write(name, root, patch)


def _write_cifar(name: PublishedName, root: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    dataset = {"cifar10": datasets.CIFAR10, "cifar100": datasets.CIFAR100}[name]
    key = "labels" if name == "cifar10" else "fine_labels"
    classes = len(NAMED_DATASETS[name].class_names)
    truth: dict[str, Any] = {"train": [], "train_labels": [], "test": [], "test_labels": []}
    contents: dict[str, bytes] = {}
    for part, table in (("train", dataset.train_list), ("test", dataset.test_list)):
        for file, _ in table:
            labels = list(range(classes))[::-1] * (2 if part == "train" else 1)
            images = draw(f"{name}/{file}", labels, (3, 32, 32))
            contents[file] = pickle.dumps({"data": images.reshape(len(labels), -1), key: labels})
            truth[part].append(images.transpose(0, 2, 3, 1))
            truth[f"{part}_labels"] += labels
    contents[dataset.meta["filename"]] = pickle.dumps(
        {dataset.meta["key"]: list(NAMED_DATASETS[name].class_names)}
    )
    md5 = {file: _md5(content) for file, content in contents.items()}
    for attribute in ("train_list", "test_list"):
        patch.setattr(dataset, attribute, [[file, md5[file]] for file, _ in getattr(dataset, attribute)])
    patch.setattr(dataset, "meta", {**dataset.meta, "md5": md5[dataset.meta["filename"]]})
    root.mkdir(parents=True, exist_ok=True)
    with tarfile.open(root / dataset.filename, "w:gz") as archive:
        for file, content in contents.items():
            entry = tarfile.TarInfo(f"{dataset.base_folder}/{file}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    patch.setattr(dataset, "tgz_md5", _md5((root / dataset.filename).read_bytes()))
    return truth | {part: np.concatenate(truth[part]) for part in ("train", "test")}


def _write_mnist(name: PublishedName, root: Path, patch: pytest.MonkeyPatch) -> dict[str, Any]:
    dataset = {"mnist": datasets.MNIST, "fashion_mnist": datasets.FashionMNIST}[name]
    folder = root / dataset.__name__ / "raw"
    folder.mkdir(parents=True)
    truth: dict[str, Any] = {}
    resources = []
    for part, count in PER_CLASS.items():
        labels = list(range(10)) * count
        images = draw(f"{name}/{part}", labels, (28, 28))
        truth["train" if part == "train" else "test"] = images
        truth["train_labels" if part == "train" else "test_labels"] = labels
        for kind, values in (("images-idx3", images), ("labels-idx1", np.array(labels, np.uint8))):
            header = struct.pack(f">{1 + values.ndim}i", 0x0800 + values.ndim, *values.shape)
            file = f"{part}-{kind}-ubyte.gz"
            content = gzip.compress(header + values.tobytes(), mtime=0)
            (folder / file).write_bytes(content)
            resources.append((file, _md5(content)))
    patch.setattr(dataset, "resources", resources)
    return truth


def _md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()
