"""Curves of attention: which are drawn, how wide, and what is told of the rest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from matplotlib.collections import LineCollection

from pochi_cli.inspection.attention_record import AttentionLayer, PatchGrid
from pochi_cli.plots.attention_edges import choose_edges
from pochi_cli.plots.attention_flow import draw_flow
from tests.plots.attentions import CAT, ODD, assert_inside, make_swin, make_text, make_vit, mask

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from pochi_cli.inspection.attention_record import AttentionLayer

CASES = {
    "6 words": make_text(),
    "one word": make_text(["alone"], heads=1),
    "odd words": make_text(ODD),
    "100 words": make_text([f"word{at}" for at in range(100)]),
    "to other words": make_text(CAT, keys=[f"key{at}" for at in range(80)]),
    "197 patches": make_vit(14),
    "windows": make_swin(10),
    "masked": mask(make_text(), 1, 2),
    "all masked": mask(make_text(), *range(6)),
    "all of many masked": mask(make_vit(8), *range(65)),
}


def curves(figure: Figure) -> LineCollection:
    (collection,) = figure.axes[0].collections
    assert isinstance(collection, LineCollection)
    return collection


def joined(figure: Figure) -> list[tuple[int, int]]:
    """Where the curves begin and end."""
    heights = [np.asarray(path.vertices)[:, 1] for path in curves(figure).get_paths()]
    return [(round(height[0]), round(height[-1])) for height in heights]


def names(figure: Figure) -> tuple[list[str], list[str]]:
    left, right = figure.axes
    queries = [label.get_text() for label in left.get_yticklabels()]
    return queries, [label.get_text() for label in right.get_yticklabels()]


def told(figure: Figure) -> list[str]:
    return figure.axes[0].get_title(loc="left").split("\n")


@pytest.mark.parametrize("case", CASES)
def test_everything_is_within_the_picture(case: str) -> None:
    layer = CASES[case]
    assert_inside(draw_flow(layer, None, "Attention in $1_" + "very_long_" * 12, len(layer.weights) - 1))


def test_of_few_tokens_every_weight_is_drawn_from_its_query_to_its_key() -> None:
    layer = make_text()
    weights = layer.weights[0, 2]
    figure = draw_flow(layer, 2, "Attention")
    assert names(figure) == (list(CAT), list(CAT))
    assert told(figure) == [
        *("layers.0.self_attn, 6 tokens, head 3 of 4",),
        *("Drawn: all queries, every key, 100 % of the weight", "Left out: nothing"),
    ]
    ends = joined(figure)
    assert sorted(ends) == [(query, key) for query in range(6) for key in range(6)]
    drawn = np.array([weights[end] for end in ends])
    widths = np.asarray(curves(figure).get_linewidth())
    np.testing.assert_allclose(widths, np.maximum(7 * drawn / weights.max(), 0.6), rtol=1e-5)
    opacities = np.asarray(curves(figure).get_alpha())
    assert np.all(np.diff(drawn) >= 0)  # the strongest lies on top
    assert np.all(np.diff(opacities) >= 0)
    assert opacities.min() > 0.2


def test_of_an_image_the_class_token_and_its_largest_keys_are_drawn() -> None:
    layer = make_vit(14)
    figure = draw_flow(layer, 2, "Attention")
    row = layer.weights[0, 2, 0]
    largest = sorted(np.argsort(-row)[:20])
    assert names(figure) == (["class"], [layer.key_names[at] for at in largest])
    share = 100 * row[largest].sum()
    assert told(figure)[1:] == [
        f"Drawn: 1 of 197 queries (the class token), its 20 largest keys, {share:.0f} % of the weight",
        "Left out: 196 queries, 177 smaller weights, 177 keys without a curve",
    ]
    assert figure.axes[1].get_ylabel() == "Key (attended to), patches by row,column"


def test_of_many_words_some_queries_are_drawn() -> None:
    figure = draw_flow(CASES["100 words"], 0, "Attention")
    queries, keys = names(figure)
    assert queries == [f"word{at}" for at in range(0, 100, 10)]
    assert len(keys) <= 50
    assert told(figure)[1].startswith("Drawn: 10 of 100 queries, the 5 largest keys of each, ")
    assert told(figure)[2].startswith("Left out: 90 queries, 950 smaller weights, ")


@pytest.mark.parametrize("mass", [0.3, 0.9, 1.0])
def test_a_mass_is_held_by_the_fewest_keys(mass: float) -> None:
    layer = make_text([f"word{at}" for at in range(30)])
    weights = layer.weights[0, 2]
    edges = choose_edges(layer, weights, mass=mass)
    for query, row in enumerate(weights):
        of_query = edges.weights[edges.starts == query]
        np.testing.assert_array_equal(of_query, np.sort(row)[len(row) - len(of_query) :])
        assert of_query.sum() >= mass - 1e-5
        assert of_query[1:].sum() < mass - 1e-7
    assert edges.chosen.startswith(f"all queries, the fewest keys that hold {100 * mass:g} % of each, ")


def test_chosen_queries_and_as_many_keys_as_asked_for() -> None:
    layer = make_vit(14)
    weights = layer.weights[0, 0]
    edges = choose_edges(layer, weights, top=3, queries=[100, 5, 100])
    assert edges.queries.tolist() == [5, 100]
    for query in (5, 100):
        assert set(edges.ends[edges.starts == query]) == set(np.argsort(-weights[query])[:3])
    np.testing.assert_array_equal(edges.weights, weights[edges.starts, edges.ends])
    assert edges.keys.tolist() == sorted(set(edges.ends.tolist()))
    assert edges.chosen.startswith("2 of 197 queries, the 3 largest keys of each, ")


def test_weights_of_0_are_neither_drawn_nor_counted() -> None:
    layer = make_text()
    causal = np.tril(layer.weights[0, 2])
    edges = choose_edges(layer, causal / causal.sum(axis=1, keepdims=True))
    assert len(edges.weights) == 21
    assert not edges.left_out


def test_queries_without_a_key_are_grey_and_have_no_curve() -> None:
    figure = draw_flow(CASES["masked"], 0, "Attention")
    assert {start for start, _ in joined(figure)} == {0, 3, 4, 5}
    colors = [label.get_color() for label in figure.axes[0].get_yticklabels()]
    assert colors[1] == colors[2] != colors[0]
    assert told(figure)[-1] == "Grey: every key is masked"
    assert told(figure)[1] == "Drawn: all queries, every key, 100 % of the weight"
    nothing = draw_flow(CASES["all masked"], 0, "Attention")
    assert [text.get_text() for text in nothing.axes[0].texts] == ["every key is masked"]


@pytest.mark.parametrize(
    ("top", "mass", "queries", "message"),
    [
        (3, 0.5, None, "either top or mass"),
        (0, None, None, "top is 0, must be at least 1"),
        (None, 0.0, None, "mass is 0, must be above 0 and at most 1"),
        (None, 1.5, None, "mass is 1.5, must be above 0 and at most 1"),
        (None, None, [6], r"queries \[6\]: there are those from 0 to 5"),
        (None, None, [-1], r"queries \[-1\]: there are those from 0 to 5"),
        (None, None, [], r"queries \[\]: there are those from 0 to 5"),
    ],
)
def test_what_cannot_be_drawn_is_refused(
    top: int | None, mass: float | None, queries: list[int] | None, message: str
) -> None:
    layer: AttentionLayer = make_text()
    with pytest.raises(ValueError, match=message):
        draw_flow(layer, 0, "Attention", top=top, mass=mass, queries=queries)


def test_what_only_fills_up_a_window_is_not_drawn() -> None:
    weights = np.full((1, 1, 49, 49), 1 / 49, dtype=np.float32)
    names = ("",) * 49
    grid = PatchGrid(2, 2, window=(7, 7))
    layer = AttentionLayer("attn", weights, names, names, grid)
    edges = choose_edges(layer, weights[0, 0], top=2)
    assert edges.queries.tolist() == [0, 1, 7, 8]
    assert set(edges.keys) == {0, 1, 7, 8, *edges.ends}
    assert edges.chosen.startswith("the 4 queries that are no padding")
    assert edges.left_out.startswith("45 queries")
    assert choose_edges(layer, weights[0, 0], queries=[5]).queries.tolist() == [5]
