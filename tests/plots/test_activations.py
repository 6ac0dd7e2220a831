"""The picture of activations: its data and labels, and that it is drawn whatever they are."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.colors import to_rgb

from pochi_cli.inspection.activation_record import LayerActivation
from pochi_cli.plots import style
from pochi_cli.plots.activation_labels import panel_labels
from pochi_cli.plots.activations import (
    MOST_PANELS,
    Rank,
    choose_panels,
    draw_activations,
    write_activation_figure,
)
from pochi_cli.runs.inspection_layout import InspectionLayout
from tests.inspection.active import make_histogram, make_layer, make_report

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ODD = ("$\\frac{a}{b}$", "_b", "50%", "層" * 40, "model." * 40 + "weight", "a" * 50)
LOST = make_layer("lost", make_histogram([]), non_finite=50, values=50, zero_fraction=math.nan, mean=math.nan)
ZERO = make_layer("zero", make_histogram([], 70), dead=tuple(range(100)), zero_fraction=1.0)
CASES = {
    "1": 1,
    "4": 4,
    "20": 20,
    "60": 60,
    "150": 150,
    "only zeros": [ZERO, replace(ZERO, name="another")],
    "nothing finite": [LOST],
    "one value": [make_layer("one", make_histogram([2.5, 2.5]))],
    "huge and tiny": [
        make_layer("a", make_histogram([1e37, 2e37])),
        make_layer("b", make_histogram([1e-37])),
    ],
    "odd names": [make_layer(name) for name in ODD],
    "same names": [make_layer("a." * 30 + name) for name in ("same", "same")],
}


def panels(layers: list[LayerActivation] | int) -> list[Axes]:
    return list(draw_activations(make_report(layers)).axes)


def titles(layers: list[LayerActivation] | int) -> list[tuple[str, ...]]:
    return [tuple(axes.get_title(loc="left").split("\n")) for axes in panels(layers)]


@pytest.mark.parametrize("case", CASES)
def test_everything_is_drawn_within_its_picture(case: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    layers = CASES[case]
    assert isinstance(layers, int | list)
    figure = draw_activations(make_report(layers))
    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    assert len(figure.axes) == min(layers if isinstance(layers, int) else len(layers), MOST_PANELS)
    room = figure.bbox
    boxes = []
    for axes in figure.axes:
        assert axes.get_position().width * figure.get_figwidth() > 1.2
        assert axes.get_position().height * figure.get_figheight() > 0.7
        low, high = axes.get_xlim()
        ticks = [label for label in axes.get_xticklabels() if low <= label.get_position()[0] <= high]
        for text in (*ticks, axes._left_title):  # type: ignore[attr-defined]
            box = text.get_window_extent()
            assert room.x0 - 1 <= box.x0 and box.x1 <= room.x1 + 1, text.get_text()
            assert room.y0 - 1 <= box.y0 and box.y1 <= room.y1 + 1, text.get_text()
        boxes.append(axes._left_title.get_window_extent())  # type: ignore[attr-defined]
    for one, other in pairwise(boxes):
        assert one.x1 <= other.x0 or other.y1 <= one.y0, "two titles run into each other"


def test_a_panel_shows_the_values_their_mean_and_what_is_silent() -> None:
    values = np.random.default_rng(1).normal(3, 1, 4000).tolist()
    layer = make_layer("a.relu", make_histogram(values, zeros=1000), mean=2.4, dead=(1, 2, 3), type="ReLU")
    (axes,) = panels([layer])
    assert axes.get_title(loc="left") == "a.relu\n20.0 % zero, 3 of 100 dead"
    heights, edges, _ = axes.patches[0].get_data()  # type: ignore[attr-defined]
    assert edges[0] == 0  # where the zeros are
    assert heights == pytest.approx(np.histogram(values, edges)[0], rel=0.2, abs=20)
    (mean,) = axes.get_lines()
    assert np.asarray(mean.get_xdata()).tolist() == [2.4, 2.4]
    assert axes.get_yscale() == "linear"


def test_titles_tell_what_is_not_usual() -> None:
    layers = [
        make_layer("plain", type="Linear"),
        make_layer("mixed", dead=(0,), constant=(4, 5)),
        make_layer("spoilt", non_finite=50),
        make_layer("model", function="relu", kind="activation", type="relu"),
    ]
    assert titles(layers) == [
        ("plain", "Linear, 0.0 % zero"),
        ("mixed", "0.0 % zero, 1 of 100 dead, 2 constant"),
        ("spoilt", "0.0 % zero, 1.0 % not finite"),
        ("model.relu()", "0.0 % zero"),
    ]


def test_long_names_keep_their_ends() -> None:
    layers = [make_layer("conv"), make_layer("encoder.layers.encoder_layer_11.self_attention.out_proj")]
    assert titles(layers)[1][0] == "…self_attention.out_proj"
    assert titles(CASES["same names"])[0][0].startswith("1: ")  # type: ignore[arg-type]


def test_names_tell_each_layer_from_all_others_of_the_network() -> None:
    names = [
        f"features.denseblock{block}.denselayer{layer}.{part}"
        for block in (1, 2, 3)
        for layer in range(1, 25)
        for part in ("norm1", "relu1", "conv1")
    ]
    names += [
        "features.denseblock3.denselayer30.norm1",
        "encoder.layers.encoder_layer_11.mlp.3",
        "classifier",
    ]
    labels = panel_labels(names, range(len(names)))
    assert len(set(labels)) == len(names)
    assert max(map(len, labels)) <= 30
    assert labels[0] == "…denseblock1.denselayer1.norm1"
    assert labels[27] == "f.d1.denselayer10.norm1"
    assert labels[-3:] == ["…denselayer30.norm1", "…layers.encoder_layer_11.mlp.3", "classifier"]
    assert panel_labels(names, [75]) == [labels[75]]  # whatever else is drawn


def test_where_names_do_not_tell_layers_apart_their_places_do() -> None:
    names = ["first", *(f"model.{'x' * 40}.{'y' * 20}{at}.relu" for at in range(3)), *["a" * 50] * 2]
    assert [label.partition(":")[0] for label in panel_labels(names, [0, 4, 5])] == ["first", "5", "6"]
    assert len(set(panel_labels(names, range(6)))) == 6


def test_an_outlier_does_not_squeeze_the_others() -> None:
    values = [*np.random.default_rng(1).normal(size=5000).tolist(), 1e6]
    (axes,) = panels([make_layer("a", make_histogram(values, bins=10_000_000))])
    low, high = axes.get_xlim()
    assert -6 < low < -2 and 2 < high < 6


def test_a_peak_makes_the_axis_logarithmic() -> None:
    values = [*[0.5] * 100_000, *np.linspace(-3, 3, 2000).tolist()]
    (axes,) = panels([make_layer("a", make_histogram(values))])
    assert axes.get_yscale() == "log"
    assert axes.get_ylabel() == "log"


def test_of_very_many_layers_those_with_findings_are_drawn() -> None:
    layers = [make_layer(f"layer{at}") for at in range(150)]
    layers[71] = replace(layers[71], dead=tuple(range(30)))
    figure = draw_activations(make_report(layers))
    drawn = [axes.get_title(loc="left").split("\n")[0] for axes in figure.axes]
    assert len(drawn) == 60
    assert {"layer0", "layer71", "layer149"} < set(drawn)
    assert drawn == sorted(drawn, key=lambda name: int(name.removeprefix("layer")))
    assert "60 of 150 layers are drawn, 90 are left out" in figure.get_suptitle()
    assert "left out" not in draw_activations(make_report(60)).get_suptitle()


BLAMED, INVOLVED, NOTED, HEALTHY = Rank


@pytest.mark.parametrize(
    ("ranks", "most", "expected"),
    [
        ([HEALTHY] * 3, 5, [0, 1, 2]),
        ([HEALTHY] * 9, 3, [0, 4, 8]),
        ([HEALTHY, BLAMED, INVOLVED, HEALTHY, HEALTHY, BLAMED], 4, [0, 1, 2, 5]),
        ([INVOLVED] * 4 + [BLAMED] + [INVOLVED] * 4, 3, [0, 4, 8]),
        ([INVOLVED] * 7 + [BLAMED] * 2 + [HEALTHY], 2, [7, 8]),
        ([NOTED] * 9, 3, [0, 4, 8]),
        ([NOTED] * 9 + [HEALTHY] * 9, 4, [0, 8, 9, 17]),
        ([NOTED] * 9 + [HEALTHY], 4, [0, 4, 8, 9]),
        ([BLAMED, BLAMED, NOTED, NOTED, HEALTHY, HEALTHY], 4, [0, 1, 4, 5]),
    ],
)
def test_the_choice_of_panels(ranks: list[Rank], most: int, expected: list[int]) -> None:
    assert choose_panels(ranks, most) == expected


def test_notes_do_not_crowd_out_healthy_layers() -> None:
    layers = [make_layer(f"layer{at}", dead=(at % 97,)) for at in range(100)]
    layers += [make_layer(f"healthy{at}") for at in range(200)]
    layers[50] = replace(layers[50], dead=tuple(range(30)), values=50_000)
    figure = draw_activations(make_report(layers))
    facts = {
        title: axes.patches[0].get_facecolor()[:3]
        for axes in figure.axes
        for title in [axes.get_title(loc="left").split("\n")[0]]
    }
    assert len(facts) == 60
    assert sum(title.startswith("healthy") for title in facts) == 30
    assert facts["layer50"] == to_rgb(style.VERMILION)
    assert facts["layer0"] == to_rgb(style.ORANGE)
    assert facts["healthy0"] == to_rgb(style.BLUE)


def test_empty_panels_say_why() -> None:
    messages = [axes.texts[0].get_text() for axes in panels([ZERO, LOST])]
    assert messages == ["every value is 0", "nothing finite"]


def test_the_file(tmp_path: Path) -> None:
    layout = InspectionLayout(tmp_path / "a" / "b")
    assert write_activation_figure(make_report(2), layout) == layout.activations
    assert layout.activations.read_bytes().startswith(b"\x89PNG")
