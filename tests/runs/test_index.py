"""Runs are found by path, name, UUID, prefix and `latest`."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.index import find_run, run_directories
from pochi_cli.runs.layout import create_run_directory
from pochi_cli.runs.records import RunFiles
from tests.commands.cli import write_toml
from tests.engine.tiny import tiny_config, tiny_raw
from tests.runs.test_records import record

UUIDS = ("aaaa1111-0000", "aaaa2222-0000", "bbbb3333-0000")


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    for uuid in UUIDS:
        layout = create_run_directory(tmp_path, datetime(2026, 11, 20))
        RunFiles(layout, replace(record(layout.directory), experiment_id=uuid), export_metrics=False)
    (tmp_path / "20261120_004").mkdir()  # no run.json: no run
    return tmp_path


def test_every_way_to_name_a_run(work_dir: Path) -> None:
    assert [path.name for path in run_directories(work_dir)] == [f"20261120_00{n}" for n in (1, 2, 3)]
    for reference, name in (
        ("latest", "20261120_003"),
        ("20261120_002", "20261120_002"),
        (UUIDS[0], "20261120_001"),
        ("BBBB", "20261120_003"),
        ("aaaa2", "20261120_002"),
        (work_dir / "20261120_001", "20261120_001"),
    ):
        assert find_run(reference, work_dir).layout.name == name


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("aaaa", "fits more than one run: 20261120_001, 20261120_002"),
        ("20261120_004", 'no run "20261120_004"'),
        ("cccc", 'no run "cccc"'),
        ("", "no run"),
    ],
)
def test_what_names_no_single_run_is_an_error(work_dir: Path, reference: str, told: str) -> None:
    with pytest.raises(RunError, match=told):
        find_run(reference, work_dir)


def test_a_damaged_run_does_not_hide_the_others(work_dir: Path) -> None:
    (work_dir / "20261120_001" / "run.json").write_text("{")
    assert find_run("aaaa", work_dir).layout.name == "20261120_002"
    with pytest.raises(RunError, match="damaged"):
        find_run("20261120_001", work_dir)


def test_no_run_at_all(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run in"):
        find_run("latest", tmp_path / "nowhere")


def test_a_runs_config_is_its_resolved_one(work_dir: Path) -> None:
    run = find_run("latest", work_dir)
    with pytest.raises(RunError, match=r"config\.toml"):
        _ = find_run("latest", work_dir).config
    write_toml(run.layout.config_toml, tiny_raw())
    assert run.config == tiny_config()


def test_a_text_too_long_for_a_name_is_no_run(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="there is no run"):
        find_run("x" * 5000, tmp_path)
