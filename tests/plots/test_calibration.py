"""The reliability diagram: its bars and texts, and that it is drawn however few the images."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.container import BarContainer

from pochi_cli.inference.scores import Calibration, calibrate
from pochi_cli.plots.calibration import draw_calibration
from pochi_cli.plots.files import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Bins of a fifth: two images of five are right where 50 % are expected, and three of four where 90 % are.
CONFIDENCE = np.array([0.5] * 5 + [0.9] * 4)
CORRECT = np.array([True, True, False, False, False, True, True, True, False])
NINE = calibrate(CONFIDENCE, CORRECT, bins=5)

CASES = {
    "nine": NINE,
    "one image": calibrate(np.array([1.0]), np.array([True])),
    "one bin": calibrate(np.full(50, 0.97), np.arange(50) < 40),
    "none right": calibrate(np.full(3, 0.55), np.zeros(3, dtype=np.bool_)),
    "very uneven": calibrate(np.append(np.full(9_999, 0.99), 0.3), np.ones(10_000, dtype=np.bool_)),
}


def bars(axes: Axes, label: str) -> list[tuple[float, float, float, float]]:
    """Return left and right end, lower and upper end."""
    (drawn,) = [each for each in axes.containers if each.get_label() == label]
    assert isinstance(drawn, BarContainer)
    return [(box.x0, box.x1, box.y0, box.y1) for box in (bar.get_bbox() for bar in drawn.patches)]


def header(calibration: Calibration) -> str:
    return draw_calibration(calibration).axes[0].get_title(loc="left")


def test_accuracy_is_drawn_in_the_bins_that_have_images() -> None:
    drawn = bars(draw_calibration(NINE).axes[0], "accuracy")
    np.testing.assert_allclose(drawn, [(0.4, 0.6, 0, 0.4), (0.8, 1, 0, 0.75)])


def test_the_gap_spans_from_accuracy_to_mean_confidence() -> None:
    drawn = bars(draw_calibration(NINE).axes[0], "gap")
    np.testing.assert_allclose(drawn, [(0.4, 0.6, 0.4, 0.5), (0.8, 1, 0.75, 0.9)])
    underconfident = calibrate(np.full(4, 0.5), np.ones(4, dtype=np.bool_), bins=5)
    np.testing.assert_allclose(bars(draw_calibration(underconfident).axes[0], "gap"), [(0.4, 0.6, 0.5, 1)])


def test_images_are_counted_below_on_the_same_axis_of_confidence() -> None:
    above, below = draw_calibration(NINE).axes
    assert [height for *_, height in bars(below, "images")] == [0, 0, 5, 0, 4]
    assert above.get_shared_x_axes().joined(above, below)
    assert above.get_xlim() == above.get_ylim() == (0, 1)
    assert (below.get_xlabel(), above.get_ylabel(), below.get_ylabel()) == (
        "Confidence",
        "Accuracy",
        "Images",
    )


def test_the_diagonal_is_where_a_model_is_right_as_often_as_confident() -> None:
    axes = draw_calibration(NINE).axes[0]
    (diagonal,) = axes.lines
    assert np.asarray(diagonal.get_xydata()).tolist() == [[0, 0], [1, 1]]
    legend = axes.get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()] == [
        "accuracy",
        "gap to the mean confidence",
        "right as often as confident",
    ]


def test_the_header_tells_the_error_and_the_number_of_images() -> None:
    # (5 * 10 % + 4 * 15 %) / 9
    assert header(NINE) == "Expected calibration error 12.2 %, 9 images"
    assert header(CASES["one image"]) == "Expected calibration error 0.0 %, 1 image"


def test_few_images_are_seen_beside_very_many() -> None:
    below = draw_calibration(CASES["very uneven"]).axes[1]
    assert below.get_yscale() == "log"
    assert 0 < below.get_ylim()[0] < 1
    assert draw_calibration(NINE).axes[1].get_yscale() == "linear"


@pytest.mark.parametrize("case", CASES)
def test_everything_lies_within_the_picture(case: str, tmp_path: Path) -> None:
    figure = draw_calibration(CASES[case])
    save_figure(figure, tmp_path / "calibration.png")
    width, height = figure.get_size_inches() * figure.dpi
    for axes in figure.axes:
        box = axes.get_tightbbox()
        assert box is not None
        assert box.x0 >= -1 and box.x1 <= width + 1
        assert box.y0 >= -1 and box.y1 <= height + 1
    # Numbers of images are whole, and written as such.
    ticks = [tick.get_text() for tick in figure.axes[1].get_yticklabels()]
    assert all(tick.replace(",", "").isdigit() for tick in ticks)
    assert len(set(ticks)) == len(ticks)
