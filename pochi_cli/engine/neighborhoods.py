"""Which neighbours some vectors have, and how many of them an encoding keeps."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pochi_cli.config.embedding import Metric
from pochi_cli.config.recalls import recall_name
from pochi_cli.engine.encoding import encode
from pochi_cli.engine.neighbors import nearest_neighbors
from pochi_cli.engine.recall import overlap
from pochi_cli.engine.runtime import Runtime
from pochi_cli.models.projections import Projection, random_projection, truncation

_CHUNK = 8192


class KeptNeighbors(NamedTuple):
    """How good an encoding is.

    Attributes:
        recall: By the number of neighbours, from 0 to 1.
        spread: Root of the summed variance of the latents over that of the vectors: 0 where all latents
            are the same.
    """

    recall: dict[int, float]
    spread: float


class Neighborhoods:
    """Vectors that are queries and pool at once: each has all the others for possible neighbours.

    Args:
        rows: float32 (N, D), on the CPU.
        ks: Numbers of neighbours, rising, less than N.
        metric: What neighbours are near by, before and after encoding.
    """

    def __init__(self, rows: Tensor, ks: Sequence[int], metric: Metric) -> None:
        self.rows = rows
        self._ks = tuple(ks)
        self._metric: Metric = metric
        self._own = torch.arange(len(rows))

    @cached_property
    def _nearest(self) -> Tensor:
        return self._neighbors(self.rows)

    def _neighbors(self, rows: Tensor) -> Tensor:
        return nearest_neighbors(rows, rows, self._ks[-1], self._metric, own=self._own)

    def evaluate(self, model: nn.Module, runtime: Runtime) -> KeptNeighbors:
        """Encode the vectors, and compare.

        Args:
            model: The encoder; it is set to eval mode.
            runtime: Device and precision.
        """
        return self.compare(torch.cat(list(encode(model, torch.split(self.rows, _CHUNK), runtime))))

    def compare(self, latents: Tensor) -> KeptNeighbors:
        """Compare the vectors with what they are encoded to.

        Args:
            latents: float32 (N, L). Where one is not finite, or zero under cosine, no recall is known: NaN.
        """
        variances = [float(part.double().var(0, unbiased=False).sum()) for part in (self.rows, latents)]
        spread = (variances[1] / variances[0]) ** 0.5 if variances[0] else 1.0
        is_usable = bool(latents.isfinite().all())
        if self._metric == "cosine":
            is_usable = is_usable and bool((latents != 0).any(1).all())
        if not is_usable:
            return KeptNeighbors(dict.fromkeys(self._ks, float("nan")), spread)
        return KeptNeighbors(overlap(self._nearest, self._neighbors(latents), self._ks), spread)

    def baselines(
        self, principal: Projection | None, latent_dim: int, seed: int
    ) -> dict[str, dict[str, float]]:
        """Compute the recalls of encodings that are not learnt.

        Args:
            principal: The principal components of the training vectors; `None` for more dimensions than
                these have, where truncation says nothing either.
            latent_dim: Dimensions to keep.
            seed: Of the random projection.
        """
        dim = self.rows.shape[1]
        projections = {"random_projection": random_projection(dim, latent_dim, seed)}
        if principal is not None:
            projections = {"pca": principal, **projections, "truncation": truncation(dim, latent_dim)}
        return {
            name: {recall_name(k): value for k, value in self.compare(projection(self.rows)).recall.items()}
            for name, projection in projections.items()
        }
