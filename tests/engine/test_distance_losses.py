"""The losses of embeddings and soft ranks against their formulas, pair by pair."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import pytest
import torch
from torch import Tensor

from pochi_cli.engine.distances import pairwise_distances
from pochi_cli.engine.losses import (
    DistanceLosses,
    DPLossV1,
    DPLossV1Norm,
    DPLossV2,
    DPLossV2Norm,
)
from pochi_cli.engine.soft_ranks import _lay_grid, soft_ranks


class Options(NamedTuple):
    k: int = 5
    lambda_rank: float = 1.0
    lambda_pairdist: float = 0.3
    pair_norm: bool = False
    exclude_self: bool = False


HARD = {"DPLossV1": DPLossV1, "DPLossV1Norm": DPLossV1Norm}
SOFT = {"DPLossV2": DPLossV2, "DPLossV2Norm": DPLossV2Norm}
OPTIONS = [
    Options(),
    Options(k=3, lambda_rank=0.7, lambda_pairdist=2.0),
    Options(pair_norm=True),
    Options(exclude_self=True),
    Options(pair_norm=True, exclude_self=True),
]
SIZES = [2, 3, 17, 64, 150]
TAUS = [0.01, 0.1, 1.0, 5.0]

TauMode = Literal["absolute", "relative"]


def vectors(size: int, dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor]:
    """Inputs and latents, some of them equal."""
    generator = torch.Generator().manual_seed(size)
    x = torch.randn(size, 6, generator=generator, dtype=torch.float64)
    z = x[:, :3] + 0.5 * torch.randn(size, 3, generator=generator, dtype=torch.float64)
    if size > 2:
        x[-1], z[-1] = x[0], z[0]
    if size > 3:
        z[2] = z[1]
    return x.to(dtype), z.to(dtype).requires_grad_()


def naive_distances(points: Tensor) -> Tensor:
    distances: Tensor = torch.linalg.vector_norm(points[:, None] - points[None, :], dim=2)
    return distances


def naive_soft_ranks(distances: Tensor, tau: float | Tensor) -> Tensor:
    by_row = tau[:, :, None] if isinstance(tau, Tensor) else tau
    return 1 + torch.sigmoid((distances[:, None, :] - distances[:, :, None]) / by_row).sum(2)


def naive_losses(
    name: str, x: Tensor, z: Tensor, options: Options, tau: float = 1.0, tau_mode: TauMode = "absolute"
) -> DistanceLosses:
    inputs, latents = naive_distances(x), naive_distances(z)
    size = len(x)
    if options.exclude_self:
        others = ~torch.eye(size, dtype=torch.bool)
        inputs, latents = (d[others].view(size, size - 1) for d in (inputs, latents))
    scale = size - 1 if name.endswith("Norm") else 1
    if name in HARD:
        ranks = [d.argsort(dim=1, stable=True).argsort(dim=1).double() / scale for d in (inputs, latents)]
        rank = (ranks[0] - ranks[1]).abs().mean() / options.k
    else:
        row_tau: float | Tensor = tau
        if tau_mode == "relative":
            spreads = ((inputs - inputs.mean(1, keepdim=True)) ** 2).mean(1, keepdim=True).sqrt()
            row_tau = tau * torch.where(spreads > 1e-12, spreads, 1.0)
        soft = [(naive_soft_ranks(d, row_tau) - 1) / scale for d in (inputs, latents)]
        rank = ((soft[0] - soft[1]) ** 2).mean()
    pairdist = ((latents - inputs) ** 2).mean()
    if options.pair_norm:
        pairdist = pairdist / (inputs**2).mean()
    return DistanceLosses(options.lambda_rank * rank + options.lambda_pairdist * pairdist, rank, pairdist)


def gradient(total: Tensor, of: Tensor) -> Tensor:
    (grad,) = torch.autograd.grad(total, of)
    return grad


def assert_same(losses: DistanceLosses, expected: DistanceLosses, z: Tensor, tolerance: float) -> None:
    for loss, other in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss.to(other.dtype), other, rtol=tolerance, atol=tolerance)
    grads, others = gradient(losses.total, z), gradient(expected.total, z)
    torch.testing.assert_close(
        grads, others, rtol=tolerance, atol=tolerance * max(1.0, float(others.abs().max()))
    )


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", HARD)
def test_hard_ranks_meet_the_formula(name: str, options: Options, size: int) -> None:
    x, z = vectors(size)
    losses = HARD[name](**options._asdict())(x, z)
    assert_same(losses, naive_losses(name, x, z, options), z, 1e-10)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("tau_mode", ["absolute", "relative"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("name", SOFT)
def test_soft_ranks_meet_the_formula(name: str, options: Options, tau_mode: TauMode, size: int) -> None:
    x, z = vectors(size)
    for tau in TAUS if size < 100 else [0.1, 1.0]:
        losses = SOFT[name](**options._asdict(), tau=tau, tau_mode=tau_mode)(x, z)
        assert_same(losses, naive_losses(name, x, z, options, tau, tau_mode), z, 1e-10)


@pytest.mark.parametrize("name", [*HARD, *SOFT])
def test_float32_is_close(name: str) -> None:
    x, z = vectors(150, torch.float32)
    losses = (HARD | SOFT)[name](pair_norm=True)(x, z)
    assert {loss.dtype for loss in losses} == {torch.float32}
    wide = z.detach().double().requires_grad_()
    expected = naive_losses(name, x.double(), wide, Options(pair_norm=True))
    for loss, other in zip(losses, expected, strict=True):
        torch.testing.assert_close(loss.double(), other, rtol=1e-5, atol=0)
    others = gradient(expected.total, wide)
    torch.testing.assert_close(
        gradient(losses.total, z).double(), others, rtol=1e-4, atol=1e-6 * float(others.abs().max())
    )


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("name", [*HARD, *SOFT])
def test_half_precision_is_computed_in_float32(name: str, autocast: bool) -> None:
    x, z = vectors(70, torch.float32)
    half = z.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        losses = (HARD | SOFT)[name]()(x.bfloat16(), half)
    assert losses == (HARD | SOFT)[name]()(x.bfloat16().float(), half.float())
    assert losses.total.dtype == torch.float32
    assert gradient(losses.total, half).isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_inputs_as_far_from_each_other_take_tau_itself(dtype: torch.dtype) -> None:
    _, z = vectors(20, dtype)
    x = torch.linalg.qr(torch.randn(20, 20, generator=torch.Generator().manual_seed(0), dtype=dtype)).Q
    losses = DPLossV2(exclude_self=True, tau=0.5, tau_mode="relative")(x, z)
    expected = DPLossV2(exclude_self=True, tau=0.5)(x, z)
    assert_same(losses, expected, z, 1e-5)


@pytest.mark.parametrize("name", HARD)
def test_hard_ranks_have_no_gradient(name: str) -> None:
    x, z = vectors(17)
    losses = HARD[name]()(x, z)
    assert not losses.rank.requires_grad
    torch.testing.assert_close(gradient(losses.total, z), 0.3 * gradient(HARD[name]()(x, z).pairdist, z))


@pytest.mark.parametrize("name", [*HARD, *SOFT])
def test_a_perfect_encoding_costs_nothing(name: str) -> None:
    x, _ = vectors(150)
    z = x.clone().requires_grad_()
    losses = (HARD | SOFT)[name]()(x, z)
    assert losses == (0, 0, 0)
    assert not gradient(losses.total, z).any()


@pytest.mark.parametrize("tau_mode", ["absolute", "relative"])
@pytest.mark.parametrize("options", OPTIONS, ids=str)
@pytest.mark.parametrize("size", [2, 40, 150])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_collapsed_vectors_are_safe(
    dtype: torch.dtype, size: int, options: Options, tau_mode: TauMode
) -> None:
    x, z = vectors(size, dtype)
    collapsed = torch.full_like(z, 0.1).requires_grad_()
    for inputs, latents in (
        (x, collapsed),
        (torch.full_like(x, 0.1), z),
        (torch.full_like(x, 0.1), collapsed),
    ):
        losses = DPLossV2(**options._asdict(), tau_mode=tau_mode)(inputs, latents)
        grads = gradient(losses.total, latents)
        assert all(loss.isfinite() for loss in losses)
        assert grads.isfinite().all()
        assert latents is z or not grads.any()


def test_batches_that_cannot_be_compared_are_refused() -> None:
    x, z = vectors(3)
    with pytest.raises(ValueError, match="2 or more, not 1 and 1"):
        DPLossV2()(x[:1], z[:1])
    with pytest.raises(ValueError, match="not 3 and 2"):
        DPLossV2()(x, z[:2])


@pytest.mark.parametrize("loss", [DPLossV2, DPLossV2Norm])
@pytest.mark.parametrize("tau_mode", ["absolute", "relative"])
def test_gradients_of_losses_are_those_of_differences(
    loss: Callable[..., DPLossV2], tau_mode: TauMode
) -> None:
    x, z = vectors(9)
    apart = (z.detach() + torch.randn(9, 3, generator=torch.Generator().manual_seed(0))).requires_grad_()
    module = loss(tau=0.5, tau_mode=tau_mode, exclude_self=True)
    assert torch.autograd.gradcheck(lambda latents: module(x, latents).total, apart)


def distances_of(rows: int, entries: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """One is 0 and some are equal, as among the distances of vectors."""
    distances = 5 + torch.randn(rows, entries, generator=torch.Generator().manual_seed(entries)).to(dtype)
    distances[:, 0] = 0
    distances[:, 2] = distances[:, 1]
    return distances.requires_grad_()


@pytest.mark.parametrize(
    ("entries", "tau", "by_series"),
    [
        (60, 1.0, False),
        (200, 0.01, False),
        (200, 0.1, True),
        (200, 1.0, True),
        (200, 5.0, True),
        (900, 0.01, True),
        (900, 100.0, True),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_soft_ranks_are_exact_to_rounding(
    dtype: torch.dtype, entries: int, tau: float, by_series: bool
) -> None:
    distances = distances_of(3, entries, dtype)
    assert (_lay_grid(distances.detach(), torch.full((3, 1), tau, dtype=dtype)) is not None) == by_series
    wide = distances.detach().double().requires_grad_()
    taus = tau * torch.tensor([[1.0], [1.1], [0.9]])
    weights = torch.randn(3, entries, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    for by_row in (tau, taus):
        as_given = by_row if isinstance(by_row, float) else by_row.to(dtype).double()
        ranks, expected = soft_ranks(distances, by_row), naive_soft_ranks(wide, as_given)
        digits = 3e-12 if dtype == torch.float64 else 3e-6
        torch.testing.assert_close(ranks.double(), expected, rtol=digits, atol=0)
        grads = gradient((ranks * weights.to(dtype)).sum(), distances)
        others = gradient((expected * weights).sum(), wide)
        torch.testing.assert_close(
            grads.double(), others, rtol=digits, atol=digits * float(others.abs().max())
        )


@pytest.mark.parametrize(("entries", "tau"), [(7, 0.5), (140, 0.3)])
def test_gradients_of_soft_ranks_are_those_of_differences(entries: int, tau: float) -> None:
    taus = tau * torch.tensor([[1.0], [2.0]], dtype=torch.float64)
    assert torch.autograd.gradcheck(lambda distances: soft_ranks(distances, taus), distances_of(2, entries))


def test_temperatures_are_constants() -> None:
    taus = torch.ones(2, 1, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(
        soft_ranks(distances_of(2, 140), taus).square().sum(), taus, allow_unused=True
    )
    assert grad is None


@pytest.mark.parametrize("entries", [5, 200])
@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e30])
def test_low_temperatures_rank_hard(entries: int, scale: float) -> None:
    distances = torch.arange(entries, dtype=torch.float32).flip(0).mul(scale).expand(2, -1).requires_grad_()
    ranks = soft_ranks(distances, 1e-38)
    torch.testing.assert_close(ranks, (torch.arange(entries) + 1.5).expand(2, -1))
    assert gradient(ranks.sum(), distances).isfinite().all()


@pytest.mark.parametrize("value", [0.0, 3.0, 1e30])
@pytest.mark.parametrize("entries", [1, 2, 300])
def test_equal_distances_share_their_rank(entries: int, value: float) -> None:
    distances = torch.full((2, entries), value, requires_grad=True)
    ranks = soft_ranks(distances, 0.1)
    torch.testing.assert_close(ranks, torch.full((2, entries), 1 + entries / 2))
    assert not gradient((ranks * 3).sum(), distances).any()


@pytest.mark.parametrize("entries", [1, 6, 300])
@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_what_is_not_finite_makes_nan(value: float, entries: int) -> None:
    distances = torch.zeros(2, entries)
    distances[0, 0] = value
    ranks = soft_ranks(distances, 1.0)
    assert ranks[0].isnan().any()
    torch.testing.assert_close(ranks[1], torch.full((entries,), 1 + entries / 2))


def test_no_entries_have_no_ranks() -> None:
    assert soft_ranks(torch.zeros(0, 5), 1.0).shape == (0, 5)
    assert soft_ranks(torch.zeros(5, 0), 1.0).shape == (5, 0)


def test_what_cannot_be_ranked_is_refused() -> None:
    for tau in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="tau must be above 0"):
            soft_ranks(torch.zeros(2, 2), tau)
    with pytest.raises(ValueError, match=r"torch.float16 \(2, 2\)"):
        soft_ranks(torch.zeros(2, 2, dtype=torch.float16), 1.0)
    with pytest.raises(ValueError, match=r"\(2,\)"):
        soft_ranks(torch.zeros(2), 1.0)


def clouds() -> dict[str, Tensor]:
    points = torch.randn(150, 20, generator=torch.Generator().manual_seed(0))
    twins, neighbours, outlier = points.clone(), points.clone(), 1e-5 * points + 3
    twins[50:90] = points[:40]
    neighbours[50:90] = points[:40] + 1e-6 * points[100:140]
    neighbours[:60, 0], neighbours[60:90, 0] = 0, 1e-20
    outlier[0] = 1e4
    return {
        "apart": points,
        "far from zero": points + 1000,
        "twins": twins,
        "neighbours": neighbours,
        "outlier": outlier,
        "all but collapsed": torch.cat([torch.ones(149, 20), 1.001 * torch.ones(1, 20)]),
        "one dimension": points[:, :1],
        "tiny": 1e-25 * points,
        "huge": 1e25 * points,
    }


@pytest.mark.parametrize("name", clouds())
def test_distances_are_exact_to_rounding(name: str) -> None:
    points = clouds()[name].requires_grad_()
    wide = points.detach().double().requires_grad_()
    distances, expected = pairwise_distances(points), naive_distances(wide)
    torch.testing.assert_close(distances.double(), expected, rtol=3e-7, atol=0)
    assert not distances.diagonal().any()
    weights = torch.randn(150, 150, generator=torch.Generator().manual_seed(1))
    grads, others = gradient((distances * weights).sum(), points), gradient((expected * weights).sum(), wide)
    torch.testing.assert_close(grads.double(), others, rtol=1e-6, atol=1e-6 * float(others.abs().max()))


def test_distances_of_equal_points_have_no_gradient() -> None:
    for dtype in (torch.float32, torch.float64):
        points = torch.full((9, 4), 0.1, dtype=dtype, requires_grad=True)
        distances = pairwise_distances(points)
        assert not distances.any()
        assert not gradient(distances.sum(), points).any()


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (DPLossV1, {"k": 0}),
        (DPLossV1Norm, {"lambda_rank": -1.0}),
        (DPLossV2, {"lambda_pairdist": -0.1}),
        (DPLossV2, {"tau": 0.0}),
        (DPLossV2Norm, {"tau_mode": "per row"}),
    ],
)
def test_options_are_checked(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="is "):
        kind(**options)
