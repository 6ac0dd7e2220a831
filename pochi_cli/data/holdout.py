"""Splitting images off for validation: seeded, class by class, the same on every machine. Free of torch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from pochi_cli.data.folder import FolderIndex


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
