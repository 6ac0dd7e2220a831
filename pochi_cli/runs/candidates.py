"""The runs of a work_dir that can be compared."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from pochi_cli.errors import RunError
from pochi_cli.runs.index import Run, find_run, open_run, run_directories
from pochi_cli.runs.records import read_config


def choose_runs(references: Sequence[str], work_dir: Path) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    """Find the runs to compare.

    Args:
        references: Directories, names, UUIDs or `latest`; without any, all of the latest run's task that have
            a finished epoch.
        work_dir: Where they are looked up.

    Returns:
        The runs, and what was passed over and why.

    Raises:
        RunError: One is not found, or there is none.
    """
    if references:
        return tuple(find_run(reference, work_dir) for reference in references), ()
    return _comparable_runs(work_dir)


def _comparable_runs(work_dir: Path) -> tuple[tuple[Run, ...], tuple[str, ...]]:
    runs: list[Run] = []
    notes: list[str] = []
    for directory in run_directories(work_dir):
        try:
            run = open_run(directory)
            read_config(run.layout.config_json)
            if len(run.history):
                runs.append(run)
            else:
                notes.append(f"passed over: {directory.name} has no finished epoch")
        except RunError as error:
            notes.append(f"passed over: {error.message}")
    if not runs:
        raise RunError(
            f"there is no run with a finished epoch in {work_dir}",
            hint="train one, or name another --work-dir",
        )
    task = runs[-1].record.task
    return tuple(run for run in runs if run.record.task == task), (*notes, *_others(runs, task))


def _others(runs: list[Run], task: str) -> Iterator[str]:
    for other, count in Counter(run.record.task for run in runs if run.record.task != task).items():
        yield f"passed over: {count} {'run' if count == 1 else 'runs'} of the task {other}"
