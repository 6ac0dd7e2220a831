"""Quantities of runs, side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from pochi_cli.config.recalls import is_recall, recall_name
from pochi_cli.runs.history import History, is_better
from pochi_cli.runs.index import Run

BASELINES = ("pca", "random_projection", "truncation")
"""Encodings that are not learnt, by the names that a run's record has for them."""
ABOVE_PCA = "above_pca"
"""How much better the learned encoder is than the principal components."""

_LOSS_KEYS = (
    "loss_function", "tau", "tau_mode", "lambda_rank", "lambda_pairdist", "pair_norm", "exclude_self", "k",
    "batch_size",
)  # fmt: skip
"""Keys that decide what a loss of an encoder means; a batch's loss depends on its size, too."""
PAIR_KEYS = ("pair_norm", "exclude_self", "batch_size")
"""Those of them on which the pair-distance term depends."""
_POOL = ("n_query", "n_pool", "metric")
_SPLIT = ("holdout", "seed")


class Measure(NamedTuple):
    """A quantity of each run.

    Attributes:
        name: Which: a metric's best value, `final_` for that of the last epoch, or another number; of an
            encoding that is not learnt `pca.recall_at_5`.
        values: `None` where it was not measured.
        epochs: The epoch of each value, where it has one.
        best: Positions of the best runs: several where they are equal, none where only one has a value, or
            where they do not compare.
    """

    name: str
    values: tuple[float | None, ...]
    epochs: tuple[int | None, ...]
    best: tuple[int, ...]


class Obstacles(NamedTuple):
    """What keeps numbers of runs from being compared: keys that differ.

    Attributes:
        recalls: Of the recalls, and of the losses of held-out vectors.
        losses: Of the losses.
    """

    recalls: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()

    def hinder(self, metric: str) -> bool:
        """Tell whether the best of a metric cannot be named."""
        if is_recall(metric):
            return bool(self.recalls)
        if metric == "val_total_loss":
            return bool(self.recalls or self.losses)
        if metric == "pairdist_loss":
            return any(key in PAIR_KEYS for key in self.losses)
        return metric.endswith("loss") and bool(self.losses)

    def over_seeds(self) -> Obstacles:
        """What keeps means over the same seeds from being compared: which rows were held out evens out."""
        return self._replace(recalls=tuple(key for key in self.recalls if key != "seed"))


def find_obstacles(runs: Sequence[Run], configs: Sequence[Mapping[str, Any]]) -> Obstacles:
    """Find what keeps the numbers of encoders from being compared; those of classifiers always are.

    Args:
        runs: The runs.
        configs: The flat config of each.
    """
    if runs[0].record.task != "embedding":
        return Obstacles()
    # A run that holds out nothing has no recall that could be compared. Which rows are held out is decided
    # by `holdout` and `seed`.
    pools = [
        {
            "data_fingerprint": run.record.data_fingerprint,
            **{key: run.record.settings[key] for key in _POOL},
            **{key: config.get(key) for key in _SPLIT},
        }
        for run, config in zip(runs, configs, strict=True)
        if all(key in run.record.settings for key in _POOL)
    ]
    keys = ("data_fingerprint", *_POOL, *_SPLIT)
    return Obstacles(
        tuple(key for key in keys if _differ([pool[key] for pool in pools])),
        tuple(key for key in _LOSS_KEYS if _differ([config.get(key) for config in configs])),
    )


def _differ(values: Sequence[Any]) -> bool:
    return any(value != values[0] for value in values[1:])


def measure_runs(
    runs: Sequence[Run], histories: Sequence[History], obstacles: Obstacles
) -> tuple[Measure, ...]:
    """Gather the numbers of runs of one task; what none of them has is left out.

    Args:
        runs: The runs.
        histories: The finished epochs of each.
        obstacles: What keeps some of the numbers from being compared.
    """
    if runs[0].record.task == "embedding":
        metrics = [
            *(_extreme(recall_name(k), histories, obstacles) for k in shared_ks(histories)),
            *_watched_loss(runs, histories, obstacles),
            *(
                _final(name, histories, obstacles)
                for name in ("total_loss", "rank_loss", "pairdist_loss", "val_total_loss")
            ),
        ]
    else:
        metrics = [
            *(_extreme(name, histories, obstacles) for name in ("val_accuracy", "val_loss")),
            *(_final(name, histories, obstacles) for name in ("train_accuracy", "train_loss")),
        ]
    found = [
        *metrics,
        _plain("samples_per_second", [_speed(history) for history in histories]),
        _plain("duration_s", [run.record.duration_s for run in runs]),
    ]
    return tuple(measure for measure in found if _is_measured(measure))


def _watched_loss(
    runs: Sequence[Run], histories: Sequence[History], obstacles: Obstacles
) -> tuple[Measure, ...]:
    if all(is_recall(run.record.best_metric) for run in runs):
        return ()
    return (_extreme("val_total_loss", histories, obstacles),)


def measure_baselines(runs: Sequence[Run], measures: Sequence[Measure]) -> tuple[Measure, ...]:
    """Gather the recalls of encodings that are not learnt, and how much better the learned ones are.

    Args:
        runs: The runs.
        measures: Their numbers; the baselines stand beside the recalls among them.
    """
    found = []
    for measure in measures:
        if not is_recall(measure.name):
            continue
        for name in BASELINES:
            values = [baseline(run, name, measure.name) for run in runs]
            found.append(_plain(f"{name}.{measure.name}", values))
        gains = [_gain(run, measure.name, value) for run, value in zip(runs, measure.values, strict=True)]
        found.append(_plain(f"{ABOVE_PCA}.{measure.name}", gains))
    return tuple(measure for measure in found if _is_measured(measure))


def baseline(run: Run, name: str, metric: str) -> float | None:
    """Look up a recall of an encoding that is not learnt; `None` where it is not known."""
    return baseline_recall(run.record.baselines, name, metric)


def baseline_recall(baselines: Mapping[str, Any] | None, name: str, metric: str) -> float | None:
    """Look up a recall in what a run recorded of encodings that are not learnt."""
    recalls = (baselines or {}).get(name)
    value = recalls.get(metric) if isinstance(recalls, Mapping) else None
    return float(value) if isinstance(value, int | float) else None


def _gain(run: Run, metric: str, value: float | None) -> float | None:
    reference = baseline(run, "pca", metric)
    return None if value is None or reference is None else value - reference


def shared_ks(histories: Sequence[History]) -> tuple[int, ...]:
    """List the numbers of neighbours whose recall all runs have that have any, rising."""
    measured = [
        {k for record in history.embedding for k, value in record.recall.items() if value is not None}
        for history in histories
    ]
    having = [ks for ks in measured if ks]
    return tuple(sorted(set.intersection(*having))) if having else ()


def _extreme(metric: str, histories: Sequence[History], obstacles: Obstacles) -> Measure:
    values: list[float | None] = []
    epochs: list[int | None] = []
    for history in histories:
        epoch, value = best_epoch(history, metric)
        values.append(value)
        epochs.append(epoch)
    best = () if obstacles.hinder(metric) else best_places(values, metric)
    return Measure(metric, tuple(values), tuple(epochs), best)


def best_epoch(history: History, metric: str) -> tuple[int | None, float | None]:
    """Find the epoch in which a metric was best: on a tie the earlier; a NaN only where there is no other."""
    best: tuple[int | None, float | None] = (None, None)
    for record in history.epochs:
        value = record.metrics.get(metric)
        if value is not None and (best[1] is None or is_better(value, best[1], metric)):
            best = (record.epoch, value)
    return best


def _final(metric: str, histories: Sequence[History], obstacles: Obstacles) -> Measure:
    lasts = [history.epochs[-1] if len(history) else None for history in histories]
    values = [None if last is None else last.metrics.get(metric) for last in lasts]
    epochs = tuple(None if last is None else last.epoch for last in lasts)
    best = () if obstacles.hinder(metric) else best_places(values, metric)
    return Measure(f"final_{metric}", tuple(values), epochs, best)


def _plain(name: str, values: Sequence[float | None]) -> Measure:
    # A run may be short because it ended early: no duration is the best.
    best = best_places(values, name) if name == "samples_per_second" else ()
    return Measure(name, tuple(values), (None,) * len(values), best)


def _speed(history: History) -> float | None:
    speeds = [record.samples_per_second for record in history.epochs]
    return median(speeds) if speeds else None


def _is_measured(measure: Measure) -> bool:
    return any(value is not None for value in measure.values)


def best_places(values: Sequence[float | None], metric: str) -> tuple[int, ...]:
    """Find the positions of the best values, where there are several to choose from."""
    known = [value for value in values if value is not None and not math.isnan(value)]
    if len(known) < 2:
        return ()
    choose: Callable[[Sequence[float]], float] = min if metric.endswith("loss") else max
    best = choose(known)
    return tuple(position for position, value in enumerate(values) if value == best)
