"""From the config's data keys to checked lists of images. Free of torch, but for published data sets."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.data import DataConfig
from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.digits import digits_root
from pochi_cli.data.findings import class_findings, folder_findings, in_words, listed, raise_errors
from pochi_cli.data.folder import FolderIndex, index_folder, list_directory, match_labels
from pochi_cli.data.holdout import split
from pochi_cli.data.published import Tell, read_published
from pochi_cli.data.sizes import output_size
from pochi_cli.errors import DataError, Diagnostic, KeyPath


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


def prepare_data(
    config: DataConfig, seed: int, cache_root: Path | None = None, tell: Tell = lambda _: None
) -> Data:
    """Find, split and match the images, and hold the transforms against their sizes.

    Args:
        config: The data's part of the config.
        seed: Decides the split.
        cache_root: Directory for data that Pochi makes itself; by default the user's cache.
        tell: Told in words when something is downloaded or unpacked.

    Raises:
        DataError: If the folders or the sizes of the images do not fit, or a published data set is
            not to be had.
        StorageError: If the digits cannot be written to the cache.
    """
    raise_errors(missing_folders(config))
    found = find_folders(config, seed, cache_root, tell)
    raise_errors(found.findings)
    train = found.train
    val = None if found.val is None else match_labels(train, found.val)
    size, refusals = output_size(train, config.train_transform, "train_transform")
    val_size = None
    if val is not None:
        assert config.val_transform is not None  # else found.findings say so
        val_size, val_refusals = output_size(val, config.val_transform, "val_transform")
        refusals += val_refusals
    raise_errors(refusals)
    return Data(
        train=train,
        val=val,
        class_names=train.class_names,
        size=size,
        val_size=val_size,
        warnings=tuple(map(in_words, found.findings)),
        fingerprint=data_fingerprint(train, val),
    )


def data_fingerprint(train: FolderIndex, val: FolderIndex | None) -> str:
    """Tell data apart: SHA-256, in hex, over both parts, which have the training data's labels."""
    digest = hashlib.sha256(train.fingerprint.encode())
    digest.update(val.fingerprint.encode() if val is not None else b"")
    return digest.hexdigest()


def missing_folders(config: DataConfig) -> list[Diagnostic]:
    """Find which of a config's folders cannot be looked into at all.

    Args:
        config: The data's part of the config.
    """
    findings: list[Diagnostic] = []
    if config.dataset != "folder":  # a published data set makes its own
        return findings
    for key in ("train_data_root", "val_data_root"):
        root = getattr(config, key)
        try:
            if root is not None:
                list_directory(Path(root))
        except DataError as error:
            findings.append(Diagnostic("unreadable-directory", error.message, (key,), help=error.hint))
    return findings


@dataclass(frozen=True)
class Found:
    """The folders of a run, as they lie on the disk.

    Attributes:
        train: Training images.
        val: Validation images, with labels of their own; `None` without.
        train_key: The config key that names the training folder.
        val_key: The config key that the validation images are due to.
        findings: Mistakes and doubts that the listing shows.
    """

    train: FolderIndex
    val: FolderIndex | None
    train_key: KeyPath
    val_key: KeyPath
    findings: tuple[Diagnostic, ...]


def find_folders(
    config: DataConfig, seed: int, cache_root: Path | None = None, tell: Tell = lambda _: None
) -> Found:
    """Index the training and validation images, and collect what is wrong with the folders.

    Args:
        config: The data's part of the config.
        seed: Decides the split.
        cache_root: As for `prepare_data`.
        tell: As for `prepare_data`.

    Raises:
        DataError: If a folder is not named, missing, or cannot be read, or a published data set is
            not to be had.
        StorageError: If the digits cannot be written to the cache.
    """
    is_folder = config.dataset == "folder"
    train_key, val_key = (
        (("train_data_root",), ("val_data_root",)) if is_folder else (("dataset",), ("dataset",))
    )
    train, val = _own_parts(config, cache_root, tell)
    findings = folder_findings(train, train_key)
    if config.val_split is not None:
        val_key = ("val_split",)
        train, val = split(train, config.val_split, seed)
        findings += _split_findings(train, val)
    elif val is not None:
        findings += folder_findings(val, val_key, min_classes=1) + class_findings(train, val, val_key)
    if val is not None and config.val_transform is None:
        missing = "val_transform is missing, and there are validation data"
        findings.append(Diagnostic("missing-key", missing, ("val_transform",)))
    if config.batch_size != "auto" and 0 < len(train) < config.batch_size:
        larger = f"batch_size {config.batch_size} is larger than the training data ({len(train)} images)"
        findings.append(Diagnostic("batch-size", larger, ("batch_size",), "warning"))
    return Found(train, val, train_key, val_key, tuple(findings))


def _own_parts(
    config: DataConfig, cache_root: Path | None, tell: Tell
) -> tuple[FolderIndex, FolderIndex | None]:
    """Find the images for training, and those for validation where they are not split off from them."""
    has_own = config.val_split is None
    if config.dataset == "digits":
        digits = digits_root(cache_root)
        return index_folder(digits / "train"), index_folder(digits / "val") if has_own else None
    if config.train_data_root is None:
        raise DataError(f"train_data_root is missing: the data set {config.dataset} needs it")
    root = Path(config.train_data_root)
    if config.dataset != "folder":
        return read_published(config.dataset, root, tell, with_test=has_own)
    train = index_folder(root, "train_data_root")
    if config.val_data_root is None or not has_own:
        return train, None
    return train, index_folder(Path(config.val_data_root), "val_data_root")


def _split_findings(train: FolderIndex, val: FolderIndex) -> list[Diagnostic]:
    """What is wrong with a share that was split off."""
    if len(train) and not len(val):
        alone = f"every class in {printable(train.root)} has one image, so none can be split off"
        return [Diagnostic("class-mismatch", alone, ("val_split",))]
    counts = zip(train.class_names, train.class_counts, val.class_counts, strict=True)
    without = [name for name, left, split_off in counts if left and not split_off]
    if not without:
        return []
    told = f"no validation images for {listed(without)}, which have one image each; it stays in training"
    return [Diagnostic("class-mismatch", told, ("val_split",), "warning")]
