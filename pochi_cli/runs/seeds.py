"""Runs that differ in their seeds alone: the mean of what they gave, and how far it is spread."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any, NamedTuple

from pochi_cli.runs.index import Run
from pochi_cli.runs.layout import RUN_NAME
from pochi_cli.runs.measures import Measure, Obstacles, best_places

_ROUNDING = 1e-12
"""Share of a mean below which a deviation is none."""
_MOST_CHARACTERS = 32
"""Of the names in a group's label."""


class SeedGroup(NamedTuple):
    """Runs of the same config and data, whatever their seeds; perhaps only one.

    Attributes:
        label: What it is called.
        members: Positions of the runs.
        seeds: The seed of each.
    """

    label: str
    members: tuple[int, ...]
    seeds: tuple[Any, ...]

    @property
    def has_spread(self) -> bool:
        """Whether there are several seeds."""
        return len(set(self.seeds)) > 1


class Spread(NamedTuple):
    """What several seeds gave.

    Attributes:
        mean: Over the seeds.
        deviation: The sample standard deviation (with n - 1); `None` for a single seed.
        n: Seeds that have a value.
    """

    mean: float
    deviation: float | None
    n: int


class GroupMeasure(NamedTuple):
    """A quantity of each group.

    Attributes:
        name: As of the runs' measure.
        spreads: `None` where no run of a group has a value.
        best: Positions of the groups of the best mean.
    """

    name: str
    spreads: tuple[Spread | None, ...]
    best: tuple[int, ...]


@dataclass(frozen=True)
class Grouping:
    """Runs by all but their seeds; each is in one group.

    Attributes:
        groups: In the order of their first runs.
        measures: Their numbers.
        baselines: The same of encodings that are not learnt.
        watched: What the runs chose their best epoch by; `None` where they watched different metrics.
    """

    groups: tuple[SeedGroup, ...]
    measures: tuple[GroupMeasure, ...]
    baselines: tuple[GroupMeasure, ...]
    watched: GroupMeasure | None

    @property
    def several(self) -> tuple[SeedGroup, ...]:
        """The groups of more than one seed."""
        return tuple(group for group in self.groups if group.has_spread)

    @property
    def decides(self) -> bool:
        """Whether groups are compared rather than runs: there are several of several seeds."""
        return len(self.several) > 1


def find_groups(
    runs: Sequence[Run],
    labels: Sequence[str],
    configs: Sequence[Mapping[str, Any]],
    is_bookkeeping: Callable[[str], bool],
) -> tuple[SeedGroup, ...]:
    """Group runs that differ in their seeds alone; runs that differ in nothing are no group.

    Args:
        runs: The runs.
        labels: What each is called.
        configs: The flat config of each.
        is_bookkeeping: Tells the keys that have no part in what is learnt.
    """
    alike: dict[str, list[int]] = {}
    for position, (run, config) in enumerate(zip(runs, configs, strict=True)):
        kept = {
            key: value
            for key, value in config.items()
            if key not in ("experiment_id", "seed") and not is_bookkeeping(key)
        }
        record = run.record
        facts = (record.task, record.data_fingerprint, record.class_names, record.settings.get("n_pool"))
        alike.setdefault(json.dumps([facts, kept], sort_keys=True, default=str), []).append(position)
    key = _telling_key([configs[positions[0]] for positions in alike.values()], is_bookkeeping)
    groups = []
    for positions in alike.values():
        seeds = [configs[position].get("seed") for position in positions]
        if len(set(seeds)) > 1:
            names = [labels[position] for position in positions]
            told = None if key is None else _told(key, configs[positions[0]][key])
            label = group_label(names, len(set(seeds)), told)
            groups.append(SeedGroup(label, tuple(positions), tuple(seeds)))
        else:
            groups += [
                SeedGroup(labels[at], (at,), (seed,)) for at, seed in zip(positions, seeds, strict=True)
            ]
    return tuple(sorted(groups, key=lambda group: group.members[0]))


def _telling_key(configs: Sequence[Mapping[str, Any]], is_bookkeeping: Callable[[str], bool]) -> str | None:
    """Find the first key whose value is short, and another in each of some configs."""
    if len(configs) < 2:
        return None
    for key in configs[0]:
        is_aside = key in ("experiment_id", "seed") or is_bookkeeping(key)
        if is_aside or not all(key in config for config in configs):
            continue
        values = [_told(key, config[key]) for config in configs]
        if None not in values and len(set(values)) == len(configs):
            return key
    return None


def _told(key: str, value: Any) -> str | None:
    """Write a key's value as a name: `DPLossV2`, `latent_dim 64`; `None` where it is none or too long."""
    if isinstance(value, str):
        return value if value and len(value) <= _MOST_CHARACTERS and value.isprintable() else None
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return f"{key} {value:g}" if is_number else None


def group_label(names: Sequence[str], seeds: int, told: str | None = None) -> str:
    """Name a group by what tells it from the others, `DPLossV2 (3 seeds)`, or by its runs.

    These are written shortly: `20261129_001..003 (3 seeds)`.
    """
    if told is not None:
        return f"{told} ({seeds} seeds)"
    matches = [re.fullmatch(RUN_NAME, name) for name in names]
    dates = {match["date"] for match in matches if match}
    text = f"{names[0]} and {len(names) - 1} more"
    if all(matches) and len(dates) == 1:
        short = f"{dates.pop()}_{_ranges(sorted((match['number'] for match in matches if match), key=int))}"
        text = short if len(short) <= _MOST_CHARACTERS else text
    return f"{text} ({seeds} seeds)"


def _ranges(numbers: Sequence[str]) -> str:
    """Write rising numbers shortly: `001..003,007`."""
    runs: list[list[str]] = []
    for number in numbers:
        if runs and int(number) == int(runs[-1][-1]) + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ",".join(run[0] if len(run) == 1 else f"{run[0]}..{run[-1]}" for run in runs)


def group_runs(
    groups: Sequence[SeedGroup],
    measures: Sequence[Measure],
    baselines: Sequence[Measure],
    watched: Measure | None,
    obstacles: Obstacles,
) -> Grouping:
    """Work out the numbers of groups.

    Args:
        groups: The groups.
        measures: The numbers of the runs.
        baselines: Those of encodings that are not learnt.
        watched: What the runs chose their best epoch by, if it is the same.
        obstacles: What keeps some of them from being compared.
    """

    def grouped(measure: Measure, *, is_judged: bool = True) -> GroupMeasure:
        spreads = tuple(spread_of(measure.values, group) for group in groups)
        means = [None if spread is None else spread.mean for spread in spreads]
        metric = measure.name.removeprefix("final_")
        is_judged = is_judged and metric != "duration_s" and not obstacles.hinder(metric)
        return GroupMeasure(measure.name, spreads, best_places(means, metric) if is_judged else ())

    return Grouping(
        tuple(groups),
        tuple(map(grouped, measures)),
        tuple(grouped(measure, is_judged=False) for measure in baselines),
        None if watched is None else grouped(watched),
    )


def spread_of(values: Sequence[float | None], group: SeedGroup) -> Spread | None:
    """Compute mean and spread over the seeds; of runs of the same seed their mean counts once."""
    by_seed: dict[Any, list[float]] = {}
    for position, seed in zip(group.members, group.seeds, strict=True):
        value = values[position]
        if value is not None:
            by_seed.setdefault(seed, []).append(value)
    if not by_seed:
        return None
    means = [fmean(of_seed) for of_seed in by_seed.values()]
    if not all(map(math.isfinite, means)):
        return Spread(sum(means), None, len(means))  # one that diverged must not vanish in a mean
    mean = fmean(means)
    if len(means) < 2:
        return Spread(mean, None, len(means))
    deviation = stdev(means)
    return Spread(mean, deviation if deviation > _ROUNDING * abs(mean) else 0.0, len(means))
