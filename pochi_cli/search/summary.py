"""What a search came to, in words."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from pochi_cli.config.values import show
from pochi_cli.runs.quantities import duration_text, metric_text
from pochi_cli.runs.search_layout import STUDY_FIGURES, SearchLayout
from pochi_cli.search.records import StudyRecord, TrialRecord, TrialState

_TOLD: tuple[TrialState, ...] = ("pruned", "failed", "running")


def summarize(study: StudyRecord, layout: SearchLayout) -> tuple[str, list[tuple[str, str]]]:
    """Tell in words what a search came to and where its files lie.

    Returns:
        A title, and pairs of a name and a text.
    """
    rows = [("trials", counts_text(study))]
    if (best := study.best) is not None:
        rows.append(("best", best_text(study, best)))
        rows += [("" if position else "with", line) for position, line in enumerate(_lines(best.params))]
    if study.count("pruned"):
        everything = study.optuna_epochs * len(study.finished)
        rows.append(("pruning", f"saved {study.epochs_saved:,} of {everything:,} epochs"))
    times = [trial.duration_s for trial in study.finished if trial.duration_s is not None]
    if times:
        rows.append(("training", f"{duration_text(sum(times))} in all trials together"))
    rows.append(("directory", str(layout.directory)))
    pages = [layout.page(kind) for kind in STUDY_FIGURES]
    for name, paths in (
        ("config", [layout.optimized_config]),
        ("records", [layout.best_params, layout.history, layout.statistics]),
        ("pages", pages),
    ):
        there = ", ".join(path.name for path in paths if path.exists())
        rows += [(name, there)] if there else []
    if best is not None:
        rows.append(("go on with", f"pochi train {shlex.quote(str(layout.optimized_config))}"))
    return f"study {study.study_name}", rows


def _lines(params: Mapping[str, Any]) -> list[str]:
    return [f"{name} = {_value_text(value)}" for name, value in params.items()]


def _value_text(value: Any) -> str:
    """Write a drawn value, a float with the digits that one reads."""
    return f"{value:.4g}" if isinstance(value, float) else show(value)


def params_text(params: Mapping[str, Any]) -> str:
    """Write drawn parameters in a line."""
    return ", ".join(_lines(params))


def counts_text(study: StudyRecord, told: Sequence[TrialState] = _TOLD) -> str:
    """Count the trials, and those of some states."""
    parts = [f"{len(study.finished)} of {study.n_trials}"]
    counts = {state: study.count(state) for state in told}
    parts += [f"{count} {state}" for state, count in counts.items() if count]
    return ", ".join(parts)


def best_text(study: StudyRecord, best: TrialRecord) -> str:
    """Tell of the best trial."""
    assert best.value is not None
    value = metric_text(study.metric, best.value)
    return f"{study.metric} {value} in epoch {best.best_epoch} of trial {best.number}"


def why_none(study: StudyRecord) -> str:
    """Tell why there is no best trial."""
    if not study.finished:
        return "no trial was brought to its end"
    reasons = Counter(trial.reason for trial in study.finished if trial.state == "failed")
    reason, count = reasons.most_common(1)[0] if reasons else (None, 0)
    told = f"; {count} of them because {reason}" if reason else ""
    return f"no trial is complete, of {len(study.finished)}{told}"
