"""Published data sets as torchvision reads them from their own files. It is imported where one is read."""

from __future__ import annotations

import pickle
import tarfile
import warnings
import zlib
from collections.abc import Callable, Sequence
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
    RuntimeError, OSError, AssertionError, ValueError, TypeError, LookupError, EOFError,
    pickle.UnpicklingError,
)  # fmt: skip
_FETCH_FAILURES = (OSError, HTTPException, RuntimeError, EOFError, zlib.error, tarfile.TarError)


class PublishedParts(NamedTuple):
    """The parts of a published data set, with their images in memory; `test` is `None` where not wanted."""

    train: FolderIndex
    test: FolderIndex | None


class _File(NamedTuple):
    """A file of a data set; `md5` is `None` where torchvision knows none."""

    path: Path
    md5: str | None

    @property
    def is_there(self) -> bool:
        """Whether there is such a file, in whatever state."""
        return self.path.is_file()


class _Archive(NamedTuple):
    """A file as it is published, and those that it holds."""

    file: _File
    unpacked: tuple[_File, ...]
    urls: tuple[str, ...]

    @property
    def is_unpacked(self) -> bool:
        """Whether all that it holds is there."""
        return all(file.is_there for file in self.unpacked)


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
            folder = printable(_folder(name, root))
            raise DataError(f"{name}: the files in {folder} cannot be read: {_reason(error)}") from error


def _torchvision_class(name: PublishedName) -> Any:
    from torchvision import datasets

    return getattr(datasets, _CLASSES[name])


def _read(name: PublishedName, root: Path, *, with_test: bool) -> PublishedParts:
    folder = _folder(name, root)
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


def _folder(name: PublishedName, root: Path) -> Path:
    """Directory of the unpacked files."""
    dataset = _torchvision_class(name)
    return root / (dataset.base_folder if name.startswith("cifar") else f"{dataset.__name__}/raw")


def _archives(name: PublishedName, root: Path) -> tuple[_Archive, ...]:
    """Where torchvision wants the files: CIFAR's in one archive, MNIST's in one each."""
    dataset, folder = _torchvision_class(name), _folder(name, root)
    if name.startswith("cifar"):
        files = [*dataset.train_list, *dataset.test_list, (dataset.meta["filename"], dataset.meta["md5"])]
        unpacked = tuple(_File(folder / file, md5) for file, md5 in files)
        return (_Archive(_File(root / dataset.filename, dataset.tgz_md5), unpacked, (dataset.url,)),)
    return tuple(
        _Archive(
            _File(folder / file, md5),
            (_File((folder / file).with_suffix(""), None),),
            tuple(f"{mirror}{file}" for mirror in dataset.mirrors),
        )
        for file, md5 in dataset.resources
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
    archives = _archives(name, root)
    for file in (file for archive in archives for file in (archive.file, *archive.unpacked)):
        if file.is_there and (trouble := _damage(file)):
            raise DataError(
                f"{name}: {printable(file.path)} is damaged: {trouble}",
                "delete it, so that it is unpacked or downloaded again",
            )
    wanted = [archive for archive in archives if not archive.is_unpacked]
    missing = [archive for archive in wanted if not archive.file.is_there]
    if missing:
        tell(f"downloading {name} to {printable(root)}: {listed(_names(missing))}")
    elif wanted:
        tell(f"unpacking {name} in {printable(root)}")
    try:
        with network_timeout():
            for archive in wanted:
                _fetch(archive)
    except _FETCH_FAILURES as error:
        raise _unobtainable(name, missing, wanted, error) from error


def _names(archives: Sequence[_Archive]) -> list[str]:
    return [archive.file.path.name for archive in archives]


def _fetch(archive: _Archive) -> None:
    """Unpack an archive, downloaded from the first place that has it unless it is there.

    Nothing is left half made, also when the user stops it: it would pass for damaged.
    """
    from torchvision.datasets.utils import download_and_extract_archive

    path, md5 = archive.file
    absent = [file for file in (archive.file, *archive.unpacked) if not file.is_there]
    try:
        for i, url in enumerate(archive.urls):
            try:
                download_and_extract_archive(url, str(path.parent), filename=path.name, md5=md5)
                return
            except (OSError, HTTPException, RuntimeError):
                if i == len(archive.urls) - 1:
                    raise
    except BaseException:
        for file in absent:
            if file.is_there and _damage(file):
                file.path.unlink()
        raise


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


def _unobtainable(
    name: PublishedName, missing: Sequence[_Archive], wanted: Sequence[_Archive], error: BaseException
) -> DataError:
    folder = printable(wanted[0].file.path.parent)
    if not missing:
        return DataError(f"{name}: {listed(_names(wanted))} in {folder} cannot be unpacked: {_reason(error)}")
    files = ", ".join(f"{archive.file.path.name} (MD5 {archive.file.md5})" for archive in missing)
    be = "is" if len(missing) == 1 else "are"
    source = missing[0].urls[0].rpartition("/")[0]
    return DataError(
        f"{name}: {listed(_names(missing))} {be} not in {folder} and could not be downloaded from {source}: "
        f"{_reason(error)}",
        f"put {files} into {folder}",
    )


def _reason(error: BaseException) -> str:
    """The last line of what a library says, without its ornament."""
    lines = str(getattr(error, "reason", None) or error).strip().splitlines()
    return (
        lines[-1].removeprefix("<urlopen error ").removesuffix(">")[:200] if lines else type(error).__name__
    )
