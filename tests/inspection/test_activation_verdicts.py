"""A planted fault for every verdict on activations, and silence on healthy networks."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from pochi_cli.inspection.activation_verdicts import ActivationFinding, index_ranges, judge_activations
from pochi_cli.inspection.activations import survey_activations


class Residual(nn.Module):
    """Adds what two convolutions make of its input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 1)
        self.relu = nn.ReLU()
        self.conv2 = nn.Conv2d(width, width, 1)

    def forward(self, images: Tensor) -> Tensor:
        return torch.relu(images + self.conv2(self.relu(self.conv1(images))))


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(3, 20, 3, padding=1),
        nn.BatchNorm2d(20),
        nn.ReLU(),
        Residual(20),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(20, 12),
        nn.Sigmoid(),
        nn.Linear(12, 4),
        nn.Tanh(),
    )


@pytest.fixture
def model() -> nn.Sequential:
    return network()


def judge(model: nn.Module, samples: int = 128) -> list[ActivationFinding]:
    images = torch.randn(samples, 3, 8, 8, generator=torch.Generator().manual_seed(1))
    return judge_activations(survey_activations(model, [images[:50], images[50:100], images[100:]]))


def test_a_healthy_network_has_none(model: nn.Sequential) -> None:
    assert judge(model) == []


def test_dead_units_are_listed_with_what_passes_them_on(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("1.bias")[[2, 3, 4, 11]] = -1000
    (finding,) = judge(model)
    assert (finding.code, finding.severity, finding.where) == ("dead-units", "warning", "2")
    assert (finding.value, finding.threshold, finding.also) == (0.2, 0.1, ())
    assert finding.message == "4 of 20 units of 2 are dead (20 %)"
    assert finding.evidence == "exactly 0 in all 8,192 values of each: 2-4, 11 (counted from 0)"


def test_a_few_dead_units_are_a_note(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("1.bias")[7] = -1000
    (finding,) = judge(model)
    assert (finding.severity, finding.message) == ("note", "1 of 20 units of 2 is dead (5 %)")


def test_units_that_stay_dead_behind_a_skip_connection_are_told_once(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("1.bias")[[0, 19]] = -1000
        model.get_parameter("3.conv2.weight")[[0, 19]] = 0
        model.get_parameter("3.conv2.bias")[[0, 19]] = 0
    (finding,) = judge(model)
    assert (finding.where, finding.also) == ("2", ("3.conv2", "3.relu()"))


def test_a_dead_convolution_is_told_with_its_norm(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("0.weight")[5:8] = 0
        model.get_parameter("0.bias")[5:8] = 0
        model.get_parameter("1.bias")[5:8] = 0.5
    (finding,) = judge(model)
    assert (finding.code, finding.severity, finding.where) == ("dead-units", "warning", "0")
    assert finding.also == ("1", "2")  # constant there


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.GELU(), nn.Hardswish()])
@pytest.mark.parametrize("before", ["norm", "linear", "zero linear"])
def test_units_dead_behind_constant_ones_are_told_of_the_activation(
    activation: nn.Module, before: str
) -> None:
    torch.manual_seed(0)
    killed = sorted(torch.randperm(100)[:70].tolist())
    layers = nn.Sequential(nn.Linear(20, 100), nn.BatchNorm1d(100) if before == "norm" else nn.Identity())
    with torch.no_grad():
        cut = layers[1 if before == "norm" else 0]
        cut.get_parameter("weight")[killed] = 0
        cut.get_parameter("bias")[killed] = 0 if before == "zero linear" else -9
    model = nn.Sequential(*layers, activation, nn.Linear(100, 5))
    findings = judge_activations(survey_activations(model, list(torch.randn(3, 100, 20))))
    (dead,) = [finding for finding in findings if finding.code == "dead-units"]
    assert (dead.where, dead.severity, dead.value) == ("2", "warning", 0.7)
    assert dead.units == tuple(killed)
    assert dead.also == ("1" if before == "norm" else "0",)
    assert len(findings) == 1


def test_units_dead_at_one_activation_and_constant_at_another_are_told_of_both() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 100), nn.LeakyReLU(), nn.BatchNorm1d(100), nn.ReLU())
    with torch.no_grad():
        model.get_parameter("0.weight")[:40] = 0
        model.get_parameter("0.bias")[:40] = 0
        model.get_parameter("0.bias")[:10] = 5
        model.get_parameter("2.bias")[:40] = -9
    findings = judge_activations(survey_activations(model, [torch.randn(200, 20)]))
    dead = {finding.where: finding.units for finding in findings if finding.code == "dead-units"}
    assert dead == {"1": tuple(range(10, 40)), "3": tuple(range(40))}


def test_a_layer_dead_behind_a_constant_one_is_told_of_the_activation(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("1.weight").zero_()
        model.get_parameter("1.bias").fill_(-1)
    (finding,) = judge(model)
    assert (finding.code, finding.where, finding.also[:2]) == ("dead-layer", "2", ("1", "3.conv1"))
    assert finding.units == tuple(range(20))


def test_a_finding_holds_all_units_of_which_its_text_names_some() -> None:
    model = nn.Sequential(nn.Linear(20, 1000), nn.ReLU())
    with torch.no_grad():
        model.get_parameter("0.bias")[::2] = -1000
    (finding,) = judge_activations(survey_activations(model, [torch.randn(300, 20)]))
    assert finding.evidence.endswith(" and 440 more (counted from 0)")
    assert finding.to_record()["units"] == tuple(range(0, 1000, 2))


def test_a_dead_layer_is_an_error_told_once(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("1.bias").fill_(-1000)
    (finding,) = judge(model)
    assert (finding.code, finding.severity, finding.where, finding.value) == ("dead-layer", "error", "2", 1.0)
    assert finding.message == "all 20 units of 2 are dead"
    assert finding.also == ("3.conv1", "3.relu", "3.conv2", "3.relu()", "6", "7", "8", "9")


def test_an_output_that_does_not_depend_on_the_input_is_an_error(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("6.weight").zero_()
    (finding,) = judge(model)
    assert (finding.code, finding.severity, finding.where) == ("constant-output", "error", "6")
    assert finding.also == ("7", "8", "9")


def test_constant_units_are_told(model: nn.Sequential) -> None:
    with torch.no_grad():
        model.get_parameter("8.weight")[1] = 0
    (finding,) = judge(model)
    assert (finding.code, finding.severity, finding.where) == ("constant-units", "warning", "8")
    assert finding.also == ("9",)
    assert "1 (counted from 0)" in finding.evidence


def test_of_few_values_nothing_is_sure() -> None:
    layers = nn.Sequential(nn.Linear(3, 100), nn.ReLU())
    (finding,) = judge_activations(survey_activations(layers, [torch.randn(3, 3)]))
    assert (finding.severity, finding.value is not None and finding.value > 0.1) == ("note", True)
    assert "look at more inputs" in finding.suggestion
    assert judge_activations(survey_activations(layers, [torch.randn(900, 3)])) == []


@pytest.mark.parametrize(("gain", "expected"), [(1, []), (1000, ["7"])])
def test_saturation_is_told_but_not_of_the_output(
    model: nn.Sequential, gain: float, expected: list[str]
) -> None:
    with torch.no_grad():
        model.get_parameter("6.weight").mul_(gain)
        model.get_parameter("8.weight").mul_(gain)
    found = [finding for finding in judge(model) if finding.code == "saturated"]
    assert [finding.where for finding in found] == expected
    for finding in found:
        assert finding.severity == "warning"
        assert finding.value is not None and finding.value > 0.5
        assert "at a bound of Sigmoid" in finding.message


def test_zeros_of_a_rectifier_are_no_saturation() -> None:
    values = torch.cat([torch.full((90, 1), -1.0), torch.linspace(0, 5, 30)[:, None]])
    layers = nn.Sequential(nn.ReLU6(), nn.LeakyReLU())
    assert judge_activations(survey_activations(layers, [values])) == []
    (finding,) = judge_activations(survey_activations(layers, [10 - 5 * values]))
    assert (finding.code, finding.where) == ("saturated", "0")
    assert "% at 0," not in finding.evidence


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_what_is_not_finite_is_told_of_the_first_layer(model: nn.Sequential, value: float) -> None:
    with torch.no_grad():
        model.get_parameter("3.conv2.weight")[4, 0, 0, 0] = value
    finding = judge(model)[0]
    assert (finding.code, finding.severity, finding.where) == ("non-finite", "error", "3.conv2")
    assert finding.also[:2] == ("3.relu()", "6")
    assert f" of its {128 * 20 * 64:,} values" in finding.evidence


def test_parameters_that_a_module_of_ones_own_gives_may_be_constant() -> None:
    class Token(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = nn.Parameter(torch.ones(1, 1, 5))

        def forward(self, batch: Tensor) -> Tensor:
            return self.token.expand(len(batch), -1, -1)

    class Adding(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.token = Token()

        def forward(self, batch: Tensor) -> Tensor:
            moved: Tensor = batch + self.token(batch)
            return moved

    survey = survey_activations(Adding(), [torch.randn(200, 3, 5)])
    assert survey.layers[0].constant == (0, 1, 2, 3, 4)
    assert judge_activations(survey) == []


@pytest.mark.parametrize(
    ("indices", "most", "text"),
    [
        ([], None, ""),
        ([4], None, "4"),
        ([0, 1, 2, 5, 7, 8], None, "0-2, 5, 7-8"),
        ([0, 1, 2, 5, 7, 8], 2, "0-2, 5 and 2 more"),
    ],
)
def test_indices_are_written_as_ranges(indices: list[int], most: int | None, text: str) -> None:
    assert index_ranges(indices, most) == text
