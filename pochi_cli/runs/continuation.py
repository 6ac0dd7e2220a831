"""Whether a run can go on with a config, and which run that would be. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Any

from pochi_cli.config.embedding import DIGITS
from pochi_cli.config.load import validate
from pochi_cli.config.recording import ONLOOKERS
from pochi_cli.config.root import ClassificationConfig, Config
from pochi_cli.config.values import show
from pochi_cli.errors import ConfigError, Diagnostic, KeyPath, RunError, format_key
from pochi_cli.runs.index import Run, open_run, run_directories
from pochi_cli.runs.records import read_json

_MAY_CHANGE = frozenset(
    {
        "epochs",
        "optuna",
        "num_workers",
        "cache",
        "device",
        "work_dir",
        "save_interval",
        "checkpoint_every_steps",
        # What they looked at before is kept, and what they did not is a gap.
        *ONLOOKERS,
        # So far there was no bad image, or the run would have failed; or there were, and it will fail.
        "on_bad_image",
        # Moved data are the same data: their fingerprint holds them to it.
        "train_data_root",
        "val_data_root",
        "train_vectors",
    }
)
"""What may differ between the sessions of one run without changing its course."""

_CHOSEN = ("num_classes", "device", "precision", "channels_last", "threads")
"""What a config may leave open, and a run chooses when it begins."""

_PATHS = ("train_data_root", "val_data_root", "train_vectors", "weights", "work_dir")


def continued_config(run: Run, config: Config) -> Config:
    """Find the config with which a run goes on.

    Args:
        run: The run.
        config: What is asked for; what it leaves open is as the run chose it.

    Raises:
        ConfigError: It would change the course of the training; names every key that differs.
        RunError: The run's own record of its config is missing or damaged.
    """
    before = _config_of(run)
    free = {"sync_batch_norm"} if run.record.settings.get("processes", 1) == 1 else set()
    after = _with_choices_of(before, config).model_copy(
        update={"work_dir": str(run.directory.absolute().parent)}  # it stays where it is, and may have moved
    )
    began = f"when {run.layout.name} began"
    diagnostics = [
        Diagnostic(
            "conflict",
            f"{format_key(key)} was {_text(old)} {began}, and is {_text(new)} now",
            key,
            help="leave it as it was, or train a new run with it",
        )
        for key, old, new in course_changes(before, after, free)
    ]
    if after.epochs < before.epochs:
        diagnostics.append(
            Diagnostic(
                "conflict",
                f"epochs is {before.epochs} in {run.layout.name}, and would be {after.epochs} now",
                ("epochs",),
                help="a run that goes on may only get more epochs",
            )
        )
    if diagnostics:
        raise ConfigError(diagnostics)
    return after


def find_unfinished(config: Config) -> tuple[Run | None, list[str]]:
    """Find the newest run in the config's work_dir that is not finished and could go on with the config.

    Runs that another process is training are passed over.

    Returns:
        The run, and why newer ones cannot be read.
    """
    unreadable: list[str] = []
    for directory in reversed(run_directories(Path(config.work_dir))):
        try:
            run = open_run(directory)
            if run.status not in ("finished", "running"):
                continued_config(run, config)
                return run, unreadable
        except ConfigError:
            continue
        except RunError as error:
            unreadable.append(error.message)
    return None, unreadable


def course_changes(
    before: Config, after: Config, free: Set[str] = frozenset()
) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Find the keys on which the course of a training depends and that differ.

    Args:
        before: A config.
        after: Another one.
        free: Keys that may differ as well.

    Yields:
        A key, its value before and its value after; `None` where there is none.
    """
    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    if before.task != after.task:
        yield ("task",), before.task, after.task
        return
    changed = {key for key in new if not _is_same(old[key], new[key])} - _MAY_CHANGE - free
    if not (before.enable_gradient_tracking and after.enable_gradient_tracking):
        changed.discard("gradient_tracking_config")  # else one trace would be of two kinds
    for key in new:
        # The arguments of another optimizer are others as well.
        if key in changed and key.removesuffix("_params") not in changed - {key}:
            yield from _differences((key,), old[key], new[key])


def _differences(path: KeyPath, old: Any, new: Any) -> Iterator[tuple[KeyPath, Any, Any]]:
    """Go down to the single values that differ, where both sides are tables or arrays of one kind."""
    parts: list[Any] = []
    if isinstance(old, dict) and isinstance(new, dict) and _is_comparable(old, new):
        parts = list(old | new)
        old, new = ({part: side.get(part) for part in parts} for side in (old, new))
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        parts = list(range(len(new)))
    if not parts:
        yield path, old, new
    for part in parts:
        if not _is_same(old[part], new[part]):
            yield from _differences((*path, part), old[part], new[part])


def _is_comparable(old: dict[str, Any], new: dict[str, Any]) -> bool:
    """Whether tables are steps of one name, if they are steps, with what both have in the same order."""
    in_order = [key for key in old if key in new] == [key for key in new if key in old]
    return in_order and old.get("name") == new.get("name")


def _is_same(old: Any, new: Any) -> bool:
    """Compare values with the order of their keys: the first of the layer rates that matches counts."""
    return json.dumps(old) == json.dumps(new)


def _config_of(run: Run) -> Config:
    """Read the config that a run recorded; config.toml may have been edited since."""
    values = read_json(run.layout.config_json)
    if not isinstance(values, dict):
        raise RunError(f"{run.layout.config_json} is damaged: it holds no object")
    try:
        return validate({key: value for key, value in values.items() if key != "experiment_id"})
    except ConfigError as error:
        raise RunError(
            f"{run.layout.config_json} is damaged: {error.diagnostics[0].message}",
            hint="put back the file that the run wrote",
        ) from error


def _with_choices_of(before: Config, config: Config) -> Config:
    if type(before) is not type(config):
        return config
    changes = {
        key: getattr(before, key) for key in _CHOSEN if getattr(config, key, "given") in (None, "auto")
    }
    changes |= {
        key: str(Path(path).absolute())
        for key in _PATHS
        if (path := getattr(config, key, None)) not in (None, DIGITS)
    }
    if (
        isinstance(before, ClassificationConfig)
        and isinstance(config, ClassificationConfig)
        and config.batch_size == "auto"
        and config.images_per_step == before.images_per_step
    ):
        changes |= {"batch_size": before.batch_size, "accumulate_steps": before.accumulate_steps}
    return config.model_copy(update=changes)


def _text(value: Any) -> str:
    return "not given" if value is None else show(value)
