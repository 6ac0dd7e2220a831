"""Finding runs by directory, name, UUID, unique UUID prefix, or `latest`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.errors import RunError
from pochi_cli.runs.layout import RUN_NAME, RunLayout, run_json_in
from pochi_cli.runs.records import History, RunRecord, read_history, read_run_record

if TYPE_CHECKING:
    from pochi_cli.config.root import ClassificationConfig


@dataclass(frozen=True)
class Run:
    """A run as its files tell it.

    Attributes:
        layout: Its paths.
        record: run.json.
    """

    layout: RunLayout
    record: RunRecord

    @property
    def directory(self) -> Path:
        """The run's directory."""
        return self.layout.directory

    @cached_property
    def config(self) -> ClassificationConfig:
        """The resolved config.

        Raises:
            ConfigError: config.toml is missing or damaged.
        """
        from pochi_cli.config.load import load_config

        return load_config(self.layout.config_toml)

    @property
    def history(self) -> History:
        """The finished epochs, read anew."""
        return read_history(self.layout.history_json)


def open_run(directory: Path) -> Run:
    """Open the run in a directory.

    Raises:
        RunError: There is none, or its record is damaged.
    """
    record = read_run_record(run_json_in(directory))
    return Run(RunLayout(directory, record.stamp), record)


def run_directories(work_dir: Path) -> list[Path]:
    """List the run directories of a work_dir, oldest first."""
    if not work_dir.is_dir():
        return []
    found = []
    for entry in os.scandir(work_dir):
        match = RUN_NAME.fullmatch(entry.name)
        if match and run_json_in(Path(entry.path)).is_file():
            found.append((match["date"], int(match["number"]), Path(entry.path)))
    return [path for _, _, path in sorted(found)]


def find_run(reference: str | Path, work_dir: Path = Path("work_dirs")) -> Run:
    """Find a run.

    Args:
        reference: A run's directory, its name, its UUID or a unique prefix of it, or `latest`.
        work_dir: Where all but a path are looked up.

    Raises:
        RunError: None, or more than one, fits.
    """
    text = str(reference)
    if run_json_in(Path(text)).is_file():
        return open_run(Path(text))
    directories = run_directories(work_dir)
    if text == "latest":
        if not directories:
            raise RunError(f"there is no run in {work_dir}", hint="train one, or name another --work-dir")
        return open_run(directories[-1])
    for directory in directories:
        if directory.name == text:
            return open_run(directory)
    runs = _readable_runs(directories) if _may_be_uuid(text) else []
    fitting = [run for run in runs if run.record.experiment_id.startswith(text.lower())]
    if len(fitting) == 1:
        return fitting[0]
    if fitting:
        names = ", ".join(run.layout.name for run in fitting)
        raise RunError(f"{text} fits more than one run: {names}", hint="give more of the UUID")
    raise RunError(
        f"there is no run {text} in {work_dir}",
        hint="give a run's directory, its name such as 20261120_001, its UUID, or latest",
    )


def _readable_runs(directories: list[Path]) -> list[Run]:
    """Open runs; one whose record is damaged has no UUID to be found by."""
    runs = []
    for directory in directories:
        with suppress(RunError):
            runs.append(open_run(directory))
    return runs


def _may_be_uuid(text: str) -> bool:
    return len(text) >= 4 and set(text.lower()) <= set("0123456789abcdef-")
