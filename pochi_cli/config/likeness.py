"""Which known word a misspelt one resembles; none rather than a far-fetched one."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

_LONGEST = 100
_SHORTEST_PART = 4
_MOST = 0.6
"""Share of a candidate that a shortening of it keeps."""


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """Find the candidate that a word is probably a misspelling or a shortening of.

    Case, separators and doubled letters do not count. One mistake is allowed in up to five letters, two in
    up to eleven, three beyond: a letter that is wrong, missing, too many, or swapped with its neighbour.

    Args:
        word: The unknown word.
        candidates: The known ones; of equally close ones the first is taken.
    """
    plain = _plain(word[:_LONGEST])
    known = {name: _plain(name) for name in candidates}
    distances = {name: _distance(plain, other) for name, other in known.items() if _comparable(plain, other)}
    near = {
        name: distance
        for name, distance in distances.items()
        if distance <= _allowed(plain, known[name]) and _alike(plain, known[name], distance)
    }
    if near:
        return min(near, key=near.__getitem__)
    return _lengthened(plain, known)


def _plain(word: str) -> str:
    letters = re.sub(r"[\W_]", "", word.lower())
    return re.sub(r"([^\W\d])\1+", r"\1", letters)


def _allowed(word: str, other: str) -> int:
    length = max(len(word), len(other))
    return 1 if length <= 5 else 2 if length <= 11 else 3


def _comparable(word: str, other: str) -> bool:
    """Tell whether the lengths leave a chance: it spares the comparison of most words."""
    return abs(len(word) - len(other)) <= _allowed(word, other)


def _alike(word: str, other: str, distance: int) -> bool:
    """Tell whether the difference can be a slip.

    Other digits are another model rather than a slip. A first letter is rarely wrong, and in a short word
    the last one neither: `step` is no `stem`.
    """
    if distance == 0:
        return True
    digits, others = (Counter(filter(str.isdigit, text)) for text in (word, other))
    if digits != others:
        return False
    if sorted(word) == sorted(other):
        return True
    if _allowed(word, other) > 1:
        return word[:1] == other[:1] or distance == 1
    return word[:1] == other[:1] and (len(word) != len(other) or word[-1:] == other[-1:])


def _lengthened(word: str, known: dict[str, str]) -> str | None:
    """Find the one candidate that begins or ends with a word, which is most of it.

    Of several, the one that all others go on from is taken: `optimizer` before `optimizer_params`.
    """
    if len(word) < _SHORTEST_PART:
        return None
    longer = {name: plain for name, plain in known.items() if plain.startswith(word) or plain.endswith(word)}
    shortest = min(longer, key=lambda name: len(longer[name]), default=None)
    if shortest is None or len(word) < _MOST * len(longer[shortest]):
        return None
    return shortest if all(plain.startswith(longer[shortest]) for plain in longer.values()) else None


def _distance(word: str, other: str) -> int:
    """Count the slips between two words (optimal string alignment: edits and swaps of neighbours)."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(word, 1):
        before, last, row = row, before, [i]
        for j, wanted in enumerate(other, 1):
            cost = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and word[i - 2] == wanted:
                cost = min(cost, last[j - 2] + 1)
            row.append(cost)
    return row[-1]
