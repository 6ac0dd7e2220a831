"""The pictures of a gradient trace: their data and labels, and that they are drawn whatever the trace."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pytest

from pochi_cli.errors import StorageError
from pochi_cli.plots import layers, style
from pochi_cli.plots.gradient_epochs import Half, draw_heatmap, draw_timeline
from pochi_cli.plots.gradient_profiles import (
    draw_extremes,
    draw_initial_vs_final,
    draw_snapshots,
    draw_stability,
)
from pochi_cli.plots.gradients import GRADIENT_FIGURES, write_gradient_figures
from pochi_cli.runs.gradient_statistics import maxima, minima, variation
from pochi_cli.runs.gradient_trace import GradientTrace, TraceFile
from tests.runs.fake import make_run
from tests.runs.traces import fill, make_trace

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

ODD = ("$\\frac{a}{b}$", "_b", "50%", "{x}_{y}", "a\\b", "層" * 40, "model." * 40 + "weight")
CASES = {
    "one epoch, one layer": make_trace(1, 1),
    "one layer": make_trace(1, 5),
    "many layers, one epoch": make_trace(160, 1),
    "holes": make_trace(40, 3, holes=True),
    "many epochs": make_trace(6, 1000, holes=True),
    "gaps": make_trace(4, [0, 5, 6, 100]),
    "nothing finite": fill([[math.nan] * 3] * 2, [(0, 1)]),
    "only zeros": fill([[0.0] * 3] * 2),
    "the same": fill([[1.3] * 3] * 2),
    "huge and tiny": fill([[1e308, 5e-324, 1.0], [1e-310, 1e300, 0.0]]),
    "odd names": make_trace(ODD, 3),
    "the widest name is neither first nor last": make_trace(
        [*"abcdefghijklmno", "W" * 24, *"pqrstuvwxyz"], 2
    ),
}


def lines_of(figure: Figure) -> dict[str, Line2D]:
    return {str(line.get_label()): line for line in figure.axes[0].get_lines()}


def x_of(line: Line2D) -> list[float]:
    return np.asarray(line.get_xdata()).tolist()  # type: ignore[no-any-return]


def y_of(line: Line2D) -> list[float]:
    return np.asarray(line.get_ydata()).tolist()  # type: ignore[no-any-return]


def legends(figure: Figure) -> list[str]:
    boxes = [*figure.legends, *(axes.get_legend() for axes in figure.axes)]
    return [text.get_text() for box in boxes if box for text in box.get_texts()]


def row_labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_yticklabels()]


def title(figure: Figure) -> str:
    return figure.axes[0].get_title(loc="left")


@pytest.mark.parametrize("case", CASES)
def test_everything_is_drawn_within_its_picture(case: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    for kind, draw in GRADIENT_FIGURES.items():
        if case == "many layers, one epoch" and kind not in ("timeline_all", "heatmap", "snapshots"):
            continue  # as these, and slow
        figure = draw(CASES[case])
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        axes = figure.axes[0]
        assert title(figure)
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        room = figure.bbox
        for text in (*axes.get_yticklabels(), axes.yaxis.label, axes.xaxis.label):
            box = text.get_window_extent()
            assert room.x0 <= box.x0, (kind, text.get_text())
            assert box.x1 <= room.x1, (kind, text.get_text())
        assert axes.get_position().width > 0.3, kind
        assert axes.get_position().height > 0.5, kind


def test_a_timeline_has_a_line_for_each_layer() -> None:
    trace = make_trace(5, 10)
    figure = draw_timeline(trace)
    drawn = lines_of(figure)
    assert tuple(drawn) == trace.names
    for name, column in zip(trace.names, trace.values.T, strict=True):
        assert x_of(drawn[name]) == list(trace.epochs)
        assert y_of(drawn[name]) == column.tolist()
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_yscale()) == ("Epoch", "Gradient norm", "log")
    assert legends(figure) == list(trace.names)


def test_the_halves_share_the_layers_and_keep_their_colors() -> None:
    trace = make_trace(5, 3)
    everything = lines_of(draw_timeline(trace))
    early, late = draw_timeline(trace, "early"), draw_timeline(trace, "late")
    assert [*lines_of(early), *lines_of(late)] == list(trace.names)
    assert title(early) == "Gradient norm, early layers (1 to 3 of 5)"
    assert title(late) == "Gradient norm, late layers (4 to 5 of 5)"
    for name, line in (lines_of(early) | lines_of(late)).items():
        assert line.get_color() == everything[name].get_color()


def test_both_halves_of_one_layer_are_that_layer_and_say_so() -> None:
    halves: tuple[Half, ...] = ("early", "late")
    for half in halves:
        figure = draw_timeline(make_trace(["conv1"], 3), half)
        assert list(lines_of(figure)) == ["conv1"]
        assert title(figure) == f"Gradient norm, {half} layers: the trace has only one layer"


def test_many_layers_are_named_along_a_bar() -> None:
    figure = draw_timeline(make_trace(160, 3))
    assert not legends(figure)
    names = row_labels(figure.axes[1])
    assert names[0] == "layer0.conv.weight"
    assert 20 < len(names) <= 36
    assert len({line.get_color() for line in figure.axes[0].get_lines()}) > 100


def test_zeros_and_what_is_not_finite_are_at_the_edges_and_counted() -> None:
    trace = fill([[1, 2], [0, 2], [1, math.nan], [1, 0], [1, math.nan]], [(4, 1)])
    figure = draw_timeline(trace)
    marks = [line for line in figure.axes[0].get_lines() if str(line.get_label()).startswith("_")]
    assert [(line.get_label(), x_of(line)) for line in marks] == [
        ("_bottom", [2]),
        ("_bottom", [4]),
        ("_top", [5]),
    ]
    np.testing.assert_array_equal(lines_of(figure)["a"].get_ydata(), [1, math.nan, 1, 1, 1])
    assert legends(figure) == [
        "a",
        "b",
        "0: 2 values at the bottom",
        "not finite: 1 value at the top",
        "not recorded: 1 value",
    ]


def test_the_map_has_a_color_for_each_cell() -> None:
    from matplotlib.colors import to_hex

    trace = fill([[1, 0.1], [0, 10], [math.nan, math.nan]], [(2, 1)])
    figure = draw_heatmap(trace)
    axes, bar = figure.axes
    (image,) = axes.images
    cells: np.ma.MaskedArray[Any, Any] = np.ma.asarray(image.get_array())
    np.testing.assert_allclose(cells[:, :2].filled(9), [[0, -2], [-1, 1]])  # exponents; 0 lies below them all
    colors = image.to_rgba(cells)
    assert to_hex(colors[0, 1]) == "#a8a8a8"
    assert to_hex(colors[1, 2]) == style.VERMILION.lower()
    assert to_hex(colors[0, 2]) == "#ffffff"
    assert to_hex(colors[1, 0]) == "#440154"  # the least norm keeps the first colour of the scale
    assert legends(figure) == ["0: 1 cell", "not finite: 1 cell", "not recorded: 1 cell"]
    assert row_labels(axes) == ["a", "b"]
    assert (axes.get_xlabel(), bar.get_ylabel()) == ("Epoch", "Gradient norm")


def test_the_map_names_recorded_epochs() -> None:
    axes = draw_heatmap(make_trace(2, [0, 5, 6, 100])).axes[0]
    assert axes.get_xlabel() == "Recorded epoch"
    assert [axes.xaxis.get_major_formatter()(place) for place in range(-1, 5)] == [
        "",
        "0",
        "5",
        "6",
        "100",
        "",
    ]
    axes = draw_heatmap(make_trace(2, [7, 8, 9])).axes[0]
    assert axes.get_xlim() == (6.5, 9.5)


def test_snapshots_are_the_first_the_last_and_some_between() -> None:
    trace = make_trace(4, 1000)
    for use_log_scale in (True, False):
        figure = draw_snapshots(trace, use_log_scale=use_log_scale)
        shown = [1, 201, 401, 600, 800, 1000]
        assert legends(figure) == [f"epoch {epoch}" for epoch in shown]
        for epoch, line in zip(shown, figure.axes[0].get_lines(), strict=True):
            assert x_of(line) == trace.values[epoch - 1].tolist()
            assert y_of(line) == [0, 1, 2, 3]
        assert figure.axes[0].get_xscale() == ("log" if use_log_scale else "linear")
    assert legends(draw_snapshots(make_trace(4, 2), use_log_scale=True)) == ["epoch 1", "epoch 2"]


def test_a_linear_snapshot_shows_zeros_where_they_are() -> None:
    figure = draw_snapshots(fill([[1, 0, 2]]), use_log_scale=False)
    assert x_of(figure.axes[0].get_lines()[0]) == [1, 0, 2]
    assert legends(figure) == ["epoch 1"]


def test_first_against_last() -> None:
    trace = fill([[1, 2, 0], [5, 5, 5], [3, 4, 1]])
    figure = draw_initial_vs_final(trace)
    drawn = lines_of(figure)
    np.testing.assert_array_equal(drawn["first"].get_xdata(), [1, 2, math.nan])
    assert x_of(drawn["last"]) == [3, 4, 1]
    assert y_of(drawn["_left"]) == [2]
    assert legends(figure) == ["first epoch (1)", "last epoch (3)", "0: 1 value at the left"]
    assert legends(draw_initial_vs_final(fill([[1.0]]))) == ["epoch 1, both the first and the last"]


def test_stability_is_the_variation() -> None:
    trace = fill([[1, 0, 4], [3, 0, math.nan], [2, 0, math.nan]], [(1, 2)])
    figure = draw_stability(trace)
    axes = figure.axes[0]
    widths = [bar.get_width() for bar in axes.patches]  # type: ignore[attr-defined]
    assert widths == [variation(trace)[0]]
    assert axes.get_xlabel() == "Standard deviation / mean, over epochs"
    assert legends(figure) == [
        "2 layers without bar: fewer than two finite norms, or only zeros",
        "not finite: 1 value",
        "not recorded: 1 value",
    ]
    assert [text.get_text() for text in draw_stability(make_trace(3, 1)).axes[0].texts] == [
        "one epoch has no variation"
    ]


@pytest.mark.parametrize("which", ["max", "min"])
def test_extremes(which: Literal["max", "min"]) -> None:
    trace = fill([[1, 5, 3], [2, 4, math.nan]], [(1, 2)])
    figure = draw_extremes(trace, which)
    expected = maxima(trace) if which == "max" else minima(trace)
    (dots,) = [item for item in figure.axes[0].collections if item.get_array() is not None]
    np.testing.assert_allclose(
        np.asarray(dots.get_offsets()), list(zip(expected.values, range(3), strict=True))
    )
    assert list(dots.get_array()) == expected.epochs.tolist()  # type: ignore[arg-type]
    assert figure.axes[1].get_ylabel() == f"Epoch of the {which}imum"
    assert legends(figure) == ["not finite in some epoch: 1 layer at the right"]


@pytest.mark.parametrize(("count", "step"), [(6, 1), (54, 1), (62, 2), (160, 3), (2000, 38)])
def test_layers_are_named_from_the_top_without_touching(count: int, step: int) -> None:
    figure = draw_stability(make_trace(count, 2))
    axes = figure.axes[0]
    assert row_labels(axes)[:2] == ["layer0.conv.weight", f"layer{step}.conv.weight"]
    assert axes.get_ylabel() == ("Layer" if step == 1 else f"Layer (1 in {step} is named)")
    bottom, top = axes.get_ylim()
    assert bottom > top
    room = figure.get_figheight() * 72 * 0.86 / count * step
    assert room > axes.get_yticklabels()[0].get_fontsize() * 1.2  # type: ignore[operator]


def test_long_names_lose_what_they_share_and_equal_ones_get_numbers() -> None:
    assert layers.layer_labels(["a", "$b"]) == ["a", "\\$b"]
    long = [f"model.backbone.encoder.stages.{index}.attention.weight" for index in range(2)]
    assert layers.layer_labels(long) == ["…0.attention.weight", "…1.attention.weight"]
    same = layers.layer_labels(["x" * 50 + end * 50 for end in "yz"] + ["x" * 50 + "a" + "y" * 49])
    assert same[0].startswith("1: ")
    assert len(set(same)) == 3


def test_a_drawn_name_has_a_bound_also_in_escapes() -> None:
    assert style.drawable("a" * 40) == "a" * 15 + "…" + "a" * 16
    shown = style.drawable("\U000f0000" * 40)
    assert shown == "\\U000f0000…\\U000f0000"


def write(path: Path, trace: GradientTrace) -> None:
    rows = [",".join(map(str, (epoch, *row))) for epoch, row in zip(trace.epochs, trace.values, strict=True)]
    path.write_text("\n".join([",".join(("epoch", *trace.names)), *rows]), "utf-8")


def test_pictures_go_beside_the_trace_or_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    csv = run.layout.gradient_trace
    write(csv, make_trace(2, 2))
    told: list[tuple[int, int]] = []
    written = write_gradient_figures(TraceFile(csv, run), None, lambda done, of: told.append((done, of)))
    assert [path.name for path in written] == [f"gradient_trace_{kind}.png" for kind in GRADIENT_FIGURES]
    assert {path.parent for path in written} == {run.layout.visualization}
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in written)
    assert told == [(done, 10) for done in range(11)]
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot make"):
        write_gradient_figures(TraceFile(csv, run), tmp_path / "file" / "below", lambda *_: None)
    run.layout.visualization.rename(tmp_path / "outside")
    run.layout.visualization.symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="is a symbolic link"):
        write_gradient_figures(TraceFile(csv, run), None, lambda *_: None)
