"""The neighbour search and recall against brute force in NumPy."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pochi_cli.config.embedding import Metric
from pochi_cli.engine.neighbors import nearest_neighbors
from pochi_cli.engine.recall import overlap, recall_at

METRICS: tuple[Metric, ...] = get_args(Metric)


def search(queries: Tensor, pool: Tensor, k: int, metric: Metric, own: Tensor | None = None) -> np.ndarray:
    """The k nearest rows in float64, one query at a time, by a stable sort of all values."""
    asking, rows = queries.double().numpy(), pool.double().numpy()
    if metric == "cosine":
        asking, rows = (some / np.sqrt((some**2).sum(1, keepdims=True)) for some in (asking, rows))
    found = []
    for number, query in enumerate(asking):
        far = ((query - rows) ** 2).sum(1) if metric == "l2" else -(query * rows).sum(1)
        order = np.argsort(far, kind="stable")
        found.append((order if own is None else order[order != int(own[number])])[:k])
    return np.array(found)


def check(pool: Tensor, k: int, metric: Metric, queries: Tensor | None = None) -> None:
    """Compare both searches, for the pool's own rows or for other queries."""
    own = torch.arange(len(pool)) if queries is None else None
    asking = pool if queries is None else queries
    found = nearest_neighbors(asking, pool, k, metric, own=own)
    assert found.dtype == torch.int64
    np.testing.assert_array_equal(found.numpy(), search(asking, pool, k, metric, own))


def draw(count: int, dim: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, generator=generator, dtype=torch.float64).to(dtype)


def repeat(count: int, distinct: int, dim: int = 16, dtype: torch.dtype = torch.float32) -> Tensor:
    """Rows of which only some differ, in random order."""
    generator = torch.Generator().manual_seed(1)
    return draw(distinct, dim, dtype=dtype)[torch.randint(distinct, (count,), generator=generator)]


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
@pytest.mark.parametrize("metric", METRICS)
def test_neighbours_are_those_of_brute_force(metric: Metric, dtype: torch.dtype) -> None:
    check(draw(500, 33, dtype=dtype), 10, metric)
    check(draw(500, 33, dtype=dtype), 10, metric, queries=draw(40, 33, seed=9, dtype=dtype))


@pytest.mark.parametrize("k", [1, 5, 399])
@pytest.mark.parametrize("metric", METRICS)
def test_ties_of_duplicates_go_by_index(metric: Metric, k: int) -> None:
    check(repeat(400, 150), k, metric)
    check(repeat(400, 40, dtype=torch.float16), k, metric)
    check(repeat(400, 40), k, metric, queries=draw(40, 16))


# Of 700 rows: with 300 identical ones products in float64 settle the order, with 650 every value is needed.
@pytest.mark.parametrize("identical", [2, 50, 350, 650, 700])
@pytest.mark.parametrize("metric", METRICS)
def test_many_identical_rows(metric: Metric, identical: int) -> None:
    pool = draw(700, 24)
    places = torch.randperm(700, generator=torch.Generator().manual_seed(2))[:identical]
    pool[places] = pool[0].clone()
    check(pool, 7, metric)
    check(pool, 7, metric, queries=pool[::20])


@settings(deadline=None, max_examples=80)
@given(
    count=st.integers(2, 90),
    dim=st.integers(1, 5),
    levels=st.integers(1, 3),
    seed=st.integers(0, 999),
    share=st.floats(0, 1),
    metric=st.sampled_from(["l2", "ip"]),
)
def test_ties_of_different_rows_go_by_index(
    count: int, dim: int, levels: int, seed: int, share: float, metric: Metric
) -> None:
    generator = torch.Generator().manual_seed(seed)
    pool = torch.randint(-levels, levels + 1, (count, dim), generator=generator).float()
    check(pool, 1 + int(share * (count - 2)), metric)


@pytest.mark.parametrize("metric", METRICS)
def test_pool_of_several_blocks(metric: Metric) -> None:
    pool = repeat(40_000, 30_000, dim=6)
    own = torch.tensor([0, 16_383, 16_384, 39_999, 777])
    found = nearest_neighbors(pool[own], pool, 30, metric, own=own)
    np.testing.assert_array_equal(found.numpy(), search(pool[own], pool, 30, metric, own))


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_differences_below_float32_count(metric: Metric) -> None:
    near = 1 + 1e-9 * draw(600, 8, dtype=torch.float64)
    check(near, 5, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("offset", [100.0, 1e4])
def test_rows_far_from_the_origin(metric: Metric, offset: float) -> None:
    check(draw(600, 32) + offset, 10, metric)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("scale", [1e-30, 1e20, 1e30])
def test_products_beyond_the_range_of_float32(metric: Metric, scale: float) -> None:
    check(draw(600, 8) * scale, 5, metric)
    # Opposite rows have mean 0: of l2's terms none but the squares leave the range, and all to one side.
    half = draw(300, 8) * scale
    check(torch.cat([half, -half]), 5, metric, queries=draw(20, 8, seed=9))


@pytest.mark.parametrize("metric", METRICS)
def test_an_outlier_does_not_blur_the_others(metric: Metric) -> None:
    pool = draw(600, 32)
    pool[17] *= 1e7
    check(pool, 5, metric)


@pytest.mark.parametrize("metric", METRICS)
def test_reduced_precision_elsewhere_changes_nothing(metric: Metric) -> None:
    pool = draw(500, 64)
    own = torch.arange(500)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = nearest_neighbors(pool, pool, 5, metric, own=own)
    np.testing.assert_array_equal(found.numpy(), search(pool, pool, 5, metric, own))
    torch.set_float32_matmul_precision("medium")
    try:
        check(pool, 5, metric)
    finally:
        torch.set_float32_matmul_precision("highest")


@pytest.mark.parametrize("metric", METRICS)
def test_a_query_is_excluded_by_index_and_its_duplicate_is_not(metric: Metric) -> None:
    pool = torch.nn.functional.normalize(draw(100, 8))
    pool[70] = pool[30]
    own = torch.tensor([30, 70])
    nearest = nearest_neighbors(pool[own], pool, 3, metric, own=own)
    assert nearest[:, 0].tolist() == [70, 30]
    assert nearest_neighbors(pool[own], pool, 2, metric).tolist() == [[30, 70], [30, 70]]


def test_a_gradient_is_no_obstacle_and_arguments_stay_as_they_are() -> None:
    pool = draw(300, 8, dtype=torch.float64).requires_grad_()
    before = pool.detach().clone()
    nearest = nearest_neighbors(pool, pool, 3, "cosine", own=torch.arange(300))
    assert not nearest.requires_grad
    assert torch.equal(pool, before)


@pytest.mark.parametrize(
    ("k", "own", "message"),
    [
        (0, True, "k is 0, and a query has 9 other rows in a pool of 10"),
        (10, True, "k is 10, and a query has 9 other rows in a pool of 10"),
        (11, False, "k is 11, and a query has 10 rows in a pool of 10"),
    ],
)
def test_more_neighbours_than_rows_are_refused(k: int, own: bool, message: str) -> None:
    pool = draw(10, 4)
    with pytest.raises(ValueError, match=message):
        nearest_neighbors(pool, pool, k, "l2", own=torch.arange(10) if own else None)


def test_wrong_arguments_are_refused() -> None:
    pool = draw(10, 4)
    with pytest.raises(ValueError, match=r"queries of shape \(10, 3\) for a pool of \(10, 4\)"):
        nearest_neighbors(pool[:, :3], pool, 1, "l2")
    with pytest.raises(ValueError, match="own needs an index from 0 to 9 for each of 10 queries"):
        nearest_neighbors(pool, pool, 1, "l2", own=torch.arange(9))
    with pytest.raises(ValueError, match="own needs an index from 0 to 9"):
        nearest_neighbors(pool, pool, 1, "l2", own=torch.arange(10) + 1)


def test_rows_without_a_place_are_named() -> None:
    pool = draw(20_000, 2)
    zero, broken = pool.clone(), pool.clone()
    zero[18_000] = 0
    broken[17_000, 1] = torch.nan
    with pytest.raises(ValueError, match="row 18000 is zero"):
        nearest_neighbors(pool[:3], zero, 1, "cosine")
    with pytest.raises(ValueError, match="query 1 is zero"):
        nearest_neighbors(torch.tensor([[1.0, 1.0], [0.0, 0.0]]), pool, 1, "cosine")
    assert nearest_neighbors(pool[:3], zero, 1, "l2").tolist() == [[0], [1], [2]]
    for value in (torch.nan, torch.inf, -torch.inf):
        broken[17_000, 1] = value
        with pytest.raises(ValueError, match="row 17000 is not finite"):
            nearest_neighbors(pool[:3], broken, 1, "ip")


@pytest.mark.parametrize("metric", METRICS)
def test_recall_is_the_mean_share_of_common_neighbours(metric: Metric) -> None:
    x, ks = draw(250, 16), [1, 4, 30]
    z = x[:, :6] + 0.1
    recall = recall_at(ks, x, z, metric)
    assert (recall.n_query, recall.n_pool, recall.metric) == (250, 250, metric)
    own = torch.arange(250)
    near_x, near_z = (search(rows, rows, 30, metric, own) for rows in (x, z))
    for k in ks:
        common = [len(set(a[:k]) & set(b[:k])) / k for a, b in zip(near_x, near_z, strict=True)]
        assert recall.values[k] == pytest.approx(np.mean(common), abs=1e-12)
        assert 0 < recall.values[k] < 1
    assert list(recall.values) == ks


def test_recall_of_some_queries_in_the_whole_pool() -> None:
    x = draw(120, 8)
    z = x[:, :3]
    some = torch.tensor([5, 119, 40])
    recall = recall_at([6], x, z, "l2", queries=some)
    assert (recall.n_query, recall.n_pool) == (3, 120)
    near_x, near_z = (search(rows[some], rows, 6, "l2", some) for rows in (x, z))
    common = [len(set(a) & set(b)) / 6 for a, b in zip(near_x, near_z, strict=True)]
    assert recall.values == {6: pytest.approx(np.mean(common), abs=1e-12)}


def test_recall_is_one_for_an_isometry_and_chance_for_noise() -> None:
    x = draw(400, 12)
    rotation = torch.linalg.qr(draw(12, 12, seed=4)).Q
    assert recall_at([1, 10], x, x @ rotation + 3, "l2").values == {1: 1.0, 10: 1.0}
    assert recall_at([10], x, draw(400, 5, seed=8), "l2").values[10] == pytest.approx(10 / 399, abs=0.02)


def test_overlap_ignores_the_order_of_neighbours() -> None:
    near_x = torch.tensor([[1, 2, 3], [0, 2, 3]])
    near_z = torch.tensor([[2, 1, 4], [3, 0, 2]])
    expected = {1: 0.0, 2: (1 + 0.5) / 2, 3: (2 / 3 + 1) / 2}
    assert overlap(near_x, near_z, [1, 2, 3]) == pytest.approx(expected)


def test_recall_of_unmatched_spaces_is_refused() -> None:
    with pytest.raises(ValueError, match="x has 5 rows and z 4"):
        recall_at([1], draw(5, 3), draw(4, 2), "l2")
    with pytest.raises(ValueError, match="k is 5, and a query has 4 other rows in a pool of 5"):
        recall_at([1, 5], draw(5, 3), draw(5, 2), "l2")
    near = torch.zeros(2, 3, dtype=torch.int64)
    with pytest.raises(ValueError, match="k is 4, and 3 neighbours"):
        overlap(near, near, [4])
    with pytest.raises(ValueError, match="neighbours of shapes"):
        overlap(near, near[:1], [1])
