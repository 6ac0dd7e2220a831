"""The losses: of classification, as sums over samples, so that means never depend on how samples fell into
batches; of embeddings, which compare the distances of all pairs of a batch before and after encoding.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor, nn

from pochi_cli.engine.distances import pairwise_distances
from pochi_cli.engine.soft_ranks import soft_ranks


class SampleLosses(NamedTuple):
    """Losses of a batch.

    Attributes:
        losses: Weighted loss of each sample, float32 (N,).
        weight: What their sum is divided by for a mean: the sum of the samples' weights, float32 ().
        terms: Where the loss has several terms their sums over the samples, float32 (terms,).
    """

    losses: Tensor
    weight: Tensor
    terms: Tensor | None = None


class CrossEntropy(nn.Module):
    """Weighted cross-entropy with label smoothing, as torch.nn.CrossEntropyLoss defines it.

    For class labels y the mean is sum(w_y l) / sum(w_y). For class probabilities (MixUp, CutMix) the
    class weights scale the terms of each sample's sum and the mean is over the number of samples.

    Args:
        class_weights: One per class, or `None` for equal ones.
        label_smoothing: Share of the target spread over all classes (Szegedy et al., 2016, section 7).
    """

    class_weights: Tensor | None

    def __init__(self, class_weights: Sequence[float] | None = None, label_smoothing: float = 0.0) -> None:
        super().__init__()
        weights = None if class_weights is None else torch.tensor(class_weights, dtype=torch.float32)
        self.register_buffer("class_weights", weights)
        self.label_smoothing = label_smoothing

    def forward(self, logits: Tensor, targets: Tensor) -> SampleLosses:
        """Compute the losses of a batch.

        Args:
            logits: (N, K), any floating dtype; computed in float32.
            targets: Labels int64 (N,), or probabilities float32 (N, K).
        """
        losses = F.cross_entropy(
            logits.float(),
            targets,
            weight=self.class_weights,
            reduction="none",
            label_smoothing=self.label_smoothing,
        )
        return SampleLosses(losses, self.weight_of(targets))

    def weight_of(self, targets: Tensor) -> Tensor:
        """Sum the weights of a batch's samples: known before the forward pass, float32 ()."""
        if self.class_weights is None or targets.is_floating_point():
            return torch.full((), float(len(targets)), device=targets.device)
        return self.class_weights[targets].sum()


class DistanceLosses(NamedTuple):
    """Losses of a batch of vectors, scalars in float32, or float64 where the vectors are.

    Attributes:
        total: lambda_rank * rank + lambda_pairdist * pairdist.
        rank: How much the order of each row's distances changed.
        pairdist: How much the distances themselves changed.
    """

    total: Tensor
    rank: Tensor
    pairdist: Tensor


class _DistanceLoss(nn.Module, ABC):
    """What the four losses share: Euclidean distances Dx and Dz of all pairs, and MSE(Dz, Dx)."""

    def __init__(
        self,
        *,
        k: int = 5,
        lambda_rank: float = 1.0,
        lambda_pairdist: float = 0.3,
        pair_norm: bool = False,
        exclude_self: bool = False,
    ) -> None:
        super().__init__()
        if k < 1 or lambda_rank < 0 or lambda_pairdist < 0:
            raise ValueError(
                f"k is {k}, lambda_rank {lambda_rank} and lambda_pairdist {lambda_pairdist}, but must be at "
                "least 1, 0 and 0"
            )
        self.k = k
        self.lambda_rank = lambda_rank
        self.lambda_pairdist = lambda_pairdist
        self.pair_norm = pair_norm
        self.exclude_self = exclude_self

    def forward(self, x: Tensor, z: Tensor) -> DistanceLosses:
        """Compute the losses of a batch.

        Args:
            x: Inputs (B, D); no gradient flows to them.
            z: Latents (B, L), any floating dtype; computed in float32, or float64 where x or z are float64.

        Raises:
            ValueError: B is less than 2, or differs.
        """
        if x.ndim != 2 or z.ndim != 2 or not len(x) == len(z) > 1:
            raise ValueError(f"x and z must be as many rows, 2 or more, not {len(x)} and {len(z)}")
        dtype = torch.promote_types(torch.promote_types(x.dtype, z.dtype), torch.float32)
        with torch.no_grad():
            inputs = self._pairs(x.to(dtype))
        latents = self._pairs(z.to(dtype))
        rank = self._rank_term(inputs, latents)
        pairdist = F.mse_loss(latents, inputs)
        if self.pair_norm:
            scale = inputs.square().mean()
            pairdist = pairdist / torch.where(scale > 0, scale, 1)
        return DistanceLosses(self.lambda_rank * rank + self.lambda_pairdist * pairdist, rank, pairdist)

    def _pairs(self, points: Tensor) -> Tensor:
        distances = pairwise_distances(points)
        return _without_diagonal(distances) if self.exclude_self else distances

    @abstractmethod
    def _rank_term(self, inputs: Tensor, latents: Tensor) -> Tensor:
        """Compare the order of distances: (B, B), or (B, B - 1) without those of vectors to themselves."""


class DPLossV1(_DistanceLoss):
    """Hard ranks: mean |R(Dx) - R(Dz)| / k, where R are the ranks of each row's distances, from 0.

    The rank term has no gradient: it is a number to watch, only the pair-distance term trains. Of equal
    distances the first comes first.

    Args:
        k: What rank differences are divided by.
        lambda_rank: Weight of the rank term.
        lambda_pairdist: Weight of the pair-distance term, MSE(Dz, Dx).
        pair_norm: Divide the pair-distance term by the mean of Dx^2, unless that is 0.
        exclude_self: Leave the diagonal out of means, and of ranks: they are among the B - 1 others.
    """

    def _rank_term(self, inputs: Tensor, latents: Tensor) -> Tensor:
        return F.l1_loss(_hard_ranks(latents), _hard_ranks(inputs)) / self.k


class DPLossV1Norm(DPLossV1):
    """`DPLossV1` with R / (B - 1) for R, which the batch size then hardly changes; divided by k still."""

    def _rank_term(self, inputs: Tensor, latents: Tensor) -> Tensor:
        return super()._rank_term(inputs, latents) / (len(inputs) - 1)


class DPLossV2(_DistanceLoss):
    """Soft ranks: MSE(S(Dz), S(Dx)), S_i = 1 + sum_j sigmoid((d_j - d_i) / tau) for each row.

    Takes memory for a few B x B matrices. See `soft_ranks` for the source.

    Args:
        k: Not used by this loss.
        lambda_rank: Weight of the rank term.
        lambda_pairdist: Weight of the pair-distance term, MSE(Dz, Dx).
        pair_norm: Divide the pair-distance term by the mean of Dx^2, unless that is 0.
        exclude_self: Leave the diagonal out of means, and of the sums over j.
        tau: Temperature: 0.1 to 0.5 ranks more sharply, 2 to 5 more smoothly.
        tau_mode: `absolute`: tau is a distance. `relative`: a row's temperature, for Dx and Dz alike, is tau
            times the standard deviation (of the population) of its entries of Dx; tau where they are equal.
    """

    def __init__(
        self,
        *,
        k: int = 5,
        lambda_rank: float = 1.0,
        lambda_pairdist: float = 0.3,
        pair_norm: bool = False,
        exclude_self: bool = False,
        tau: float = 1.0,
        tau_mode: Literal["absolute", "relative"] = "absolute",
    ) -> None:
        super().__init__(
            k=k,
            lambda_rank=lambda_rank,
            lambda_pairdist=lambda_pairdist,
            pair_norm=pair_norm,
            exclude_self=exclude_self,
        )
        if not tau > 0 or tau_mode not in ("absolute", "relative"):
            raise ValueError(f'tau is {tau}, tau_mode {tau_mode!r}: above 0, "absolute" or "relative"')
        self.tau = tau
        self.tau_mode = tau_mode

    def _rank_term(self, inputs: Tensor, latents: Tensor) -> Tensor:
        tau = self.tau if self.tau_mode == "absolute" else self.tau * _spreads(inputs)
        return F.mse_loss(soft_ranks(latents, tau), soft_ranks(inputs, tau))


class DPLossV2Norm(DPLossV2):
    """`DPLossV2` with (S - 1) / (B - 1) for S: a rank term from 0 to 1, small beside the other."""

    def _rank_term(self, inputs: Tensor, latents: Tensor) -> Tensor:
        return super()._rank_term(inputs, latents) / (len(inputs) - 1) ** 2


def _hard_ranks(distances: Tensor) -> Tensor:
    return distances.argsort(dim=1, stable=True).argsort(dim=1).to(distances.dtype)


def _spreads(distances: Tensor) -> Tensor:
    """The standard deviation of each row (B, 1); 1 where it is no more than rounding."""
    spreads = distances.std(1, correction=0, keepdim=True)
    rounding = 32 * torch.finfo(distances.dtype).eps * distances.amax(1, keepdim=True)
    return torch.where(spreads > rounding, spreads, 1)


def _without_diagonal(square: Tensor) -> Tensor:
    """Cut (B, B) to (B, B - 1)."""
    size = len(square)
    return square.flatten()[1:].view(size - 1, size + 1)[:, :-1].reshape(size, size - 1)
