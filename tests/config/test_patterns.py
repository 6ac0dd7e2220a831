"""Patterns against names of parameters."""

from __future__ import annotations

import time

import pytest

from pochi_cli.config.catalogue import ModelName, parameter_shapes
from pochi_cli.config.patterns import PatternError, assign, check_pattern, matches
from tests.config.raw import folder, mistakes


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("layer1", "layer1.0.conv1.weight", True),
        ("layer1", "layer1", True),
        ("layer1", "layer10.0.weight", False),
        ("layer1", "layer1_extra.weight", False),
        ("layer", "layer1.0.weight", False),
        ("layer1", "model.layer1.0.weight", False),
        ("layer1|layer2", "layer1.0.weight", True),
        ("layer1|layer2", "layer2.0.weight", True),
        ("layer1|layer2", "layer20.0.weight", False),
        ("layer1|layer10", "layer10.0.weight", True),
        ("layer1|layer10", "layer100.0.weight", False),
        (r"layer2\.0", "layer2.0.conv1.weight", True),
        (r"layer2\.0", "layer2.01.conv1.weight", False),
        (r"layer2\.0", "layer2x0.conv1.weight", False),
        ("layer2.0", "layer2x0.conv1.weight", True),
        (r"layer\d", "layer7.weight", True),
        (r"layer\d", "layer77.weight", False),
        (r"layer\d+", "layer77.weight", True),
        ("fc", "fc.bias", True),
        (r"fc\.bias", "fc.bias", True),
        (r"fc\.bia", "fc.bias", False),
        (r"fc\.", "fc.bias", False),
        (r".*\.bias", "layer1.0.bias", True),
        (r".*bias", "layer1.0.bias", True),
        ("(layer1)", "layer1.0", True),
        (r"(l)ayer1\.\1", "layer1.l.weight", True),
        ("(?i:LAYER1)", "layer1.0", True),
        ("layer1$", "layer1.0", False),
        ("^layer1", "layer1.0", True),
        ("", "layer1.0", False),
        ("", "", True),
        ("[[]a", "[a.b", True),  # re warns of "possible nested sets"
    ],
)
def test_matches(pattern: str, name: str, expected: bool) -> None:
    assert matches(pattern, name) is expected


def test_the_first_match_wins() -> None:
    names = ["conv1.weight", "layer1.0.conv1.weight", "layer1.1.conv1.weight", "layer10.weight", "fc.bias"]
    assert assign([r"layer1\.0", "layer1", "layer.*", "fc"], names) == {
        "conv1.weight": None,
        "layer1.0.conv1.weight": r"layer1\.0",
        "layer1.1.conv1.weight": "layer1",
        "layer10.weight": "layer.*",
        "fc.bias": "fc",
    }
    assert set(assign(iter(["layer.*", "layer1"]), iter(names)).values()) == {None, "layer.*"}
    assert assign([], ["a"]) == {"a": None}


@pytest.mark.parametrize(
    ("pattern", "said"),
    [
        ("(a", "character 1"),
        ("ab)c", "character 3"),
        ("a|b)(?:c", "character 4"),  # would be sound inside a group
        ("*a", "character 1"),
        ("a[", "character 2"),
        ("a\\", "regular expression"),
        ("(?P<a>x)(?P<a>y)", "regular expression"),
        ("a{99999999999999}", "counts too far"),
        ("(" * 5000 + ")" * 5000, "nested too deeply"),
        ("(?i)layer1", "(?i:layer1)"),
        ("(?x)layer1 # first", "(?i:layer1)"),
    ],
)
def test_what_is_no_regular_expression(pattern: str, said: str) -> None:
    with pytest.raises(PatternError) as caught:
        check_pattern(pattern, ["layer1.0"])
    assert said in str(caught.value)
    (diagnostic,) = mistakes(folder(freeze=[pattern]))
    assert (diagnostic.code, diagnostic.key) == ("wrong-type", ("freeze", 0))
    assert said in diagnostic.message


@pytest.mark.parametrize(
    "pattern",
    [
        "([a-z0-9.]+)+x",
        "(.*)*x",
        ".*.*.*.*.*.*.*.*.*x",
    ],
)
def test_a_catastrophic_pattern_does_not_hang(pattern: str) -> None:
    names = list(parameter_shapes("resnet18"))
    began = time.thread_time()
    with pytest.raises(PatternError, match="takes too long"):
        check_pattern(pattern, names)
    assert time.thread_time() - began < 5  # rather than hours
    (diagnostic,) = mistakes(folder(freeze=["fc", pattern]))
    assert (diagnostic.code, diagnostic.key) == ("wrong-type", ("freeze", 1))


@pytest.mark.parametrize(
    "pattern", [r"(\w+\.)*conv\d+", r".*\.bias", r"layer\d+(\.\d+)*", r"(?:\w+\.)+weight"]
)
@pytest.mark.parametrize("model_name", ["resnet18", "densenet121"])
def test_a_sensible_repetition_is_allowed(pattern: str, model_name: ModelName) -> None:
    check_pattern(pattern, list(parameter_shapes(model_name)))
