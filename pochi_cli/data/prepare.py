"""From the config's data keys to checked lists of images. Free of torch."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pochi_cli.config.data import DataConfig
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import Pipeline, final_size
from pochi_cli.data.digits import digits_root
from pochi_cli.data.folder import FolderIndex, index_folder, match_classes, split
from pochi_cli.data.images import BadImageError, printable, read_size
from pochi_cli.errors import DataError

_PARTS = frozenset(("train", "training", "val", "valid", "validation", "test"))


@dataclass(frozen=True)
class Data:
    """The data of a run.

    Attributes:
        train: Training images.
        val: Validation images, with the training data's labels; `None` without.
        class_names: Name of each label.
        size: Height and width of the training tensors.
        val_size: Height and width of the validation tensors, which may differ; `None` without them.
        warnings: What is doubtful, in words.
        fingerprint: SHA-256, in hex, over the paths and sizes of all files.
    """

    train: FolderIndex
    val: FolderIndex | None
    class_names: tuple[str, ...]
    size: Size
    val_size: Size | None
    warnings: tuple[str, ...]
    fingerprint: str


def prepare_data(config: DataConfig, seed: int, cache_root: Path | None = None) -> Data:
    """Find, split and match the images, and hold the transforms against their sizes.

    Args:
        config: The data's part of the config.
        seed: Decides the split.
        cache_root: Directory for data that Pochi makes itself; by default the user's cache.

    Raises:
        DataError: If the folders or the sizes of the images do not fit.
        StorageError: If the digits cannot be written to the cache.
    """
    train, val, warnings = _find(config, seed, cache_root)
    size = output_size(train, config.train_transform, "train_transform")
    val_size = None
    if val is not None:
        if config.val_transform is None:
            raise DataError("val_transform is missing, and there are validation data")
        val_size = output_size(val, config.val_transform, "val_transform")
    fingerprint = hashlib.sha256(train.fingerprint.encode())
    fingerprint.update(val.fingerprint.encode() if val is not None else b"")
    return Data(
        train=train,
        val=val,
        class_names=train.class_names,
        size=size,
        val_size=val_size,
        warnings=(*warnings, *_doubts(train, config.batch_size)),
        fingerprint=fingerprint.hexdigest(),
    )


def _find(
    config: DataConfig, seed: int, cache_root: Path | None
) -> tuple[FolderIndex, FolderIndex | None, tuple[str, ...]]:
    """Index the training and validation images; warnings come third."""
    train_root, val_root = _roots(config, cache_root)
    train = index_folder(train_root, "train_data_root")
    if config.val_split is not None:
        train, val = split(train, config.val_split, seed)
        if not len(val):
            raise DataError(f"val_split: every class in {train_root} has one image, so none can be split off")
        return train, val, _classes_without(val, "val_split")
    if val_root is None:
        return train, None, ()
    val = index_folder(val_root, "val_data_root", min_classes=1)
    return train, *match_classes(train, val)


def _roots(config: DataConfig, cache_root: Path | None) -> tuple[Path, Path | None]:
    if config.dataset == "digits":
        digits = digits_root(cache_root)
        return digits / "train", digits / "val"
    if config.train_data_root is None:
        raise DataError("train_data_root is missing: the folder data set needs it")
    return Path(config.train_data_root), None if config.val_data_root is None else Path(config.val_data_root)


def _classes_without(val: FolderIndex, key: str) -> tuple[str, ...]:
    without = [name for name, n in zip(val.class_names, val.class_counts, strict=True) if n == 0]
    if not without:
        return ()
    names = ", ".join(map(printable, without))
    return (f"{key}: no validation images for {names}, which have one image each; it stays in training",)


def _doubts(train: FolderIndex, batch_size: int) -> list[str]:
    doubts = []
    if batch_size > len(train):
        doubts.append(f"batch_size {batch_size} is larger than the training data ({len(train)} images)")
    if train.loose_images:
        doubts.append(
            f"{train.loose_images} images in {train.root} lie in no class directory and are left out"
        )
    if {name.lower() for name in train.class_names} <= _PARTS:
        doubts.append(
            f"the classes in {train.root} are named {', '.join(train.class_names)}: "
            "is train_data_root one directory too high?"
        )
    return doubts


def output_size(index: FolderIndex, steps: Pipeline, key: str) -> Size:
    """Find the one size that a transform gives for all images.

    Where it depends on the images, all their headers are read; files whose header cannot be read are passed
    over: whoever decodes them will report them.

    Args:
        index: The images.
        steps: The transform.
        key: The config key of the transform, for messages.

    Returns:
        Height and width.

    Raises:
        DataError: If the sizes differ.
    """
    if (fixed := final_size(steps)) is not None:
        return fixed
    first: tuple[Path, Size, Size] | None = None
    for i in range(len(index)):
        file = index.file(i)
        try:
            image_size = read_size(file)
        except BadImageError:
            continue
        output = final_size(steps, image_size)
        if output is None:
            raise DataError(f"{key} gives tensors of varying size", _remedy(key))
        if first is None:
            first = (file, image_size, output)
        elif output != first[2]:
            told = " and ".join(
                f"{printable(path)} ({height} x {width})"
                for path, (height, width) in (first[:2], (file, image_size))
            )
            raise DataError(
                f"{key} gives tensors of different sizes, because the images differ (height x width): {told}",
                _remedy(key),
            )
    if first is None:
        raise DataError(f"no image in {index.root} could be read", "see what the files are")
    return first[2]


def _remedy(key: str) -> str:
    return f"end the geometry of {key} with Resize and CenterCrop, Letterbox, or RandomResizedCrop"
