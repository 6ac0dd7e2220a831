"""The rows of stored vectors: checked, split into trained on and held out, and read. Free of torch."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pochi_cli.characters import printable
from pochi_cli.data.vector_files import DEFAULT_COLUMN, VECTOR_SUFFIXES, Vectors, open_vectors
from pochi_cli.errors import DataError

__all__ = [
    "DEFAULT_COLUMN",
    "VECTOR_SUFFIXES",
    "Vectors",
    "check_rows",
    "open_vectors",
    "read_rows",
    "split_rows",
]

_CHUNK_BYTES = 8 << 20
_NAMED_ROWS = 5


class _BadRows:
    """Rows with one fault: how many, and the numbers of the first few."""

    def __init__(self, fault: str, plural: str) -> None:
        self._fault, self._plural = fault, plural
        self.count = 0
        self._first: list[int] = []

    def add(self, is_bad: NDArray[np.bool_], start: int) -> None:
        """Note the bad ones of the rows that begin at `start`."""
        rows = np.flatnonzero(is_bad)
        self.count += len(rows)
        self._first += [start + int(row) for row in rows[: _NAMED_ROWS - len(self._first)]]

    def __str__(self) -> str:
        if self.count == 1:
            return f"row {self._first[0]} {self._fault}"
        more = f" and {self.count - len(self._first)} more" if self.count > len(self._first) else ""
        return f"{self.count} rows {self._plural}: {', '.join(map(str, self._first))}{more}"


def check_rows(
    vectors: Vectors,
    *,
    needs_norm: bool,
    tell: Callable[[int, int], None] | None = None,
    chunk_bytes: int = _CHUNK_BYTES,
) -> str:
    """Read all vectors once, refuse those that cannot be trained on, and take a fingerprint of them.

    Args:
        vectors: The vectors.
        needs_norm: Whether rows of nothing but zeros are refused, which have no direction.
        tell: Called with the number of rows that are done, and of all, after each chunk.
        chunk_bytes: How much is looked at at a time; changes nothing but the memory that takes.

    Returns:
        SHA-256, in hex, over the shape, the dtype and the values: the same wherever the file lies.

    Raises:
        DataError: Rows hold NaN, infinity or what float32 cannot hold, or are all zeros; it tells which.
    """
    stored = np.asarray(vectors.array)  # a memory map's slices are slow as such
    digest = hashlib.sha256(f"{vectors.rows} {vectors.dim} {stored.dtype.str}\n".encode())
    not_finite = _BadRows("holds NaN or infinity", "hold NaN or infinity")
    too_large = _BadRows("holds numbers too large for float32", "hold numbers too large for float32")
    zero = _BadRows("is all zeros, without a direction", "are all zeros, without a direction")
    step = max(1, chunk_bytes // (vectors.dim * stored.itemsize))
    for start in range(0, vectors.rows, step):
        chunk = np.ascontiguousarray(stored[start : start + step])
        digest.update(chunk.data)
        narrow = _narrowed(chunk)
        is_finite = _are_finite(chunk)
        not_finite.add(~is_finite, start)
        if stored.dtype.itemsize > narrow.itemsize:
            too_large.add(is_finite & ~_are_finite(narrow), start)
        if needs_norm:
            zero.add((narrow == 0).all(axis=1), start)
        if tell is not None:
            tell(min(start + step, vectors.rows), vectors.rows)
    faults = [bad for bad in (not_finite, too_large, zero) if bad.count]
    if faults:
        text = "; ".join(map(str, faults))
        direction = ', or choose a metric other than "cosine"' if faults == [zero] else ""
        message = f"{printable(vectors.path)}: {text} (counted from 0)"
        raise DataError(message, f"leave these rows out or repair them{direction}")
    return digest.hexdigest()


def read_rows(vectors: Vectors, rows: Sequence[int] | NDArray[np.integer[Any]]) -> NDArray[np.float32]:
    """Read vectors by their row numbers, in that order.

    Args:
        vectors: The vectors.
        rows: Numbers from 0 to N - 1. A stretch without gaps is read as such.

    Returns:
        float32 (len(rows), D), contiguous, a copy of its own.
    """
    stored = np.asarray(vectors.array)
    chosen = np.asarray(rows, dtype=np.int64)
    is_stretch = len(chosen) > 0 and chosen[0] >= 0 and bool((np.diff(chosen) == 1).all())
    if is_stretch and chosen[-1] < len(stored):
        return _narrowed(stored[chosen[0] : chosen[-1] + 1], copy=True)
    return _narrowed(stored[chosen])


def _narrowed(values: NDArray[Any], copy: bool = False) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):  # what is lost by this, check_rows has told
        return values.astype(np.float32, order="C", copy=copy)


def _are_finite(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Tell of each row whether it holds neither NaN nor infinity."""
    are_finite: NDArray[np.bool_] = np.isfinite(values).all(axis=1)
    return are_finite


def split_rows(count: int, holdout: float, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Split rows into those that are trained on and those that are held out.

    As with images, a row's place in the draw depends on its number and the seed alone: it is the same on
    every machine and version, and rows that are added hardly change it. The places are SplitMix64's numbers
    (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).

    Args:
        count: Number of rows.
        holdout: Share to hold out, from 0 to below 1.
        seed: Another seed, another choice.

    Returns:
        Both sorted. Held out are none where `holdout` is 0, and otherwise at least one, but never all.
    """
    held_count = min(max(round(count * holdout), 1), count - 1) if holdout > 0 and count > 1 else 0
    is_held = np.zeros(count, dtype=np.bool_)
    if held_count:
        is_held[np.argpartition(_ranks(count, seed), held_count)[:held_count]] = True
    return np.flatnonzero(~is_held), np.flatnonzero(is_held)


def _ranks(count: int, seed: int) -> NDArray[np.uint64]:
    """Scatter the numbers from 0 to `count` - 1 over all of 64 bits, no two to the same place."""
    key = hashlib.blake2b(f"{seed}/rows".encode(), digest_size=8).digest()
    state = np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    state += np.uint64(int.from_bytes(key, "little"))
    state ^= state >> np.uint64(30)
    state *= np.uint64(0xBF58476D1CE4E5B9)
    state ^= state >> np.uint64(27)
    state *= np.uint64(0x94D049BB133111EB)
    state ^= state >> np.uint64(31)
    return state
