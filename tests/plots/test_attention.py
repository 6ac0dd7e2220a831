"""Heat maps of attention: their weights, names and colours, and that all is within the picture."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import pytest

from pochi_cli.inspection.head_similarity import HeadFacts
from pochi_cli.plots.attention import draw_pattern
from pochi_cli.plots.attention_heads import draw_heads
from pochi_cli.plots.attention_tokens import weight_scale
from tests.plots.attentions import CAT, ODD, assert_inside, make_swin, make_text, make_vit, mask

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis
    from matplotlib.figure import Figure

CASES = {
    "one word": make_text(["alone"], heads=1),
    "odd words": make_text(ODD, heads=2),
    "100 words": make_text([f"word{at}" for at in range(100)], heads=1),
    "to other words": make_text(CAT, heads=3, keys=[f"key{at}" for at in range(40)]),
    "5 patches": make_vit(2),
    "two extra tokens": make_vit(14, heads=2, prefix=3),
    "windows": make_swin(10, heads=1),
    "all masked": mask(make_text(heads=1), *range(6)),
}
LONG_TITLE = "Attention in $1_" + "very_long_" * 12


def labels(axis: Axis) -> list[str]:
    return [label.get_text() for label in axis.get_majorticklabels()]


def maps(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_title() or axes.get_title(loc="left")]


def drawn(axes: Axes) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    (image,) = axes.get_images()
    array = image.get_array()
    assert array is not None
    return np.ma.filled(array.astype(np.float64), np.nan)


@pytest.mark.parametrize("case", CASES)
def test_everything_is_within_the_picture(case: str) -> None:
    layer = CASES[case]
    last = len(layer.weights) - 1
    pattern = draw_pattern(layer, None, LONG_TITLE, last)
    assert_inside(pattern)
    box = maps(pattern)[0].get_window_extent()
    side = box.height / box.width
    assert not layer.is_self_attention or side == pytest.approx(1, abs=0.2)  # however long the names
    assert_inside(draw_heads(layer, LONG_TITLE, last))


def test_a_map_shows_one_head_or_the_mean() -> None:
    layer = make_text()
    (one,) = maps(draw_pattern(layer, 2, "Attention"))
    np.testing.assert_array_equal(drawn(one), layer.weights[0, 2])
    assert one.get_title(loc="left") == "layers.0.self_attn, 6 tokens, head 3 of 4"
    (mean,) = maps(draw_pattern(layer, None, "Attention"))
    np.testing.assert_allclose(drawn(mean), sum(layer.weights[0, head] for head in range(4)) / 4, atol=1e-7)
    assert mean.get_title(loc="left") == "layers.0.self_attn, 6 tokens, mean over 4 heads"


def test_a_map_shows_one_window() -> None:
    layer = make_swin(14)
    (axes,) = maps(draw_pattern(layer, 0, "Attention", 2))
    np.testing.assert_array_equal(drawn(axes), layer.weights[2, 0])
    assert axes.get_title(loc="left") == "encoder.self_attention, window 3 of 4, 49 tokens, head 1 of 3"


def test_words_are_named_on_both_axes() -> None:
    (axes,) = maps(draw_pattern(make_text(CAT, keys=["Die", "Katze"]), 0, "Attention"))
    assert labels(axes.yaxis) == list(CAT)
    assert labels(axes.xaxis) == ["Die", "Katze"]
    assert axes.get_ylabel() == "Query (attending from)"
    assert axes.get_xlabel() == "Key (attended to)"


def test_of_many_words_some_are_named() -> None:
    (axes,) = maps(draw_pattern(CASES["100 words"], 0, "Attention"))
    assert labels(axes.yaxis)[:2] == ["word0", "word2"]
    assert axes.get_ylabel() == "Query (attending from), 1 in 2 is named"


def test_few_patches_are_named_one_by_one() -> None:
    (axes,) = maps(draw_pattern(make_vit(2), 0, "Attention"))
    assert labels(axes.xaxis) == ["class", "1,1", "1,2", "2,1", "2,2"]
    assert axes.get_xlabel() == "Key (attended to), patches by row,column"


@pytest.mark.parametrize("side", [8, 14])
def test_many_patches_are_named_by_their_rows(side: int) -> None:
    (axes,) = maps(draw_pattern(make_vit(side), 0, "Attention"))
    for axis in (axes.xaxis, axes.yaxis):
        assert labels(axis) == ["class", *(f"row {row}" for row in range(1, side + 1))]
        middles = [1 + side * row + (side - 1) / 2 for row in range(side)]
        assert axis.get_majorticklocs().tolist() == [0, *middles]
        borders = [0.5 + side * row for row in range(side)]
        assert axis.get_minorticklocs().tolist() == borders


def test_windows_tell_the_rows_of_the_image_and_what_only_fills_them() -> None:
    (axes,) = maps(draw_pattern(make_swin(10), 0, "Attention", 3))
    # 10 rows rolled by 3 in two windows of 7: the second has 4 that fill up, then the first three rows.
    assert labels(axes.yaxis) == ["padding"] * 4 + ["row 1", "row 2", "row 3"]


@pytest.mark.parametrize("case", ["two extra tokens", "100 words", "odd words"])
def test_names_do_not_touch(case: str) -> None:
    (axes,) = maps(draw_pattern(CASES[case], 0, "Attention"))
    assert_apart(axes)


def test_names_do_not_touch_in_small_panels() -> None:
    assert_apart(maps(draw_heads(make_swin(heads=24), "Attention"))[18])  # bottom left
    assert_apart(maps(draw_heads(make_vit(20, heads=7), "Attention"))[4])


def assert_apart(axes: Axes) -> None:
    figure = axes.get_figure()
    assert figure is not None
    figure.draw_without_rendering()  # type: ignore[union-attr]
    across = [label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()]
    assert all(left.x1 <= right.x0 + 1 for left, right in pairwise(across))
    down = [label.get_window_extent() for label in axes.get_yticklabels() if label.get_text()]
    assert all(lower.y1 <= upper.y0 + 1 for upper, lower in pairwise(down))


def test_queries_without_a_key_are_hatched_and_named() -> None:
    (axes,) = maps(draw_pattern(mask(make_text(), 1, 2, 5), 0, "Attention"))
    spans = [(span.get_extents().y0, span.get_extents().y1) for span in axes.patches]
    edges = axes.transData.transform([(0, 0.5), (0, 2.5), (0, 4.5), (0, 5.5)])[:, 1]
    np.testing.assert_allclose(np.sort(np.ravel(spans)), np.sort(edges))
    assert all(span.get_hatch() for span in axes.patches)
    assert axes.get_title(loc="left").replace("\n", " ").endswith("; hatched: every key is masked")
    (healthy,) = maps(draw_pattern(make_text(), 0, "Attention"))
    assert not healthy.patches
    assert "masked" not in healthy.get_title(loc="left")


def test_a_bright_column_does_not_black_out_the_rest() -> None:
    weights = np.full((197, 197), 0.1 / 196, dtype=np.float32)
    weights[:, 0] = 0.9
    assert weight_scale(weights).name == "Attention weight (colour by its fourth root)"
    plain = weight_scale(np.full((6, 6), 1 / 6, dtype=np.float32))
    assert plain.root == 2
    assert plain.largest == pytest.approx(1 / 6)
    layer = make_vit(14)
    figure = draw_pattern(layer, 1, "Attention")
    (axes,) = maps(figure)
    (image,) = axes.get_images()
    assert np.median(np.asarray(image.norm(layer.weights[0, 1]))) > 0.1
    (bar,) = (other for other in figure.axes if other is not axes)
    ticks = [label.get_text() for label in bar.get_yticklabels()]
    assert ticks[0] == "0"
    assert float(ticks[-1]) == pytest.approx(layer.weights[0, 1].max(), rel=0.06)
    assert "root" in bar.get_ylabel()


@pytest.mark.parametrize(
    ("heads", "rows", "columns"),
    [(1, 1, 1), (2, 1, 2), (3, 1, 3), (4, 2, 2), (7, 2, 4), (12, 3, 4), (16, 4, 4), (24, 4, 6)],
)
def test_all_heads_are_drawn_with_names_at_the_outer_axes(heads: int, rows: int, columns: int) -> None:
    layer = make_text(heads=heads)
    panels = maps(draw_heads(layer, "Attention"))
    assert [axes.get_title() for axes in panels] == [f"Head {head + 1}" for head in range(heads)]
    for head, axes in enumerate(panels):
        np.testing.assert_array_equal(drawn(axes), layer.weights[0, head])
        assert labels(axes.yaxis) == (list(CAT) if head % columns == 0 else [])
        assert labels(axes.xaxis) == (list(CAT) if head + columns >= heads else [])
    ((low, high),) = {image.get_clim() for axes in panels for image in axes.get_images()}
    assert low == 0
    assert high == pytest.approx(layer.weights.max())
    places = [axes.get_position() for axes in panels]
    assert len({round(place.y0, 6) for place in places}) == rows
    assert len({round(place.x0, 6) for place in places}) == columns


def test_heads_tell_their_entropy_where_it_is_known() -> None:
    facts = [HeadFacts(entropy=at / 10, distance=None, to_class=None, peak=0.5) for at in range(4)]
    panels = maps(draw_heads(make_text(), "Attention", facts=facts))
    assert panels[3].get_title() == "Head 4, entropy 0.30"
