"""Statistics of activations against naive ones, on networks of any kind, which stay as they were."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from numpy.typing import NDArray
from torch import Tensor, nn

from pochi_cli.inspection.activation_record import ActivationSurvey, LayerActivation
from pochi_cli.inspection.activations import survey_activations
from tests.inspection.test_gradients import assert_untouched, fingerprint

Array = NDArray[np.float64]


class Small(nn.Module):
    """Has a ReLU that runs twice and works in place, and functions of every spelling."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.relu = nn.ReLU(inplace=True)
        self.drop = nn.Dropout(0.5)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        first = self.relu(self.norm(self.conv(images)))
        second = self.relu(first - 0.5)
        scores: Tensor = self.head(self.drop(self.pool(F.gelu(second)).flatten(1)))
        return torch.tanh(scores.relu_()) - F.relu(torch.relu(scores) - 0.1, inplace=True)


def by_label(survey: ActivationSurvey) -> dict[str, LayerActivation]:
    return {layer.label: layer for layer in survey.layers}


def survey_of(values: Tensor, module: nn.Module | None = None, batches: int = 1) -> LayerActivation:
    """Let values pass through one layer, in several batches."""
    model = nn.Sequential(nn.ReLU() if module is None else module)
    (layer,) = survey_activations(model, values.chunk(batches)).layers
    return layer


def effective_rank(rows: Array) -> float:
    """As Roy and Vetterli define it, from the singular values of the covariance matrix."""
    values = np.linalg.svd(np.cov(rows.T, bias=True), compute_uv=False)
    shares = values / values.sum()
    shares = shares[shares > 1e-15]
    return math.exp(-(shares * np.log(shares)).sum())


@pytest.fixture
def model() -> Small:
    torch.manual_seed(0)
    return Small()


@pytest.fixture
def batches() -> list[Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randn(count, 3, 6, 6, generator=generator) for count in (5, 8, 3)]


def test_the_statistics_are_those_of_all_values(model: Small, batches: list[Tensor]) -> None:
    found = by_label(survey_activations(model, batches))
    model.eval()
    with torch.no_grad():
        conv = [model.conv(batch) for batch in batches]
        norm = [model.norm(values) for values in conv]
        first = [values.relu() for values in norm]
        second = [(values - 0.5).relu() for values in first]
        head = [model.head(F.gelu(values).mean((2, 3))) for values in second]
    expected = {
        "conv": conv,
        "norm": norm,
        "relu": first,
        "relu#2": second,
        "gelu()": [F.gelu(values) for values in second],
        "head": head,  # before it is changed in place
        "tanh()": [values.relu().tanh() for values in head],
    }
    for label, outputs in expected.items():
        layer = found[label]
        values = torch.cat(outputs).double().numpy()
        assert layer.shape == values.shape[1:]
        assert (layer.values, layer.non_finite, layer.units) == (values.size, 0, values.shape[1])
        for key in ("mean", "std", "min", "max"):
            assert getattr(layer, key) == pytest.approx(getattr(values, key)(), rel=1e-4, abs=1e-6), label
        assert layer.zero_fraction == np.count_nonzero(values == 0) / values.size
        assert layer.histogram.count + layer.histogram.zeros == values.size


def test_the_mean_may_be_far_from_0_and_the_values_of_any_magnitude() -> None:
    torch.manual_seed(0)
    for scale, shift in ((1.0, 1e4), (1e-25, 0.0), (1e25, 0.0)):
        values = torch.randn(400, 3) * scale + shift
        layer = survey_of(values, nn.LeakyReLU(1.0), batches=5)
        exact = values.double().numpy()
        assert layer.mean == pytest.approx(exact.mean(), rel=1e-5)
        assert layer.std == pytest.approx(exact.std(), rel=1e-3)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_other_precisions(dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    values = torch.randn(64, 5).to(dtype)
    layer = survey_of(values)
    exact = values.double().clamp(min=0).numpy()
    assert layer.mean == pytest.approx(exact.mean(), rel=1e-5)
    assert layer.std == pytest.approx(exact.std(), rel=1e-5)


def test_sums_are_not_made_in_the_half_precision_of_autocast(model: Small) -> None:
    batch = torch.randn(64, 3, 6, 6)

    def call(model: nn.Module, images: Tensor) -> None:
        with torch.autocast("cpu", torch.bfloat16):
            model(images)

    outputs: list[Tensor] = []
    with model.conv.register_forward_hook(lambda _module, _inputs, output: outputs.append(output)):
        layer = survey_activations(model, [batch], call).layers[0]
    assert outputs[0].dtype == torch.bfloat16
    rows = outputs[0].double().movedim(1, -1).reshape(-1, 8).numpy()
    assert layer.effective_rank == pytest.approx(effective_rank(rows), rel=1e-4)
    assert layer.mean == pytest.approx(float(outputs[0].double().mean()), rel=1e-4)


def test_values_that_are_not_finite_are_counted_and_left_out() -> None:
    values = torch.tensor([[1.0, math.nan], [-2.0, math.inf], [3.0, 5.0], [4.0, -math.inf]])
    layer = survey_of(values, nn.LeakyReLU(0.5), batches=2)
    finite = np.array([1, -1, 3, 5, 4])
    assert (layer.non_finite, layer.values) == (3, 8)
    assert (layer.min, layer.max) == (-1, 5)
    assert layer.mean == pytest.approx(finite.mean())
    assert layer.std == pytest.approx(finite.std())
    assert layer.histogram.count == 5
    lost = survey_of(torch.full((4, 2), math.nan))
    assert lost.non_finite == 8
    assert all(math.isnan(getattr(lost, key)) for key in ("mean", "std", "min", "max", "zero_fraction"))
    assert (lost.dead, lost.constant, lost.effective_rank) == ((), (), None)
    assert lost.histogram.count == lost.histogram.zeros == 0


def test_exactly_the_dead_units_are_found() -> None:
    torch.manual_seed(0)
    killed = sorted(torch.randperm(100)[:70].tolist())
    linear = nn.Linear(20, 100)
    model = nn.Sequential(linear, nn.ReLU(), nn.Linear(100, 100), nn.ReLU())
    batches = list(torch.randn(4, 50, 20))
    assert all(not layer.dead and not layer.constant for layer in survey_activations(model, batches).layers)
    with torch.no_grad():
        linear.bias[killed] = -1000
    layers = survey_activations(model, batches).layers
    assert layers[1].dead == tuple(killed)
    with torch.no_grad():
        last = torch.cat([model(batch) for batch in batches])
    assert layers[3].dead == tuple((last == 0).all(0).nonzero().flatten().tolist())
    assert not layers[0].dead and not layers[2].dead
    assert not any(layer.constant for layer in layers)


def test_a_unit_that_answers_once_is_not_dead() -> None:
    values = -torch.ones(40, 3, 5, 5)
    values[17, 1, 2, 4] = 0.5
    layer = survey_of(values, batches=4)
    assert layer.dead == (0, 2)
    assert layer.zero_fraction == 2999 / 3000


def test_units_of_smooth_activations_are_dead_where_they_are_as_good_as_0() -> None:
    torch.manual_seed(0)
    values = torch.randn(200, 6)
    values[:, 2] = values[:, 2] - 20
    layer = survey_of(values, nn.GELU(), batches=2)
    assert layer.dead == (2,)
    assert layer.dead_limit == pytest.approx(1e-4 * layer.max)
    assert survey_of(values, nn.ReLU()).dead_limit == 0


def test_units_that_do_not_vary_are_constant() -> None:
    values = torch.randn(30, 4)
    values[:, 1] = 0.25
    values[:10, 2], values[10:, 2] = 1, 2  # within each batch it does not vary
    values[:, 3] = 0
    layer = survey_of(values, nn.LeakyReLU(), batches=3)
    assert (layer.dead, layer.constant) == ((3,), (1,))
    assert survey_of(values[:1], nn.LeakyReLU()).constant == ()  # one value alone does not tell


@pytest.mark.parametrize(
    ("module", "at_low", "at_high", "share"),
    [
        (nn.ReLU6(), 3 / 8, 2 / 8, 2 / 8),
        (nn.Hardtanh(0, 2), 3 / 8, 4 / 8, 4 / 8),
        (nn.Hardtanh(-2, 2), 2 / 8, 4 / 8, 6 / 8),
        (nn.Tanh(), 2 / 8, 4 / 8, 6 / 8),
        (nn.Sigmoid(), 1 / 8, 3 / 8, 4 / 8),
    ],
)
def test_saturation_is_the_share_at_the_bounds(
    module: nn.Module, at_low: float, at_high: float, share: float
) -> None:
    values = torch.tensor([[-9.0, -3.0, -0.5, 0.5, 2.5, 5.0, 6.0, 50.0]])
    saturation = survey_of(values.T, module).saturation
    assert saturation is not None
    assert (saturation.at_low, saturation.at_high, saturation.share) == (at_low, at_high, share)
    assert survey_of(values.T).saturation is None


@pytest.mark.parametrize("spread", ["one", "some", "all"])
def test_the_effective_rank_is_that_of_the_definition(spread: str) -> None:
    torch.manual_seed(0)
    rows = torch.randn(500, 12)
    if spread == "one":
        rows = rows[:, :1] * torch.randn(1, 12)
    elif spread == "some":
        rows = rows[:, :4] @ torch.randn(4, 12) + 0.1 * rows
    layer = survey_of(rows + 50, nn.LeakyReLU(1.0), batches=7)
    assert layer.effective_rank == pytest.approx(effective_rank((rows + 50).double().numpy()), rel=1e-3)
    assert (layer.rank_limit, layer.rank_positions) == (12, 500)
    few = survey_of(rows[:5], nn.LeakyReLU(1.0))
    assert (few.rank_limit, few.rank_positions) == (4, 5)


@pytest.mark.parametrize(
    ("module", "shape", "axis"),
    [
        (nn.Linear(6, 6), (40, 17, 6), -1),
        (nn.BatchNorm2d(6), (40, 6, 8, 8), 1),
        (nn.BatchNorm1d(6), (40, 6, 30), 1),
        (nn.Linear(6, 6), (40, 5, 3, 4, 6), -1),
    ],
)
def test_the_effective_rank_is_over_all_of_few_positions(
    module: nn.Module, shape: tuple[int, ...], axis: int
) -> None:
    torch.manual_seed(0)
    values = torch.randn(shape)
    # The first position, that of a class token, varies along one direction, and more than all others.
    first = values.movedim(axis, -1)
    for _ in shape[2:]:
        first = first[:, 0]
    first.copy_(9 * torch.randn(40, 1))
    layer = survey_of(values, module, batches=3)
    rows = module.eval()(values).detach().movedim(axis, -1).reshape(-1, 6).double().numpy()
    assert layer.rank_positions == len(rows)
    assert layer.effective_rank == pytest.approx(effective_rank(rows), rel=1e-4)


def test_of_many_positions_those_that_count_are_spread_from_the_first_to_the_last() -> None:
    values = torch.zeros(10, 4, 20, 30)
    at = torch.linspace(0, 599, 64).round().long()
    for unit, place in enumerate((at[0], at[20], at[45], at[63])):
        values[:5, unit].view(5, -1)[:, place] = 1
    layer = survey_of(values + 1, nn.BatchNorm2d(4))
    assert layer.rank_positions == 640
    assert layer.effective_rank == pytest.approx(4, rel=0.01)


def test_the_effective_rank_of_very_many_units_is_an_estimate() -> None:
    torch.manual_seed(0)
    rows = torch.randn(600, 5) @ torch.randn(5, 1100)
    layer = survey_of(rows, nn.LeakyReLU(1.0), batches=2)
    assert (layer.rank_limit, layer.rank_positions) == (512, 600)
    assert layer.effective_rank == pytest.approx(effective_rank(rows.double().numpy()), rel=0.1)


def test_a_number_of_units_that_changes_is_none() -> None:
    layer = survey_activations(nn.ReLU(), [torch.randn(4, 3), torch.randn(4, 5)]).layers[0]
    assert (layer.units, layer.dead, layer.constant, layer.effective_rank) == (None, (), (), None)
    assert layer.values == 32


def test_the_model_and_the_generator_are_as_they_were(model: Small, batches: list[Tensor]) -> None:
    model.train()
    model.norm.eval()
    model.conv.weight.grad = torch.full_like(model.conv.weight, 7.0)
    model.norm.register_forward_hook(lambda *_: None)
    before, state = fingerprint(model), torch.get_rng_state()
    assert not survey_activations(model, batches).layers[0].non_finite
    torch.testing.assert_close(torch.get_rng_state(), state)
    assert_untouched(before, fingerprint(model))

    def failing(model: nn.Module, batch: Tensor) -> None:
        model(batch)
        torch.rand(1)
        raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        survey_activations(model, batches, failing)
    assert_untouched(before, fingerprint(model))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.is_grad_enabled()
    assert torch.backends.mha.get_fastpath_enabled()


def test_the_outputs_are_those_without_the_survey(model: Small, batches: list[Tensor]) -> None:
    seen: list[Tensor] = []
    survey_activations(model, batches, lambda model, batch: seen.append(model(batch)))
    model.eval()
    with torch.no_grad():
        for output, batch in zip(seen, batches, strict=True):
            assert torch.equal(output, model(batch))
    assert not any(output.requires_grad for output in seen)


def test_without_anything_to_look_at_it_is_told(batches: list[Tensor]) -> None:
    with pytest.raises(ValueError, match="no batch"):
        survey_activations(nn.ReLU(), [])
    with pytest.raises(ValueError, match="no layer"):
        survey_activations(nn.Flatten(), batches)
