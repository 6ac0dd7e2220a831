"""The steps of a pipeline as keys of the file: what each takes and refuses."""

from __future__ import annotations

from typing import Any

import pytest

from pochi_cli.config.steps.nested import STEPS
from pochi_cli.errors import format_key
from tests.config.raw import TO_TENSOR, folder, found, mistakes, valid

FLIP = {"name": "RandomHorizontalFlip"}

# The required arguments of each step.
REQUIRED: dict[str, dict[str, Any]] = {
    "Resize": {"size": 8},
    "CenterCrop": {"size": 8},
    "RandomCrop": {"size": 8},
    "RandomResizedCrop": {"size": 8},
    "Letterbox": {"size": 8},
    "Pad": {"padding": 1},
    "RandomRotation": {"degrees": 10},
    "RandomAffine": {"degrees": 10},
    "GaussianBlur": {"kernel_size": 3},
    "RandomPosterize": {"bits": 4},
    "RandomSolarize": {"threshold": 128},
    "RandomAdjustSharpness": {"sharpness_factor": 2},
    "RandomApply": {"transforms": [FLIP]},
    "RandomChoice": {"transforms": [FLIP]},
    "RandomOrder": {"transforms": [FLIP]},
}
NAMES = sorted(STEPS.keys() - {"ToTensor"})


def pipeline(name: str, **arguments: Any) -> dict[str, Any]:
    """A config whose train_transform[1] is this step."""
    step = {"name": name, **REQUIRED.get(name, {}), **arguments}
    needs_tensor = name in ("Normalize", "RandomErasing")
    steps = [TO_TENSOR, step] if needs_tensor else [FLIP, step, TO_TENSOR]
    return folder(train_transform=steps)


@pytest.mark.parametrize("name", NAMES)
def test_each_step_with_only_what_it_requires(name: str) -> None:
    assert valid(**pipeline(name)).train_transform[1].name == name


@pytest.mark.parametrize(
    ("name", "argument"), [(name, key) for name, needs in REQUIRED.items() for key in needs]
)
def test_each_required_argument(name: str, argument: str) -> None:
    raw = pipeline(name)
    del raw["train_transform"][1][argument]
    assert found(raw) == {("missing-key", f"train_transform[1].{argument}")}


@pytest.mark.parametrize("name", NAMES)
def test_no_other_argument_is_required(name: str) -> None:
    required = {key for key, field in STEPS[name].model_fields.items() if field.is_required()}
    assert required == {"name", *REQUIRED.get(name, {})}


@pytest.mark.parametrize("name", NAMES)
def test_each_step_refuses_unknown_arguments(name: str) -> None:
    assert found(pipeline(name, inplace=True)) == {("unknown-key", "train_transform[1].inplace")}


@pytest.mark.parametrize("name", [name for name in NAMES if STEPS[name].model_fields.keys() > {"name"}])
def test_no_argument_is_coerced(name: str) -> None:
    for argument in STEPS[name].model_fields.keys() - {"name"}:
        ((code, key),) = found(pipeline(name, **{argument: {"a": 1}}))
        assert (code, key) == ("wrong-type", f"train_transform[1].{argument}")


@pytest.mark.parametrize("p", [-0.1, 1.1, float("nan")])
@pytest.mark.parametrize(
    "name", [name for name in NAMES if "p" in STEPS[name].model_fields and name != "RandomChoice"]
)
def test_probabilities(name: str, p: float) -> None:
    assert found(pipeline(name, p=p)) == {("out-of-range", "train_transform[1].p")}
    valid(**pipeline(name, p=0))
    valid(**pipeline(name, p=1.0))


@pytest.mark.parametrize("size", [8, [8, 9]])
@pytest.mark.parametrize("name", [name for name, needs in REQUIRED.items() if "size" in needs])
def test_sizes(name: str, size: Any) -> None:
    valid(**pipeline(name, size=size))


@pytest.mark.parametrize("size", [0, -1, [], [8], [8, 8, 8]])
@pytest.mark.parametrize("name", [name for name, needs in REQUIRED.items() if "size" in needs])
def test_impossible_sizes(name: str, size: Any) -> None:
    assert found(pipeline(name, size=size)) == {("out-of-range", "train_transform[1].size")}


@pytest.mark.parametrize("size", [True, "8", 8.0])
@pytest.mark.parametrize("name", [name for name, needs in REQUIRED.items() if "size" in needs])
def test_sizes_are_whole_numbers(name: str, size: Any) -> None:
    assert found(pipeline(name, size=size)) == {("wrong-type", "train_transform[1].size")}


@pytest.mark.parametrize(
    ("steps", "mistake"),
    [
        ([], ("out-of-range", "train_transform")),
        ("ToTensor", ("wrong-type", "train_transform")),
        ({"name": "ToTensor"}, ("wrong-type", "train_transform")),
        (["ToTensor"], ("wrong-type", "train_transform[0]")),
        ([[TO_TENSOR]], ("wrong-type", "train_transform[0]")),
        ([{}], ("missing-key", "train_transform[0].name")),
        ([{"size": 3}], ("missing-key", "train_transform[0].name")),
        ([{"name": 3}], ("wrong-type", "train_transform[0].name")),
        ([{"name": "totensor"}], ("unknown-value", "train_transform[0].name")),
        ([{"name": "list"}], ("unknown-value", "train_transform[0].name")),
        ([{"name": "number"}], ("unknown-value", "train_transform[0].name")),
        (
            [{"name": "Resize", "size": 3, "Resize": 1}, TO_TENSOR],
            ("unknown-key", "train_transform[0].Resize"),
        ),
        (
            [{"name": "RandomApply", "transforms": [FLIP, {"name": "Resize"}]}, TO_TENSOR],
            ("missing-key", "train_transform[0].transforms[1].size"),
        ),
        (
            [{"name": "RandomApply", "transforms": [FLIP, {"name": "Rezise", "size": 3}]}, TO_TENSOR],
            ("unknown-value", "train_transform[0].transforms[1].name"),
        ),
        (
            [{"name": "RandomApply", "transforms": []}, TO_TENSOR],
            ("out-of-range", "train_transform[0].transforms"),
        ),
    ],
)
def test_the_form_of_a_pipeline(steps: Any, mistake: tuple[str, str]) -> None:
    assert found(folder(train_transform=steps)) == {mistake}


ORDER = "must be [smaller, larger], not"


@pytest.mark.parametrize(
    ("name", "arguments", "where", "message"),
    [
        ("RandomRotation", {"degrees": [30.0, -30.0]}, "degrees", f"{ORDER} [30.0, -30.0]"),
        ("RandomAffine", {"degrees": [3, -3]}, "degrees", f"{ORDER} [3.0, -3.0]"),
        ("RandomAffine", {"shear": [3.0, -3.0]}, "shear", f"{ORDER} [3.0, -3.0]"),
        ("RandomAffine", {"scale": [1.5, 0.5]}, "scale", f"{ORDER} [1.5, 0.5]"),
        ("RandomResizedCrop", {"scale": [1.0, 0.5]}, "scale", f"{ORDER} [1.0, 0.5]"),
        ("RandomResizedCrop", {"ratio": [1.0, 0.5]}, "ratio", f"{ORDER} [1.0, 0.5]"),
        ("RandomErasing", {"scale": [1.0, 0.5]}, "scale", f"{ORDER} [1.0, 0.5]"),
        ("RandomErasing", {"ratio": [1.0, 0.5]}, "ratio", f"{ORDER} [1.0, 0.5]"),
        ("ColorJitter", {"brightness": [1.0, 0.5]}, "brightness", f"{ORDER} [1.0, 0.5]"),
        ("ColorJitter", {"contrast": [1.0, 0.5]}, "contrast", f"{ORDER} [1.0, 0.5]"),
        ("ColorJitter", {"saturation": [1.0, 0.5]}, "saturation", f"{ORDER} [1.0, 0.5]"),
        ("ColorJitter", {"hue": [0.1, -0.1]}, "hue", f"{ORDER} [0.1, -0.1]"),
        ("GaussianBlur", {"sigma": [2.0, 0.1]}, "sigma", f"{ORDER} [2.0, 0.1]"),
        ("GaussianBlur", {"kernel_size": 4}, "kernel_size", "must be odd, not 4"),
        ("GaussianBlur", {"kernel_size": [3, 4]}, "kernel_size[1]", "must be odd, not 4"),
        ("Pad", {"padding": [1, 2, 3]}, "padding", "must have 2 or 4 entries, not 3: [1, 2, 3]"),
        ("RandomCrop", {"padding": []}, "padding", "must have 2 or 4 entries, not 0: []"),
        ("Resize", {"max_size": 8}, "max_size", "must be above size, which is 8, not 8"),
        ("Resize", {"size": [8, 8], "max_size": 9}, "max_size", "9 needs a size of one number, not [8, 8]"),
        (
            "RandAugment",
            {"magnitude": 31},
            "magnitude",
            "must be below num_magnitude_bins, which is 31, not 31",
        ),
        (
            "RandAugment",
            {"magnitude": 5, "num_magnitude_bins": 5},
            "magnitude",
            "must be below num_magnitude_bins, which is 5, not 5",
        ),
        (
            "RandAugment",
            {"num_magnitude_bins": 5},
            "num_magnitude_bins",
            "must be above magnitude, which is 9, not 5",
        ),
        (
            "RandomChoice",
            {"p": [0.5, 1]},
            "p",
            "must have one number per step (1), not [0.5, 1.0]",
        ),
        ("RandomChoice", {"p": [0.0]}, "p", "must have a number above 0, not [0.0]"),
    ],
)
def test_arguments_that_do_not_go_together(
    name: str, arguments: dict[str, Any], where: str, message: str
) -> None:
    (diagnostic,) = mistakes(pipeline(name, **arguments))
    key = f"train_transform[1].{where}"
    assert (diagnostic.code, format_key(diagnostic.key)) == ("out-of-range", key)
    assert diagnostic.message == f"{key}: {message}"


def test_a_nested_argument_is_told_exactly() -> None:
    raw = pipeline("RandomApply", transforms=[FLIP, {"name": "GaussianBlur", "kernel_size": 2}])
    assert found(raw) == {("out-of-range", "train_transform[1].transforms[1].kernel_size")}


@pytest.mark.parametrize("std", [[0.5, 0.5, 0.0], [0.5, 0.5, -1]])
def test_standard_deviations_are_above_0(std: list[float]) -> None:
    assert found(pipeline("Normalize", std=std)) == {("out-of-range", "train_transform[1].std[2]")}


@pytest.mark.parametrize(
    ("arguments", "where"),
    [
        ({"size": 0, "max_size": 8}, "size"),
        ({"size": "8", "max_size": 8}, "size"),
    ],
)
def test_an_invalid_argument_is_not_held_against_another(arguments: dict[str, Any], where: str) -> None:
    ((_, key),) = found(pipeline("Resize", **arguments))
    assert key == f"train_transform[1].{where}"
