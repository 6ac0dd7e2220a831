"""An image folder, one directory per class, as a list of files and labels. Free of torch."""

from __future__ import annotations

import difflib
import hashlib
import os
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from pochi_cli.data.images import is_image, printable
from pochi_cli.errors import DataError


@dataclass(frozen=True)
class FolderIndex:
    """The images of a folder.

    Attributes:
        root: The folder.
        class_names: Names of the class directories, sorted; a label is a position in here.
        paths: Image files relative to `root`, with forward slashes, sorted within each class.
        labels: One label per path.
        file_bytes: Size of each file in bytes; -1 where a link leads nowhere.
        ignored: Number of files that are not images, or lie in no class directory; hidden ones not counted.
        loose_images: How many of those are images that lie in no class directory.
    """

    root: Path
    class_names: tuple[str, ...]
    paths: tuple[str, ...]
    labels: tuple[int, ...]
    file_bytes: tuple[int, ...]
    ignored: int = 0
    loose_images: int = 0

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
        """SHA-256, in hex, over the sorted relative paths and sizes: the same wherever the folder lies."""
        digest = hashlib.sha256()
        for path, size in sorted(zip(self.paths, self.file_bytes, strict=True)):
            digest.update(path.encode("utf-8", "surrogateescape") + b"\0%d\n" % size)
        return digest.hexdigest()

    def file(self, index: int) -> Path:
        """Path of an image."""
        return self.root / self.paths[index]

    def subset(self, indices: Sequence[int]) -> FolderIndex:
        """Keep only the images at these positions, and every class."""
        return replace(
            self,
            paths=tuple(self.paths[i] for i in indices),
            labels=tuple(self.labels[i] for i in indices),
            file_bytes=tuple(self.file_bytes[i] for i in indices),
        )


@dataclass
class _Listing:
    """What one class directory holds."""

    files: list[tuple[str, int]]
    ignored: int = 0


def index_folder(root: Path, key: str, *, min_classes: int = 2) -> FolderIndex:
    """List the images of a folder that has one directory per class.

    Directories inside a class are searched too, links to directories are followed (each directory counts once
    per class), hidden files and directories are left out.

    Args:
        root: The folder.
        key: The config key that names it, for messages.
        min_classes: Smallest number of classes that makes sense.

    Raises:
        DataError: If the folder is missing or cannot be read, has no or too few classes, no images, or
            classes without images.
    """
    directories, loose = _top_level(root, key)
    loose_images = sum(map(is_image, loose))
    if not directories:
        if loose_images:
            raise DataError(
                f"{key}: the {loose_images} images in {root} lie in no class directory",
                f"put the images of each class in a directory of its own, such as {root / 'cat'}",
            )
        raise DataError(f"{key}: {root} has no class directories and no images")
    listings = [_list_class(root, name, key) for name in directories]
    _check_classes(root, key, dict(zip(directories, listings, strict=True)), min_classes)
    files = [file for listing in listings for file in sorted(listing.files)]
    return FolderIndex(
        root=root,
        class_names=tuple(directories),
        paths=tuple(path for path, _ in files),
        labels=tuple(label for label, listing in enumerate(listings) for _ in listing.files),
        file_bytes=tuple(size for _, size in files),
        ignored=len(loose) + sum(listing.ignored for listing in listings),
        loose_images=loose_images,
    )


def _check_classes(root: Path, key: str, listings: dict[str, _Listing], min_classes: int) -> None:
    empty = [printable(name) for name, listing in listings.items() if not listing.files]
    if len(empty) == len(listings):
        raise DataError(f"{key}: {root} has no images; class directories: {', '.join(empty)}")
    if empty:
        raise DataError(
            f"{key}: class directories without images in {root}: {', '.join(empty)}",
            "add images, or remove the directories",
        )
    if len(listings) < min_classes:
        raise DataError(
            f"{key}: {root} has only one class, {printable(next(iter(listings)))!r}; a classifier needs two",
            "put each class in a directory of its own",
        )


def _scan(directory: Path | str, key: str) -> Iterator[os.DirEntry[str]]:
    """Visible entries of a directory, sorted."""
    try:
        with os.scandir(directory) as entries:
            visible = [entry for entry in entries if not entry.name.startswith(".")]
    except FileNotFoundError as error:
        raise DataError(f"{key}: {printable(directory)} does not exist", _nearby(directory)) from error
    except NotADirectoryError as error:
        raise DataError(f"{key}: {printable(directory)} is not a directory") from error
    except OSError as error:
        raise DataError(f"{key}: {printable(directory)} cannot be read: {error.strerror}") from error
    return iter(sorted(visible, key=lambda entry: entry.name))


def _nearby(directory: Path | str) -> str:
    path = Path(directory)
    resolved = "" if path.is_absolute() else f"relative paths start at the working directory, {Path.cwd()}; "
    siblings = sorted(entry.name for entry in path.parent.glob("*") if entry.is_dir())
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return resolved + (f"did you mean {path.parent / close[0]}?" if close else "check the path")


def _status(entry: os.DirEntry[str]) -> os.stat_result | None:
    try:
        return entry.stat()
    except OSError:
        return None  # a link to nowhere, or to itself


def _top_level(root: Path, key: str) -> tuple[list[str], list[str]]:
    """Names of the class directories and of the files beside them."""
    directories: list[str] = []
    files: list[str] = []
    for entry in _scan(root, key):
        status = _status(entry)
        is_directory = status is not None and stat.S_ISDIR(status.st_mode)
        (directories if is_directory else files).append(entry.name)
    return directories, files


def _list_class(root: Path, name: str, key: str) -> _Listing:
    listing = _Listing([])
    base = os.stat(root / name)  # noqa: PTH116 - the device and inode of a link's target
    visited = {(base.st_dev, base.st_ino)}
    pending = [name]
    while pending:
        directory = pending.pop()
        for entry in _scan(os.path.join(root, directory), key):  # noqa: PTH118 - Path is slow for many files
            relative = f"{directory}/{entry.name}"
            status = _status(entry)
            if status is not None and stat.S_ISDIR(status.st_mode):
                identity = (status.st_dev, status.st_ino)
                if identity not in visited:
                    visited.add(identity)
                    pending.append(relative)
            elif is_image(entry.name) and (status is None or stat.S_ISREG(status.st_mode)):
                listing.files.append((relative, -1 if status is None else status.st_size))
            else:
                listing.ignored += 1
    return listing


def hold_out(names: Iterable[str], fraction: float, seed: int) -> frozenset[str]:
    """Choose a share of the names: at least one of two or more, never all, none of a single one.

    Each name's place in the draw is a hash of it and the seed, so that the choice is the same on every
    machine and version, and a new name hardly changes it.

    Args:
        names: Distinct names.
        fraction: Share to choose, above 0 and below 1.
        seed: Another seed, another choice.
    """
    ranked = sorted(names, key=lambda name: _rank(name, seed))
    count = min(max(round(len(ranked) * fraction), 1), len(ranked) - 1)
    return frozenset(ranked[: max(count, 0)])


def _rank(name: str, seed: int) -> bytes:
    return hashlib.blake2b(f"{seed}/{name}".encode("utf-8", "surrogateescape"), digest_size=16).digest()


def split(index: FolderIndex, fraction: float, seed: int) -> tuple[FolderIndex, FolderIndex]:
    """Split off a share of each class.

    Args:
        index: What to split.
        fraction: Share that is split off, above 0 and below 1.
        seed: Decides which images.

    Returns:
        What is left, and what was split off: at least one image of every class that has two or more; a
        class's only image stays. Both keep every class and the order of the paths.
    """
    by_class: list[list[str]] = [[] for _ in index.class_names]
    for path, label in zip(index.paths, index.labels, strict=True):
        by_class[label].append(path)
    held_out = frozenset().union(*(hold_out(paths, fraction, seed) for paths in by_class))
    is_held_out = [path in held_out for path in index.paths]
    return (
        index.subset([i for i, out in enumerate(is_held_out) if not out]),
        index.subset([i for i, out in enumerate(is_held_out) if out]),
    )


def match_classes(train: FolderIndex, val: FolderIndex) -> tuple[FolderIndex, tuple[str, ...]]:
    """Give the validation images the labels of the training data, by the names of their classes.

    Returns:
        The validation data with the training data's classes, and warnings: a class without validation images.

    Raises:
        DataError: If the validation data have classes that the training data do not have.
    """
    extra = [name for name in val.class_names if name not in train.class_names]
    if extra:
        raise DataError(
            f"{val.root} has classes that {train.root} does not have: "
            + ", ".join(_with_suggestion(name, train.class_names) for name in extra),
            "class directories are matched by name",
        )
    label_of = {name: label for label, name in enumerate(train.class_names)}
    labels = tuple(label_of[val.class_names[label]] for label in val.labels)
    matched = replace(val, class_names=train.class_names, labels=labels)
    missing = [name for name in train.class_names if name not in val.class_names]
    if not missing:
        return matched, ()
    names = ", ".join(map(printable, missing))
    return matched, (f"no validation images in {val.root} for: {names}; their accuracy stays unknown",)


def _with_suggestion(name: str, known: Sequence[str]) -> str:
    by_folded = {other.casefold(): other for other in known}
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return printable(name) + (f" (did you mean {printable(by_folded[close[0]])}?)" if close else "")
