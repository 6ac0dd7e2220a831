"""How recalls are called in configs, records and pictures."""

from __future__ import annotations

_PREFIX = "recall_at_"


def recall_name(k: int) -> str:
    """Name the recall of so many neighbours."""
    return f"{_PREFIX}{k}"


def is_recall(metric: str) -> bool:
    """Tell the names of recalls from those of other metrics."""
    return metric.startswith(_PREFIX)


def neighbors_in(metric: str) -> int:
    """Read how many neighbours a recall is of.

    Raises:
        ValueError: It is the name of no recall.
    """
    if not is_recall(metric):
        raise ValueError(f"{metric} is no recall")
    return int(metric.removeprefix(_PREFIX))
