"""The parts that a directory of data has: train, val, test. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pochi_cli.characters import printable
from pochi_cli.data.findings import SPLIT_ROLES, class_findings, folder_findings, listed
from pochi_cli.data.folder import FolderIndex, index_folder
from pochi_cli.errors import Diagnostic, KeyPath

_ROLE_ORDER = ("train", "val", "test")


@dataclass(frozen=True)
class Split:
    """A part of the data.

    Attributes:
        name: What it is called: train, val, test, or as its directory.
        index: Its images.
        key: The config key that it is due to; empty where there is no config.
    """

    name: str
    index: FolderIndex
    key: KeyPath = ()


def find_splits(root: Path) -> tuple[list[Split], list[Diagnostic]]:
    """Find the parts of the data in a directory, and what is wrong with them as far as the listing tells.

    Directories named train, val, test or alike are parts when they hold directories with images, and when
    there are two of them or nothing else.

    Raises:
        DataError: If it is missing or cannot be read.
    """
    whole = index_folder(root)
    named = [name for name in whole.class_names if name.lower() in SPLIT_ROLES]
    holds_classes = any(path.count("/") > 1 and path.partition("/")[0] in named for path in whole.paths)
    if not holds_classes or len(named) == 1 < len(whole.class_names):
        return [Split(root.resolve().name, whole)], folder_findings(whole, ())
    named.sort(key=lambda name: (_ROLE_ORDER.index(SPLIT_ROLES[name.lower()]), name))
    splits = [Split(name, index_folder(root / name)) for name in named]
    findings = _beside_splits(whole, named)
    for i, split in enumerate(splits):
        own = folder_findings(split.index, (), min_classes=2 if i == 0 else 1)
        if SPLIT_ROLES[split.name.lower()] == "test":
            own = [_without_labels(finding) if finding.code == "no-classes" else finding for finding in own]
        findings += own
        if i > 0:
            findings += class_findings(splits[0].index, split.index, ())
    return splits, findings


def _beside_splits(whole: FolderIndex, named: Sequence[str]) -> list[Diagnostic]:
    others = [name for name in whole.class_names if name not in named]
    if not others:
        return []
    root = printable(whole.root)
    return [
        Diagnostic(
            "ignored-directory",
            f"{root} holds {listed(named)}, so these directories are passed over: {listed(others)}",
            severity="warning",
        )
    ]


def _without_labels(finding: Diagnostic) -> Diagnostic:
    unlabelled = "images without classes can be inferred, but not scored; they were not opened"
    return replace(finding, severity="warning", help=unlabelled)
