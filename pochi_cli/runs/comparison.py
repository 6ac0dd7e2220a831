"""How runs differ, and which was better."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from pochi_cli.errors import RunError
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.history import History
from pochi_cli.runs.index import Run, RunStatus
from pochi_cli.runs.measures import (
    Measure,
    Obstacles,
    best_places,
    find_obstacles,
    measure_baselines,
    measure_runs,
)
from pochi_cli.runs.records import read_config
from pochi_cli.runs.seeds import Grouping, find_groups, group_runs

_BOOKKEEPING = (
    "work_dir", "device", "threads", "num_workers", "cache", "save_interval", "checkpoint_every_steps",
    "log_every_steps", "enable_metrics_export", "enable_tensorboard", "enable_gradient_tracking",
    "gradient_tracking_config", "layer_wise_lr_config.graph_config", "confusion_matrix_config",
    "tensorboard", "monitor",
)  # fmt: skip
"""Keys, and tables of keys, that say where and how a run works and what it writes, not what it learns."""
_OF_THE_DATA = ("train_images", "val_images", "train_rows", "val_rows", "dim", "n_query", "n_pool")
_VERSIONS = ("pochi", "torch", "torchvision", "git_commit", "git_dirty")


class Difference(NamedTuple):
    """Something that is not the same in all runs.

    Attributes:
        key: What it is; of a config its dotted key.
        values: Its value in each run; `None` where it is not given.
    """

    key: str
    values: tuple[Any, ...]


@dataclass(frozen=True)
class Comparison:
    """How runs differ.

    Attributes:
        runs: The runs, in the order asked for.
        labels: What each is called: its name, or its directory where names are the same.
        statuses: How each stands.
        histories: The finished epochs of each.
        measures: Their numbers.
        baselines: Recalls of encodings that are not learnt, beside the learned ones.
        config: Keys that decide what is learnt.
        circumstances: Keys and choices that say where and how they worked.
        cautions: Data and versions: where they differ, the numbers do not compare one to one.
        watched: The metrics that the runs chose their best epoch by.
        best: Positions of the best runs by that metric; none where they watched different ones, or where
            those do not compare.
        obstacles: What keeps some of the numbers from being compared.
        grouping: The runs by all but their seeds.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    statuses: tuple[RunStatus, ...]
    histories: tuple[History, ...]
    measures: tuple[Measure, ...]
    baselines: tuple[Measure, ...]
    config: tuple[Difference, ...]
    circumstances: tuple[Difference, ...]
    cautions: tuple[Difference, ...]
    watched: tuple[str, ...]
    best: tuple[int, ...]
    obstacles: Obstacles
    grouping: Grouping

    @property
    def task(self) -> str:
        """The task of all runs."""
        return self.runs[0].record.task


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compare runs by their records, configs and histories.

    Args:
        runs: One or more.

    Raises:
        RunError: The same run is given twice, they are of different tasks, or a file of one is damaged.
    """
    _check(runs)
    labels = name_runs(runs)
    configs = [flatten(read_config(run.layout.config_json)) for run in runs]
    histories = [run.history for run in runs]
    differing = _differences(configs, left_out=("experiment_id",))
    config = [item for item in differing if not _is_bookkeeping(item.key)]
    # The data have a place of their own; what a key already says is not said again.
    said = {*_OF_THE_DATA, *(item.key for item in differing)}
    chosen = [item for item in _differences([run.record.settings for run in runs]) if item.key not in said]
    obstacles = find_obstacles(runs, configs)
    measures = measure_runs(runs, histories, obstacles)
    baselines = measure_baselines(runs, measures)
    watched = tuple(dict.fromkeys(run.record.best_metric for run in runs))
    chief = _watched_measure(runs, watched[0], obstacles) if len(watched) == 1 else None
    groups = find_groups(runs, labels, configs, _is_bookkeeping)
    seeds = [set(group.seeds) for group in groups]
    is_over_seeds = len(seeds[0]) > 1 and all(other == seeds[0] for other in seeds)
    if is_over_seeds:  # only their means are compared
        obstacles = obstacles.over_seeds()
    return Comparison(
        runs=tuple(runs),
        labels=labels,
        statuses=tuple(run.status for run in runs),
        histories=tuple(histories),
        measures=measures,
        baselines=baselines,
        config=tuple(config),
        circumstances=(*(item for item in differing if _is_bookkeeping(item.key)), *chosen),
        cautions=tuple(_differences([_facts(run) for run in runs])),
        watched=watched,
        best=() if chief is None else chief.best,
        obstacles=obstacles,
        grouping=group_runs(groups, measures, baselines, chief, obstacles),
    )


def _check(runs: Sequence[Run]) -> None:
    directories = Counter(run.directory.resolve() for run in runs)
    for run in runs:
        if directories[run.directory.resolve()] > 1:
            raise RunError(f"{run.layout.name} is given twice", hint="compare runs that are not the same")
    first = runs[0]
    for run in runs:
        if run.record.task != first.record.task:
            raise RunError(
                f"{first.directory} is a run of the task {first.record.task}, {run.directory} one of the "
                f"task {run.record.task}: they have no metrics in common",
                hint="compare runs of one task",
            )


def name_runs(runs: Sequence[Run]) -> tuple[str, ...]:
    """Name runs: by their names, or by their directories where names are the same."""
    names = Counter(run.layout.name for run in runs)
    return tuple(run.layout.name if names[run.layout.name] == 1 else str(run.directory) for run in runs)


def _watched_measure(runs: Sequence[Run], metric: str, obstacles: Obstacles) -> Measure:
    values = tuple(run.record.best_value for run in runs)
    epochs = tuple(run.record.best_epoch for run in runs)
    return Measure(metric, values, epochs, () if obstacles.hinder(metric) else best_places(values, metric))


def _differences(tables: Sequence[Mapping[str, Any]], left_out: Sequence[str] = ()) -> list[Difference]:
    found = []
    keys = dict.fromkeys(key for table in tables for key in table if key not in left_out)
    places = {top: place for place, top in enumerate(dict.fromkeys(map(_table_of, keys)))}
    for key in sorted(keys, key=lambda key: places[_table_of(key)]):
        values = [table.get(key) for table in tables]
        if all(isinstance(value, Mapping) for value in values):
            # Of a step that all of them have, only the arguments that differ are worth telling.
            inner = _differences([value for value in values if value is not None])
            found += [Difference(f"{key}.{item.key}", item.values) for item in inner]
        elif any(value != values[0] for value in values[1:]):
            found.append(Difference(key, tuple(values)))
    return found


def _table_of(key: str) -> str:
    return key.partition(".")[0]


def _is_bookkeeping(key: str) -> bool:
    return any(key == name or key.startswith(f"{name}.") for name in _BOOKKEEPING)


def _facts(run: Run) -> dict[str, Any]:
    record = run.record
    return {
        "data_fingerprint": record.data_fingerprint,
        **{name: record.settings.get(name) for name in _OF_THE_DATA},
        "metric": record.settings.get("metric"),
        "class_names": record.class_names,
        **{name: record.environment.get(name) for name in _VERSIONS},
    }
