"""Which of several runs was best, in words."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

from pochi_cli.config.recalls import is_recall, neighbors_in
from pochi_cli.runs.comparison import Comparison
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.measure_text import number_text, spread_text
from pochi_cli.runs.measures import ABOVE_PCA
from pochi_cli.runs.seeds import GroupMeasure, Spread


def remarks(comparison: Comparison) -> Iterator[str]:
    """Say which numbers do not compare, and why."""
    obstacles = comparison.obstacles
    if obstacles.recalls:
        yield (
            f"the recalls do not compare: {_and(obstacles.recalls)} "
            f"{'differs' if len(obstacles.recalls) == 1 else 'differ'}"
        )
    if obstacles.losses:
        yield (
            f"the losses do not compare: {_and(obstacles.losses)} "
            f"{'differs' if len(obstacles.losses) == 1 else 'differ'}"
        )


def verdict(comparison: Comparison) -> str:
    """Say which run, or group of runs, was best, or why that cannot be said."""
    if len(comparison.watched) > 1:
        return f"best: no telling, the runs watched different metrics: {', '.join(comparison.watched)}"
    metric = comparison.watched[0]
    if comparison.obstacles.hinder(metric):
        kind = "recalls" if is_recall(metric) else "losses"
        return f"best: no telling, these {kind} do not compare"
    grouped = comparison.grouping.watched
    if comparison.grouping.decides and grouped is not None:
        return _of_groups(comparison, grouped)
    only = grouped.spreads[0] if grouped is not None and len(comparison.grouping.groups) == 1 else None
    if not comparison.best and only is not None and only.n > 1:
        return _of_seeds(comparison, metric, only)
    if not comparison.best:
        measured = zip(comparison.labels, comparison.runs, strict=True)
        having = [label for label, run in measured if run.record.best_value is not None]
        name = metric_name(metric)
        return f"best: no telling, {f'only {having[0]}' if having else 'no run'} has a {name}"
    winners = [comparison.runs[position].record for position in comparison.best]
    value = number_text(metric, winners[0].best_value or 0.0)
    names = " and ".join(comparison.labels[position] for position in comparison.best)
    epochs = " and ".join(str(record.best_epoch) for record in winners)
    told = f"best: {names}, {metric_name(metric)} {value} in epoch {epochs}"
    if len(winners) > 1:
        return told
    gains = {
        measure.name: None if (gain := measure.values[comparison.best[0]]) is None else Spread(gain, None, 1)
        for measure in comparison.baselines
    }
    return told + against_pca(metric, gains) + _over_seeds(comparison, comparison.best[0])


def _of_seeds(comparison: Comparison, metric: str, spread: Spread) -> str:
    """Tell what the seeds of one config give: their own held-out rows keep them from being compared."""
    gains = {measure.name: measure.spreads[0] for measure in comparison.grouping.baselines}
    told = f"mean of {spread.n} seeds: {metric_name(metric)} {spread_text(metric, spread)}"
    return told + against_pca(metric, gains)


def _over_seeds(comparison: Comparison, position: int) -> str:
    """Tell the mean of the seeds that a run is one of: it may only have been lucky."""
    grouping = comparison.grouping
    if grouping.watched is None:
        return ""
    for group, spread in zip(grouping.groups, grouping.watched.spreads, strict=True):
        if position in group.members and spread is not None and spread.n > 1:
            return f"; the mean of its {spread.n} seeds is {spread_text(grouping.watched.name, spread)}"
    return ""


def _of_groups(comparison: Comparison, watched: GroupMeasure) -> str:
    groups, metric = comparison.grouping.groups, watched.name
    if not watched.best:
        having = [
            group.label for group, spread in zip(groups, watched.spreads, strict=True) if spread is not None
        ]
        return f"best: no telling, {f'only {having[0]}' if having else 'no run'} has a {metric_name(metric)}"
    place = watched.best[0]
    best = watched.spreads[place]
    assert best is not None
    names = " and ".join(groups[at].label for at in watched.best)
    told = f"best by mean: {names}, {metric_name(metric)} {spread_text(metric, best)}"
    if len(watched.best) > 1:
        return told
    gains = {measure.name: measure.spreads[place] for measure in comparison.grouping.baselines}
    return told + against_pca(metric, gains) + _lead(comparison, watched, best)


def _lead(comparison: Comparison, watched: GroupMeasure, best: Spread) -> str:
    """Say so where the next best group is as good within the spread."""
    others = {
        at: spread
        for at, spread in enumerate(watched.spreads)
        if at not in watched.best and spread is not None and math.isfinite(spread.mean)
    }
    if not others:
        return ""
    at, following = min(others.items(), key=lambda item: abs(item[1].mean - best.mean))
    spread = math.hypot(best.deviation or 0.0, following.deviation or 0.0)
    if abs(following.mean - best.mean) >= spread:
        return ""
    return (
        f"; {comparison.grouping.groups[at].label} ({spread_text(watched.name, following)}) is within "
        "the spread: more seeds would tell"
    )


def against_pca(metric: str, gains: Mapping[str, Spread | None]) -> str:
    """Say, to be added to a sentence, whether an encoder is better than the principal components.

    Args:
        metric: What it was chosen by.
        gains: By how much it is better, by the names of the measures.
    """
    known = {
        name.removeprefix(f"{ABOVE_PCA}."): spread
        for name, spread in gains.items()
        if name.startswith(f"{ABOVE_PCA}.") and spread is not None and math.isfinite(spread.mean)
    }
    if (gain := known.get(metric)) is not None:
        if gain.mean == 0:
            return ", as good as PCA"
        amount = spread_text(metric, gain._replace(mean=abs(gain.mean)))
        return f", {'better' if gain.mean > 0 else 'worse'} than PCA by {amount}"
    better = [str(neighbors_in(name)) for name, spread in known.items() if spread.mean > 0]
    worse = [str(neighbors_in(name)) for name, spread in known.items() if spread.mean <= 0]
    if not known:
        return ""
    if not better:
        return ", no recall better than PCA's"
    told = f", recall better than PCA's for k = {_and(better)}"
    return f"{told}, not for {_and(worse)}" if worse else told


def _and(words: Sequence[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last
