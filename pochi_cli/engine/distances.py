"""Euclidean distances of all pairs of points, exact where they are small."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction, once_differentiable

# Of a matrix of distances, some rows at a time; of near pairs, some at a time: 8 MB of float64.
_ENTRIES_AT_ONCE = 2**20

# Squared distances below this share of the squared norms are not taken from a matrix product.
_NEAR = 1e-5


def pairwise_distances(points: Tensor) -> Tensor:
    """Compute the Euclidean distances of all pairs; those of equal points are exactly 0, their gradient too.

    Args:
        points: (B, D), float32 or float64.

    Returns:
        (B, B).
    """
    if points.dtype == torch.float32 and points.device.type != "mps":  # which has no float64
        distances: Tensor = _PairwiseDistances.apply(points)
        return distances
    return torch.cdist(points, points, compute_mode="donot_use_mm_for_euclid_dist")


class _PairwiseDistances(torch.autograd.Function):
    """Exact distances of float32 points by float64 matrix products, several times as fast as cdist's.

    |p - q|^2 = |p|^2 + |q|^2 - 2 pq loses digits where p and q are near each other beside their norms. Once
    the mean is subtracted such pairs are few, and taken one by one. (On CUDA, cdist's gradient would take
    memory for B x B x D entries.)
    """

    @staticmethod
    def forward(ctx: BackwardCFunction, points: Tensor) -> Tensor:
        distances = points.new_empty(len(points), len(points))
        centred, norms = _centre(points)
        for rows in _blocks_of_rows(len(points)):
            sums = norms[rows, None] + norms
            squares = torch.addmm(sums, centred[rows], centred.t(), alpha=-2)
            near = (squares <= _NEAR * sums).nonzero()  # synchronises
            if len(near) * 8 > squares.numel():  # most vectors are equal
                exact = torch.cdist(points[rows], points, compute_mode="donot_use_mm_for_euclid_dist")
                distances[rows] = exact
                continue
            for i, j, differences in _differences(points, near, rows):
                squares[i, j] = differences.square_().sum(1)
            distances[rows] = squares.sqrt_()
        ctx.save_for_backward(points, distances)
        return distances

    @staticmethod
    @once_differentiable
    def backward(ctx: BackwardCFunction, grad: Tensor) -> Tensor:
        """With a_ij = (g_ij + g_ji) / d_ij: dL/dp_i = sum_j a_ij (p_i - p_j)."""
        saved: tuple[Tensor, ...] = ctx.saved_tensors
        points, distances = saved
        grads = torch.empty_like(points)
        centred, norms = _centre(points)
        for rows in _blocks_of_rows(len(points)):
            d = distances[rows].double()
            ratios = (grad[rows].double() + grad[:, rows].t()) / d
            near = d.square() <= _NEAR * (norms[rows, None] + norms)
            far = ratios.masked_fill(near, 0)
            block = torch.addmm(far.sum(1, keepdim=True) * centred[rows], far, centred, alpha=-1)
            for i, j, differences in _differences(points, near.logical_and_(d > 0).nonzero(), rows):
                block.index_add_(0, i, differences.mul_(ratios[i, j, None]))
            grads[rows] = block
        return grads


def _centre(points: Tensor) -> tuple[Tensor, Tensor]:
    """Subtract the mean, in float64: (B, D), and squared norms (B,)."""
    centred = points.double()
    centred = centred - centred.mean(0)
    return centred, centred.square().sum(1)


def _blocks_of_rows(count: int) -> Iterator[slice]:
    rows = max(1, _ENTRIES_AT_ONCE // count)
    for start in range(0, count, rows):
        yield slice(start, start + rows)


def _differences(points: Tensor, pairs: Tensor, rows: slice) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Subtract the points of pairs, some at a time.

    Args:
        points: (B, D).
        pairs: Row, counted from the first of `rows`, and column (P, 2).
        rows: Which rows of the matrix.

    Yields:
        Rows, columns and differences in float64, (some, D).
    """
    count = max(1, _ENTRIES_AT_ONCE // max(1, points.shape[1]))
    for start in range(0, len(pairs), count):
        i, j = pairs[start : start + count].unbind(1)
        yield i, j, points[rows][i].double() - points[j]
