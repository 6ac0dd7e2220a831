from __future__ import annotations

import inspect
import pickle
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import TypeAdapter
from torchvision.transforms import v2

from pochi_cli.config.data import IMAGENET_MEAN, IMAGENET_STD
from pochi_cli.config.steps.nested import AnyStep, Pipeline, final_size
from pochi_cli.data.transforms import ImagePipeline, StepError, build_pipeline
from pochi_cli.errors import DataError

TO_TENSOR = {"name": "ToTensor"}
RAW = Image.fromarray(np.random.default_rng(0).integers(0, 256, (23, 37, 3), np.uint8))

# One example of every step, with each kind of argument somewhere.
BEFORE: list[dict[str, Any]] = [
    {"name": "Resize", "size": 12},
    {"name": "Resize", "size": [9, 14], "interpolation": "bicubic"},
    {"name": "Resize", "size": 12, "max_size": 15},
    {"name": "Resize", "size": 12, "antialias": False},
    {"name": "CenterCrop", "size": 40},
    {"name": "RandomCrop", "size": [11, 12], "padding": 2, "padding_mode": "reflect"},
    {"name": "RandomCrop", "size": 50, "pad_if_needed": True, "fill": 7},
    {"name": "RandomResizedCrop", "size": 16},
    {"name": "RandomResizedCrop", "size": [8, 9], "antialias": False, "interpolation": "nearest"},
    {"name": "RandomCrop", "size": 16, "padding": [4, 2]},
    {"name": "RandomCrop", "size": 16, "padding": [1, 2, 3, 4]},
    {"name": "Pad", "padding": [5, 2]},
    {"name": "Pad", "padding": 3, "fill": 9},
    {"name": "Pad", "padding": [1, 2, 3, 4], "padding_mode": "edge"},
    {"name": "Letterbox", "size": 20, "fill": 128},
    {"name": "Letterbox", "size": [30, 10]},
    {"name": "RandomHorizontalFlip"},
    {"name": "RandomVerticalFlip", "p": 1.0},
    {"name": "RandomRotation", "degrees": 30, "fill": 5},
    {"name": "RandomRotation", "degrees": [-5.0, 90.0], "expand": True, "interpolation": "bilinear"},
    {"name": "RandomAffine",
     "degrees": 10, "translate": [0.1, 0.2], "scale": [0.8, 1.2], "shear": [-3.0, 3.0]},
    {"name": "RandomPerspective", "p": 1.0, "fill": 200},
    {"name": "ColorJitter", "brightness": 0.4, "contrast": [0.5, 1.5], "saturation": 0.4, "hue": 0.1},
    {"name": "Grayscale"},
    {"name": "RandomGrayscale", "p": 1.0},
    {"name": "GaussianBlur", "kernel_size": [3, 5], "sigma": 0.5},
    {"name": "RandomInvert"},
    {"name": "RandomPosterize", "bits": 3, "p": 1.0},
    {"name": "RandomSolarize", "threshold": 100.0, "p": 1.0},
    {"name": "RandomAdjustSharpness", "sharpness_factor": 2.0, "p": 1.0},
    {"name": "RandomAutocontrast", "p": 1.0},
    {"name": "RandomEqualize", "p": 1.0},
    {"name": "AutoAugment", "policy": "cifar10"},
    {"name": "AutoAugment", "policy": "svhn", "interpolation": "bilinear"},
    {"name": "RandAugment"},
    {"name": "TrivialAugmentWide"},
    {"name": "AugMix"},
    {"name": "RandomApply",
     "transforms": [{"name": "ColorJitter", "brightness": 0.2}, {"name": "Grayscale"}]},
    {"name": "RandomApply", "transforms": [{"name": "CenterCrop", "size": 5}], "p": 1.0},
    {"name": "RandomApply", "transforms": [{"name": "CenterCrop", "size": 5}], "p": 0.0},
    {"name": "RandomApply", "transforms": [{"name": "Resize", "size": 9, "antialias": False}]},
    {"name": "RandomChoice",
     "transforms": [{"name": "CenterCrop", "size": 5}, {"name": "Resize", "size": [5, 5]}]},
    {"name": "RandomChoice",
     "transforms": [{"name": "Grayscale"}, {"name": "CenterCrop", "size": 5}], "p": [1.0, 2.0]},
    {"name": "RandomOrder",
     "transforms": [{"name": "Pad", "padding": 4}, {"name": "CenterCrop", "size": 23}]},
    {"name": "RandomOrder",
     "transforms": [{"name": "RandomHorizontalFlip"}, {"name": "Resize", "size": [8, 8]}]},
]  # fmt: skip
BEHIND: list[dict[str, Any]] = [
    {"name": "Normalize"},
    {"name": "RandomErasing", "p": 1.0},
    {"name": "RandomErasing", "p": 1.0, "value": "random"},
]
ids = [f"{i}-{step['name']}" for i, step in enumerate(BEFORE)]


def parse(*steps: dict[str, Any]) -> Pipeline:
    pipeline: Pipeline = TypeAdapter(Pipeline).validate_python(steps)
    return pipeline


def build(*steps: dict[str, Any]) -> ImagePipeline:
    return build_pipeline(parse(*steps), IMAGENET_MEAN, IMAGENET_STD)


def image_of(size: tuple[int, int]) -> Image.Image:
    return RAW.resize((size[1], size[0]))


def step_models() -> list[Any]:
    return list(get_args(get_args(AnyStep)[0]))


def test_every_step_has_an_example() -> None:
    shown = {step["name"] for step in BEFORE + BEHIND + [TO_TENSOR]}
    assert shown == {model.__name__ for model in step_models()}
    assert len(shown) == 31


def check_output(tensor: torch.Tensor, size: tuple[int, int] | None) -> None:
    assert type(tensor) is torch.Tensor
    assert tensor.dtype == torch.float32
    assert tensor.shape[0] == 3
    assert tensor.is_contiguous()
    assert torch.isfinite(tensor).all()
    if size is not None:
        assert tuple(tensor.shape[1:]) == size


@pytest.mark.parametrize("step", BEFORE, ids=ids)
@pytest.mark.parametrize("size", [(23, 37), (64, 48), (20, 20), (31, 31)])
def test_step_on_images(step: dict[str, Any], size: tuple[int, int]) -> None:
    pipeline = build(step, TO_TENSOR)
    predicted = final_size(parse(step, TO_TENSOR), size)
    always = final_size(parse(step, TO_TENSOR))
    assert always in (None, predicted)
    for _ in range(3):
        tensor = pipeline(image_of(size))
        check_output(tensor, predicted)
        assert 0 <= tensor.min() <= tensor.max() <= 1
    pickle.loads(pickle.dumps(pipeline))(image_of(size))


@pytest.mark.parametrize("step", BEFORE, ids=ids)
def test_step_on_tensors(step: dict[str, Any]) -> None:
    pipeline = build(TO_TENSOR, step)
    for _ in range(3):
        tensor = pipeline(RAW)
        check_output(tensor, final_size(parse(TO_TENSOR, step), (23, 37)))
        assert -1e-6 <= tensor.min() <= tensor.max() <= 1 + 1e-6


@pytest.mark.parametrize("step", BEHIND, ids=str)
def test_step_that_needs_tensors(step: dict[str, Any]) -> None:
    check_output(build(TO_TENSOR, step)(RAW), (23, 37))


@settings(max_examples=150, deadline=None)
@given(
    size=st.tuples(st.integers(3, 70), st.integers(3, 70)),
    edge=st.integers(1, 40),
    more=st.integers(1, 30),
    limit=st.booleans(),
    nested=st.booleans(),
)
def test_resize_has_the_size_foretold(
    size: tuple[int, int], edge: int, more: int, limit: bool, nested: bool
) -> None:
    step: dict[str, Any] = {"name": "Resize", "size": edge, **({"max_size": edge + more} if limit else {})}
    steps = ({"name": "RandomApply", "transforms": [step], "p": 1.0} if nested else step, TO_TENSOR)
    predicted = final_size(parse(*steps), size)
    assert predicted is not None
    if min(predicted) > 0:
        assert tuple(build(*steps)(image_of(size)).shape[1:]) == predicted


@settings(max_examples=60, deadline=None)
@given(
    size=st.tuples(st.integers(10, 40), st.integers(10, 40)),
    steps=st.lists(st.sampled_from(BEFORE), min_size=1, max_size=3),
    seed=st.integers(0, 1000),
    container=st.sampled_from(["RandomApply", "RandomChoice", "RandomOrder", None]),
)
def test_pipelines_have_the_size_foretold(
    size: tuple[int, int], steps: list[dict[str, Any]], seed: int, container: str | None
) -> None:
    head = steps if container is None else [{"name": container, "transforms": steps}]
    predicted = final_size(parse(*head, TO_TENSOR), size)
    torch.manual_seed(seed)
    pipeline = build(*head, TO_TENSOR)
    try:
        tensors = [pipeline(image_of(size)) for _ in range(4)]
    except StepError:
        return  # a crop larger than the image, a reflection wider than it
    for tensor in tensors:
        check_output(tensor, predicted)


# Ours on purpose: torchvision's default loses the colour channels, or stands for no jitter (0) as None.
DELIBERATE = {("ColorJitter", name) for name in ("brightness", "contrast", "saturation", "hue")}
# Arguments of torchvision that are no keys of ours.
LEFT_OUT = {
    *((name, "inplace") for name in ("Normalize", "RandomErasing")),
    *((name, "center") for name in ("RandomRotation", "RandomAffine")),
    *((name, "fill") for name in ("AutoAugment", "RandAugment", "TrivialAugmentWide", "AugMix")),
    ("Grayscale", "num_output_channels"),
}
OURS = {"ToTensor", "Letterbox"}


@pytest.mark.parametrize(
    "model", [m for m in step_models() if m.__name__ not in OURS], ids=lambda m: m.__name__
)
def test_defaults_are_torchvisions(model: Any) -> None:
    theirs = inspect.signature(getattr(v2, model.__name__)).parameters
    ours = {name: field for name, field in model.model_fields.items() if name != "name"}
    assert set(ours) | {name for step, name in LEFT_OUT if step == model.__name__} == set(theirs)
    for name, field in ours.items():
        if (model.__name__, name) in DELIBERATE or model.__name__ == "Normalize":
            continue
        expected = theirs[name].default
        if field.is_required():
            assert expected is inspect.Parameter.empty
            continue
        # Older torchvision has an enum where newer has its word.
        expected = getattr(expected, "value", expected)
        assert field.default == expected, name


def test_to_tensor_and_normalize() -> None:
    pixels = torch.from_numpy(np.asarray(RAW).copy()).permute(2, 0, 1)
    torch.testing.assert_close(build(TO_TENSOR)(RAW), pixels / 255)
    mean, std = (torch.tensor(values)[:, None, None] for values in (IMAGENET_MEAN, IMAGENET_STD))
    torch.testing.assert_close(build(TO_TENSOR, {"name": "Normalize"})(RAW), (pixels / 255 - mean) / std)
    own = {"name": "Normalize", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    torch.testing.assert_close(build(TO_TENSOR, own)(RAW), (pixels / 255 - 0.5) / 0.25)


@pytest.mark.parametrize(
    "step",
    [
        {"name": "RandomSolarize", "threshold": 100.0, "p": 1.0},
        {"name": "Pad", "padding": 3, "fill": 200},
        {"name": "RandomCrop", "size": 60, "pad_if_needed": True, "fill": 51},
        {"name": "Letterbox", "size": [23, 50], "fill": 128},
        {"name": "RandomApply", "transforms": [{"name": "Pad", "padding": 3, "fill": 200}], "p": 1.0},
        {"name": "RandomRotation", "degrees": [90.0, 90.0], "fill": 77, "expand": False},
        {"name": "RandomPosterize", "bits": 3, "p": 1.0},
        {"name": "RandomInvert", "p": 1.0},
        {"name": "RandomHorizontalFlip", "p": 1.0},
    ],
    ids=str,
)
def test_pixel_values_mean_the_same_on_both_sides_of_to_tensor(step: dict[str, Any]) -> None:
    results = []
    for steps in ((step, TO_TENSOR), (TO_TENSOR, step)):
        torch.manual_seed(0)
        results.append(build(*steps)(RAW))
    # Posterized bytes keep their high bits; a float in [0, 1] has 255 steps rather than 256.
    torch.testing.assert_close(*results, atol=0.005, rtol=0)


@pytest.mark.parametrize("tensor_first", [False, True])
@pytest.mark.parametrize("size", [(10, 30), (30, 10), (7, 7), (1, 200)])
def test_letterbox_keeps_the_aspect_ratio(size: tuple[int, int], tensor_first: bool) -> None:
    letterbox = {"name": "Letterbox", "size": [20, 21], "fill": 255}
    steps = (TO_TENSOR, letterbox) if tensor_first else (letterbox, TO_TENSOR)
    tensor = build(*steps)(Image.new("RGB", (size[1], size[0]), "black"))
    scale = min(20 / size[0], 21 / size[1])
    height, width = (max(1, round(edge * scale)) for edge in size)
    top, left = (20 - height) // 2, (21 - width) // 2
    expected = torch.ones(3, 20, 21)
    expected[:, top : top + height, left : left + width] = 0
    torch.testing.assert_close(tensor, expected)


def test_gray_keeps_three_channels() -> None:
    for step in ({"name": "Grayscale"}, {"name": "RandomGrayscale", "p": 1.0}):
        red, green, blue = build(step, TO_TENSOR)(RAW)
        assert torch.equal(red, green)
        assert torch.equal(red, blue)


def test_antialias_can_be_left_out_before_to_tensor() -> None:
    step = {"name": "Resize", "size": [6, 6]}
    smooth, rough = (build({**step, "antialias": on}, TO_TENSOR)(RAW) for on in (True, False))
    wanted = build(TO_TENSOR, {**step, "antialias": False})(RAW)
    torch.testing.assert_close(rough, wanted, atol=0.005, rtol=0)
    assert (smooth - wanted).abs().max() > 0.05


def test_random_pipelines_know_it() -> None:
    assert not build({"name": "Resize", "size": 8}, TO_TENSOR, {"name": "Normalize"}).is_random
    assert build({"name": "RandomHorizontalFlip"}, TO_TENSOR).is_random
    assert build({"name": "RandomApply", "transforms": [{"name": "Grayscale"}]}, TO_TENSOR).is_random


def test_to_tensor_is_needed_and_not_nested() -> None:
    with pytest.raises(DataError, match="no ToTensor"):
        build({"name": "Grayscale"})
    with pytest.raises(DataError, match="ToTensor must be a step of its own"):
        build({"name": "RandomApply", "transforms": [TO_TENSOR]})


def test_normalize_is_torchvisions_and_its_numbers_stay_on_the_device(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    mean, std = (0.11, 0.22, 0.33), (0.44, 0.55, 0.66)
    pipeline = build_pipeline(parse(TO_TENSOR, {"name": "Normalize"}), mean, std)
    pixels = torch.randint(0, 256, (2, 3, 4, 5), dtype=torch.uint8)
    with torch.inference_mode():  # the validation may come first
        found = pipeline.finish(pixels)
    expected = v2.Normalize(list(mean), list(std))(pixels.float() / 255)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-6)
    made = []
    monkeypatch.setattr(torch, "tensor", lambda *given, **_: made.append(given))
    assert torch.equal(pickle.loads(pickle.dumps(pipeline)).finish(pixels), found)
    assert made == []
    images = (pixels.float() / 255).requires_grad_()
    pipeline.steps[-1].transform(images).sum().backward()
    assert images.grad is not None
    torch.testing.assert_close(images.grad[0, :, 0, 0], 1 / torch.as_tensor(std))
