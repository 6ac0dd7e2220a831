"""What is wrong or doubtful about image folders, as far as their listing tells. Free of torch."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence

from pochi_cli.characters import printable
from pochi_cli.data.folder import FolderIndex
from pochi_cli.errors import DataError, Diagnostic, KeyPath, format_key

SPLIT_ROLES = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""What directories of whole splits are called, in lower case."""


def listed(names: Sequence[str], most: int = 10) -> str:
    """Write names with commas between them; only the first `most`, and how many more."""
    told = ", ".join(map(printable, names[:most]))
    return told + (f" and {len(names) - most} more" if len(names) > most else "")


def counted(count: int, noun: str, plural: str | None = None) -> str:
    """Write a number of things."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def folder_findings(index: FolderIndex, key: KeyPath, *, min_classes: int = 2) -> list[Diagnostic]:
    """Hold a folder against what a classifier needs.

    Args:
        index: The folder.
        key: The config key that names it; empty where none does.
        min_classes: Smallest number of classes that makes sense.
    """
    findings = [
        Diagnostic("unreadable-directory", f"{printable(index.root / path)} cannot be read: {reason}", key)
        for path, reason in index.unreadable
    ]
    root = printable(index.root)
    if not index.class_names:
        return [*findings, _without_classes(index, key)]
    if index.loose_images:
        loose = f"{counted(index.loose_images, 'image')} in {root} in no class directory, left out"
        findings.append(Diagnostic("loose-images", loose, key, "warning"))
    empty = [name for name, n in zip(index.class_names, index.class_counts, strict=True) if n == 0]
    if len(empty) == len(index.class_names):
        message = f"{root} has no images; class directories: {listed(empty)}"
        return [*findings, Diagnostic("no-images", message, key)]
    if empty:
        findings.append(
            Diagnostic(
                "empty-class",
                f"class directories without images in {root}: {listed(empty)}",
                key,
                help="add images, or remove the directories",
            )
        )
    if len(index.class_names) < min_classes:
        only = printable(index.class_names[0])
        findings.append(
            Diagnostic(
                "one-class",
                f'{root} has only one class, "{only}"; a classifier needs two',
                key,
                help="put each class in a directory of its own",
            )
        )
    if min_classes > 1 and {name.lower() for name in index.class_names} <= SPLIT_ROLES.keys():
        findings.append(
            Diagnostic(
                "splits-as-classes",
                f"the classes in {root} are named {listed(index.class_names)}: "
                f"is {format_key(key) or 'it'} one directory too high?",
                key,
                "warning",
            )
        )
    return findings


def _without_classes(index: FolderIndex, key: KeyPath) -> Diagnostic:
    root = printable(index.root)
    if not index.loose_images:
        return Diagnostic("no-images", f"{root} has no class directories and no images", key)
    return Diagnostic(
        "no-classes",
        f"{counted(index.loose_images, 'image')} in {root}, in no class directory",
        key,
        help="put the images of each class in a directory of its own, "
        f"such as {printable(index.root / 'cat')}",
    )


def class_findings(train: FolderIndex, other: FolderIndex, key: KeyPath) -> list[Diagnostic]:
    """Compare the classes of two folders by name.

    Args:
        train: The training data.
        other: What is held against them.
        key: The config key that names it; empty where none does.
    """
    if not train.class_names:
        return []
    train_names, other_names = set(train.class_names), set(other.class_names)
    extra = [name for name in other.class_names if name not in train_names]
    by_folded = {name.casefold(): name for name in train.class_names}
    meant = {name: by_folded.get(name.casefold()) for name in extra}
    for name in extra[:10]:  # those that are told: the search takes milliseconds each
        meant[name] = meant[name] or _nearest(name, by_folded)
    findings = []
    if extra:
        told = [_with_suggestion(name, meant[name]) for name in extra[:10]]
        told += [f"and {len(extra) - 10} more"] if len(extra) > 10 else []
        findings.append(
            Diagnostic(
                "class-mismatch",
                f"{printable(other.root)} has classes that {printable(train.root)} does not have: "
                + ", ".join(told),
                key,
                help="class directories are matched by name",
            )
        )
    # A class without training images, or data without any images, has a finding of its own.
    trained = [
        name for name, n in zip(train.class_names, train.class_counts, strict=True) if n and len(other)
    ]
    missing = [name for name in trained if name not in other_names and name not in meant.values()]
    if missing:
        findings.append(
            Diagnostic(
                "class-mismatch",
                f"no images in {printable(other.root)} for: {listed(missing)}; their accuracy stays unknown",
                key,
                "warning",
            )
        )
    return findings


def _nearest(name: str, by_folded: Mapping[str, str]) -> str | None:
    close = difflib.get_close_matches(name.casefold(), by_folded, n=1)
    return by_folded[close[0]] if close else None


def _with_suggestion(name: str, meant: str | None) -> str:
    if meant is None:
        return printable(name)
    case = ", which differs in case" if meant.casefold() == name.casefold() else ""
    return f"{printable(name)} (did you mean {printable(meant)}{case}?)"


def in_words(finding: Diagnostic) -> str:
    """Write a finding's message behind the key that it is about, unless it names the key itself."""
    key = format_key(finding.key)
    return finding.message if not key or key in finding.message else f"{key}: {finding.message}"


def raise_errors(findings: Iterable[Diagnostic]) -> None:
    """Refuse data with mistakes.

    Raises:
        DataError: With every mistake. Doubts are passed over.
    """
    errors = [finding for finding in findings if finding.severity == "error"]
    if errors:
        raise DataError("; ".join(map(in_words, errors)), errors[0].help, errors)
