"""Blocks of every model in the catalogue."""

from __future__ import annotations

import pytest

from pochi_cli.config.catalogue import CATALOGUE, ModelName, parameter_shapes
from pochi_cli.models.blocks import blocks_of

RESNET = ["conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"]
VGG = [*(f"stage{number}" for number in range(1, 6)), "classifier.0", "classifier.3", "classifier.6"]


def transformer(layers: int) -> list[str]:
    encoder = [f"encoder_layer_{number}" for number in range(layers)]
    return ["class_token", "conv_proj", "pos_embedding", *encoder, "ln", "heads"]


def features(last: int, *head: str) -> list[str]:
    return [*(f"features.{number}" for number in range(last + 1)), *head]


EXPECTED: dict[str, list[str]] = {
    **dict.fromkeys(["resnet18", "resnet34", "resnet50", "resnet101", "resnet152"], RESNET),
    **dict.fromkeys([f"vgg{size}{norm}" for size in (11, 13, 16, 19) for norm in ("", "_bn")], VGG),
    "vgg_compact": ["stage1", "stage2", "stage3", "stage4", "classifier.0", "classifier.3"],
    "vit_tiny": transformer(6),
    **dict.fromkeys(["vit_b_16", "vit_b_32"], transformer(12)),
    "vit_l_16": transformer(24),
    "swin_t": features(7, "norm", "head"),
    **dict.fromkeys(
        ["convnext_tiny", "convnext_small", "convnext_base"], features(7, "classifier.0", "classifier.2")
    ),
    **dict.fromkeys([f"efficientnet_b{number}" for number in range(5)], features(8, "classifier.1")),
    "efficientnet_v2_s": features(7, "classifier.1"),
    "mobilenet_v3_small": features(12, "classifier.0", "classifier.3"),
    "mobilenet_v3_large": features(16, "classifier.0", "classifier.3"),
    "densenet121": [
        "features.conv0",
        "features.norm0",
        *(f"features.{kind}{n}" for n in (1, 2, 3) for kind in ("denseblock", "transition")),
        "features.denseblock4",
        "features.norm5",
        "classifier",
    ],
    "regnet_y_400mf": ["stem", "block1", "block2", "block3", "block4", "fc"],
}


def test_every_model_is_tested_here() -> None:
    assert set(EXPECTED) == set(CATALOGUE)


@pytest.mark.parametrize("model", EXPECTED)
def test_blocks(model: str) -> None:
    assert list(dict.fromkeys(blocks_of(list(parameter_shapes(model))).values())) == EXPECTED[model]


@pytest.mark.parametrize("model", EXPECTED)
def test_the_head_is_a_block_of_its_own(model: ModelName) -> None:
    head = f"{CATALOGUE[model].head}."
    blocks = blocks_of(list(parameter_shapes(model)))
    of_the_head = {block for name, block in blocks.items() if name.startswith(head)}
    others = {block for name, block in blocks.items() if not name.startswith(head)}
    assert len(of_the_head) == 1
    assert not of_the_head & others


@pytest.mark.parametrize(
    ("name", "stage"),
    [
        ("features.0.weight", "stage1"),
        ("features.4.bias", "stage1"),
        ("features.7.weight", "stage2"),
        ("features.40.weight", "stage5"),
    ],
)
def test_a_stage_of_vgg_ends_at_its_pooling(name: str, stage: str) -> None:
    assert blocks_of(list(parameter_shapes("vgg16_bn")))[name] == stage


def test_the_stages_of_the_compact_vgg() -> None:
    blocks = blocks_of(list(parameter_shapes("vgg_compact")))
    last = {name for name, block in blocks.items() if block == "stage4"}
    assert {name.rpartition(".")[0] for name in last} == {f"features.{n}" for n in (12, 13, 15, 16, 18, 19)}
    hidden = [name for name, block in blocks.items() if block == "classifier.0"]
    assert hidden == ["classifier.0.weight", "classifier.1.weight", "classifier.1.bias"]


def test_any_other_network_is_grouped_by_the_first_part_of_its_names() -> None:
    names = ["stem.weight", "body.0.weight", "body.1.weight", "scale"]
    assert list(blocks_of(names).values()) == ["stem", "body", "body", "scale"]
