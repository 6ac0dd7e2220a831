"""What the figures of a search show, and why there is nothing to show."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.lines import Line2D

from pochi_cli.plots.study import draw_contour, draw_history, draw_importances, write_study_figures
from pochi_cli.runs.search_layout import STUDY_FIGURES
from pochi_cli.search.figures import (
    NothingToDrawError,
    best_so_far,
    compared_parameters,
    importances,
    plotly_figure,
    value_range,
)
from pochi_cli.search.records import StudyRecord, TrialRecord

RATE = {"type": "float", "low": 1e-4, "high": 1.0, "log": True}
SPACE: dict[str, Any] = {
    "learning_rate": RATE,
    "warmup_epochs": {"type": "int", "low": 0, "high": 4},
    "optimizer": {"type": "categorical", "choices": ["SGD", "Adam"]},
    "mean": {"type": "categorical", "choices": [[0.5, 0.5, 0.5], [0.1, 0.1, 0.1]]},
    "label_smoothing": {"type": "float", "low": 0.0, "high": 0.3},
}


def made(count: int = 12, space: dict[str, Any] = SPACE, **changes: Any) -> StudyRecord:
    """A study whose metric depends on the learning rate, and a little on the optimizer."""
    draw = random.Random(0)
    trials = []
    for number in range(count):
        everything = {
            "learning_rate": 10 ** draw.uniform(-4, 0),
            "warmup_epochs": draw.randint(0, 4),
            "optimizer": draw.choice(["SGD", "Adam"]),
            "mean": draw.choice([[0.5, 0.5, 0.5], [0.1, 0.1, 0.1]]),
            "label_smoothing": draw.uniform(0, 0.3),
        }
        value = 90 - 10 * abs(2 + _log10(everything["learning_rate"])) + (everything["optimizer"] == "SGD")
        params = {name: everything[name] for name in space}
        trials.append(
            TrialRecord(number, "complete", params, value=value, best_epoch=1, epochs=1, metric=(value,))
        )
    study = StudyRecord("id", "a study", None, "maximize", "val_accuracy", count, 1, space, tuple(trials))
    return replace(study, **changes)


def _log10(value: Any) -> float:
    from math import log10

    return log10(value)


def ended(study: StudyRecord, number: int, state: Any) -> StudyRecord:
    """The same with a trial that was ended."""
    trial = replace(study.trials[number], state=state, value=None if state == "failed" else 1.0, reason="x")
    trials = (*study.trials[:number], trial, *study.trials[number + 1 :])
    return replace(study, trials=trials)


def test_the_most_important_comes_first() -> None:
    shares = importances(made(30))
    assert next(iter(shares)) == "learning_rate"
    assert shares["learning_rate"] > 0.7
    assert sum(shares.values()) == pytest.approx(1)


def test_the_contour_takes_what_matters_and_differs() -> None:
    names = compared_parameters(made(30))
    assert names[0] == "learning_rate"
    assert len(names) == 4
    constant = made(30)
    same = tuple(replace(t, params={**t.params, "warmup_epochs": 1}) for t in constant.trials)
    assert "warmup_epochs" not in compared_parameters(replace(constant, trials=same))


def test_the_best_so_far() -> None:
    study = ended(made(6), 2, "failed")
    course = best_so_far(study)
    assert [number for number, _ in course] == [0, 1, 3, 4, 5]
    values = [trial.value or 0.0 for trial in study.complete]
    assert [value for _, value in course] == [max(values[: end + 1]) for end in range(5)]
    low = best_so_far(replace(study, direction="minimize"))
    assert [value for _, value in low] == [min(values[: end + 1]) for end in range(5)]


def test_plotly_shows_the_trials_by_their_numbers() -> None:
    figure = plotly_figure(ended(made(6), 3, "pruned"), "optimization_history")
    complete, pruned, best = figure.data
    assert list(complete.x) == [0, 1, 2, 4, 5]
    assert (list(pruned.x), list(pruned.y)) == ([3], [1.0])
    assert best.name == "best so far"
    assert "learning_rate = " in complete.text[0]


ALONE: dict[str, Any] = {"learning_rate": RATE}
SAME = replace(made(4), trials=tuple(replace(trial, value=50.0) for trial in made(4).trials))
NOTHING: dict[str, tuple[StudyRecord, dict[str, str]]] = {
    "no trial": (made(0), dict.fromkeys(STUDY_FIGURES, "no trial is complete")),
    "one trial": (made(1), dict.fromkeys(STUDY_FIGURES, "only one trial is complete")),
    "all failed": (
        ended(ended(made(2), 0, "failed"), 1, "failed"),
        dict.fromkeys(STUDY_FIGURES, "no trial is complete"),
    ),
    "one parameter": (
        made(5, ALONE),
        dict.fromkeys(STUDY_FIGURES[1:], "only one parameter was searched, learning_rate"),
    ),
    "equal values": (SAME, {"param_importances": "all complete trials have the same value"}),
}


@pytest.mark.parametrize("name", NOTHING)
def test_why_there_is_nothing_to_draw(name: str, tmp_path: Path) -> None:
    study, reasons = NOTHING[name]
    for kind in STUDY_FIGURES:
        if kind in reasons:
            with pytest.raises(NothingToDrawError, match=reasons[kind]):
                plotly_figure(study, kind)
        else:
            assert plotly_figure(study, kind).data
    assert all(path.stat().st_size > 5000 for path in write_study_figures(tmp_path, study))


def data(line: Line2D, which: str) -> list[float]:
    return [float(place) for place in np.asarray(line.get_xdata() if which == "x" else line.get_ydata())]


def test_the_history_as_a_picture() -> None:
    study = ended(ended(made(8), 3, "pruned"), 5, "failed")
    (axes,) = draw_history(study).axes
    points, pruned, best, failed, _ring = axes.lines
    assert data(points, "x") == [0, 1, 2, 4, 6, 7]
    low, _ = value_range(study)
    assert low > 1.0
    assert (data(pruned, "x"), data(pruned, "y")) == ([3], [low])  # far off: at the edge
    assert data(failed, "x") == [5]
    assert data(best, "y") == [value for _, value in best_so_far(study)]


def test_the_importances_as_a_picture() -> None:
    study = made(30)
    (axes,) = draw_importances(study).axes
    shares = importances(study)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(shares)[::-1]
    assert [bar.get_width() for bar in axes.patches] == list(shares.values())[::-1]  # type: ignore[attr-defined]


@pytest.mark.parametrize(("names", "panels"), [(2, 1), (3, 3), (4, 6), (5, 6)])
def test_the_contour_as_a_picture(names: int, panels: int) -> None:
    space = dict(list(SPACE.items())[:names])
    figure = draw_contour(made(20, space))
    *drawn, _bar = figure.axes
    assert len(drawn) == panels
    for axes in drawn:
        assert any(np.shape(part.get_offsets()) == (20, 2) for part in axes.collections)
