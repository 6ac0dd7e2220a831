"""What the figures of a search show, and Plotly's form of them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from html import escape
from itertools import accumulate
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution
from optuna.study import Study
from optuna.trial import TrialState, create_trial
from pydantic import TypeAdapter

from pochi_cli.config.search import Space
from pochi_cli.config.search_space import Parameter, key_of
from pochi_cli.runs.epoch_text import metric_name
from pochi_cli.runs.search_layout import StudyFigure
from pochi_cli.search.records import StudyRecord, TrialRecord
from pochi_cli.search.space import distribution, label
from pochi_cli.search.summary import params_text

if TYPE_CHECKING:
    from plotly.graph_objects import Figure

_MOST_IN_CONTOUR = 4
_LONGEST_NAME = 24
"""Characters of a name beside one of many small axes."""
_STATES = {"complete": TrialState.COMPLETE, "pruned": TrialState.PRUNED, "failed": TrialState.FAIL}
_LABELS = {
    "val_accuracy": "validation accuracy in %",
    "val_loss": "validation loss",
    "val_total_loss": "total loss of the held-out vectors",
}
_SPACE: TypeAdapter[Any] = TypeAdapter(Space)


class NothingToDrawError(Exception):
    """A figure has nothing to show; the message says why."""


def metric_label(metric: str) -> str:
    """Name a metric with its unit."""
    return _LABELS.get(metric) or metric_name(metric)


@lru_cache(maxsize=2)  # it takes seconds, and statistics, picture, page and contour all ask for it
def importances(study: StudyRecord) -> Mapping[str, float]:
    """Work out how much of the metric's variance each parameter explains, the most important first.

    By functional ANOVA over a random forest (Hutter, Hoos and Leyton-Brown, 2014), over the complete trials.

    Returns:
        Shares from 0 to 1, which add up to 1.

    Raises:
        NothingToDrawError: There are too few trials or parameters, or nothing differs.
    """
    check_enough_trials(study)
    if len(study.search_space) < 2:
        (name,) = study.search_space
        raise NothingToDrawError(f"only one parameter was searched, {name}: all differences are its")
    values = {trial.value for trial in study.complete}
    if len(values) == 1:
        raise NothingToDrawError("all complete trials have the same value")
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=0)
    try:
        found = optuna.importance.get_param_importances(_rebuilt(study), evaluator=evaluator)
    except (RuntimeError, ValueError) as error:  # such as a forest without any variance
        raise NothingToDrawError(f"the importances cannot be worked out: {error}") from error
    if not found:
        raise NothingToDrawError("no parameter is common to all complete trials")
    return MappingProxyType(found)


def compared_parameters(study: StudyRecord) -> list[str]:
    """Choose the parameters of the contour: the most important of those that have two values or more.

    Raises:
        NothingToDrawError: There are not two.
    """
    check_enough_trials(study)
    if len(study.search_space) < 2:
        (name,) = study.search_space
        raise NothingToDrawError(f"only one parameter was searched, {name}: a contour is drawn over two")
    varied = [
        name
        for name in study.search_space
        if len({label(trial.params[name]) for trial in study.complete if name in trial.params}) > 1
    ]
    if len(varied) < 2:
        raise NothingToDrawError("fewer than two parameters differ among the complete trials")
    try:
        ranked = importances(study)
    except NothingToDrawError:
        ranked = MappingProxyType({})
    return sorted(varied, key=lambda name: -ranked.get(name, 0.0))[:_MOST_IN_CONTOUR]


def plotly_figure(study: StudyRecord, kind: StudyFigure) -> Figure:
    """Draw a figure with Plotly.

    Raises:
        NothingToDrawError: There is nothing to draw.
    """
    title = metric_label(study.metric)
    check_enough_trials(study)
    if kind == "optimization_history":
        figure = _history(study)
        heading = "Trials in their order"
    elif kind == "param_importances":
        figure = _bars(importances(study))
        heading = "Share of each parameter in the differences"
    else:
        names = compared_parameters(study)
        figure = optuna.visualization.plot_contour(_rebuilt(study), params=names, target_name=title)
        for axis in (*figure.select_xaxes(), *figure.select_yaxes()):
            axis.title.text = _shortened(axis.title.text)
        heading = "Parameters two by two"
        if len(names) > 2:
            figure.update_layout(height=240 * len(names), autosize=True, width=None)
    # Plotly takes some markup in texts for an order.
    figure.update_layout(title=f"{heading}: {escape(study.study_name)}", template="plotly_white")
    return figure


def _shortened(name: str | None) -> str | None:
    if name is None or len(name) <= _LONGEST_NAME:
        return name
    return f"…{name[1 - _LONGEST_NAME :]}"


def _history(study: StudyRecord) -> Figure:
    """Draw the trials by their numbers, with what was drawn for each."""
    from plotly import graph_objects

    figure = graph_objects.Figure()
    for state, symbol in (("complete", "circle"), ("pruned", "x-thin-open")):
        trials = [trial for trial in study.trials if trial.state == state and trial.value is not None]
        if trials:
            figure.add_scatter(
                x=[trial.number for trial in trials],
                y=[trial.value for trial in trials],
                mode="markers",
                name=state,
                marker={"symbol": symbol, "size": 9},
                text=[params_text(trial.params).replace(", ", "<br>") for trial in trials],
                hovertemplate="trial %{x}: %{y}<br>%{text}<extra></extra>",
            )
    course = best_so_far(study)
    figure.add_scatter(
        x=[number for number, _ in course],
        y=[value for _, value in course],
        mode="lines",
        line={"shape": "hv"},
        name="best so far",
    )
    low, high = value_range(study)
    margin = 0.05 * (high - low)
    figure.update_layout(
        xaxis_title="trial",
        yaxis={"title": metric_label(study.metric), "range": [low - margin, high + margin]},
    )
    return figure


def _bars(shares: Mapping[str, float]) -> Figure:
    """Draw a bar for each parameter, the most important at the top."""
    from plotly import graph_objects

    names, values = list(shares)[::-1], list(shares.values())[::-1]
    bars = graph_objects.Bar(
        x=values, y=names, orientation="h", text=[f"{value:.2f}" for value in values], textposition="outside"
    )
    figure = graph_objects.Figure(bars)
    figure.update_layout(xaxis_title="share of the variance (fANOVA)", yaxis_title="parameter")
    return figure


def best_so_far(study: StudyRecord) -> list[tuple[int, float]]:
    """Follow the best value over the complete trials: their numbers, and the best until then."""
    values = [trial.value for trial in study.complete if trial.value is not None]
    best = accumulate(values, max if study.direction == "maximize" else min)
    return list(zip((trial.number for trial in study.complete), best, strict=True))


def value_range(study: StudyRecord) -> tuple[float, float]:
    """Choose the values that a figure shows: a few disasters must not take all of it.

    Returns:
        The least and the greatest, which differ. On the bad side nothing is farther from the middle half of
        the complete trials than three times its width.
    """
    values = [trial.value for trial in study.complete if trial.value is not None]
    low, high = min(values), max(values)
    quarter, three_quarters = np.quantile(values, [0.25, 0.75])
    spread = 3 * (three_quarters - quarter)
    if spread > 0 and study.direction == "maximize":
        low = max(low, float(quarter - spread))
    elif spread > 0:
        high = min(high, float(three_quarters + spread))
    return (low, high) if high > low else (low - 0.5, high + 0.5)


def check_enough_trials(study: StudyRecord) -> None:
    """Make sure that there is something to compare.

    Raises:
        NothingToDrawError: There are not two complete trials.
    """
    count = len(study.complete)
    if count < 2:
        done = "no trial is" if count == 0 else "only one trial is"
        raise NothingToDrawError(f"{done} complete, and two are needed")


def _rebuilt(study: StudyRecord) -> Study:
    """Make an Optuna study of the record."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    made = optuna.create_study(study_name=study.study_name, direction=study.direction)
    distributions = {
        name: distribution(Parameter(name, key_of(name) or (), _SPACE.validate_python(space)))
        for name, space in study.search_space.items()
    }
    for trial in study.finished:
        made.add_trial(_trial(trial, distributions))
    return made


def _trial(trial: TrialRecord, distributions: Mapping[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    return create_trial(
        state=_STATES[trial.state],
        value=trial.value if trial.state != "failed" else None,
        params={name: label(value) for name, value in trial.params.items()},
        distributions={name: distributions[name] for name in trial.params},
        intermediate_values=dict(enumerate(trial.metric, 1)),
    )
