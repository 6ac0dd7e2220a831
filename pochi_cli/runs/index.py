"""Finding runs by directory, name, UUID, unique UUID prefix, or `latest`."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from socket import gethostname
from typing import TYPE_CHECKING, Literal

from pochi_cli.errors import RunError
from pochi_cli.runs.history import History
from pochi_cli.runs.layout import RUN_NAME, RunLayout, run_json_in
from pochi_cli.runs.lock import is_held, process_exists
from pochi_cli.runs.records import RunRecord, read_history, read_run_record, require_file

if TYPE_CHECKING:
    from pochi_cli.config.root import Config

RunStatus = Literal["running", "crashed", "finished", "interrupted", "failed"]


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

    @property
    def status(self) -> RunStatus:
        """How the run stands now: one that was not closed, and that no process works on, has crashed.

        Of a run on another machine only the record is known.
        """
        if self.record.status != "running" or not self.is_local:
            return self.record.status
        held = is_held(self.layout.lock)
        works = process_exists(self.record.process_id) if held is None else held
        return "running" if works else "crashed"

    @property
    def is_local(self) -> bool:
        """Whether the run is, or was last, trained on this machine."""
        return self.record.host == gethostname()

    @cached_property
    def config(self) -> Config:
        """The resolved config.

        Raises:
            ConfigError: config.toml is damaged.
            RunError: It is missing.
        """
        from pochi_cli.config.load import load_config

        require_file(self.layout.config_toml)
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
    """List the run directories of a work_dir, oldest first.

    Raises:
        RunError: It cannot be read.
    """
    found = []
    try:
        for entry in os.scandir(work_dir):
            match = RUN_NAME.fullmatch(entry.name)
            if match and _has_record(Path(entry.path)):
                found.append((match["date"], int(match["number"]), Path(entry.path)))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise RunError(f"cannot read {work_dir}: {error.strerror or error}") from error
    return [path for _, _, path in sorted(found)]


def _has_record(directory: Path) -> bool:
    try:
        run_json_in(directory).lstat()  # whatever it is: reading it tells what is wrong
    except PermissionError:
        return True  # it may have one: reading it tells what is wrong
    except OSError:
        return False  # there is none, or the name is too long for one
    return True


@dataclass(frozen=True)
class ChosenCheckpoint:
    """The checkpoint by which a run is judged.

    Attributes:
        path: The file.
        epoch: Finished epochs in it.
    """

    path: Path
    epoch: int


def choose_checkpoint(run: Run) -> ChosenCheckpoint:
    """Choose the best checkpoint of a run, wherever it still is, or else the latest.

    Raises:
        RunError: It has none, or they cannot be looked for.
    """
    layout, best = run.layout, run.record.best_epoch
    places = [] if best is None else [(layout.best_model, best), (layout.checkpoint(best), best)]
    try:
        for path, epoch in (*places, (layout.latest_model, run.record.epochs_done)):
            if path.exists():
                return ChosenCheckpoint(path, epoch)
    except OSError as error:
        raise RunError(f"cannot look into {layout.models}: {error.strerror or error}") from error
    if run.record.epochs_done == 0:
        raise RunError(f"{run.directory} has no model yet: no epoch is finished", hint="train it first")
    gone = f"{layout.best_model.name} and {layout.latest_model.name} are gone from {layout.models}"
    numbered = layout.numbered_checkpoints()
    remedy = (
        f"name one that is there: {numbered[max(numbered)]}" if numbered else "copy them back, or train again"
    )
    raise RunError(f"{run.directory} has no model any more: {gone}", hint=remedy)


def names_file(reference: str | Path, suffix: str) -> bool:
    """Tell whether a reference names a file rather than a run.

    Args:
        reference: What was given.
        suffix: That of such files. The name of one that is missing is no run's name: reading it tells what is
            wrong.
    """
    path = Path(reference)
    try:
        if path.is_dir():
            return False
        return path.suffix.lower() == suffix or path.exists()
    except OSError:
        return False  # no name of a file, for its length


def run_around(checkpoint: Path) -> Run | None:
    """Open the run that a checkpoint lies in, if there is one."""
    directory = checkpoint.absolute().parent.parent
    try:
        run = open_run(directory)
    except RunError:
        return None  # a checkpoint needs no run around it, so none that is whole
    return run if run.layout.models == checkpoint.absolute().parent else None


def _is_directory(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        return False  # no name of a file, for its length


def find_run(reference: str | Path, work_dir: Path = Path("work_dirs")) -> Run:
    """Find a run.

    Args:
        reference: A run's directory, its name, its UUID or a unique prefix of it, or `latest`.
        work_dir: Where all but a path are looked up.

    Raises:
        RunError: None, or more than one, fits.
    """
    text = str(reference).rstrip("/") or str(reference)
    if text and _has_record(Path(text)):
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
        raise RunError(
            f"{text} fits more than one run: {names}", hint="give more of the UUID, or the directory"
        )
    if text and _is_directory(Path(text)):
        raise RunError(
            f"the directory {text} holds no run: it has no {run_json_in(Path(text)).name}",
            hint="name the directory of a run, such as work_dirs/20261120_001",
        )
    raise RunError(
        f'there is no run "{text}" in {work_dir}',
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
