"""Exact nearest neighbours."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from pochi_cli.config.embedding import Metric

_BLOCK = 2**22
"""Elements of a block of rows: 32 MB in float64."""
_SCORES = 2**23
"""Elements of a block of scores: 32 MB in float32."""
_BEST = 2**22
"""Candidates held at a time: 48 MB with their scores."""
_TERMS = 2**20
"""Terms of exact values computed at a time: 8 MB, which a CPU's cache may hold."""


@torch.no_grad()
def nearest_neighbors(
    queries: Tensor, pool: Tensor, k: int, metric: Metric, *, own: Tensor | None = None
) -> Tensor:
    """Find the k nearest rows of the pool for every query, exactly.

    Nearest are those with the smallest sum of (q - p)^2 (l2), the largest sum of q p (ip), or the largest sum
    of q p / (|q| |p|) (cosine, rows divided by their lengths first), in float64. Of equal values the smaller
    index comes first. Equal pairs of rows have equal values wherever they stand, since every sum is taken in
    the same order: by halves. Sums of different rows that differ by rounding alone (some 1e-16 of the terms)
    count as different, as in any computation in float64.

    How: matrix products in float32 choose candidates, which are ranked by their float64 values. A bound on
    the products' rounding (Higham, Accuracy and Stability, 2002, section 3.1) shows whether another row could
    belong to the nearest k. Where it could, the query is searched again, with products in float64 and more
    candidates, and at last, as for more ties than those, without products: every value in float64.
    Beside its arguments and its result this takes some 200 MB.

    Args:
        queries: (Q, D), of any floating dtype.
        pool: (N, D); the search runs on its device.
        k: At most N, or N - 1 with `own`.
        metric: What makes rows near.
        own: Index of each query in the pool, int64 (Q,): that row is no neighbour of it. Excluded by index:
            a duplicate of the query remains one.

    Returns:
        Indices in the pool, the nearest first, int64 (Q, k), on the pool's device.

    Raises:
        ValueError: k is not from 1 to the number of neighbours, shapes do not match, a row is not finite or
            longer than 1e150, or a row is zero under cosine; the row is named.
    """
    if queries.ndim != 2 or pool.ndim != 2 or queries.shape[1] != pool.shape[1]:
        raise ValueError(f"queries of shape {tuple(queries.shape)} for a pool of {tuple(pool.shape)}")
    available = len(pool) - (own is not None)
    if not 1 <= k <= available:
        others = " other" if own is not None else ""
        raise ValueError(f"k is {k}, and a query has {available}{others} rows in a pool of {len(pool)}")
    if own is not None and (own.shape != queries.shape[:1] or bool(((own < 0) | (own >= len(pool))).any())):
        raise ValueError(f"own needs an index from 0 to {len(pool) - 1} for each of {len(queries)} queries")
    if pool.device.type == "mps":  # which has no float64
        pool = pool.cpu()
    # Without `own`, index -1: no row of the pool.
    own = queries.new_full((len(queries),), -1, dtype=torch.int64) if own is None else own
    own = own.to(pool.device)
    with torch.autocast(pool.device.type, enabled=False):
        space = _Rows(pool, metric, "row")
        asking = space if queries is pool else _Rows(queries.to(pool.device), metric, "query")
        nearest = torch.empty(len(queries), k, dtype=torch.int64, device=pool.device)
        left = torch.arange(len(queries), device=pool.device)
        width = k + k // 4 + 16
        for dtype, wide in ((torch.float32, width), (torch.float64, 16 * width)):
            # With as many candidates as rows, the values of all are what there is to compute.
            if not len(left) or wide >= available or (dtype == torch.float32 and not _is_float32_full()):
                continue
            unproven: list[Tensor] = []
            for some in torch.split(left, max(1, _BEST // max(wide, queries.shape[1]))):
                nearest[some], proven = _search(asking[some], space, own[some], k, wide, dtype)
                unproven.append(some[~proven])
            left = torch.cat(unproven)
        if len(left):
            nearest[left] = _search_all(asking, left, space, own, k)
    return nearest


class _Rows:
    """Rows as the metric sees them: float64, and of length 1 for cosine.

    Attributes:
        mean: float64 (D,).
    """

    def __init__(self, rows: Tensor, metric: Metric, name: str) -> None:
        self._rows = rows.detach()
        self.metric = metric
        self.norms = torch.ones(len(rows), 1, dtype=torch.float64, device=rows.device)
        self.mean = torch.zeros(rows.shape[1], dtype=torch.float64, device=rows.device)
        for part in self.parts():
            squares = _fold(self[part].square_())
            wrong = ~(squares < 1e300)
            if bool(wrong.any()):
                row = part.start + int(wrong.int().argmax())
                raise ValueError(f"{name} {row} is not finite, or longer than 1e150")
            if metric == "cosine":
                if not bool(squares.all()):
                    row = part.start + int((squares == 0).int().argmax())
                    raise ValueError(f"{name} {row} is zero: it has no direction, which cosine compares")
                self.norms[part] = squares.sqrt_()[:, None]
            self.mean += self[part].sum(0)
        self.mean /= max(1, len(rows))

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: slice | Tensor) -> Tensor:
        """Rows, float64 (..., D): a copy that may be changed."""
        rows = self._rows[index].to(torch.float64, copy=True)
        return rows.div_(self.norms[index]) if self.metric == "cosine" else rows

    def parts(self) -> Iterator[slice]:
        """Slices that bound the memory of what is computed of the rows."""
        size = min(2**14, max(2**8, _BLOCK // max(1, self._rows.shape[1])))
        return _slices(len(self), size)


def _search(
    queries: Tensor, pool: _Rows, own: Tensor, k: int, width: int, dtype: torch.dtype
) -> tuple[Tensor, Tensor]:
    """Search by matrix products.

    Every row p has a score for every query q, which orders rows as the metric does: with m the pool's mean,
    (q - m)(p - m) - |p - m|^2 / 2 = (|q - m|^2 - |q - p|^2) / 2 for l2, and q (p - m) for ip. Subtracting the
    mean changes no order, and keeps the products as small, and so as precise, as the rows' spread allows.

    Args:
        queries: float64 (Q, D), as the metric sees them.
        pool: The rows.
        own: Indices of rows to leave out, (Q,).
        k: Neighbours sought.
        width: Candidates, fewer than there are rows.
        dtype: Of the products.

    Returns:
        Neighbours (Q, k), and whether it is proven that there are no nearer ones, bool (Q,).
    """
    centred = queries - pool.mean if pool.metric == "l2" else queries
    candidates, limit, reach = _choose_candidates(centred.to(dtype), pool, own, width)
    candidates = candidates.sort(1).values  # so that the stable sort leaves equal values by index
    values = queries.new_empty(candidates.shape)
    step = max(1, _TERMS // (width * queries.shape[1]))
    for some in _slices(len(queries), step):
        near = pool[candidates[some].flatten()].view(-1, width, queries.shape[1])
        values[some] = _values(queries[some, None], near, pool.metric)
    values, order = values.sort(dim=1, stable=True)

    # What a row that is no candidate is at least worth: its score is at most the limit, give or take the
    # rounding of D products and sums, of the rows to dtype, and of the values themselves to float64.
    length, mean_length = centred.norm(dim=1), pool.mean.norm()
    if pool.metric == "l2":
        size, exact_size = length * reach + reach**2, (length + reach) ** 2
        offset, per_score = length**2, 2.0
    else:
        size, exact_size = length * reach, length * (reach + 2 * mean_length)
        offset, per_score = -(queries @ pool.mean), 1.0
    steps = 2 * (queries.shape[1] + 16)
    kind, exact = torch.finfo(dtype), torch.finfo(torch.float64)
    rounding = steps * (kind.eps / 2 * size + 4 * exact.eps * exact_size + kind.tiny * (1 + length + reach))
    proven = values[:, k - 1] < offset - per_score * (limit.double() + rounding)
    return candidates.gather(1, order[:, :k]), proven & (size < kind.max / 8)


def _choose_candidates(queries: Tensor, pool: _Rows, own: Tensor, width: int) -> tuple[Tensor, Tensor, float]:
    """Choose the rows of the highest scores.

    Returns:
        Their indices (Q, width), the lowest of their scores (Q,), and the largest |p - m| of the pool.
    """
    best = queries.new_empty(len(queries), 0)
    candidates = own.new_empty(len(queries), 0)
    reach = 0.0
    for part in pool.parts():
        rows = pool[part].sub_(pool.mean)
        squares = rows.square().sum(1)
        reach = max(reach, float(squares.max().sqrt()))  # the device is synchronised, once a block
        half = squares / 2 if pool.metric == "l2" else squares.zero_()
        rows, half = rows.to(queries.dtype), half.to(queries.dtype)
        chosen: list[tuple[Tensor, Tensor]] = []
        for some in _slices(len(queries), max(1, _SCORES // len(rows))):
            scores = torch.addmm(-half, queries[some], rows.T)
            at = own[some] - part.start
            inside = ((at >= 0) & (at < len(rows))).nonzero()[:, 0]
            scores[inside, at[inside]] = -torch.inf
            high, where = scores.topk(min(width, len(rows)), dim=1, sorted=False)
            high = torch.cat([best[some], high], 1)
            where = torch.cat([candidates[some], where + part.start], 1)
            if high.shape[1] > width:
                high, order = high.topk(width, dim=1, sorted=False)
                where = where.gather(1, order)
            chosen.append((high, where))
        best = torch.cat([high for high, _ in chosen])
        candidates = torch.cat([where for _, where in chosen])
    return candidates, best.amin(1), reach


def _search_all(asking: _Rows, indices: Tensor, pool: _Rows, own: Tensor, k: int) -> Tensor:
    """Search by the value of every row.

    Queries that need this are often duplicates, or near many: equal pairs are computed once.

    Args:
        asking: All queries.
        indices: Which of them to search for, (Q,).
        pool: The rows.
        own: Index of the row to leave out for each of all queries.
        k: Neighbours sought.

    Returns:
        Neighbours, (Q, k).
    """
    queries, rows = _group(asking, indices), _group(pool, torch.arange(len(pool), device=indices.device))
    nearest = indices.new_empty(len(indices), k)
    step = max(1, _BLOCK // 4 // len(pool))
    for start in range(0, len(queries.first), step):
        some = asking[queries.first[start : start + step]]
        values = some.new_empty(len(some), len(rows.first))
        size = max(1, _TERMS // (some.shape[1] * len(some)))
        for part in _slices(len(rows.first), size):
            values[:, part] = _values(some[:, None], pool[rows.first[part]], pool.metric)
        values = values[:, rows.group]
        members = ((queries.group >= start) & (queries.group < start + step)).nonzero()[:, 0]
        for few in torch.split(members, step):
            nearest[few] = _smallest(values[queries.group[few] - start], own[indices[few]], k)
    return nearest


def _smallest(values: Tensor, own: Tensor, k: int) -> Tensor:
    """Indices of the k smallest values of each row (Q, N), by value, then by index: int64 (Q, k).

    Args:
        values: Changed in place.
        own: Index that does not count, (Q,); -1 for none.
        k: At most the number of those that count.
    """
    excluded = (own >= 0).nonzero()[:, 0]
    values[excluded, own[excluded]] = torch.nan  # sorts last, and no comparison holds
    last = values.topk(k, dim=1, largest=False).values.amax(1, keepdim=True)
    below, equal = values < last, values == last
    taken = below | (equal & (equal.cumsum(1) <= k - below.sum(1, keepdim=True)))
    indices = taken.nonzero()[:, 1].view(-1, k)
    return indices.gather(1, values.gather(1, indices).sort(dim=1, stable=True).indices)


class _Groups(NamedTuple):
    """Equal rows.

    Attributes:
        first: Index of a row of each group, (G,).
        group: Number of the group of each row, (N,).
    """

    first: Tensor
    group: Tensor


def _group(rows: _Rows, indices: Tensor) -> _Groups:
    """Find equal rows: those beside each other once sorted by a random projection."""
    weight = torch.randn(len(rows.mean), dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    weight = weight.to(indices.device)
    step = max(1, _BLOCK // len(weight))
    keys = weight.new_empty(len(indices))
    for some in _slices(len(indices), step):
        keys[some] = _fold(rows[indices[some]].mul_(weight))
    order = keys.argsort(stable=True)
    ordered = indices[order]
    begins = torch.ones_like(ordered, dtype=torch.bool)
    for some in _slices(len(indices) - 1, step // 2 + 1):
        begins[1:][some] = (rows[ordered[1:][some]] != rows[ordered[:-1][some]]).any(1)
    group = torch.empty_like(indices)
    group[order] = begins.cumsum(0) - 1
    return _Groups(ordered[begins], group)


def _values(queries: Tensor, rows: Tensor, metric: Metric) -> Tensor:
    """What is smaller for nearer rows: the squared distance, or minus the similarity; float64.

    Args:
        queries: (Q, 1, D).
        rows: (Q, n, D) or (n, D), as the metric sees them.
        metric: Theirs.
    """
    if metric == "l2":
        return _fold((queries - rows).square_())
    return _fold(queries * rows).neg_()


def _fold(terms: Tensor) -> Tensor:
    """Sum the last dimension by halves: (..., D) -> (...); the terms are changed.

    Element by element on any device, so that equal terms have equal sums wherever they stand; with an error
    of log2(D) roundings.
    """
    while (size := terms.shape[-1]) > 1:
        half = size // 2
        terms[..., :half] += terms[..., size - half :]
        terms = terms[..., : size - half]
    return terms[..., 0].clone()  # a view would keep all terms alive


def _slices(length: int, step: int) -> Iterator[slice]:
    return (slice(start, min(start + step, length)) for start in range(0, length, step))


def _is_float32_full() -> bool:
    """Whether matrix products of float32 are computed in float32: users may allow TF32 or bfloat16."""
    try:
        return torch.get_float32_matmul_precision() == "highest"
    except RuntimeError:  # set by torch 2.9's new names, to something else
        return False
