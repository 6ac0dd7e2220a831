"""An image folder, one directory per class, as a list of files and labels."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

from PIL import Image

from pochi_cli.characters import printable
from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.images import IMAGE_SUFFIXES, is_image, read_rgb, read_size
from pochi_cli.data.pixels import Pixels
from pochi_cli.errors import DataError


@dataclass(frozen=True)
class FolderIndex:
    """The images of a folder, or of a data set that is in memory.

    Attributes:
        root: The folder.
        class_names: Names of the class directories, sorted; a label is a position in here.
        paths: Image files relative to `root`, with forward slashes, sorted within each class; of a data set
            that is in memory what messages call each image.
        labels: One label per path.
        file_bytes: Size of each file in bytes; -1 where a link leads nowhere.
        ignored: Number of files that are not images, or lie in no class directory; hidden ones not counted.
        loose_images: How many of those are images that lie in no class directory.
        unreadable: Directories, relative to `root`, whose contents cannot be listed, and why.
        pixels: The images themselves, in the order of the paths, where they are in memory.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    file_bytes: tuple[int, ...]
    ignored: int = 0
    loose_images: int = 0
    unreadable: tuple[tuple[str, str], ...] = ()
    pixels: Pixels | None = field(default=None, compare=False, repr=False)

    def __len__(self) -> int:
        """Count the images."""
        return len(self.paths)

    @cached_property
    def class_counts(self) -> tuple[int, ...]:
        """Number of images of each class, in the order of `class_names`."""
        counts = Counter(self.labels)
        return tuple(counts[label] for label in range(len(self.class_names)))

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256, in hex, over the sorted relative paths and sizes: the same wherever the folder lies.

        Images in memory, whose paths say nothing, count with their values and labels.
        """
        digest = hashlib.sha256()
        for path, size in sorted(zip(self.paths, self.file_bytes, strict=True)):
            digest.update(path.encode("utf-8", "surrogateescape") + b"\0%d\n" % size)
        if self.pixels is not None:
            digest.update(self.pixels.digest() + repr(self.labels).encode())
        return digest.hexdigest()

    def file(self, index: int) -> Path:
        """Path of an image."""
        return self.root / self.paths[index]

    def read_rgb(self, index: int) -> Image.Image:
        """Decode an image, upright, as RGB.

        Raises:
            BadImageError: If it cannot be.
        """
        return read_rgb(self.file(index)) if self.pixels is None else self.pixels.rgb(index)

    def read_size(self, index: int) -> Size:
        """Read an image's height and width.

        Raises:
            BadImageError: If they cannot be.
        """
        return read_size(self.file(index)) if self.pixels is None else self.pixels.size

    def subset(self, indices: Sequence[int]) -> FolderIndex:
        """Keep only the images at these positions, and every class."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=tuple(self.labels[i] for i in indices),
            file_bytes=tuple(self.file_bytes[i] for i in indices),
            pixels=None if self.pixels is None else self.pixels.take(indices),
        )


@dataclass
class _Listing:
    """What one class directory holds."""

    files: list[tuple[str, int]]
    unreadable: list[tuple[str, str]]
    ignored: int = 0


def index_folder(root: Path, key: str = "") -> FolderIndex:
    """List the images of a folder that has one directory per class, whether or not they can be trained on.

    Directories inside a class are searched too, links to directories are followed (each directory counts once
    per class), hidden files and directories are left out.

    Args:
        root: The folder.
        key: The config key that names it, for messages; empty where none does.

    Raises:
        DataError: If the folder is missing or cannot be read.
    """
    directories, loose = list_directory(root, f"{key}: " if key else "")
    listings = [_list_class(root, name) for name in directories]
    files = [file for listing in listings for file in sorted(listing.files)]
    return FolderIndex(
        root=root,
        class_names=tuple(directories),
        paths=tuple(path for path, _ in files),
        labels=tuple(label for label, listing in enumerate(listings) for _ in listing.files),
        file_bytes=tuple(size for _, size in files),
        ignored=len(loose) + sum(listing.ignored for listing in listings),
        loose_images=sum(map(is_image, loose)),
        unreadable=tuple(directory for listing in listings for directory in listing.unreadable),
    )


def index_images(root: Path, class_names: tuple[str, ...]) -> FolderIndex:
    """List all images in a folder, or a single one, whatever class they may be of; labels mean nothing.

    Args:
        root: The folder, searched as `index_folder` searches a class's, or an image file.
        class_names: What they may be.

    Raises:
        DataError: It is missing, cannot be read, or is a file that by its name is no image.
    """
    if root.is_file():
        if not is_image(root.name):
            known = " ".join(sorted(IMAGE_SUFFIXES))
            raise DataError(f"{printable(root)} is no image by its name", f"images end in {known}")
        listing = _Listing([(root.name, root.stat().st_size)], [])
        root = root.parent
    else:
        list_directory(root)
        listing = _list_class(root, "")
    files = sorted(listing.files)
    return FolderIndex(
        root=root,
        class_names=class_names,
        paths=tuple(path for path, _ in files),
        labels=(0,) * len(files),
        file_bytes=tuple(size for _, size in files),
        ignored=listing.ignored,
        unreadable=tuple(listing.unreadable),
    )


def _scan(directory: Path | str) -> list[os.DirEntry[str]]:
    """Visible entries of a directory, sorted."""
    with os.scandir(directory) as entries:
        visible = [entry for entry in entries if not entry.name.startswith(".")]
    return sorted(visible, key=lambda entry: entry.name)


def _nearby(directory: Path | str) -> str:
    path = Path(directory)
    resolved = (
        ""
        if path.is_absolute()
        else f"relative paths start at the working directory, {printable(Path.cwd())}; "
    )
    siblings = sorted(entry.name for entry in path.parent.glob("*") if entry.is_dir())
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return resolved + (f"did you mean {printable(path.parent / close[0])}?" if close else "check the path")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None  # a link to nowhere, or to itself


def list_directory(root: Path, prefix: str = "") -> tuple[list[str], list[str]]:
    """List the visible directories in a directory, and the files beside them.

    Args:
        root: The directory.
        prefix: What messages begin with.

    Raises:
        DataError: It is missing, or cannot be read.
    """
    directories: list[str] = []
    files: list[str] = []
    try:
        entries = _scan(root)
    except FileNotFoundError as error:
        raise DataError(f"{prefix}{printable(root)} does not exist", _nearby(root)) from error
    except NotADirectoryError as error:
        raise DataError(f"{prefix}{printable(root)} is not a directory") from error
    except OSError as error:
        raise DataError(f"{prefix}{printable(root)} cannot be read: {error.strerror}") from error
    for entry in entries:
        status = _status(entry)
        is_directory = status is not None and stat.S_ISDIR(status.st_mode)
        (directories if is_directory else files).append(entry.name)
    return directories, files


def _list_class(root: Path, name: str) -> _Listing:
    listing = _Listing([], [])
    visited: set[tuple[int, int]] = set()
    pending = [name]
    while pending:
        directory = pending.pop()
        path = os.path.join(root, directory)  # noqa: PTH118 - Path is slow for many files
        try:
            if directory == name:
                visited.add(_identity(os.stat(path)))  # noqa: PTH116 - Path is slow for many files
            entries = _scan(path)
        except OSError as error:
            listing.unreadable.append((directory, error.strerror or str(error)))
            continue
        for entry in entries:
            relative = f"{directory}/{entry.name}" if directory else entry.name
            status = _status(entry)
            if status is not None and stat.S_ISDIR(status.st_mode):
                if _identity(status) not in visited:
                    visited.add(_identity(status))
                    pending.append(relative)
            elif is_image(entry.name) and (status is None or stat.S_ISREG(status.st_mode)):
                listing.files.append((relative, -1 if status is None else status.st_size))
            else:
                listing.ignored += 1
    return listing


def _identity(status: os.stat_result) -> tuple[int, int]:
    """What a directory and the links to it have in common."""
    return status.st_dev, status.st_ino


def match_labels(train: FolderIndex, val: FolderIndex) -> FolderIndex:
    """Give the validation images the labels of the training data, by the names of their classes.

    Args:
        train: The training data; must have every class of the validation data.
        val: The validation data.
    """
    label_of = {name: label for label, name in enumerate(train.class_names)}
    labels = tuple(label_of[val.class_names[label]] for label in val.labels)
    return replace(val, class_names=train.class_names, labels=labels)
