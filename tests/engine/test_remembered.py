"""What is remembered of measurements: by situation, without trusting the file."""

from __future__ import annotations

import json
import math
import os
from dataclasses import replace
from pathlib import Path

import pytest

from pochi_cli.engine.remembered import Measurement, Situation, recall, remember
from pochi_cli.errors import RunError, StorageError

HERE = Situation(
    device="a processor",
    threads=2,
    torch="2.14.1",
    model_name="resnet18",
    stem="auto",
    freeze=("layer1",),
    image_size=(224, 224),
    batch_size=16,
    cudnn_benchmark=False,
    candidates=("fp32", "bf16 channels-last"),
)
FOUND = Measurement(
    chosen="bf16 channels-last",
    images_per_second={"bf16 channels-last": 62.1},
    far_slower=("fp32",),
    measured_on="2026-05-01",
    steps=None,
)


def test_a_measurement_is_found_again(tmp_path: Path) -> None:
    path = tmp_path / "cache" / "speed.json"
    assert recall(path, HERE, 500) is None
    remember(path, HERE, FOUND)
    assert recall(path, HERE, 500) == FOUND


@pytest.mark.parametrize(
    "changes",
    [
        {"device": "another"},
        {"threads": 4},
        {"torch": "2.15.0"},
        {"model_name": "resnet34"},
        {"stem": "small"},
        {"freeze": ()},
        {"image_size": (224, 225)},
        {"batch_size": 17},
        {"cudnn_benchmark": True},
        {"candidates": ("fp32", "fp32 channels-last", "bf16 channels-last")},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_another_situation_is_another_measurement(tmp_path: Path, changes: dict[str, object]) -> None:
    path, there = tmp_path / "speed.json", replace(HERE, **changes)  # type: ignore[arg-type]
    remember(path, HERE, FOUND)
    assert recall(path, there, 500) is None
    other = replace(FOUND, chosen="fp32")
    remember(path, there, other)
    assert (recall(path, HERE, 500), recall(path, there, 500)) == (FOUND, other)


def test_a_new_measurement_takes_the_place_of_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    remember(path, HERE, FOUND)
    remember(path, HERE, replace(FOUND, chosen="fp32"))
    assert recall(path, HERE, 500) == replace(FOUND, chosen="fp32")
    assert len(json.loads(path.read_text())["measurements"]) == 1


def test_a_longer_run_measures_again_what_there_was_no_time_for(tmp_path: Path) -> None:
    path, partial = tmp_path / "speed.json", replace(FOUND, steps=500)
    remember(path, HERE, partial)
    assert recall(path, HERE, 500) == partial
    assert recall(path, HERE, 501) is None
    remember(path, HERE, FOUND)
    assert recall(path, HERE, 1_000_000) == FOUND


def test_the_oldest_are_dropped(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    remember(path, HERE, FOUND)
    content = json.loads(path.read_text())
    entry = content["measurements"][0]
    others = [{**entry, "situation": {**entry["situation"], "batch_size": size}} for size in range(100, 400)]
    path.write_text(json.dumps({**content, "measurements": others}))
    remember(path, HERE, FOUND)
    assert recall(path, HERE, 500) == FOUND
    assert recall(path, replace(HERE, batch_size=399), 500) == FOUND
    assert recall(path, replace(HERE, batch_size=100), 500) is None


@pytest.mark.parametrize(
    "damage",
    [
        "",
        "{",
        "[]",
        "null",
        '{"measurements": []}',
        '{"version": 1, "measurements": 3}',
        '{"version": 1, "measurements": [3]}',
    ],
)
def test_a_damaged_file_is_told_and_replaced(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "speed.json"
    path.write_text(damage)
    with pytest.raises(RunError, match=r"speed\.json is damaged"):
        recall(path, HERE, 500)
    remember(path, HERE, FOUND)
    assert recall(path, HERE, 500) == FOUND


@pytest.mark.parametrize(
    "damage",
    [
        {"chosen": "fp16"},
        {"images_per_second": None},
        {"images_per_second": {"fp32": "fast"}},
        {"steps": "all"},
        {"steps": math.inf},
    ],
    ids=["unknown", "no speeds", "no number", "no steps", "endless"],
)
def test_a_damaged_measurement_is_told(tmp_path: Path, damage: dict[str, object]) -> None:
    path = tmp_path / "speed.json"
    remember(path, HERE, FOUND)
    content = json.loads(path.read_text())
    content["measurements"][0] |= damage
    path.write_text(json.dumps(content))
    with pytest.raises(RunError, match=r"speed\.json is damaged"):
        recall(path, HERE, 500)


def test_measurements_of_another_version_are_left_aside(tmp_path: Path) -> None:
    path = tmp_path / "speed.json"
    path.write_text('{"version": 2, "anything": 1}')
    assert recall(path, HERE, 500) is None


def test_a_file_that_cannot_be_written_is_an_error_of_storage(tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("no directory")
    with pytest.raises(StorageError, match="cache"):
        remember(tmp_path / "cache" / "speed.json", HERE, FOUND)


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="permissions do not hold this user back")
def test_a_directory_without_permission_is_an_error_of_storage(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StorageError, match=r"speed\.json"):
        remember(tmp_path / "speed.json", HERE, FOUND)
    tmp_path.chmod(0o700)
