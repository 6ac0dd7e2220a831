"""Identical files: within a part of the data, across its parts, under different classes. Free of torch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

from pochi_cli.characters import printable
from pochi_cli.data.decoding import DecodedSplit
from pochi_cli.data.findings import SPLIT_ROLES, counted
from pochi_cli.data.splits import Split
from pochi_cli.errors import Diagnostic, Note

_MOST_NOTES = 5


@dataclass(frozen=True)
class Copy:
    """One of several identical files.

    Attributes:
        split: Name of the part of the data that it lies in.
        class_name: Name of its class.
        path: The file.
    """

    split: str
    class_name: str
    path: str


Duplicate = tuple[Copy, ...]
"""Two or more identical files, in the order of the parts and paths."""


def find_duplicates(decoded: Sequence[DecodedSplit]) -> tuple[Duplicate, ...]:
    """Group the identical files among those that can be decoded; groups in the order of their first files."""
    first: dict[bytes, tuple[int, int]] = {}
    groups: dict[bytes, list[tuple[int, int]]] = {}  # of repeated files only: most data have few
    for part, images in enumerate(decoded):
        for i, facts in images.good:
            place = (part, i)
            if first.setdefault(facts.digest, place) != place:
                groups.setdefault(facts.digest, [first[facts.digest]]).append(place)
    return tuple(
        tuple(_copy(decoded[part].split, i) for part, i in places) for places in sorted(groups.values())
    )


def _copy(split: Split, i: int) -> Copy:
    index = split.index
    return Copy(split.name, index.class_names[index.labels[i]], str(index.file(i)))


def duplicate_findings(splits: Sequence[Split], duplicates: Sequence[Duplicate]) -> list[Diagnostic]:
    """Say what identical files do to training and its measures.

    Args:
        splits: The parts of the data.
        duplicates: As `find_duplicates` gives them.
    """
    findings = [
        finding
        for earlier, later in combinations(splits, 2)
        if (finding := _leak(earlier, later, duplicates)) is not None
    ]
    for split in splits:
        findings += _contradictions(split, splits, duplicates) + _repeated(split, duplicates)
    return findings


def _leak(earlier: Split, later: Split, duplicates: Sequence[Duplicate]) -> Diagnostic | None:
    pairs = []
    for copies in duplicates:
        seen = [copy for copy in copies if copy.split == earlier.name]
        pairs += [(copy, seen[0]) for copy in copies if seen and copy.split == later.name]
    if not pairs:
        return None
    one, other = earlier.index, later.index
    is_same = one.paths == other.paths and one.root.resolve() == other.root.resolve()
    return Diagnostic(
        "duplicate-images",
        f"{len(pairs):,} of the {counted(len(later.index), 'image')} in {printable(later.name)} "
        f"{'is' if len(pairs) == 1 else 'are'} also in {printable(earlier.name)}",
        later.key,
        "warning",
        help="both are the same directory"
        if is_same
        else f"remove them from one of the two: images that were {_use(earlier)} flatter the model",
        notes=_notes(pairs),
    )


def _use(split: Split) -> str:
    """What training does with a part of the data that a later one should be independent of."""
    return "used to choose the model" if SPLIT_ROLES.get(split.name.lower()) == "val" else "trained on"


def _repeated(split: Split, duplicates: Sequence[Duplicate]) -> list[Diagnostic]:
    """Copies beside a file of the same class in the same part."""
    pairs = []
    for copies in duplicates:
        kept: dict[str, Copy] = {}
        own = [copy for copy in copies if copy.split == split.name]
        kept_of = [(copy, kept.setdefault(copy.class_name, copy)) for copy in own]
        pairs += [(copy, first) for copy, first in kept_of if copy is not first]
    if not pairs:
        return []
    told = (
        f"{len(pairs):,} of the {counted(len(split.index), 'image')} in {printable(split.name)} "
        f"{'is a copy of another' if len(pairs) == 1 else 'are copies of others'} in the same class"
    )
    remedy = "remove them: an image that is there twice counts twice"
    return [Diagnostic("duplicate-images", told, split.key, "warning", remedy, _notes(pairs))]


def _contradictions(
    split: Split, splits: Sequence[Split], duplicates: Sequence[Duplicate]
) -> list[Diagnostic]:
    """Files of which the last part's copy, or the part's own copies, are of different classes."""
    groups = [copies for copies in duplicates if _home(copies, splits) == split.name]
    if not groups:
        return []
    pairs = []
    for first, *others in groups:
        pairs.append((first, next(copy for copy in others if copy.class_name != first.class_name)))
    told = (
        f"{counted(len(groups), 'image')} {'lies' if len(groups) == 1 else 'lie'} under more than one class"
    )
    remedy = "keep each in the class that is right: identical images with different labels cannot be learnt"
    return [Diagnostic("contradicting-labels", told, split.key, "warning", remedy, _notes(pairs))]


def _home(copies: Duplicate, splits: Sequence[Split]) -> str | None:
    """Name of the first part whose copies contradict what came before them; `None` where none do."""
    names: set[str] = set()
    for split in splits:
        names.update(copy.class_name for copy in copies if copy.split == split.name)
        if len(names) > 1:
            return split.name
    return None


def _notes(pairs: Sequence[tuple[Copy, Copy]]) -> tuple[Note, ...]:
    notes = [Note(f"{printable(one.path)} = {printable(other.path)}") for one, other in pairs[:_MOST_NOTES]]
    if len(pairs) > _MOST_NOTES:
        notes.append(Note(f"and {len(pairs) - _MOST_NOTES:,} more"))
    return tuple(notes)
