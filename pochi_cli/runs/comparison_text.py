"""A comparison of runs in words and in JSON."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, NamedTuple

from pochi_cli.characters import visible
from pochi_cli.config.recalls import is_recall
from pochi_cli.runs.comparison import Comparison, Difference
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.listing_text import status_text
from pochi_cli.runs.measure_text import group_row, is_of_recall, measure_rows, number_text
from pochi_cli.runs.seeds import SeedGroup
from pochi_cli.runs.value_text import names_text, value_text
from pochi_cli.runs.verdict_text import remarks, verdict

_FINGERPRINT = 12
"""Characters of a fingerprint or commit that are told."""

_Row = tuple[str, ...]


class Section(NamedTuple):
    """A table with one column for each run or group of runs.

    Attributes:
        title: Its heading.
        rows: A name, and a cell for each column.
    """

    title: str
    rows: tuple[_Row, ...]


def name_columns(comparison: Comparison) -> tuple[str, ...]:
    """Name the columns: groups of seeds where there are several, else runs and the mean of a group."""
    grouping = comparison.grouping
    if grouping.decides:
        return tuple(group.label for group in grouping.groups)
    means = (
        "mean ± spread" if len(group.members) == len(comparison.runs) else group.label
        for group in grouping.several
    )
    return (*comparison.labels, *means)


def describe_comparison(comparison: Comparison) -> tuple[Section, ...]:
    """Describe how runs differ, what matters most first; what is the same in all is left out."""
    runs, grouping = comparison.runs, comparison.grouping
    standing = [
        ("model", *(run.record.model_name for run in runs)),
        ("status", *map(status_text, runs, comparison.statuses)),
        ("epochs", *(f"{run.record.epochs_done}/{run.record.epochs}" for run in runs)),
    ]
    numbers = _numbers(comparison)
    plain = chain.from_iterable(rows for name, rows in numbers.items() if not is_of_recall(name))
    recalls = chain.from_iterable(
        rows
        for recall in filter(is_recall, numbers)
        for name, rows in numbers.items()
        if name == recall or name.endswith(f".{recall}")
    )
    cautions = map(_caution_row, comparison.cautions)
    config = ((item.key, *map(value_text, item.values)) for item in comparison.config)
    circumstances = ((item.key, *map(value_text, item.values)) for item in comparison.circumstances)

    def columns(rows: Iterable[_Row], *, is_difference: bool = True) -> list[_Row]:
        if not grouping.decides:
            return [(*row, *("" for _ in grouping.several)) for row in rows]
        merged = [_merged(row, grouping.groups) for row in rows]
        return [row for row in merged if not is_difference or len(set(row[1:])) > 1]

    sections = [
        ("Runs", [*columns(standing, is_difference=False), *plain]),
        ("Best recalls, and those of encodings that are not learnt", [*recalls]),
        ("Data and versions that differ: the numbers do not compare one to one", columns(cautions)),
        ("Config", columns(config)),
        ("Where and how they ran, and what they wrote", columns(circumstances)),
    ]
    if grouping.decides:
        sections.append(
            (f"Single runs by their seeds{_of_watched(comparison)}", list(_seed_rows(comparison)))
        )
    return tuple(
        Section(title, tuple(tuple(map(visible, row)) for row in rows)) for title, rows in sections if rows
    )


def _numbers(comparison: Comparison) -> dict[str, list[_Row]]:
    """Write each measure as rows with a cell for each column."""
    grouping, task = comparison.grouping, comparison.task
    grouped = (*grouping.measures, *grouping.baselines)
    if grouping.decides:
        return {measure.name: [group_row(measure, task)] for measure in grouped}
    own = [place for place, group in enumerate(grouping.groups) if group.has_spread]
    return {
        measure.name: list(measure_rows(measure, task, [of_groups.spreads[place] for place in own]))
        for measure, of_groups in zip((*comparison.measures, *comparison.baselines), grouped, strict=True)
    }


def _merged(row: _Row, groups: Sequence[SeedGroup]) -> _Row:
    """Give a row with a cell for each run one for each group, of what its runs have."""
    cells = (", ".join(dict.fromkeys(row[1 + at] for at in group.members)) for group in groups)
    return (row[0], *cells)


def _of_watched(comparison: Comparison) -> str:
    return f", and their best {metric_name(comparison.watched[0])}" if len(comparison.watched) == 1 else ""


def _seed_rows(comparison: Comparison) -> Iterator[_Row]:
    """List the single runs: a row for each seed."""
    groups = comparison.grouping.groups
    for seed in dict.fromkeys(seed for group in groups for seed in group.seeds):
        cells = []
        for group in groups:
            fitting = (at for at, own in zip(group.members, group.seeds, strict=True) if own == seed)
            cells.append(", ".join(_named(comparison, at) for at in fitting))
        yield (f"seed {value_text(seed)}", *cells)


def _named(comparison: Comparison, at: int) -> str:
    value = comparison.runs[at].record.best_value
    label = comparison.labels[at]
    if value is None or len(comparison.watched) > 1:
        return label
    return f"{label}: {number_text(comparison.watched[0], value)}"


def comparison_record(comparison: Comparison) -> dict[str, Any]:
    """Make a record for JSON; a key's value that is not given is null."""
    return {
        "task": comparison.task,
        "runs": [
            {
                "label": label,
                "name": run.layout.name,
                "experiment_id": run.record.experiment_id,
                "directory": str(run.directory),
                "status": status,
                "model_name": run.record.model_name,
                "epochs_done": run.record.epochs_done,
                "epochs": run.record.epochs,
                "best_metric": run.record.best_metric,
                "best_value": run.record.best_value,
                "best_epoch": run.record.best_epoch,
            }
            for run, label, status in zip(
                comparison.runs, comparison.labels, comparison.statuses, strict=True
            )
        ],
        "measures": [measure._asdict() for measure in comparison.measures],
        "baselines": [measure._asdict() for measure in comparison.baselines],
        "config": [item._asdict() for item in comparison.config],
        "circumstances": [item._asdict() for item in comparison.circumstances],
        "cautions": [item._asdict() for item in comparison.cautions],
        "watched": comparison.watched,
        "best": comparison.best,
        "not_comparable": comparison.obstacles._asdict(),
        "remarks": tuple(remarks(comparison)),
        "groups": _group_records(comparison),
        "verdict": verdict(comparison),
    }


def _group_records(comparison: Comparison) -> list[Mapping[str, Any]]:
    """Make records of the groups of several seeds."""
    grouping = comparison.grouping
    measures = (*grouping.measures, *grouping.baselines)
    best = () if grouping.watched is None else grouping.watched.best
    return [
        {
            "label": group.label,
            "runs": group.members,
            "names": [comparison.labels[at] for at in group.members],
            "seeds": group.seeds,
            "is_best": place in best,
            "measures": {
                measure.name: None if (spread := measure.spreads[place]) is None else spread._asdict()
                for measure in measures
            },
        }
        for place, group in enumerate(grouping.groups)
        if group.has_spread or grouping.decides
    ]


def _caution_row(item: Difference) -> tuple[str, ...]:
    if item.key == "data_fingerprint":
        return ("data", *(str(value)[:_FINGERPRINT] for value in item.values))
    if item.key == "class_names":
        return ("classes", *_classes(item.values))
    if item.key == "git_commit":
        return (item.key, *(value_text(value)[:_FINGERPRINT] for value in item.values))
    return (item.key, *map(value_text, item.values))


def _classes(all_names: tuple[tuple[str, ...], ...]) -> list[str]:
    """Tell of each run's classes those that not all runs have; else their order is what differs."""
    common = set(all_names[0]).intersection(*all_names)
    cells = []
    for names in all_names:
        own = [name for name in names if name not in common]
        if any(set(other) != common for other in all_names):
            told = f", also {names_text(own)}" if own else ""
        else:
            told = f" in the order {names_text(names)}"
        cells.append(f"{len(names):,}{told}")
    return cells
