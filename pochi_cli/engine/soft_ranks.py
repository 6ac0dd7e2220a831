"""Soft ranks of each row by pairwise sigmoids, without a buffer of every pair of a row.

With u = d / tau, S_i - 1 = sum_j s(u_j - u_i), where the sigmoid s has its nearest poles at +-pi i. So on
intervals of the line that are narrow beside pi, s(u - t) is a short Chebyshev series in u and in t:

1. each interval's entries are summed up in some moments, sum_j T_m(u_j);
2. the series of t -> sum_j s(u_j - t) on each interval follows from the moments of those around it, by
   matrices that are known beforehand; of intervals farther on, s is 0 or 1;
3. each entry evaluates the series of its interval.

The time is that of B x N entries, not of all their pairs, and the result is exact to rounding. The gradient
is made of two sums of the same kind, with s' for s. Where intervals would hold hardly an entry each, the sums
are taken directly, pair by pair.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, once_differentiable

# For intervals of half-width h the Bernstein ellipse rho = pi / h + sqrt((pi / h)^2 + 1) = 3.43 has no pole,
# so that n terms leave an error of the order of rho^-n.
_HALF_WIDTH = 2.0
_WIDTH = 2 * _HALF_WIDTH


class _Accuracy(NamedTuple):
    """What a dtype needs.

    Attributes:
        terms: Of a series: rho^-n is below the rounding.
        reach: In intervals: what lies more of them away is farther than 4 reach, where s is 0 or 1.
        farthest: In intervals from zero: beyond, u, which is float64, lacks the digits for a place.
    """

    terms: int
    reach: int
    farthest: int


_ACCURACIES = {
    torch.float32: _Accuracy(terms=16, reach=5, farthest=2**18),  # 3e-9, 2e-9, 1e-10
    torch.float64: _Accuracy(terms=32, reach=10, farthest=2**14),  # 7e-18, 4e-18, 7e-12
}

# With fewer entries, or more intervals, pairs take less time.
_FEWEST_ENTRIES_PER_TERM = 4
_FEWEST_ENTRIES_PER_INTERVAL = 2

# Entries that are worked on at once, in some 20 MB: enough to occupy the cores or to be worth the launches.
_BLOCK = 2**18


def soft_ranks(distances: Tensor, tau: float | Tensor) -> Tensor:
    """Rank the entries of each row softly: S_ri = 1 + sum_j sigmoid((d_rj - d_ri) / tau_r).

    The farther an entry, the lower its rank; j = i counts as a half. As tau goes to 0, S_ri becomes 1.5 plus
    the number of entries of the row that lie farther. Its own memory is bounded: the result and less than
    64 MB (more only where a row has hundreds of thousands of entries). It can be differentiated once.

    Qin, Liu and Li, 2010, "A general approximation framework for direct optimization of information retrieval
    measures", the approximation of positions, with distances instead of scores. The series: Trefethen, 2013,
    "Approximation Theory and Approximation Practice", theorem 8.2.

    Args:
        distances: (B, N), float32 or float64. NaN or infinite ones make ranks NaN.
        tau: Temperature in units of distance, above 0; or one per row (B, 1), taken as a constant.

    Returns:
        (B, N), from 1.5 to N + 0.5.

    Raises:
        ValueError: `tau` is a number that is not above 0, or `distances` have another dtype or shape.
    """
    if distances.dtype not in _ACCURACIES or distances.ndim != 2:
        raise ValueError(
            f"distances must be float32 or float64 (B, N), not {distances.dtype} {tuple(distances.shape)}"
        )
    if not isinstance(tau, Tensor) and not tau > 0:
        raise ValueError(f"tau must be above 0, not {tau}")
    taus = torch.as_tensor(tau, dtype=distances.dtype, device=distances.device)
    taus = taus.clamp(min=torch.finfo(distances.dtype).tiny).expand(len(distances), 1)
    ranks: Tensor = _SoftRanks.apply(distances, taus)
    return ranks


class _SoftRanks(torch.autograd.Function):
    @staticmethod
    def forward(ctx: BackwardCFunction, distances: Tensor, taus: Tensor) -> Tensor:
        ctx.save_for_backward(distances, taus)
        ranks = torch.empty_like(distances)
        for rows in _blocks(distances):
            d, tau = distances[rows], taus[rows]
            grid = _lay_grid(d, tau)
            sums = _sum_sigmoids(d, tau) if grid is None else _sum_by_series(grid, None, slopes=False)
            torch.add(sums, 1, out=ranks[rows])
        return ranks

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, grad: Tensor) -> tuple[Tensor, None]:
        """With s' = s (1 - s), an even function: dL/du_j = sum_i s'(u_j - u_i) (g_i - g_j)."""
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        distances, taus = saved
        grads = torch.empty_like(distances)
        for rows in _blocks(distances):
            d, tau = distances[rows], taus[rows]
            # Only differences of g count: without its mean, less cancels.
            g = grad[rows] - grad[rows].mean(1, keepdim=True)
            grid = _lay_grid(d, tau)
            if grid is None:
                sums = _sum_slopes(d, tau, g)
            else:
                alone = _sum_by_series(grid, None, slopes=True)
                sums = _sum_by_series(grid, g, slopes=True).addcmul_(alone, g, value=-1)
            torch.div(sums, tau, out=grads[rows])
        return grads, None


def _blocks(distances: Tensor) -> Iterator[slice]:
    rows = max(1, _BLOCK // max(1, distances.shape[1]))
    for start in range(0, len(distances), rows):
        yield slice(start, start + rows)


class _Grid(NamedTuple):
    """The intervals [4 c, 4 c + 4) of u that hold an entry of any of some rows.

    Attributes:
        cells: Their numbers c, ascending (K,).
        interval: Which of the K each entry lies in, int64 (rows, N).
        place: Where in it, from -1 to 1 (rows, N).
    """

    cells: list[int]
    interval: Tensor
    place: Tensor


def _lay_grid(d: Tensor, tau: Tensor) -> _Grid | None:
    """Find the intervals; `None` where sums are better taken directly. Synchronises the device twice."""
    entries, accuracy = d.shape[1], _ACCURACIES[d.dtype]
    if entries < _FEWEST_ENTRIES_PER_TERM * accuracy.terms or d.device.type == "mps":  # it has no float64
        return None
    cells = d.double() / (_WIDTH * tau.double())
    least, largest = torch.stack(cells.aminmax()).tolist()
    if not max(-least, largest) < accuracy.farthest:  # or NaN
        return None
    first = math.floor(least)
    cells -= first
    numbers = cells.long()
    occupied = torch.bincount(numbers.flatten()) > 0
    used = occupied.nonzero().flatten().tolist()
    if len(used) * _FEWEST_ENTRIES_PER_INTERVAL > entries:
        return None
    place = cells.sub_(numbers).mul_(2).sub_(1).to(d.dtype)
    return _Grid(used, (occupied.cumsum(0) - 1)[numbers], place)


def _sum_by_series(grid: _Grid, weights: Tensor | None, *, slopes: bool) -> Tensor:
    """Sum w_j s(u_j - u_i) over j for each entry i, with s' for s for slopes.

    Args:
        grid: Where the entries are.
        weights: w (rows, N); `None` for ones.
        slopes: Whether to sum slopes.
    """
    moments = _sum_moments(grid, weights)
    terms, reach, _ = _ACCURACIES[grid.place.dtype]
    matrices = _matrices(terms, reach, slopes).to(moments.device)
    numbers = torch.tensor(grid.cells, device=moments.device)
    series = []
    for cell in grid.cells:
        near = slice(bisect_left(grid.cells, cell - reach), bisect_right(grid.cells, cell + reach))
        around = matrices[numbers[near] - (cell - reach)]
        of_cell = moments[:, near].flatten(1) @ around.flatten(0, 1)
        if not slopes:  # s is 1 for all beyond
            of_cell[:, 0] += moments[:, near.stop :, 0].sum(1)
        series.append(of_cell)
    return _evaluate(grid, torch.stack(series, -1).to(grid.place.dtype))


def _sum_moments(grid: _Grid, weights: Tensor | None) -> Tensor:
    """Sum w_j T_m of the places in each interval: float64 (rows, K, terms)."""
    x, twice = grid.place, 2 * grid.place
    rows, terms = len(x), _ACCURACIES[x.dtype].terms
    sums = torch.zeros(terms, rows, len(grid.cells), dtype=torch.float64, device=x.device)
    now = torch.ones_like(x) if weights is None else weights
    before = x * now  # T_-1 = T_1
    for of_term in sums:
        of_term.scatter_add_(1, grid.interval, now.double())
        before, now = now, (twice * now).sub_(before)
    return sums.permute(1, 2, 0).contiguous()


def _evaluate(grid: _Grid, series: Tensor) -> Tensor:
    """Evaluate each entry's series by Clenshaw's recurrence.

    Args:
        grid: Where the entries are.
        series: Coefficients (rows, terms, K).

    Returns:
        (rows, N).
    """
    x, twice = grid.place, 2 * grid.place
    now, before = torch.zeros_like(x), torch.zeros_like(x)
    first, *others = series.unbind(1)
    for coefficients in reversed(others):
        after = coefficients.gather(1, grid.interval).addcmul_(twice, now).sub_(before)
        now, before = after, now
    return first.gather(1, grid.interval).addcmul_(x, now).sub_(before)


@cache
def _matrices(terms: int, reach: int, slopes: bool) -> Tensor:
    """Expand s(u - t), or s'(u - t), for intervals of u that are -reach to reach from the one of t.

    Returns:
        Coefficients of T_m(u) T_k(t), each in its own interval: float64 (2 reach + 1, terms, terms).
    """
    angles = math.pi * (torch.arange(terms, dtype=torch.float64) + 0.5) / terms
    orders = torch.arange(terms, dtype=torch.float64)
    nodes = _HALF_WIDTH * angles.cos()
    centres = _WIDTH * torch.arange(-reach, reach + 1, dtype=torch.float64)
    values = torch.sigmoid(centres.view(-1, 1, 1) + nodes.view(-1, 1) - nodes)
    if slopes:
        values = values * torch.sigmoid(-(centres.view(-1, 1, 1) + nodes.view(-1, 1) - nodes))
    transform = (orders.view(-1, 1) * angles).cos() * (2 / terms)
    transform[0] /= 2
    return transform @ values @ transform.t()


def _sum_sigmoids(d: Tensor, tau: Tensor) -> Tensor:
    total = torch.zeros_like(d)
    for inner in _inner_blocks(d):
        total += _differences(d, tau, inner).sigmoid_().sum(1)
    return total


def _sum_slopes(d: Tensor, tau: Tensor, g: Tensor) -> Tensor:
    total = torch.zeros_like(d)
    for inner in _inner_blocks(d):
        sigmoids = _differences(d, tau, inner).sigmoid_()
        slopes = torch.addcmul(sigmoids, sigmoids, sigmoids, value=-1)
        total += slopes.mul_(g[:, inner, None] - g[:, None]).sum(1)
    return total


def _inner_blocks(d: Tensor) -> Iterator[slice]:
    some = max(1, _BLOCK // max(1, d.numel()))
    for start in range(0, d.shape[1], some):
        yield slice(start, start + some)


def _differences(d: Tensor, tau: Tensor, inner: slice) -> Tensor:
    return (d[:, inner, None] - d[:, None]).div_(tau[:, None])
