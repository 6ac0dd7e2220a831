"""The confusion matrix: its numbers, colours and names, and that it is read whatever the classes."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_rgb
from numpy.typing import NDArray

from pochi_cli.config.recording import ConfusionMatrixConfig
from pochi_cli.plots.confusion import draw_confusion
from pochi_cli.plots.files import save_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from matplotlib.text import Text

COUNTS = np.array([[90, 10, 0], [0, 0, 0], [1, 0, 3]])
NAMES = ["cat", "dog", "frog"]
DEFAULT = ConfusionMatrixConfig()


def matrix(classes: int, images: int = 100) -> NDArray[np.int64]:
    """Make a matrix with four fifths of the images right."""
    mistakes = np.random.default_rng(0).multinomial(images // 5, [1 / classes] * classes, size=classes)
    return (mistakes + np.eye(classes) * (images - images // 5)).astype(np.int64)


def numbered(classes: int, name: str = "class") -> list[str]:
    return [f"{name} {label}" for label in range(classes)]


CASES: dict[str, tuple[NDArray[np.int64], Sequence[str], dict[str, Any]]] = {
    "one class": (np.array([[7]]), ["only"], {}),
    "two": (matrix(2), ["a", "b"], {}),
    "two long names": (matrix(2), numbered(2, "a class with a rather long name"), {}),
    "ten": (matrix(10), numbered(10), {}),
    "ten long names": (matrix(10), numbered(10, "a class with a rather long name"), {}),
    "huge counts": (matrix(10, 12_345_678), numbered(10), {}),
    "no images": (COUNTS * 0, NAMES, {}),
    "Japanese": (matrix(10), numbered(10, "飛行機"), {"title": "混同行列", "ylabel": "正解ラベル"}),
    "hundred": (matrix(100, 30), numbered(100), {}),
    "hundred long names": (matrix(100, 30), numbered(100, "a class with a rather long name"), {}),
    "tiny": (matrix(3), NAMES, {"figsize": (1, 1), "title": "a title that is wider than the picture"}),
    "large texts": (COUNTS, NAMES, {"fontsize": 100, "title_fontsize": 100, "label_fontsize": 100}),
    "long texts": (COUNTS, NAMES, dict.fromkeys(("title", "xlabel", "ylabel"), "long text " * 40)),
    "no texts": (COUNTS, NAMES, dict.fromkeys(("title", "xlabel", "ylabel"), "")),
}


@cache
def draw(case: str) -> Figure:
    counts, names, settings = CASES[case]
    return draw_confusion(counts, names, ConfusionMatrixConfig(**settings))


def numbers(figure: Figure) -> dict[tuple[float, float], Text]:
    return {text.get_position()[::-1]: text for text in figure.axes[0].texts}


def written(figure: Figure) -> dict[tuple[float, float], str]:
    return {cell: text.get_text() for cell, text in numbers(figure).items()}


def shares(figure: Figure) -> Any:
    return figure.axes[0].images[0].get_array()


def labels(texts: Sequence[Text]) -> list[str]:
    return [text.get_text() for text in texts]


def luminance(color: Sequence[float]) -> float:
    """As WCAG 2.1 defines it."""
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in color]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_cells_have_the_images_of_a_true_class_by_what_they_are_taken_for() -> None:
    drawn = written(draw_confusion(COUNTS, NAMES, DEFAULT))
    assert drawn == {(0, 0): "90", (0, 1): "10", (0, 2): "0", (2, 0): "1", (2, 1): "0", (2, 2): "3"}


def test_colours_are_shares_of_the_true_class() -> None:
    figure = draw_confusion(COUNTS, NAMES, ConfusionMatrixConfig(cmap="viridis"))
    np.testing.assert_allclose(shares(figure)[[0, 2]], [[0.9, 0.1, 0], [0.25, 0, 0.75]])
    image = figure.axes[0].images[0]
    assert (image.norm.vmin, image.norm.vmax, image.get_cmap().name) == (0, 1, "viridis")
    bar = figure.axes[1]
    assert bar.get_ylabel() == "Share of the images of the true class (row)"
    assert labels(bar.get_yticklabels())[-1] == "100 %"


def test_a_class_without_images_is_hatched_and_not_taken_for_zeros() -> None:
    figure = draw_confusion(COUNTS, NAMES, DEFAULT)
    assert shares(figure).mask.tolist() == [[False] * 3, [True] * 3, [False] * 3]
    (hatched,) = figure.axes[0].patches
    assert hatched.get_hatch()
    corners = figure.axes[0].transData.inverted().transform(hatched.get_extents())
    np.testing.assert_allclose(corners, [[-0.5, 1.5], [2.5, 0.5]])
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert labels(legend.get_texts()) == ["no images"]
    assert draw("ten").axes[0].get_legend() is None


def test_rows_and_columns_are_named_from_the_upper_left_on() -> None:
    axes = draw_confusion(COUNTS, NAMES, DEFAULT).axes[0]
    assert labels(axes.get_yticklabels()) == labels(axes.get_xticklabels()) == NAMES
    assert axes.get_ylim() == (2.5, -0.5)
    assert axes.get_xlim() == (-0.5, 2.5)


def test_texts_and_sizes_are_those_of_the_config() -> None:
    config = ConfusionMatrixConfig(
        title="cost in $ and in €, 5 $",
        xlabel="taken for",
        ylabel="is",
        fontsize=6,
        title_fontsize=20,
        label_fontsize=15,
        figsize=(9, 7),
    )
    figure = draw_confusion(COUNTS, NAMES, config)
    assert figure.get_suptitle() == r"cost in \$ and in €, 5 \$"
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("taken for", "is")
    assert [axes.xaxis.label.get_fontsize(), axes.yaxis.label.get_fontsize()] == [15, 15]
    assert {text.get_fontsize() for text in axes.texts} == {6}
    assert tuple(figure.get_size_inches()) == (9, 7)


@pytest.mark.parametrize("case", CASES)
def test_everything_lies_within_the_picture(case: str, tmp_path: Path) -> None:
    figure = draw(case)
    save_figure(figure, tmp_path / "confusion.png")
    width, height = figure.get_size_inches() * figure.dpi
    title = figure._suptitle  # type: ignore[attr-defined]
    axis_names = [name for axes in figure.axes for name in (axes.xaxis.label, axes.yaxis.label)]
    boxes = [axes.get_tightbbox() for axes in figure.axes]
    for box in (*boxes, *(text.get_window_extent() for text in (title, *axis_names) if text.get_text())):
        assert box.x0 >= -1 and box.x1 <= width + 1
        assert box.y0 >= -1 and box.y1 <= height + 1


@pytest.mark.parametrize("case", CASES)
def test_names_and_numbers_are_readable_and_do_not_run_into_each_other(case: str) -> None:
    figure = draw(case)
    FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
    axes = figure.axes[0]
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        boxes = [tick.get_window_extent() for tick in ticks]
        assert not any(one.overlaps(other) for one, other in pairwise(boxes))
    cells = axes.get_window_extent()
    count = len(CASES[case][0])
    for text in axes.texts:
        assert float(text.get_fontsize()) >= 5
        box = text.get_window_extent()
        assert box.width < cells.width / count
        assert box.height < cells.height / count


def test_large_numbers_are_written_out() -> None:
    assert written(draw("huge counts"))[0, 0].startswith("10,1")
    assert not written(draw_confusion(matrix(100, 12_345_678), numbered(100), DEFAULT))


def test_many_classes_have_no_zeros_between_the_numbers_that_matter() -> None:
    assert len(written(draw("ten"))) == 100
    drawn = written(draw("hundred"))
    assert len(drawn) == np.count_nonzero(CASES["hundred"][0])
    assert "0" not in drawn.values()


@pytest.mark.parametrize("cmap", ["Blues", "viridis", "Greys_r", "twilight", "hot"])
def test_numbers_contrast_with_their_cells(cmap: str) -> None:
    counts = np.array([[10, 20, 70], [5, 40, 55], [1, 0, 99]])
    figure = draw_confusion(counts, NAMES, ConfusionMatrixConfig(cmap=cmap))
    image = figure.axes[0].images[0]
    for (row, column), text in numbers(figure).items():
        share = shares(figure)[int(row), int(column)]
        both = [luminance(image.to_rgba(share)[:3]), luminance(to_rgb(text.get_color()))]  # type: ignore[arg-type]
        assert (max(both) + 0.05) / (min(both) + 0.05) > 4  # WCAG 2.1 asks for 4.5, 3 where text is large


def test_the_picture_grows_with_the_classes_within_bounds() -> None:
    assert tuple(draw("ten").get_size_inches()) == (8, 6)
    width, height = draw("hundred").get_size_inches()
    assert 16 < width <= 20
    assert 16 < height <= 20
    asked = ConfusionMatrixConfig(figsize=(24, 22))
    assert tuple(draw_confusion(matrix(100, 5), numbered(100), asked).get_size_inches()) == (24, 22)


def test_of_very_many_classes_some_are_named() -> None:
    axes = draw_confusion(np.eye(300, dtype=np.int64), numbered(300), DEFAULT).axes[0]
    assert labels(axes.get_yticklabels())[:2] == ["class 0", "class 3"]
    assert axes.get_ylabel() == "True Label (1 in 3 is named)"
    assert axes.get_xlabel() == "Predicted Label (1 in 3 is named)"
