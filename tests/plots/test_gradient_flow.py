"""The picture of one backward pass: its data and labels, and that it is drawn whatever the gradients."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pochi_cli.errors import StorageError
from pochi_cli.inspection.gradient_flow import GradientFlow
from pochi_cli.plots.gradient_flow import draw_gradient_flow, write_gradient_flow_figure
from tests.inspection.flows import make_flow, make_layer
from tests.runs.fake import make_run

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ODD = ("$\\frac{a}{b}$", "_b", "50%", "層" * 40, "model." * 40 + "weight", "a" * 50)
CASES = {
    "one": make_flow(1),
    "6": make_flow(6),
    "62 with holes": make_flow(62, holes=True),
    "160": make_flow(160),
    "only zeros": make_flow([make_layer(f"layer{at}", "zero") for at in range(6)]),
    "nothing finite": make_flow([make_layer(f"layer{at}", "lost") for at in range(6)], loss=math.nan),
    "zeros and lost": make_flow([make_layer("a", "zero"), make_layer("b", "lost")]),
    "one sign": make_flow([replace(make_layer("a"), min=0.1, max=0.3), replace(make_layer("b"), min=0.0)]),
    "huge and tiny": make_flow([make_layer("a", norm=1e300), make_layer("b", norm=1e-300)]),
    "tiny": make_flow([make_layer("a", norm=1e-320)]),
    "odd names": make_flow([make_layer(name) for name in ODD]),
    "long names": make_flow(
        [make_layer(f"encoder.layers.encoder_layer_{at}.self_attention.weight") for at in range(99)]
    ),
}


def panels(flow: GradientFlow) -> tuple[Axes, ...]:
    return tuple(draw_gradient_flow(flow, "Gradients").axes)


def labels(axes: Axes) -> list[str]:
    return [label.get_text() for label in axes.get_xticklabels()]


def legend(axes: Axes) -> list[str]:
    box = axes.get_legend()
    return [text.get_text() for text in box.get_texts()] if box else []


def heights(axes: Axes) -> list[float]:
    return [bar.get_height() for bar in axes.patches]  # type: ignore[attr-defined]


@pytest.mark.parametrize("case", CASES)
def test_everything_is_drawn_within_its_picture(case: str) -> None:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    figure = draw_gradient_flow(CASES[case], "Gradients of $1, best_model.pth")
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    assert len(figure.axes) == 4
    for axes in figure.axes:
        assert axes.get_title(loc="left")
        assert axes.get_xlabel()
        assert axes.get_ylabel()
        assert axes.get_position().width > 0.35
        assert axes.get_position().height > 0.2
        assert_inside(figure, axes)


def assert_inside(figure: Figure, axes: Axes) -> None:
    room = figure.bbox
    ticks = [label for label in axes.get_xticklabels() if label.get_visible()]
    for text in (*ticks, axes.yaxis.label, axes.xaxis.label, axes.title):
        box = text.get_window_extent()
        assert room.x0 <= box.x0, text.get_text()
        assert box.x1 <= room.x1, text.get_text()
        assert room.y0 <= box.y0, text.get_text()
        assert box.y1 <= room.y1, text.get_text()


def test_the_panels_show_the_statistics() -> None:
    flow = make_flow(6)
    means, norms, spreads, ranges = panels(flow)
    assert [axes.get_title(loc="left") for axes in (means, norms, spreads, ranges)] == [
        f"Gradient {what} per layer" if what != "Mean" else "Mean gradient per layer"
        for what in ("Mean", "norm", "std", "range")
    ]
    assert heights(means) == [layer.mean for layer in flow.layers]
    assert heights(spreads) == [layer.std for layer in flow.layers]
    (curve,) = norms.get_lines()
    assert np.asarray(curve.get_ydata()).tolist() == [layer.norm for layer in flow.layers]
    drawn = {str(line.get_label()): np.asarray(line.get_ydata()).tolist() for line in ranges.get_lines()}
    assert drawn["max"] == [layer.max for layer in flow.layers]
    assert drawn["min"] == [layer.min for layer in flow.layers]
    assert legend(ranges) == ["largest entry", "least entry"]
    scales = [axes.get_yscale() for axes in (means, norms, spreads, ranges)]
    assert scales == ["symlog", "log", "linear", "symlog"]


def test_a_signed_axis_has_decades_where_the_values_are() -> None:
    layers = [replace(make_layer("a"), mean=3e-4), replace(make_layer("b"), mean=-2e-6)]
    means = panels(make_flow(layers))[0]
    assert means.get_ylabel() == "Mean over the entries (axis linear within ±1e-6)"
    places = means.transData.transform([(0, value) for value in (1e-6, 1e-5, 1e-4)])[:, 1]
    assert places[2] - places[1] == pytest.approx(places[1] - places[0])
    low, high = means.get_ylim()
    assert low < -1e-3 < 1e-3 < high
    ticks = [means.yaxis.get_major_formatter()(tick, 0) for tick in means.get_yticks()]
    assert ticks == ["−0.001", "−0.0001", "−1e-5", "−1e-6", "0", "1e-6", "1e-5", "0.0001", "0.001"]


@pytest.mark.parametrize(("count", "step"), [(6, 1), (42, 1), (62, 2), (160, 4)])
def test_layers_are_named_below_without_touching(count: int, step: int) -> None:
    above, _, below, _ = panels(make_flow(count))
    assert labels(below)[:2] == ["layer0.conv.weight", f"layer{step}.conv.weight"]
    assert below.get_xlabel() == ("Layer" if step == 1 else f"Layer (1 in {step} is named)")
    assert above.get_xlabel() == "Layer (named below)"
    width = 14 * 72 * 0.4 / count * step
    assert width > below.get_xticklabels()[0].get_fontsize() * 1.1  # type: ignore[operator]


def test_long_names_keep_their_ends() -> None:
    assert labels(panels(CASES["long names"])[2])[1] == "4: …self_attention.weight"


def test_zeros_and_what_is_not_finite_are_at_the_edges_and_counted() -> None:
    layers = [make_layer("a"), make_layer("b", "zero"), make_layer("c", "lost"), make_layer("d", "lost")]
    means, norms, spreads, ranges = panels(make_flow(layers))
    lost = "not finite: 2 layers at the top"
    assert legend(norms) == ["0: 1 layer at the bottom", lost]
    for axes in (means, norms, spreads, ranges):
        assert legend(axes)[-1] == lost
        marks = {str(line.get_label()): line.get_xdata() for line in axes.get_lines()}
        assert np.asarray(marks["_top"]).tolist() == [2, 3]
    assert heights(spreads) == [0.1, 0, 0, 0]


def test_empty_panels_say_why() -> None:
    def messages(case: str) -> list[list[str]]:
        return [[text.get_text() for text in axes.texts] for axes in panels(CASES[case])]

    assert messages("only zeros") == [["every one is 0"], ["no finite norm above 0"], ["every one is 0"], []]
    assert [text for (text,) in messages("nothing finite")] == [
        *("no finite gradient", "no finite norm above 0", "no finite gradient", "no finite gradient")
    ]


def test_the_picture_goes_into_the_run_or_elsewhere(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    written = write_gradient_flow_figure(make_flow(3), "Gradients", run, None)
    assert written == run.layout.visualization / "gradient_flow.png"
    assert written.read_bytes().startswith(b"\x89PNG")
    elsewhere = write_gradient_flow_figure(make_flow(3), "Gradients", run, tmp_path / "a" / "b")
    assert elsewhere == tmp_path / "a" / "b" / "gradient_flow.png"
    assert elsewhere.exists()
    written.unlink()
    run.layout.visualization.rmdir()
    run.layout.visualization.symlink_to(tmp_path)
    with pytest.raises(StorageError, match="is a symbolic link"):
        write_gradient_flow_figure(make_flow(3), "Gradients", run, None)
