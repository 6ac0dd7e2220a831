"""What was measured before on this machine, in the user's cache. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pochi_cli.errors import RunError, StorageError
from pochi_cli.runs.atomic import write_json
from pochi_cli.runs.records import read_json

_VERSION = 1
_MOST = 300
"""Measurements that are kept; the oldest are dropped first."""


@dataclass(frozen=True)
class Situation:
    """What the fastest precision and layout depend on.

    Attributes:
        device: Name of the processor or GPU.
        threads: Threads of the computation on the CPU.
        torch: Version of torch.
        model_name, stem, freeze: As in the config.
        image_size: Height and width in pixels.
        batch_size: Images of a batch, as many as there are.
        cudnn_benchmark: As in the config.
        candidates: What there is to choose from, in words.
    """

    device: str
    threads: int
    torch: str
    model_name: str
    stem: str
    freeze: tuple[str, ...]
    image_size: tuple[int, int]
    batch_size: int
    cudnn_benchmark: bool
    candidates: tuple[str, ...]


@dataclass(frozen=True)
class Measurement:
    """What was measured in a situation.

    Attributes:
        chosen: One of the candidates.
        images_per_second: Of each candidate that was not given up.
        far_slower: Candidates that were given up for that.
        measured_on: Date, as ISO 8601 has it.
        steps: Of the run that had no time to try every candidate; `None` if all were tried.
    """

    chosen: str
    images_per_second: Mapping[str, float]
    far_slower: tuple[str, ...]
    measured_on: str
    steps: int | None


def recall(path: Path, situation: Situation, steps: int) -> Measurement | None:
    """Look up what was measured in a situation; `None` if it was not.

    Args:
        path: The file; may be missing.
        situation: Must be the same in every part.
        steps: Of the run that asks; a longer one than that which measured could find out more.

    Raises:
        RunError: The file is damaged.
    """
    wanted = _as_read(situation)
    for entry in reversed(_read(path)):
        if entry.get("situation") == wanted:
            found = _measurement(entry, situation.candidates, path)
            return found if found.steps is None or steps <= found.steps else None
    return None


def remember(path: Path, situation: Situation, measurement: Measurement) -> None:
    """Keep what was measured, in place of an earlier measurement in the same situation.

    A damaged file is replaced. Of two processes that write at the same time the later one wins.

    Args:
        path: The file; its directory is made.
        situation: Where it was measured.
        measurement: What was.

    Raises:
        StorageError: It cannot be written.
    """
    key = _as_read(situation)
    try:
        others = [entry for entry in _read(path) if entry.get("situation") != key]
    except RunError:
        others = []
    entries = [*others, {"situation": key, **asdict(measurement)}]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {path.parent}: {error.strerror or error}") from error
    write_json(path, {"version": _VERSION, "measurements": entries[-_MOST:]})


def _read(path: Path) -> list[dict[str, Any]]:
    """Read the entries, the latest last; none of a file that is missing or of another version.

    Raises:
        RunError: The file is damaged.
    """
    if not path.exists():
        return []
    content = read_json(path)
    try:
        if content["version"] != _VERSION:
            return []
        return [dict(entry) for entry in content["measurements"]]
    except (KeyError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: it holds no measurements") from error


def _measurement(entry: dict[str, Any], candidates: tuple[str, ...], path: Path) -> Measurement:
    try:
        speeds = {str(name): float(speed) for name, speed in entry["images_per_second"].items()}
        found = Measurement(
            chosen=str(entry["chosen"]),
            images_per_second=speeds,
            far_slower=tuple(map(str, entry["far_slower"])),
            measured_on=str(entry["measured_on"]),
            steps=None if entry["steps"] is None else int(entry["steps"]),
        )
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: a measurement is incomplete") from error
    if found.chosen not in candidates:
        raise RunError(f"{path} is damaged: {found.chosen} is none of the candidates")
    return found


def _as_read(situation: Situation) -> Any:
    """Turn a situation into what JSON makes of it."""
    return json.loads(json.dumps(asdict(situation)))
