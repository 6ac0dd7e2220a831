"""The pictures of a network: their data and labels, and that they are drawn whatever it is made of."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from pochi_cli.errors import StorageError
from pochi_cli.inspection.model_statistics import weight_statistics
from pochi_cli.inspection.model_structure import Layer, ModelStructure
from pochi_cli.inspection.model_weights import WeightStatistics
from pochi_cli.plots.layers import distinct_labels
from pochi_cli.plots.model import write_model_figures
from pochi_cli.plots.model_structure import MOST_ROWS, draw_model_structure, layer_rows
from pochi_cli.plots.parameter_distribution import draw_parameter_distribution
from pochi_cli.runs.inspection_layout import InspectionLayout

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def structure_of(*layers: tuple[str, int, int]) -> ModelStructure:
    """Layers by name, parameters and MACs; a quarter of the parameters is frozen."""
    made = [
        Layer(name, "Linear", name, parameters, parameters - parameters // 4, (1, 3), 1, macs)
        for name, parameters, macs in layers
    ]
    return ModelStructure(tuple(made), 0, ((1, 3),), "meta")


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(30, 20), nn.LayerNorm(20), nn.ReLU(), nn.Linear(20, 3))


def spoilt() -> WeightStatistics:
    model = network()
    with torch.no_grad():
        model.get_parameter("0.weight")[0, 0] = math.nan
    return weight_statistics(model)


def zeros() -> nn.Linear:
    layer = nn.Linear(3, 3)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


STRUCTURES = {
    "one": structure_of(("", 12, 9)),
    "nothing": structure_of(("act", 0, 0)),
    "no operations": structure_of(("words", 1000, 0)),
    "long names": structure_of(
        *((f"encoder.layers.encoder_layer_{at}.self_attention", 10**at, 10**at) for at in range(12))
    ),
    "many": structure_of(*((f"layer{at}.conv{part}", 64, 99) for at in range(40) for part in range(3))),
    "flat": structure_of(*((f"layer{at}", 64, 99) for at in range(200))),
    "odd names": structure_of(*((name, 5, 5) for name in ("$\\frac{a}{b}$", "_b", "50%", "a" * 90))),
}
WEIGHTS = {
    "network": weight_statistics(network()),
    "one-dimensional": weight_statistics(nn.BatchNorm1d(4)),
    "zero": weight_statistics(nn.BatchNorm1d(4, affine=False)),
    "not finite": spoilt(),
    "only zeros": weight_statistics(zeros()),
}


def drawn(figure: Figure) -> Figure:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    return figure


def assert_inside(figure: Figure, axes: Axes) -> None:
    room = figure.bbox
    texts = [axes.yaxis.label, axes.xaxis.label, axes.title, *axes.texts]
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        ticks = zip(axis.get_majorticklocs(), axis.get_majorticklabels(), strict=True)
        texts += [label for place, label in ticks if min(limits) <= place <= max(limits)]
    for text in texts:
        box = text.get_window_extent()
        assert room.x0 <= box.x0, text.get_text()
        assert box.x1 <= room.x1, text.get_text()
        assert room.y0 <= box.y0, text.get_text()
        assert box.y1 <= room.y1, text.get_text()


@pytest.mark.parametrize("case", STRUCTURES)
def test_every_structure_is_drawn_within_its_picture(case: str) -> None:
    figure = drawn(draw_model_structure(STRUCTURES[case], "Model of $1, best_model.pth"))
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["Parameters", "Operations"]
    for axes in figure.axes:
        assert axes.get_position().width > 0.25
        assert_inside(figure, axes)


@pytest.mark.parametrize("case", WEIGHTS)
def test_every_distribution_is_drawn_within_its_picture(case: str) -> None:
    figure = drawn(draw_parameter_distribution(WEIGHTS[case], "Model of $1"))
    assert len(figure.axes) == 2
    for axes in figure.axes:
        assert_inside(figure, axes)


def legend(axes: Axes) -> list[str]:
    box = axes.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def test_the_bars_are_the_layers() -> None:
    structure = structure_of(("conv", 100, 5000), ("act", 0, 0), ("attention", 0, 700), ("head", 40, 20))
    parameters, operations = draw_model_structure(structure, "Model").axes
    widths = [bar.get_width() for bar in parameters.patches]  # type: ignore[attr-defined]
    assert widths == [75, 0, 30, 25, 0, 10]  # trained, then frozen behind it
    assert [bar.get_x() for bar in parameters.patches] == [0, 0, 0, 75, 0, 30]  # type: ignore[attr-defined]
    assert [bar.get_width() for bar in operations.patches] == [5000, 700, 20]  # type: ignore[attr-defined]
    assert [label.get_text() for label in parameters.get_yticklabels()] == ["conv", "attention", "head"]
    assert legend(parameters) == ["105 trainable", "35 frozen"]
    assert legend(operations) == ["5.72 k MACs for one input"]
    assert [text.get_text() for text in operations.texts] == ["5 k", "700", "20"]


def test_long_names_lose_their_middle_and_stay_told_apart() -> None:
    ends = ("self_attention.out_proj", "mlp.0", "ln_1")
    names = ["conv_proj", *(f"encoder.layers.encoder_layer_{at}.{end}" for at in range(6) for end in ends)]
    labels = distinct_labels(names)
    assert "encoder…layer_3.self_attention.out_proj" in labels
    assert len(set(labels)) == len(names)
    assert not any(":" in label for label in labels)
    assert distinct_labels(["short", "other"]) == ["short", "other"]
    (drawn_first, _) = draw_model_structure(structure_of(*((name, 9, 9) for name in names)), "M").axes
    assert [label.get_text() for label in drawn_first.get_yticklabels()] == labels
    alike = [f"{'a' * 60}{at}{'b' * 60}" for at in range(2)]
    assert [label[:3] for label in distinct_labels(alike)] == ["1: ", "2: "]


def test_many_layers_are_drawn_by_what_their_names_begin_with() -> None:
    rows = layer_rows(STRUCTURES["many"])
    assert [row.name for row in rows] == [f"layer{at}" for at in range(40)]
    assert rows[3] == ("layer3", 3 * 48, 3 * 16, 3 * 99)
    assert len(layer_rows(STRUCTURES["flat"])) == 200  # they have nothing in common
    assert len(layer_rows(STRUCTURES["many"], most=120)) == 120
    assert MOST_ROWS < 120


def test_the_distribution_shows_the_histogram_and_the_bands() -> None:
    weights = WEIGHTS["network"]
    assert weights.histogram is not None
    counts, bands = draw_parameter_distribution(weights, "Model").axes
    heights = np.array([bar.get_height() for bar in counts.patches])  # type: ignore[attr-defined]
    assert heights.sum() == pytest.approx(weights.entries, abs=20)
    assert counts.get_yscale() == "log"
    (zero,) = [line for line in counts.lines if line.get_label() == "_zero"]
    assert np.asarray(zero.get_xdata()).tolist() == [0, 0]
    assert [label.get_text() for label in bands.get_xticklabels()] == ["0.weight", "3.weight"]
    first = next(one for one in weights.parameters if one.name == "0.weight")
    spans = [(bar.get_y(), bar.get_y() + bar.get_height()) for bar in bands.patches]  # type: ignore[attr-defined]
    assert spans[0] == pytest.approx((first.min, first.max))
    assert spans[4] == pytest.approx((first.quantiles[1], first.quantiles[3]))


def test_what_is_not_finite_is_counted() -> None:
    counts, bands = draw_parameter_distribution(WEIGHTS["not finite"], "Model").axes
    assert "722 values, 1 more are not finite" in legend(counts)
    assert "not finite: 1 layer at the top" in legend(bands)
    assert draw_parameter_distribution(replace(WEIGHTS["zero"]), "M").axes[0].texts[0].get_text()


def test_the_files(tmp_path: Path) -> None:
    structure, weights = STRUCTURES["one"], WEIGHTS["network"]
    layout = InspectionLayout(tmp_path / "new" / "pictures")
    written = write_model_figures(structure, weights, "Model", layout)
    assert written == {"structure": layout.structure, "parameters": layout.parameters}
    for path in written.values():
        assert path.read_bytes().startswith(b"\x89PNG")
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_model_figures(structure, weights, "Model", InspectionLayout(tmp_path / "file"))
