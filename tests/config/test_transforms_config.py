"""The steps of a pipeline as keys of the file: what each takes and refuses."""

from __future__ import annotations

from typing import Any, get_args

import pytest

from pochi_cli.config.transforms import AnyStep
from tests.config.raw import TO_TENSOR, folder, found, mistakes, valid
from tests.engine.tiny import tiny_raw

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
STEPS = {step.__name__: step for step in get_args(get_args(AnyStep)[0])}
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
            [{"name": "RandomApply", "transforms": [FLIP, {"name": "Rezise"}]}, TO_TENSOR],
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


@pytest.mark.parametrize(
    "step",
    [
        {"name": "RandomRotation", "degrees": [30.0, -30.0]},
        {"name": "RandomAffine", "degrees": [30.0, -30.0]},
        {"name": "RandomAffine", "degrees": 5, "shear": [3.0, -3.0]},
        {"name": "Pad", "padding": [1, 2, 3]},
    ],
)
def test_ranges_that_run_backwards_and_odd_paddings_are_refused(step: dict[str, object]) -> None:
    raw = tiny_raw(train_transform=[step, {"name": "ToTensor"}])
    assert [diagnostic.key[:2] for diagnostic in mistakes(raw)] == [("train_transform", 0)]
