"""The images that a model is asked about. Free of torch, but for published data sets."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.findings import (
    SPLIT_ROLES,
    class_findings,
    counted,
    folder_findings,
    in_words,
    listed,
    raise_errors,
)
from pochi_cli.data.folder import FolderIndex, index_folder, index_images, match_labels
from pochi_cli.data.prepare import data_fingerprint, find_folders
from pochi_cli.errors import DataError, Diagnostic
from pochi_cli.runs.records import RunRecord


@dataclass(frozen=True)
class ImageSource:
    """Images, and whether their classes are known.

    Attributes:
        index: The images, with the model's labels where they are known.
        is_labelled: Whether they are.
        is_validation: Whether they are the validation data of the training.
        name: What they are called.
        warnings: What is doubtful, in words.
    """

    index: FolderIndex
    is_labelled: bool
    is_validation: bool
    name: str
    warnings: tuple[str, ...]


def validation_images(
    config: ClassificationConfig, class_names: tuple[str, ...], record: RunRecord | None = None
) -> ImageSource:
    """Find the validation data of a training.

    Args:
        config: Of the training.
        class_names: Of the model.
        record: Of the run, where there is one: it tells whether the data are still those.

    Raises:
        DataError: There were none, or they are not as they have to be.
    """
    if not config.has_validation:
        raise DataError("it was trained without validation data", "name images: --data DIR_OR_FILE")
    key, has_changed = "val_data_root", False
    if config.dataset == "folder" and config.val_data_root is not None:
        # The training data are not looked for: they may have stayed on another machine.
        val = index_folder(Path(config.val_data_root), key)
        findings = folder_findings(val, (key,), min_classes=1)
        has_changed = record is not None and record.settings.get("val_images") != len(val)
    else:
        found = find_folders(config, config.seed)
        raise_errors(found.findings)
        assert found.val is not None  # has_validation
        val, findings = found.val, []
        if record is not None:
            now = data_fingerprint(found.train, match_labels(found.train, val))
            has_changed = now != record.data_fingerprint
    source = _labelled(val, class_names, findings, printable(val.root), is_validation=True)
    if has_changed:
        changed = "the data have changed since the training"
        if config.val_split is not None:
            changed += ": what is split off now may hold images that it was trained on"
        source = replace(source, warnings=(*source.warnings, changed))
    return source


def find_images(path: Path, class_names: tuple[str, ...], *, unlabelled: bool) -> ImageSource:
    """Find the images in a folder, or a single one.

    A folder with a directory for each class, or for some, is labelled: its directories are matched by name.
    One whose images lie in no directory is not.

    Args:
        path: A directory, or an image file.
        class_names: Of the model.
        unlabelled: Take every image, in whatever directory, and nothing for a label.

    Raises:
        DataError: There is none, or a directory is named like no class.
    """
    name = printable(path)
    if unlabelled or _is_file(path):
        return _unlabelled(index_images(path, class_names), name)
    index = index_folder(path)
    if not len(index):
        if index.loose_images:
            return _unlabelled(index_images(path, class_names), name)
        raise DataError(f"{name} has no images", _where_else(path, index))
    filled = [at for at, count in enumerate(index.class_counts) if count]
    names = [index.class_names[at] for at in filled]
    if not set(names) & set(class_names):
        raise DataError(
            f"no directory in {name} is named like a class: it has {listed(names)}; "
            f"the classes are {listed(class_names)}",
            _inside(path, names) or "to predict all its images without scores: --unlabelled",
        )
    position = {at: new for new, at in enumerate(filled)}
    index = replace(index, class_names=tuple(names), labels=tuple(position[at] for at in index.labels))
    return _labelled(index, class_names, folder_findings(index, (), min_classes=1), name, is_validation=False)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as error:  # it may not be looked at, or its name is too long
        raise DataError(f"{printable(path)} cannot be read: {error.strerror or error}") from error


def _labelled(
    index: FolderIndex,
    class_names: tuple[str, ...],
    findings: list[Diagnostic],
    name: str,
    *,
    is_validation: bool,
) -> ImageSource:
    # The model's classes stand where those of the training data would.
    known = FolderIndex(Path("the model"), class_names, (), (), ())
    findings = [*findings, *class_findings(known, index, ())]
    raise_errors(findings)
    warnings = [in_words(finding) for finding in findings]
    if others := index.ignored - index.loose_images:
        warnings.append(f"{counted(others, 'other file')} in {name}, left out")
    return ImageSource(match_labels(known, index), True, is_validation, name, tuple(warnings))


def _unlabelled(index: FolderIndex, name: str) -> ImageSource:
    if not len(index):
        raise DataError(f"{name} has no images", _unreadable(index))
    warnings = [f"{name}/{path} cannot be read: {reason}" for path, reason in index.unreadable]
    if index.ignored:
        warnings.append(f"{counted(index.ignored, 'other file')} in {name}, left out")
    return ImageSource(index, False, False, name, tuple(warnings))


def _where_else(path: Path, index: FolderIndex) -> str | None:
    return _inside(path, list(index.class_names)) or _unreadable(index)


def _inside(path: Path, names: list[str]) -> str | None:
    """Suggest the directory inside that is meant, where the parts of a data set lie there."""
    part = next((name for name in names if SPLIT_ROLES.get(name.lower()) in ("test", "val")), None)
    return None if part is None else f"did you mean {printable(path / part)}?"


def _unreadable(index: FolderIndex) -> str | None:
    return next((f"{path} cannot be read: {reason}" for path, reason in index.unreadable), None)
