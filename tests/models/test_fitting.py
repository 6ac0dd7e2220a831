"""Weights meet a model: loaded, left new, or refused."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import get_model

from pochi_cli.config.catalogue import CATALOGUE, MODEL_NAMES, ModelName, parameter_shapes
from pochi_cli.errors import ModelError
from pochi_cli.models.fitting import apply_state, fit_positions
from tests.config.write_parameters import build


def resnet(num_classes: int = 4) -> nn.Module:
    model: nn.Module = get_model("resnet18", weights=None, num_classes=num_classes)
    return model


def fit(model: nn.Module, state: dict[str, Tensor], replaced: frozenset[str] = frozenset()) -> str:
    (message,) = apply_state(
        model, state, head="fc", source="backbone.pth", model_name="resnet18", replaced=replaced
    )
    return message


def refuse(model: nn.Module, state: dict[str, Tensor]) -> ModelError:
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    with pytest.raises(ModelError) as caught:
        fit(model, state)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    return caught.value


def changed(model: nn.Module, state: dict[str, Tensor]) -> set[str]:
    return {
        name
        for name, tensor in model.state_dict().items()
        if name not in state or tensor.shape != state[name].shape or not torch.equal(tensor, state[name])
    }


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    model = resnet()
    for name, buffer in model.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
    saved: dict[str, Tensor] = model.state_dict()
    return saved


def test_everything_is_loaded_when_the_head_fits(state: dict[str, Tensor]) -> None:
    model = resnet()
    assert (
        fit(model, state) == "weights: 122 of 122 tensors from backbone.pth; its head fc is kept (4 classes)"
    )
    assert changed(model, state) == set()


def test_head_of_another_shape_is_left_new(state: dict[str, Tensor]) -> None:
    model = resnet(7)
    head = model.get_parameter("fc.weight").clone()
    message = fit(model, state)
    assert (
        message == "weights: 120 of 122 tensors from backbone.pth; new head fc (7 classes, the file's has 4)"
    )
    assert changed(model, state) == {"fc.weight", "fc.bias"}
    assert torch.equal(model.get_parameter("fc.weight"), head)


def test_absent_or_partial_head_is_left_new(state: dict[str, Tensor]) -> None:
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert fit(resnet(), headless).endswith(
        "120 of 122 tensors from backbone.pth; new head fc (4 classes, the file has none)"
    )
    model = resnet()
    assert "120 of 122" in fit(model, {**headless, "fc.weight": state["fc.weight"]})
    assert not torch.equal(model.get_parameter("fc.weight"), state["fc.weight"])


def test_a_head_of_another_build_is_dropped(state: dict[str, Tensor]) -> None:
    headless = {name: tensor for name, tensor in state.items() if not name.startswith("fc.")}
    assert "120 of 122" in fit(resnet(), {**headless, "fc.1.weight": torch.ones(4, 9)})


def test_missing_counters_are_told(state: dict[str, Tensor]) -> None:
    model = resnet()
    without = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    message = fit(model, without)
    assert "102 of 122 tensors" in message
    assert "20 buffers that it lacks" in message
    assert changed(model, state) == set()


@pytest.mark.parametrize("kind", ["running_mean", "running_var"])
def test_missing_statistics_are_an_error(state: dict[str, Tensor], kind: str) -> None:
    error = refuse(resnet(), {name: tensor for name, tensor in state.items() if not name.endswith(kind)})
    assert f"20 tensors missing (bn1.{kind} 64, " in error.message


def test_small_stem_is_left_new_only_where_the_shapes_differ(state: dict[str, Tensor]) -> None:
    replaced = frozenset({"conv1.weight"})
    model = resnet()
    model.conv1 = nn.Conv2d(3, 64, 3, padding=1, bias=False)
    message = fit(model, state, replaced)
    assert "121 of 122 tensors" in message
    assert "new conv1.weight (64x3x3x3) for the small stem" in message
    assert changed(model, state) == {"conv1.weight"}

    small = {**state, "conv1.weight": torch.ones(64, 3, 3, 3)}
    assert "122 of 122 tensors" in fit(model, small, replaced)
    assert changed(model, small) == set()


def test_every_misfit_is_listed_with_shapes_and_counts(state: dict[str, Tensor]) -> None:
    odd = {name: tensor for name, tensor in state.items() if not name.startswith("layer4.1.conv")}
    odd |= {"bn1.weight": torch.ones(32), "aux.weight": torch.ones(2, 3)}
    assert refuse(resnet(), odd).message == (
        "backbone.pth does not fit resnet18: "
        "2 tensors missing (layer4.1.conv1.weight 512x512x3x3, layer4.1.conv2.weight 512x512x3x3); "
        "1 tensor of another shape or type (bn1.weight 32, not 64); "
        "1 tensor unknown to the model (aux.weight 2x3)"
    )


def test_long_lists_are_cut(state: dict[str, Tensor]) -> None:
    prefixed = {f"net.{name}": tensor for name, tensor in state.items()}
    error = refuse(resnet(), prefixed)
    assert "122 tensors unknown to the model (net.conv1.weight 64x3x7x7, " in error.message
    assert error.message.count("net.") == 3
    assert error.hint == "`weights` must hold the parameters of torchvision's resnet18"


def test_quantised_weights_are_refused_and_half_precision_is_loaded(state: dict[str, Tensor]) -> None:
    integer = {**state, "conv1.weight": torch.ones(64, 3, 7, 7, dtype=torch.int8)}
    assert "(conv1.weight 64x3x7x7 int8, not 64x3x7x7)" in refuse(resnet(), integer).message
    model = resnet()
    fit(model, {name: tensor.half() for name, tensor in state.items()})
    assert model.get_parameter("conv1.weight").dtype == torch.float32
    assert torch.equal(model.get_parameter("conv1.weight"), state["conv1.weight"].half().float())


def test_file_of_a_small_stem_is_recognised(state: dict[str, Tensor]) -> None:
    error = refuse(resnet(), {**state, "conv1.weight": torch.ones(64, 3, 3, 3)})
    assert "conv1.weight 64x3x3x3, not 64x3x7x7" in error.message
    assert error.hint == 'the file has the stem for small images: set `stem = "small"`'


@pytest.mark.parametrize("model_name", [name for name in MODEL_NAMES if name != "resnet18"])
def test_file_of_another_model_is_recognised(model_name: ModelName) -> None:
    other = {name: torch.empty(shape, device="meta") for name, shape in parameter_shapes(model_name).items()}
    with pytest.raises(ModelError) as caught:
        fit(build("resnet18"), other)
    assert caught.value.hint == f'the file holds a {model_name}: set `model_name = "{model_name}"`'


def test_swins_indices_may_be_missing() -> None:
    model: nn.Module = get_model("swin_t", weights=None, num_classes=4)
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    (message,) = apply_state(
        model, parameters, head=CATALOGUE["swin_t"].head, source="x", model_name="swin_t"
    )
    assert "12 buffers that it lacks" in message


def test_positions_are_interpolated_and_the_class_token_stays() -> None:
    ramp = torch.linspace(0, 1, 14).repeat_interleave(14)[:, None].expand(-1, 8)
    positions = torch.cat([torch.full((1, 8), 5.0), ramp])[None]
    state = {"encoder.pos_embedding": positions.half(), "other": torch.ones(1)}
    fitted, messages = fit_positions(state, 64, 16)
    grid = fitted["encoder.pos_embedding"]
    assert grid.shape == (1, 17, 8)
    assert torch.equal(grid[0, 0], torch.full((8,), 5.0))
    # Corners are aligned: a ramp from 0 to 1 over the rows is one again (the cubic bends a little).
    torch.testing.assert_close(grid[0, 1:, 0].reshape(4, 4)[:, 2], torch.linspace(0, 1, 4), atol=5e-3, rtol=0)
    assert messages == ("position embedding: 14x14 patches interpolated to 4x4 for images of 64 px",)
    assert state["encoder.pos_embedding"].shape == (1, 197, 8)
    assert set(fitted) == set(state)


@pytest.mark.parametrize("shape", [(1, 17, 8), (1, 13, 8), (2, 10, 8), (1, 10), (1, 1, 8)])
def test_positions_that_fit_or_have_no_grid_are_left(shape: tuple[int, ...]) -> None:
    state = {"encoder.pos_embedding": torch.ones(shape)}
    assert fit_positions(state, 64, 16) == (state, ())
    assert fit_positions({}, 64, 16) == ({}, ())
