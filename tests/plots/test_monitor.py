"""The picture of the course of a training: its data and labels, and that it is drawn whatever is missing."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from numpy.typing import ArrayLike

from pochi_cli.errors import StorageError
from pochi_cli.inspection.monitor_panels import make_panels
from pochi_cli.inspection.monitor_report import MonitorReport, SeenSteps
from pochi_cli.inspection.monitor_text import describe_report
from pochi_cli.plots.monitor import draw_monitor, write_monitor_figure
from pochi_cli.runs.history import History
from pochi_cli.runs.monitor_record import MonitorEpoch
from tests.inspection.monitored import healthy_losses, make_epochs, make_history
from tests.runs.fake import make_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TRAIN = [1.0, 0.5, 0.25, 0.2]
HISTORY = make_history(TRAIN, [1.1, 0.7, 0.6, 0.65])
UNVALIDATED = make_history(TRAIN, [None] * 4)
LOSSES = healthy_losses(4, 40)
STEPS = make_epochs(LOSSES, ratios=(1e-3, 3e-2))


def report(history: History, epochs: Sequence[MonitorEpoch], *, is_monitored: bool = True) -> MonitorReport:
    panels = make_panels(history, epochs, is_monitored)
    return MonitorReport("20261121_001", "finished", None, 4, history, is_monitored, None, (), panels)


def lost() -> list[MonitorEpoch]:
    losses = LOSSES.copy()
    losses[3, 30:] = np.nan
    return make_epochs(losses)


def layered() -> History:
    rates = {f"layer{at}": 0.1 / 2**at for at in range(9)}
    return History(tuple(replace(record, layer_rates=rates) for record in HISTORY.epochs))


CASES = {
    "everything": report(HISTORY, STEPS),
    "no validation": report(UNVALIDATED, STEPS),
    "off": report(HISTORY, [], is_monitored=False),
    "nothing": report(History(), []),
    "failed in its first epoch": report(History(), make_epochs(LOSSES[:1, :7])),
    "lost": report(make_history([1.0, math.nan], [math.inf, math.nan]), lost()),
    "one epoch": report(make_history([1.0], [1.1]), STEPS[:1]),
    "gap": report(HISTORY, [STEPS[0], *STEPS[2:]]),
    "many blocks": report(HISTORY, make_epochs(LOSSES, ratios=[10.0**-at for at in range(1, 15)])),
    "long": report(make_history([1.0] * 200, [1.1] * 200), make_epochs(healthy_losses(200, 500))),
    "layer rates": report(layered(), STEPS),
    "huge": report(make_history([1e308, 1e-320], [1e308, 0.0]), make_epochs(LOSSES * 1e307)),
}
TITLES = ["Loss", "Accuracy", "Learning rate", "Gradient norm", "Update ratio", "Batch loss"]


def panels(case: str) -> dict[str, Axes]:
    return dict(zip(TITLES, draw_monitor(CASES[case]).axes, strict=True))


def legend(axes: Axes) -> list[str]:
    box = axes.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def heading(axes: Axes) -> str:
    return axes.get_title(loc="left")


def assert_close(drawn: ArrayLike, expected: ArrayLike) -> None:
    np.testing.assert_allclose(np.asarray(drawn, np.float64), np.asarray(expected, np.float64))


@pytest.mark.parametrize("case", CASES)
def test_everything_is_drawn_within_its_picture(case: str) -> None:
    figure = draw_monitor(CASES[case])
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    figure.draw(renderer)
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        box = axes.get_tightbbox(renderer)
        assert box is not None
        assert box.x0 >= -1 and box.x1 <= width + 1
        assert box.y0 >= -1 and box.y1 <= height + 1
    heads = [(axes.title, axes._left_title, axes.get_legend()) for axes in figure.axes]  # type: ignore[attr-defined]
    parts = [part for head in heads for part in head if part is not None]
    boxes = [box for part in parts if (box := part.get_window_extent(renderer)).width > 1]
    assert not any(one.overlaps(other) for at, one in enumerate(boxes) for other in boxes[at + 1 :])


def test_the_panels_show_what_was_recorded() -> None:
    drawn = panels("everything")
    assert [heading(axes) for axes in drawn.values()] == TITLES
    train, val, best = drawn["Loss"].lines[:3]
    assert_close(train.get_ydata(), TRAIN)
    assert_close(val.get_ydata(), [1.1, 0.7, 0.6, 0.65])
    assert (best.get_xdata(), best.get_ydata()) == ([3.0], [0.6])
    assert legend(drawn["Loss"]) == ["training", "validation", "best: 0.6 in epoch 3"]
    every, median = drawn["Batch loss"].lines[:2]
    assert_close(every.get_ydata(), LOSSES.ravel())
    assert_close(every.get_xdata(), np.arange(1, 161) / 40)
    assert_close(median.get_ydata(), np.median(LOSSES, axis=1))
    assert_close(drawn["Gradient norm"].lines[0].get_ydata(), 3 * LOSSES.ravel())
    first, second, usual = drawn["Update ratio"].lines[:3]
    assert set(first.get_ydata()) == {1e-3}  # type: ignore[arg-type]
    assert set(second.get_ydata()) == {3e-2}  # type: ignore[arg-type]
    assert list(usual.get_ydata()) == [1e-3, 1e-3]  # type: ignore[arg-type]
    assert legend(drawn["Update ratio"]) == ["block1", "block2", "0.001, usual"]
    assert drawn["Update ratio"].get_yscale() == "log"
    assert {axes.get_xlim() for axes in drawn.values()} == {(0, 4.1)}


def test_what_is_missing_is_said() -> None:
    assert heading(panels("no validation")["Loss"]) == "Loss (no validation data)"
    assert legend(panels("no validation")["Accuracy"]) == ["training"]
    for title in TITLES[3:]:
        (text,) = panels("off")[title].texts
        assert text.get_text() == "the monitor was off ([monitor] enabled = false)"
        assert not panels("off")[title].lines
    told = [axes.texts[0].get_text() for axes in panels("nothing").values()]
    assert told == ["no finished epoch"] * 3 + ["no recorded step"] * 3


@pytest.mark.parametrize(
    ("epochs", "measured", "told"),
    [
        ((2,), 0, ("8 recorded of epoch 2", "none was measured")),
        ((1, 2, 3), 1, ("8 recorded of the epochs 1 to 3", "of 1 step, medians")),
        ((1, 3, 4, 5, 8), 12, ("8 recorded of the epochs 1, 3 to 5, 8", "of 12 steps, medians")),
    ],
)
def test_the_report_names_the_epochs_that_were_monitored(
    epochs: tuple[int, ...], measured: int, told: tuple[str, str]
) -> None:
    seen = SeenSteps(8, epochs, 0, None, None, measured, ())
    _, fields = describe_report(replace(CASES["everything"], seen=seen))
    texts = dict(fields)
    assert texts["steps"] == told[0]
    assert texts["update ratios"].startswith(told[1])


def test_the_report_tells_a_monitor_that_was_off_from_one_that_saw_no_epoch() -> None:
    told = [dict(describe_report(CASES[case])[1])["monitor"] for case in ("off", "nothing")]
    assert "enabled = true in [monitor] does it" in told[0]
    assert told[1] == "no step is there: they are written at the end of an epoch"


def test_epochs_that_were_not_monitored_are_a_gap() -> None:
    for title in ("Batch loss", "Gradient norm", "Update ratio"):
        lines = [line for line in panels("gap")[title].lines if len(np.ravel(line.get_ydata())) > 2]
        assert len(lines) == 2
        assert all(np.isnan(np.ravel(line.get_ydata()).astype(float)).sum() == 1 for line in lines)
    line = panels("gap")["Batch loss"].lines[0]
    values = np.asarray(line.get_ydata())
    assert np.flatnonzero(np.isnan(values)).tolist() == [40]
    assert_close(np.delete(values, 40), np.delete(LOSSES, 1, axis=0).ravel())
    assert not any("not finite" in text for text in legend(panels("gap")["Batch loss"]))


def test_what_is_not_finite_is_marked_and_counted() -> None:
    drawn = panels("lost")["Batch loss"]
    assert legend(drawn)[-1] == "not finite: 10 values at the top"
    marks = next(line for line in drawn.lines if line.get_label() == "_top")
    assert_close(marks.get_xdata(), 3 + np.arange(31, 41) / 40)


def test_of_many_steps_no_spike_is_lost() -> None:
    losses = healthy_losses(200, 500)
    losses[77, 123], losses[150, 9] = 50.0, 1e-9
    (*_, panel) = make_panels(HISTORY, make_epochs(losses), is_monitored=True)
    every = panel.curves[0]
    assert len(every.values) < 4000
    assert (every.values.max(), every.values.min()) == (50.0, 1e-9)
    assert every.positions[every.values.argmax()] == pytest.approx(77 + 124 / 500)
    assert (np.diff(every.positions) > 0).all()


def test_many_blocks_become_three_curves() -> None:
    assert legend(panels("many blocks")["Update ratio"])[:3] == ["largest of 14 blocks", "median", "least"]
    assert legend(panels("layer rates")["Learning rate"])[1:] == [
        "highest of 9 layer rates",
        "lowest of them",
    ]


def test_the_file_lies_in_the_run_or_where_it_is_asked_for(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    path = write_monitor_figure(CASES["everything"], run, None)
    assert path == run.layout.visualization / "training_monitor.png"
    assert path.stat().st_size > 10_000
    assert write_monitor_figure(CASES["nothing"], run, tmp_path / "a" / "b").parent == tmp_path / "a" / "b"
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_monitor_figure(CASES["nothing"], run, tmp_path / "file")
