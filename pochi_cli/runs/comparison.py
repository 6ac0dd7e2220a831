"""How runs differ, and which was better."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any, NamedTuple

from pochi_cli.errors import RunError
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.index import Run, RunStatus
from pochi_cli.runs.records import History, is_better, read_config

_BOOKKEEPING = (
    "work_dir", "device", "threads", "num_workers", "cache", "save_interval", "checkpoint_every_steps",
    "log_every_steps", "enable_metrics_export", "enable_tensorboard", "enable_gradient_tracking",
    "gradient_tracking_config", "layer_wise_lr_config.graph_config", "confusion_matrix_config",
    "tensorboard",
)  # fmt: skip
"""Keys, and tables of keys, that say where and how a run works and what it writes, not what it learns."""
_OF_THE_DATA = ("train_images", "val_images")
_VERSIONS = ("pochi", "torch", "torchvision", "git_commit", "git_dirty")


class Difference(NamedTuple):
    """Something that is not the same in all runs.

    Attributes:
        key: What it is; of a config its dotted key.
        values: Its value in each run; `None` where it is not given.
    """

    key: str
    values: tuple[Any, ...]


class Measure(NamedTuple):
    """A quantity of each run.

    Attributes:
        name: Which: a metric's best value, `final_` for that of the last epoch, or another number.
        values: `None` where it was not measured.
        epochs: The epoch of each value, where it has one.
        best: Positions of the best runs: several where they are equal, none where only one has a value.
    """

    name: str
    values: tuple[float | None, ...]
    epochs: tuple[int | None, ...]
    best: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """How runs differ.

    Attributes:
        runs: The runs, in the order asked for.
        labels: What each is called: its name, or its directory where names are the same.
        statuses: How each stands.
        measures: Their numbers.
        config: Keys that decide what is learnt.
        circumstances: Keys and choices that say where and how they worked.
        cautions: Data and versions: where they differ, the numbers do not compare one to one.
        watched: The metrics that the runs chose their best epoch by.
        best: Positions of the best runs by that metric; none where they watched different ones.
    """

    runs: tuple[Run, ...]
    labels: tuple[str, ...]
    statuses: tuple[RunStatus, ...]
    measures: tuple[Measure, ...]
    config: tuple[Difference, ...]
    circumstances: tuple[Difference, ...]
    cautions: tuple[Difference, ...]
    watched: tuple[str, ...]
    best: tuple[int, ...]


def compare_runs(runs: Sequence[Run]) -> Comparison:
    """Compare runs by their records, configs and histories.

    Raises:
        RunError: The same run is given twice, or a file of one is damaged.
    """
    directories = Counter(run.directory.resolve() for run in runs)
    for run in runs:
        if directories[run.directory.resolve()] > 1:
            raise RunError(f"{run.layout.name} is given twice", hint="compare runs that are not the same")
    names = Counter(run.layout.name for run in runs)
    labels = (run.layout.name if names[run.layout.name] == 1 else str(run.directory) for run in runs)
    configs = [flatten(read_config(run.layout.config_json)) for run in runs]
    differing = _differences(configs, left_out=("experiment_id",))
    config = [item for item in differing if not _is_bookkeeping(item.key)]
    # The data have a place of their own; what a key already says is not said again.
    said = {*_OF_THE_DATA, *(item.key for item in differing)}
    chosen = [item for item in _differences([run.record.settings for run in runs]) if item.key not in said]
    watched = tuple(dict.fromkeys(run.record.best_metric for run in runs))
    values = [run.record.best_value for run in runs]
    return Comparison(
        runs=tuple(runs),
        labels=tuple(labels),
        statuses=tuple(run.status for run in runs),
        measures=_measures(runs, [run.history for run in runs]),
        config=tuple(config),
        circumstances=(*(item for item in differing if _is_bookkeeping(item.key)), *chosen),
        cautions=tuple(_differences([_facts(run) for run in runs])),
        watched=watched,
        best=_best(values, watched[0]) if len(watched) == 1 else (),
    )


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
        "train_images": record.settings.get("train_images"),
        "val_images": record.settings.get("val_images"),
        "class_names": record.class_names,
        **{name: record.environment.get(name) for name in _VERSIONS},
    }


def _measures(runs: Sequence[Run], histories: Sequence[History]) -> tuple[Measure, ...]:
    found = [
        _extreme("val_accuracy", histories),
        _extreme("val_loss", histories),
        _final("train_accuracy", histories),
        _final("train_loss", histories),
        _plain("images_per_second", [_speed(history) for history in histories]),
        _plain("duration_s", [run.record.duration_s for run in runs]),
    ]
    return tuple(measure for measure in found if any(value is not None for value in measure.values))


def _extreme(metric: str, histories: Sequence[History]) -> Measure:
    values: list[float | None] = []
    epochs: list[int | None] = []
    for history in histories:
        epoch, value = best_epoch(history, metric)
        values.append(value)
        epochs.append(epoch)
    return Measure(metric, tuple(values), tuple(epochs), _best(values, metric))


def best_epoch(history: History, metric: str) -> tuple[int | None, float | None]:
    """Find the epoch in which a metric was best: on a tie the earlier; a NaN only where there is no other."""
    best: tuple[int | None, float | None] = (None, None)
    for record in history.epochs:
        value: float | None = getattr(record, metric)
        if value is not None and (best[1] is None or is_better(value, best[1], metric)):
            best = (record.epoch, value)
    return best


def _final(metric: str, histories: Sequence[History]) -> Measure:
    lasts = [history.epochs[-1] if len(history) else None for history in histories]
    values = [None if last is None else getattr(last, metric) for last in lasts]
    epochs = tuple(None if last is None else last.epoch for last in lasts)
    return Measure(f"final_{metric}", tuple(values), epochs, _best(values, metric))


def _plain(name: str, values: Sequence[float | None]) -> Measure:
    # A run may be short because it ended early: no duration is the best.
    best = _best(values, name) if name == "images_per_second" else ()
    return Measure(name, tuple(values), (None,) * len(values), best)


def _speed(history: History) -> float | None:
    speeds = [record.images_per_second for record in history.epochs]
    return median(speeds) if speeds else None


def _best(values: Sequence[float | None], metric: str) -> tuple[int, ...]:
    """Find the positions of the best values, where there are several to choose from."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if len(known) < 2:
        return ()
    choose: Callable[[Sequence[float]], float] = min if metric.endswith("loss") else max
    best = choose(known)
    return tuple(position for position, value in enumerate(values) if value == best)
