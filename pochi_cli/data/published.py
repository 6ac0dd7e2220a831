"""Published data sets as torchvision reads them from their own files. It is imported where one is read."""

from __future__ import annotations

import pickle
import tarfile
import warnings
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pochi_cli.characters import printable
from pochi_cli.config.named_datasets import PublishedName
from pochi_cli.data.findings import counted, listed
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.pixels import Pixels
from pochi_cli.errors import DataError
from pochi_cli.network import network_timeout

Tell = Callable[[str], None]
"""Told in words what takes a while."""

_CLASSES: dict[PublishedName, str] = {
    "cifar10": "CIFAR10",
    "cifar100": "CIFAR100",
    "mnist": "MNIST",
    "fashion_mnist": "FashionMNIST",
}
"""What torchvision calls them."""

# What torchvision's readers raise on files that are missing or damaged, beyond what they mean to.
_READ_FAILURES = (
    RuntimeError, OSError, AssertionError, ValueError, TypeError, LookupError, EOFError, pickle.UnpicklingError,
)  # fmt: skip
_DOWNLOAD_FAILURES = (OSError, HTTPException, RuntimeError, EOFError, zlib.error, tarfile.TarError)


class PublishedParts(NamedTuple):
    """The parts of a published data set, with their images in memory; `test` is `None` where not wanted."""

    train: FolderIndex
    test: FolderIndex | None


class _File(NamedTuple):
    """A file of a data set; `md5` is `None` where torchvision knows none."""

    path: Path
    md5: str | None


@dataclass(frozen=True)
class _Files:
    """Where torchvision wants the files of a data set.

    Attributes:
        folder: Directory of the unpacked files.
        unpacked: What is read.
        archives: What is published: one with all the files, or one for each.
        url: Where they come from, for messages.
    """

    folder: Path
    unpacked: tuple[_File, ...]
    archives: tuple[_File, ...]
    url: str

    @property
    def missing(self) -> tuple[_File, ...]:
        """The archives that are not there, though some file of theirs is not either."""
        if len(self.archives) == 1:
            is_there = [all(file.path.is_file() for file in self.unpacked)]
        else:
            is_there = [file.path.is_file() for file in self.unpacked]
        pairs = zip(self.archives, is_there, strict=True)
        return tuple(archive for archive, there in pairs if not there and not archive.path.is_file())


def read_published(name: PublishedName, root: Path, tell: Tell, *, with_test: bool) -> PublishedParts:
    """Read a data set; what is missing of it is unpacked or downloaded first.

    Args:
        name: The data set.
        root: torchvision's root: the directory that holds its files, or is to hold them.
        tell: Told what takes a while.
        with_test: Whether to read the official test part as well.

    Raises:
        DataError: The files are missing and cannot be downloaded, or are damaged.
    """
    if root.exists() and not root.is_dir():
        raise DataError(f"train_data_root: {printable(root)} is not a directory")
    with warnings.catch_warnings():
        # The pickles of 2009 make NumPy warn of how they spell a dtype.
        warnings.simplefilter("ignore")
        try:
            return _read(name, root, with_test=with_test)
        except _READ_FAILURES:
            _complete(name, root, tell)
        try:
            return _read(name, root, with_test=with_test)
        except _READ_FAILURES as error:
            folder = printable(_locate(name, root).folder)
            raise DataError(f"{name}: the files in {folder} cannot be read: {_reason(error)}") from error


def _torchvision_class(name: PublishedName) -> Any:
    from torchvision import datasets

    return getattr(datasets, _CLASSES[name])


def _read(name: PublishedName, root: Path, *, with_test: bool) -> PublishedParts:
    folder = _locate(name, root).folder
    train = _index(_torchvision_class(name)(root, train=True), folder, "train")
    test = _index(_torchvision_class(name)(root, train=False), folder, "test") if with_test else None
    return PublishedParts(train, test)


def _index(dataset: Any, folder: Path, part: str) -> FolderIndex:
    pixels = Pixels(np.asarray(dataset.data))
    labels = tuple(map(int, dataset.targets))
    class_names = tuple(dataset.classes)
    if len(labels) != len(pixels):
        raise ValueError(f"the {part} part has {counted(len(pixels), 'image')} and {len(labels):,} labels")
    if labels and not 0 <= min(labels) <= max(labels) < len(class_names):
        raise ValueError(f"a label of the {part} part is none of 0 to {len(class_names) - 1}")
    return FolderIndex(
        root=folder,
        class_names=class_names,
        paths=tuple(f"{part}[{position}]" for position in range(len(pixels))),
        labels=labels,
        file_bytes=(pixels.values[0].nbytes,) * len(pixels) if len(pixels) else (),
        pixels=pixels,
    )


def _locate(name: PublishedName, root: Path) -> _Files:
    dataset = _torchvision_class(name)
    if name in ("cifar10", "cifar100"):
        folder = root / dataset.base_folder
        files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
        archives = (_File(root / dataset.filename, dataset.tgz_md5),)
        return _Files(folder, tuple(_File(folder / file, md5) for file, md5 in files), archives, dataset.url)
    folder = root / dataset.__name__ / "raw"
    return _Files(
        folder,
        tuple(_File((folder / file).with_suffix(""), None) for file, _ in dataset.resources),
        tuple(_File(folder / file, md5) for file, md5 in dataset.resources),
        dataset.mirrors[0],
    )


def _complete(name: PublishedName, root: Path, tell: Tell) -> None:
    """Unpack or download what is missing of a data set.

    Args:
        name: The data set.
        root: As for `read_published`.
        tell: As for `read_published`.

    Raises:
        DataError: A file that is there is damaged, or one that is missing cannot be downloaded.
    """
    files = _locate(name, root)
    for file in (*files.archives, *files.unpacked):
        if file.path.is_file() and (trouble := _damage(file)):
            raise DataError(
                f"{name}: {printable(file.path)} is damaged: {trouble}",
                "delete it, so that it is unpacked or downloaded again",
            )
    missing = files.missing
    if missing:
        tell(f"downloading {name} to {printable(root)}: {listed([file.path.name for file in missing])}")
    else:
        tell(f"unpacking {name} in {printable(root)}")
    try:
        with network_timeout(), _leaving_nothing_half_made(files):
            _torchvision_class(name)(root, train=True, download=True)
    except _DOWNLOAD_FAILURES as error:
        raise _unobtainable(name, missing, files, error) from error


def _damage(file: _File) -> str | None:
    """Say what is wrong with a file; `None` where nothing is."""
    from torchvision.datasets.mnist import read_image_file, read_label_file
    from torchvision.datasets.utils import calculate_md5

    try:
        if file.md5 is not None:
            digest = calculate_md5(file.path)
            return None if digest == file.md5 else f"its MD5 is {digest}, not {file.md5}"
        read = read_image_file if "images" in file.path.name else read_label_file
        read(str(file.path))
    except _READ_FAILURES as error:
        return _reason(error)
    return None


@contextmanager
def _leaving_nothing_half_made(files: _Files) -> Iterator[None]:
    """Remove what was begun and not finished, also when the user stops it: it would pass for damaged."""
    absent = [file for file in (*files.archives, *files.unpacked) if not file.path.exists()]
    try:
        yield
    except BaseException:
        for file in absent:
            if file.path.is_file() and _damage(file):
                file.path.unlink()
        raise


def _unobtainable(
    name: PublishedName, missing: tuple[_File, ...], files: _Files, error: BaseException
) -> DataError:
    folder = printable(files.archives[0].path.parent)
    if not missing:
        return DataError(f"{name}: its archive in {folder} cannot be unpacked: {_reason(error)}")
    wanted = ", ".join(f"{file.path.name} (MD5 {file.md5})" for file in missing)
    be = "is" if len(missing) == 1 else "are"
    return DataError(
        f"{name}: {listed([file.path.name for file in missing])} {be} not in {folder} and could not be "
        f"downloaded from {files.url}: {_reason(error)}",
        f"put {wanted} into {folder}",
    )


def _reason(error: BaseException) -> str:
    """The last line of what a library says: before it come the attempts."""
    lines = str(getattr(error, "reason", None) or error).strip().splitlines()
    return (
        lines[-1].removeprefix("<urlopen error ").removesuffix(">")[:200] if lines else type(error).__name__
    )
