"""How many of the nearest neighbours an encoder keeps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pochi_cli.config.embedding import Metric
from pochi_cli.engine.neighbors import nearest_neighbors


@dataclass(frozen=True)
class Recall:
    """Recall@k of one encoder.

    Attributes:
        values: k -> mean over the queries of |N_k(x) ∩ N_k(z)| / k, from 0 to 1.
        n_query: Queries.
        n_pool: Rows among which neighbours were sought, the query itself included.
        metric: What made neighbours near.
    """

    values: dict[int, float]
    n_query: int
    n_pool: int
    metric: Metric


def recall_at(
    ks: Sequence[int], x: Tensor, z: Tensor, metric: Metric, queries: Tensor | None = None
) -> Recall:
    """Measure which share of the nearest neighbours in x are nearest neighbours in z as well.

    To compare several encoders, call `nearest_neighbors` once for x and `overlap` for each of them.

    Args:
        ks: Numbers of neighbours.
        x: Vectors, (N, D).
        z: Their latents, (N, L).
        metric: For both spaces.
        queries: Indices of the rows that ask, int64 (Q,); every row when omitted. The pool is all rows.

    Raises:
        ValueError: Numbers of rows differ, or as `nearest_neighbors` does.
    """
    if len(x) != len(z):
        raise ValueError(f"x has {len(x)} rows and z {len(z)}")
    own = torch.arange(len(x)) if queries is None else queries.cpu()
    near_x, near_z = (
        nearest_neighbors(
            rows if queries is None else rows[own.to(rows.device)], rows, max(ks), metric, own=own
        )
        for rows in (x, z)
    )
    return Recall(overlap(near_x, near_z, ks), len(own), len(x), metric)


def overlap(near_x: Tensor, near_z: Tensor, ks: Sequence[int]) -> dict[int, float]:
    """Compute Recall@k = mean over queries of |N_k(x) ∩ N_k(z)| / k.

    Args:
        near_x: Indices of each query's neighbours in x, the nearest first, int64 (Q, K).
        near_z: Likewise in z.
        ks: Numbers of neighbours, at most K.

    Raises:
        ValueError: The shapes differ, there are no queries, or a k is not from 1 to K.
    """
    if near_x.shape != near_z.shape or not len(near_x):
        raise ValueError(f"neighbours of shapes {tuple(near_x.shape)} and {tuple(near_z.shape)}")
    recalls: dict[int, float] = {}
    for k in ks:
        if not 1 <= k <= near_x.shape[1]:
            raise ValueError(f"k is {k}, and {near_x.shape[1]} neighbours of each query are known")
        # No index stands twice in a row: equal ones side by side are one of each space.
        both = torch.cat([near_x[:, :k], near_z[:, :k].to(near_x.device)], 1).sort(1).values
        recalls[k] = int((both[:, 1:] == both[:, :-1]).sum()) / (len(both) * k)
    return recalls
