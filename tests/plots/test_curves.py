"""ROC and precision-recall curves: their data and texts, and that they are drawn whatever the classes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import auc

from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.scores import Curve, Scores, score
from pochi_cli.plots.curves import draw_curves
from pochi_cli.plots.files import save_figure

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D


def scores(classes: int, images: int, skill: float, occurring: int | None = None) -> Scores:
    """Judge a model of some skill; the later the class, the better it is told from the others."""
    generator = np.random.default_rng(0)
    labels = np.arange(images) % (occurring or classes)
    logits = generator.normal(size=(images, classes))
    logits[np.arange(images), labels] += skill * (1 + labels / classes)
    names = tuple(f"class {label}" for label in range(classes))
    return score(Predictions(names, ("",) * images, logits.astype(np.float32), labels))


TWO = scores(2, 100, 1)
CASES = {
    "two": TWO,
    "ten": scores(10, 300, 2),
    "eleven": scores(11, 300, 2),
    "hundred": scores(100, 1000, 2),
    "perfect": scores(3, 30, 100),
    "worst": scores(3, 30, -100),
    "chance": scores(5, 200, 0),
    "few images": scores(4, 5, 1),
    "missing classes": scores(6, 60, 1, occurring=4),
    "one class": scores(3, 20, 1, occurring=1),
    "many points": scores(2, 12_000, 1),
}


def draw(case: str) -> Figure:
    return draw_curves(CASES[case].curves, CASES[case].class_names)


def panels(case: str) -> tuple[Axes, Axes]:
    roc, recall = draw(case).axes
    return roc, recall


def line(axes: Axes, label: int) -> Line2D:
    (found,) = [line for line in axes.lines if line.get_label() == str(label)]
    return found


def data(axes: Axes, label: int) -> tuple[Curve, Curve]:
    x, y = line(axes, label).get_data()
    return np.asarray(x, np.float64), np.asarray(y, np.float64)


def legend(figure: Figure) -> list[str]:
    return [text.get_text() for each in figure.legends for text in each.get_texts()]


def stepwise_area(recall: NDArray[np.float64], precision: NDArray[np.float64]) -> float:
    """As average precision is defined: each precision holds until the next lower recall."""
    return float(-np.sum(np.diff(recall) * precision[:-1]))


def test_both_curves_of_every_class_are_drawn() -> None:
    roc, recall = panels("two")
    for curve in TWO.curves:
        np.testing.assert_array_equal(data(roc, curve.label)[0], curve.false_positive_rate)
        np.testing.assert_array_equal(data(roc, curve.label)[1], curve.true_positive_rate)
        np.testing.assert_array_equal(data(recall, curve.label)[0], curve.recall)
        np.testing.assert_array_equal(data(recall, curve.label)[1], curve.precision)
        assert line(roc, curve.label).get_color() == line(recall, curve.label).get_color()
    assert (roc.get_xlabel(), roc.get_ylabel()) == ("False positive rate", "True positive rate")
    assert (recall.get_xlabel(), recall.get_ylabel()) == ("Recall", "Precision")


@pytest.mark.parametrize("case", ["ten", "many points"])
def test_areas_under_what_is_drawn_are_those_told(case: str) -> None:
    roc, recall = panels(case)
    for curve in CASES[case].curves:
        assert auc(*data(roc, curve.label)) == pytest.approx(curve.area, abs=2e-3)
        assert line(recall, curve.label).get_drawstyle() == "steps-post"
        drawn = stepwise_area(*data(recall, curve.label))
        assert drawn == pytest.approx(curve.average_precision, abs=2e-3)


def test_of_very_many_points_those_that_are_seen_are_drawn() -> None:
    _, recall = panels("many points")
    for curve in CASES["many points"].curves:
        assert len(curve.recall) > 5_000
        x, y = data(recall, curve.label)
        assert len(x) <= 2000
        assert (x[0], y[0], x[-1], y[-1]) == (1, curve.precision[0], 0, 1)
        part_of_all, part_of_drawn = (
            np.minimum(500 * recalls, 499).astype(int) // 5 for recalls in (curve.recall, x)
        )
        for part in range(100):
            seen, there = y[part_of_drawn == part], curve.precision[part_of_all == part]
            assert (seen.min(), seen.max()) == (there.min(), there.max())


def test_up_to_ten_classes_are_named_with_their_areas() -> None:
    first = TWO.curves[0]
    told = legend(draw("two"))
    assert told[0] == f"class 0\nAUC {first.area:.3f}, AP {first.average_precision:.3f}"
    assert told[1].startswith("class 1\n")
    assert told[2:] == ["chance, AUC 0.5"]
    assert len(legend(draw("ten"))) == 11
    assert len({(each.get_color(), each.get_linestyle()) for each in panels("ten")[0].lines[:10]}) == 10


@pytest.mark.parametrize("case", ["eleven", "hundred"])
def test_of_more_classes_the_worst_are_named_and_the_others_grey(case: str) -> None:
    curves = CASES[case].curves
    worst = {curve.label for curve in sorted(curves, key=lambda curve: curve.area)[:3]}
    worst |= {curve.label for curve in sorted(curves, key=lambda curve: curve.average_precision)[:3]}
    figure = draw(case)
    told = legend(figure)
    assert {text.partition("\n")[0] for text in told[: len(worst)]} == {f"class {label}" for label in worst}
    assert told[len(worst) :] == [f"{len(curves) - len(worst)} better classes", "chance, AUC 0.5"]
    for axes in figure.axes:
        colors = {curve.label: line(axes, curve.label).get_color() for curve in curves}
        assert len({colors.pop(label) for label in worst}) == len(worst)
        assert set(colors.values()) == {"#BBBBBB"}
        heights = {label: line(axes, label).get_zorder() for label in (*worst, *colors)}
        assert min(heights[label] for label in worst) > max(heights[label] for label in colors)


def test_titles_tell_the_means_over_the_classes() -> None:
    ten = CASES["ten"]
    told = [axes.get_title(loc="left") for axes in panels("ten")]
    assert told == [
        f"ROC: macro mean AUC {ten.macro_area:.3f}",
        f"Precision-recall: macro mean AP {ten.macro_average_precision:.3f}",
    ]


def test_chance_is_the_diagonal_of_the_roc() -> None:
    roc, recall = panels("two")
    (chance,) = [each for each in roc.lines if each.get_label() == "chance"]
    assert np.asarray(chance.get_xydata()).tolist() == [[0, 0], [1, 1]]
    assert len(recall.lines) == 2


def test_classes_without_images_are_told() -> None:
    assert legend(draw("missing classes"))[-1] == "without images: 2 of 6 classes"
    figure = draw("one class")
    assert [axes.texts[0].get_text() for axes in figure.axes] == ["all images are of one class"] * 2
    assert not legend(figure)


@pytest.mark.parametrize("case", CASES)
def test_everything_lies_within_the_picture(case: str, tmp_path: Path) -> None:
    figure = draw(case)
    save_figure(figure, tmp_path / "curves.png")
    width, height = figure.get_size_inches() * figure.dpi
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    legends = [each.get_window_extent() for each in figure.legends]
    for box in (*boxes, *legends):
        assert box is not None
        assert box.x0 >= -1 and box.x1 <= width + 1
        assert box.y0 >= -1 and box.y1 <= height + 1
    assert not any(each.overlaps(box) for each in legends for box in boxes if box is not None)
