"""What is known of sizes without the images: crops too large for their input, models on patches."""

from __future__ import annotations

from typing import Any

import pytest

from pochi_cli.config.image_sizes import check_sizes
from pochi_cli.config.load import check, validate
from pochi_cli.errors import Diagnostic, format_key
from tests.config.raw import TO_TENSOR, folder
from tests.engine.tiny import classifier

SMALL = {"name": "Resize", "size": [16, 16]}
CROP = {"name": "RandomCrop", "size": 32}
BLUR = {"name": "GaussianBlur", "kernel_size": 33}


def config(*steps: dict[str, Any], **keys: Any) -> dict[str, Any]:
    return folder(train_transform=[*steps, TO_TENSOR], **keys)


def broken(raw: dict[str, Any]) -> list[Diagnostic]:
    return [diagnostic for diagnostic in check(raw).diagnostics if diagnostic.severity == "error"]


def test_a_crop_of_what_was_made_smaller() -> None:
    (diagnostic,) = broken(config({"name": "RandomHorizontalFlip"}, SMALL, CROP))
    assert (diagnostic.code, diagnostic.severity) == ("image-too-small", "error")
    assert format_key(diagnostic.key) == "train_transform[2]"
    assert diagnostic.message == (
        "RandomCrop in train_transform needs images of at least 32 x 32 px, but gets 16 x 16 px"
    )


@pytest.mark.parametrize(
    "steps",
    [
        [CROP],  # the images may be large
        [SMALL, {**CROP, "pad_if_needed": True}],
        [SMALL, {**CROP, "padding": 8}],
        [SMALL, {"name": "Pad", "padding": 8}, CROP],
        [SMALL, {"name": "RandomApply", "transforms": [CROP], "p": 0}],
        [{"name": "RandomRotation", "degrees": 5, "expand": True}, CROP],
    ],
    ids=str,
)
def test_what_may_be_right_is_not_told(steps: list[dict[str, Any]]) -> None:
    assert broken(config(*steps)) == []


@pytest.mark.parametrize(
    ("step", "names"),
    [
        ({"name": "RandomApply", "transforms": [CROP, BLUR]}, ["RandomCrop"]),  # the blur gets the crop
        ({"name": "RandomChoice", "transforms": [CROP, BLUR]}, ["RandomCrop", "GaussianBlur"]),
        ({"name": "RandomOrder", "transforms": [CROP, BLUR]}, ["RandomCrop", "GaussianBlur"]),
        (
            {"name": "RandomApply", "transforms": [{"name": "RandomApply", "transforms": [CROP]}]},
            ["RandomCrop"],
        ),
    ],
    ids=str,
)
def test_nested_steps(step: dict[str, Any], names: list[str]) -> None:
    found = broken(config(SMALL, step))
    assert [diagnostic.message.partition(" ")[0] for diagnostic in found] == names
    assert {format_key(diagnostic.key) for diagnostic in found} == {"train_transform[1]"}


def test_the_size_of_named_data_is_known() -> None:
    raw = folder(dataset="digits", train_transform=[TO_TENSOR], val_transform=[CROP, TO_TENSOR])
    del raw["train_data_root"]
    (diagnostic,) = broken(raw)
    assert format_key(diagnostic.key) == "val_transform[0]"
    assert diagnostic.message.endswith("but gets 8 x 8 px")


def test_the_size_of_published_data_is_known() -> None:
    large = {"name": "RandomCrop", "size": 33}
    raw = folder(dataset="cifar10", train_transform=[large, TO_TENSOR], val_transform=[TO_TENSOR])
    (diagnostic,) = broken(raw)
    assert (diagnostic.code, format_key(diagnostic.key)) == ("image-too-small", "train_transform[0]")
    assert broken({**raw, "train_transform": [TO_TENSOR], "model_name": "vit_tiny"}) == []
    (diagnostic,) = broken(
        {**raw, "train_transform": [TO_TENSOR], "model_name": "vit_b_32", "dataset": "mnist"}
    )
    assert "vit_b_32 cannot take images of 28x28" in diagnostic.message


def test_a_given_size() -> None:
    steps = classifier(validate(config(CROP))).train_transform
    assert list(check_sizes(steps, "train_transform", (32, 32))) == []
    (diagnostic,) = check_sizes(steps, "train_transform", (500, 1))
    assert "gets 500 x 1 px" in diagnostic.message


def patches(train: list[int], val: list[int] | None, **keys: Any) -> dict[str, Any]:
    if val is not None:
        keys["val_transform"] = [{"name": "Resize", "size": val}, TO_TENSOR]
    return config({"name": "Resize", "size": train}, **{"model_name": "vit_b_16", "val_split": 0.2} | keys)


def test_a_model_on_patches_takes_one_size() -> None:
    (diagnostic,) = broken(patches([32, 32], [64, 64]))
    assert (diagnostic.code, diagnostic.key) == ("conflict", ("val_transform",))
    assert diagnostic.message == (
        "val_transform makes images of 64x64, train_transform of 32x32: vit_b_16 takes one size only"
    )
    assert [note.key for note in diagnostic.notes] == [("train_transform",), ("model_name",)]
    assert broken(patches([32, 32], [32, 32])) == []
    assert broken(patches([32, 32], [64, 64], model_name="resnet18")) == []
    assert broken(patches([32, 33], [64, 64], model_name="swin_t")) == []


def test_the_tiny_transformer_takes_small_images_in_patches_of_4_px() -> None:
    for size in ([32, 32], [28, 28], [64, 64]):
        assert broken(patches(size, size, model_name="vit_tiny")) == []
    (diagnostic,) = broken(patches([30, 30], [30, 30], model_name="vit_tiny"))
    assert (diagnostic.code, diagnostic.key) == ("conflict", ("train_transform",))
    assert diagnostic.help == "resize or crop them to 28x28 or 32x32"


@pytest.mark.parametrize("size", [[32, 48], [8, 8], [40, 40]])
def test_a_model_on_patches_needs_squares_of_them(size: list[int]) -> None:
    (diagnostic,) = broken(patches(size, size))
    assert (diagnostic.code, diagnostic.key) == ("conflict", ("train_transform",))
    assert "multiple of its patches' 16 px" in diagnostic.message
    assert str(diagnostic.help).startswith("resize or crop them to ")
