"""Statistics of weights against numpy's, and what is told of them."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from pochi_cli.config.catalogue import ModelName
from pochi_cli.inference.model import load_model
from pochi_cli.inspection.findings import Finding
from pochi_cli.inspection.model_statistics import weight_statistics
from pochi_cli.inspection.model_weights import ParameterStatistics, WeightStatistics, judge_weights
from pochi_cli.models.architectures import build_network
from pochi_cli.runs.index import Run


def by_name(weights: WeightStatistics) -> dict[str, ParameterStatistics]:
    return {one.name: one for one in weights.parameters}


def judged(model: nn.Module) -> dict[tuple[str, str], Finding]:
    return {(one.code, one.severity): one for one in judge_weights(weight_statistics(model))}


def layers() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 16, 3), nn.BatchNorm2d(16), nn.Flatten(), nn.Linear(16, 8))


def test_the_statistics_are_those_of_numpy() -> None:
    model = nn.Sequential(nn.Linear(2100, 2100), nn.LayerNorm(2100))  # the weight is larger than a chunk
    with torch.no_grad():
        model.get_parameter("0.weight").mul_(3).add_(0.01)[:, ::7] = 5e-7
    weights = weight_statistics(model)
    for name, parameter in model.named_parameters():
        values = parameter.detach().double().numpy()
        one = by_name(weights)[name]
        expected = {"mean": values.mean(), "std": values.std(), "min": values.min(), "max": values.max()}
        expected |= {"norm": np.linalg.norm(values), "sparsity": (np.abs(values) < 1e-6).mean()}
        for key, value in expected.items():
            assert getattr(one, key) == pytest.approx(value, rel=1e-9, abs=1e-12), (name, key)
        quantiles = np.quantile(values, [0.01, 0.25, 0.5, 0.75, 0.99], method="inverted_cdf")
        assert one.quantiles == pytest.approx(quantiles, rel=0.008, abs=1e-12)
        assert (one.shape, one.entries, one.non_finite) == (values.shape, values.size, 0)
    everything = np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])
    assert weights.entries == everything.size
    assert weights.mean == pytest.approx(everything.mean())
    assert weights.std == pytest.approx(everything.std())
    assert weights.sparsity == pytest.approx((np.abs(everything) < 1e-6).mean())


def test_the_histogram_holds_every_value_where_it_is() -> None:
    model = layers()
    histogram = weight_statistics(model).histogram
    assert histogram is not None
    values = np.concatenate([p.detach().double().numpy().ravel() for p in model.parameters()])
    assert histogram.counts.sum() == values.size
    assert all(type(count) is int for count in histogram.to_record()["counts"])
    assert histogram.edges[0] <= values.min()
    assert values.max() <= histogram.edges[-1]
    counts, _ = np.histogram(values, histogram.edges)
    # A value counts for at most the neighbouring bin.
    assert np.abs(np.cumsum(counts) - np.cumsum(histogram.counts)).max() < 25  # of 16 ones, and near values
    naive = np.histogram(values, histogram.edges[[0, 30, 60, 90, 120]])[0]
    assert histogram.counts.reshape(4, 30).sum(1) == pytest.approx(naive, abs=6)
    assert (histogram.counts >= 0).all()


def test_shared_parameters_count_once_and_odd_types_are_read() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.halved = nn.Parameter(torch.full((2, 3), 0.5, dtype=torch.bfloat16))
            self.same = self.halved
            self.turned = nn.Parameter(torch.tensor([1 + 2j, 3 - 4j]))
            self.empty = nn.Parameter(torch.zeros(0, 4))

    found = by_name(weight_statistics(Odd()))
    assert list(found) == ["halved", "turned"]
    assert (found["halved"].mean, found["halved"].min) == (0.5, 0.5)
    assert (found["turned"].min, found["turned"].max) == (-4, 3)


def test_a_network_of_zeros_and_one_without_values() -> None:
    model = nn.Linear(2, 2)
    nn.init.zeros_(model.weight)
    nn.init.constant_(model.bias, -0.0)
    weights = weight_statistics(model)
    assert weights.histogram is not None
    assert weights.histogram.counts.sum() == 6
    assert by_name(weights)["weight"].quantiles == (0, 0, 0, 0, 0)
    with pytest.raises(ValueError, match="weight is on the meta device"):
        weight_statistics(nn.Linear(2, 2, device="meta"))


def test_healthy_networks_are_silent(trained_run: Run) -> None:
    names: tuple[ModelName, ...] = ("resnet18", "mobilenet_v3_small", "vit_tiny")
    for name in names:
        torch.manual_seed(0)
        assert judge_weights(weight_statistics(build_network(name, 10)), is_trained=False) == []
    assert judged(load_model(trained_run).model) == {}
    words = nn.Embedding(10, 4, padding_idx=0)  # whose row is kept at 0
    assert judged(words) == {}


def test_what_is_not_finite_is_an_error() -> None:
    model = layers()
    with torch.no_grad():
        model.get_parameter("0.weight")[2, 1] = math.inf
        model.get_parameter("3.bias")[0] = math.nan
    weights = weight_statistics(model)
    first = by_name(weights)["0.weight"]
    assert first.non_finite == 9
    assert math.isnan(first.mean) and math.isnan(first.norm)
    assert weights.non_finite == 10
    assert weights.histogram is not None
    assert weights.histogram.counts.sum() == pytest.approx(weights.entries - 10)
    found = judged(model)
    assert list(found) == [("non-finite-weights", "error")]
    told = found["non-finite-weights", "error"]
    assert (told.where, told.also, told.value) == ("3.bias", ("0.weight",), 1)
    assert told.evidence == "1 of the 8 entries of 3.bias is NaN or infinite"
    assert judge_weights(weights, is_trained=False) == list(found.values())


def test_a_layer_of_zeros_is_told_but_not_a_bias_or_an_offset() -> None:
    model = layers()
    for name in ("1.bias", "1.weight", "3.bias"):
        nn.init.zeros_(model.get_parameter(name))
    assert judged(model) == {}
    nn.init.zeros_(model.get_parameter("3.weight"))
    found = judged(model)
    assert [(code, told.where) for (code, _), told in found.items()] == [("zero-layer", "3.weight")]
    assert judge_weights(weight_statistics(model), is_trained=False) == []


def test_near_zero_channels_are_listed_and_graver_where_many() -> None:
    model = layers()
    with torch.no_grad():
        model.get_parameter("0.weight")[[3, 7]] *= 5e-4
        model.get_parameter("0.weight")[5] = 0
    found = judged(model)
    assert list(found) == [("near-zero-channels", "note")]
    note = found["near-zero-channels", "note"]
    assert (note.where, note.value, note.threshold) == ("0.weight", 3 / 16, 0.25)
    assert by_name(weight_statistics(model))["0.weight"].near_zero == (3, 5, 7)
    assert note.evidence.endswith(": 3, 5, 7")
    with torch.no_grad():
        model.get_parameter("3.weight")[:5] = 0  # more than half: the median is that of the others
    found = judged(model)
    assert [(severity, told.where) for (_, severity), told in found.items()] == [
        ("warning", "3.weight"),
        ("note", "0.weight"),
    ]


def test_channels_of_a_transposed_convolution_are_those_of_its_output() -> None:
    torch.manual_seed(0)
    layer = nn.ConvTranspose2d(4, 6, 3, groups=2)
    with torch.no_grad():
        layer.weight[2:, 1] = 0  # the second output of the second group
    one = by_name(weight_statistics(layer))["weight"]
    assert (one.channels, one.near_zero) == (6, (4,))


def test_the_model_is_as_it_was() -> None:
    model = layers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    state = torch.get_rng_state()
    weight_statistics(model)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert torch.equal(state, torch.get_rng_state())
