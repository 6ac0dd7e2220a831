"""The catalogue against torchvision: names, parameters, heads, input sizes."""

from __future__ import annotations

import pytest
from torch import nn
from torchvision.models import get_model_weights, list_models

from pochi_cli.config.catalogue import (
    CATALOGUE,
    MODEL_NAMES,
    ModelName,
    parameter_counts,
    parameter_shapes,
    uses_small_stem,
)
from pochi_cli.config.model import ModelConfig
from pochi_cli.models.architectures import valueless_device
from pochi_cli.models.factory import create_model
from tests.config.write_parameters import FOLDER, build, parameter_table

every_model = pytest.mark.parametrize("model_name", MODEL_NAMES)
PUBLISHED = [name for name in MODEL_NAMES if CATALOGUE[name].has_published_weights]


def test_every_name_is_in_the_table_and_in_torchvisions_registry_unless_it_is_ours() -> None:
    assert tuple(CATALOGUE) == MODEL_NAMES
    assert set(MODEL_NAMES) - set(list_models()) == {"vgg_compact", "vit_tiny"}
    assert set(PUBLISHED) == set(MODEL_NAMES) - {"vgg_compact", "vit_tiny"}
    assert len(MODEL_NAMES) == 32


def test_there_is_one_parameter_file_for_each_model() -> None:
    assert {path.name for path in FOLDER.iterdir()} == {f"{name}.txt" for name in MODEL_NAMES}


@every_model
def test_parameter_file_is_what_is_built(model_name: ModelName) -> None:
    written = (FOLDER / f"{model_name}.txt").read_text("utf-8")
    assert written == parameter_table(model_name), "run python tests/config/write_parameters.py"


@every_model
def test_parameter_shapes_reads_names_and_shapes_in_order(model_name: ModelName) -> None:
    expected = [(name, tuple(parameter.shape)) for name, parameter in build(model_name).named_parameters()]
    assert list(parameter_shapes(model_name).items()) == expected


@every_model
def test_the_table_says_which_models_attend(model_name: ModelName) -> None:
    attends = any(
        name.endswith(("in_proj_weight", "attn.qkv.weight")) for name in parameter_shapes(model_name)
    )
    assert CATALOGUE[model_name].has_attention == attends


@every_model
def test_head_is_the_last_linear_layer(model_name: ModelName) -> None:
    linear = [name for name, module in build(model_name).named_modules() if isinstance(module, nn.Linear)]
    head = build(model_name).get_submodule(CATALOGUE[model_name].head)
    assert linear[-1] == CATALOGUE[model_name].head
    assert isinstance(head, nn.Linear)
    assert head.out_features == 1000


@pytest.mark.parametrize("model_name", PUBLISHED)
def test_input_size_is_that_of_the_weights_that_are_loaded(model_name: ModelName) -> None:
    assert get_model_weights(model_name).DEFAULT.transforms().crop_size == [CATALOGUE[model_name].input_size]


@every_model
def test_patch_size_is_the_models_own(model_name: ModelName) -> None:
    # Swin has a `patch_size` too, but it pads: only Vision Transformers restrict the input.
    expected = getattr(build(model_name), "patch_size", None)
    assert CATALOGUE[model_name].patch_size == expected


@every_model
@pytest.mark.parametrize("size", [(224, 224), (64, 64)])
def test_parameter_count_equals_the_built_models(model_name: ModelName, size: tuple[int, int]) -> None:
    with valueless_device(model_name):
        built = create_model(ModelConfig(model_name=model_name, pretrained=False), 7, size)
    assert built.small_stem == uses_small_stem(model_name, "auto", size)
    expected = sum(parameter.numel() for parameter in built.model.parameters())
    counts = parameter_counts(model_name, 7, small_stem=built.small_stem, edge=size[0])
    assert sum(counts.values()) == expected


def test_the_compact_vgg_has_the_parameters_of_its_recipe() -> None:
    assert sum(parameter_counts("vgg_compact", 10).values()) == 8_382_026


def test_only_resnets_have_a_small_stem() -> None:
    with_stem = {name for name, info in CATALOGUE.items() if info.has_small_stem}
    assert with_stem == {name for name in MODEL_NAMES if name.startswith("resnet")}
    assert uses_small_stem("resnet18", "auto", (64, 64))
    assert not uses_small_stem("resnet18", "auto", (65, 32))
    assert not uses_small_stem("resnet18", "imagenet", (32, 32))
    assert uses_small_stem("resnet18", "small", (224, 224))
    assert not uses_small_stem("vgg11", "auto", (32, 32))
