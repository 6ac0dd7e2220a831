"""Models from the config: shapes, stems, sizes, weights, and the check before training."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torchvision.models import get_model

from pochi_cli.config.catalogue import CATALOGUE, MODEL_NAMES, ModelName
from pochi_cli.config.model import ModelConfig, Stem
from pochi_cli.errors import ModelError
from pochi_cli.models.architectures import valueless_device
from pochi_cli.models.factory import BuiltModel, check_input, create_model, create_shell
from pochi_cli.models.freezing import freeze
from tests.config.write_parameters import build


def untrained(
    model_name: ModelName = "resnet18",
    size: tuple[int, int] = (32, 32),
    stem: Stem = "auto",
    num_classes: int = 7,
) -> BuiltModel:
    config = ModelConfig(model_name=model_name, pretrained=False, stem=stem)
    with valueless_device(model_name):
        return create_model(config, num_classes, size)


def real(config: ModelConfig, num_classes: int = 4, size: tuple[int, int] = (32, 32)) -> BuiltModel:
    torch.manual_seed(1)
    return create_model(config, num_classes, size)


@pytest.mark.parametrize("model_name", MODEL_NAMES)
def test_every_model_is_built_and_gives_one_logit_per_class(model_name: ModelName) -> None:
    built = untrained(model_name, (64, 64))
    logits = built.model(torch.zeros(2, 3, 64, 64, device=valueless_device(model_name)))
    assert logits.shape == (2, 7)
    assert built.model.get_submodule(CATALOGUE[model_name].head).out_features == 7
    assert built.messages[-1] == "weights: none, all parameters start at random"
    check_input(built.model, model_name, (64, 64), 2)


def test_a_seed_gives_the_same_model() -> None:
    config = ModelConfig(pretrained=False)
    one, two = real(config).model.state_dict(), real(config).model.state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)


@pytest.mark.parametrize("model_name", MODEL_NAMES)
def test_all_that_a_network_computes_with_is_in_its_state(model_name: ModelName) -> None:
    model = build(model_name)
    assert {name for name, _ in model.named_buffers()} <= model.state_dict().keys()
    beside = [value for part in model.modules() for value in vars(part).values()]
    assert not any(isinstance(value, Tensor) for value in beside)


@pytest.mark.parametrize("model_name", ["resnet18", "vgg_compact", "vit_tiny", "swin_t", "regnet_y_400mf"])
def test_a_shell_becomes_the_model_whose_weights_it_loads(model_name: ModelName) -> None:
    config = ModelConfig(model_name=model_name, pretrained=False)
    whole = real(config).model.eval()
    before = torch.get_rng_state()
    shell = create_shell(config.model_copy(update={"pretrained": True}), 4, (32, 32)).eval()
    assert torch.equal(torch.get_rng_state(), before)
    assert not any(value.any() for value in shell.state_dict().values())
    shell.load_state_dict(whole.state_dict())
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(shell(images), whole(images))


@pytest.mark.parametrize(
    ("stem", "size", "small"),
    [
        ("auto", (64, 64), True),
        ("auto", (65, 65), False),
        ("imagenet", (32, 32), False),
        ("small", (96, 96), True),
    ],
)
def test_small_stem_keeps_the_resolution(stem: Stem, size: tuple[int, int], small: bool) -> None:
    built = untrained("resnet18", size, stem)
    assert built.small_stem is small
    conv = built.model.get_submodule("conv1")
    assert isinstance(conv, nn.Conv2d)
    kernel, stride, padding = ((3, 3), (1, 1), (1, 1)) if small else ((7, 7), (2, 2), (3, 3))
    assert (conv.kernel_size, conv.stride, conv.padding, conv.bias) == (kernel, stride, padding, None)
    assert isinstance(built.model.get_submodule("maxpool"), nn.Identity) is small
    seen: list[torch.Size] = []
    built.model.get_submodule("layer1").register_forward_hook(lambda _, __, out: seen.append(out.shape[2:]))
    built.model(torch.zeros(2, 3, *size, device="meta"))
    assert seen == [size if small else tuple(-(-edge // 4) for edge in size)]
    assert any("stem: small" in message for message in built.messages) is small


def test_small_stem_is_initialised_as_torchvisions_other_convolutions() -> None:
    weight = real(ModelConfig(pretrained=False)).model.get_parameter("conv1.weight")
    # He et al. (arXiv:1502.01852): sqrt(2 / fan_out), fan_out = 64 * 3 * 3
    assert weight.std().item() == pytest.approx((2 / 576) ** 0.5, rel=0.1)


def test_small_stem_where_there_is_none() -> None:
    with pytest.raises(ModelError, match="vgg11 has no stem for small images"):
        untrained("vgg11", (32, 32), "small")


@pytest.mark.parametrize(
    ("model_name", "size", "allowed"),
    [
        ("vit_b_16", (64, 48), "64x64 or 80x80"),
        ("vit_b_16", (72, 72), "64x64 or 80x80"),
        ("vit_b_32", (16, 16), "32x32 or 64x64"),
        ("vit_l_16", (0, 0), "16x16 or 32x32"),
    ],
)
def test_vision_transformers_say_which_sizes_they_take(
    model_name: ModelName, size: tuple[int, int], allowed: str
) -> None:
    with pytest.raises(ModelError, match=f"{model_name} cannot take images of {size[0]}x{size[1]}") as caught:
        untrained(model_name, size)
    assert caught.value.hint == f"resize or crop them to {allowed}"


@pytest.fixture(scope="module")
def resnet_state() -> dict[str, Tensor]:
    torch.manual_seed(0)
    state: dict[str, Tensor] = get_model("resnet18", weights=None, num_classes=4).state_dict()
    return state


@pytest.fixture(scope="module", params=["w.pth", "w.safetensors"])
def weights_file(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, resnet_state: dict[str, Tensor]
) -> str:
    path = tmp_path_factory.mktemp("weights") / str(request.param)
    if path.suffix == ".pth":
        torch.save(resnet_state, path)
    else:
        save_file(resnet_state, path)
    return str(path)


@pytest.mark.parametrize(
    ("num_classes", "stem", "new", "told"),
    [
        (4, "imagenet", set(), "122 of 122 tensors from {file}; its head fc is kept (4 classes)"),
        (
            7,
            "imagenet",
            {"fc.weight", "fc.bias"},
            "120 of 122 tensors from {file}; new head fc (7 classes, the file's has 4)",
        ),
        (
            4,
            "small",
            {"conv1.weight"},
            "121 of 122 tensors from {file}; new conv1.weight (64x3x3x3) for the small stem; "
            "its head fc is kept (4 classes)",
        ),
    ],
)
def test_local_weights_make_a_round_trip(
    weights_file: str, resnet_state: dict[str, Tensor], num_classes: int, stem: Stem, new: set[str], told: str
) -> None:
    built = real(ModelConfig(weights=weights_file, stem=stem), num_classes)
    loaded = {
        name
        for name, tensor in built.model.state_dict().items()
        if tensor.shape == resnet_state[name].shape and torch.equal(tensor, resnet_state[name])
    }
    assert set(resnet_state) - loaded == new
    assert built.messages[-1] == f"weights: {told.format(file=weights_file)}"
    logits = built.model(torch.rand(2, 3, 32, 32))
    logits.sum().backward()
    assert logits.shape == (2, num_classes)
    assert all(parameter.grad is not None for parameter in built.model.parameters())


def test_weights_of_another_model_are_refused(weights_file: str) -> None:
    config = ModelConfig(model_name="mobilenet_v3_small", weights=weights_file)
    with pytest.raises(ModelError, match="does not fit mobilenet_v3_small") as caught:
        real(config)
    assert caught.value.hint == 'the file holds a resnet18: set `model_name = "resnet18"`'


def test_published_weights_come_from_the_cache_and_nothing_else_is_tried(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "resnet18-f37072fd.pth"
    cached.mkdir(parents=True)
    with pytest.raises(ModelError, match=r"resnet18-f37072fd\.pth is no regular file"):
        real(ModelConfig())


@pytest.mark.parametrize("model_name", ["vgg_compact", "vit_tiny"])
def test_models_without_published_weights_start_at_random(model_name: ModelName) -> None:
    built = real(ModelConfig(model_name=model_name))
    assert built.messages == ("weights: none, all parameters start at random",)
    with pytest.raises(ModelError, match=f"there are no published weights of {model_name}") as caught:
        real(ModelConfig(model_name=model_name, pretrained=True))
    assert caught.value.hint == "set `pretrained = false`"


@pytest.mark.parametrize("model_name", ["vgg_compact", "vit_tiny"])
def test_a_file_of_their_own_gets_a_new_head(model_name: ModelName, tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = create_model(ModelConfig(model_name=model_name), 10, (32, 32)).model.state_dict()
    torch.save(state, tmp_path / "own.pth")
    built = real(ModelConfig(model_name=model_name, weights=str(tmp_path / "own.pth")))
    head = CATALOGUE[model_name].head
    assert f"new head {head} (4 classes, the file's has 10)" in built.messages[-1]
    loaded = built.model.state_dict()
    assert all(torch.equal(loaded[name], state[name]) for name in state if not name.startswith(f"{head}."))


def test_the_compact_vgg_is_the_recipes_network() -> None:
    model = untrained("vgg_compact").model
    features = model.get_submodule("features")
    made = [type(layer).__name__ for layer in features.children()]
    block, pool = ["Conv2d", "BatchNorm2d", "ReLU"], ["MaxPool2d"]
    assert made == [*block, *pool] * 3 + block * 3 + pool
    convolutions = [layer for layer in features.children() if isinstance(layer, nn.Conv2d)]
    assert [conv.out_channels for conv in convolutions] == [64, 128, 256, 512, 512, 512]
    assert all((conv.kernel_size, conv.padding, conv.bias) == ((3, 3), (1, 1), None) for conv in convolutions)
    seen: list[torch.Size] = []
    model.get_submodule("classifier").register_forward_pre_hook(
        lambda _, inputs: seen.append(inputs[0].shape)
    )
    for edge in (16, 28, 32, 96):
        assert model(torch.zeros(2, 3, edge, edge, device="meta")).shape == (2, 7)
    assert set(seen) == {(2, 2048)}
    with pytest.raises(ModelError, match="vgg_compact cannot train on images of 15x15") as caught:
        check_input(model, "vgg_compact", (15, 15), 4)
    assert caught.value.hint == "use larger images: 32x32 work"


def test_pooling_changes_nothing_at_the_size_of_the_compact_vgg() -> None:
    model = real(ModelConfig(model_name="vgg_compact")).model.eval()
    images = torch.rand(2, 3, 32, 32)
    cells = model.get_submodule("avgpool")(model.get_submodule("features")(images))
    assert torch.equal(model(images), model.get_submodule("classifier")(cells.flatten(1)))


def test_a_vision_transformer_takes_weights_of_another_size(tmp_path: Path) -> None:
    torch.manual_seed(0)
    big: nn.Module = get_model("vit_b_32", weights=None, num_classes=3)
    state = {name: tensor.bfloat16() for name, tensor in big.state_dict().items()}
    torch.save(state, tmp_path / "vit.pth")
    built = real(ModelConfig(model_name="vit_b_32", weights=str(tmp_path / "vit.pth")), 3, (64, 64))
    assert built.messages[0] == "position embedding: 7x7 patches interpolated to 2x2 for images of 64 px"
    assert "152 of 152 tensors" in built.messages[1]
    positions = built.model.get_parameter("encoder.pos_embedding")
    # Corners are aligned: the four corners of 7x7 patches are the 2x2 ones.
    corners = state["encoder.pos_embedding"][:, [0, 1, 7, 43, 49]].float()
    torch.testing.assert_close(positions.detach(), corners)
    assert built.model(torch.rand(2, 3, 64, 64)).shape == (2, 3)


@pytest.mark.parametrize(
    ("model_name", "stem", "size", "batch_size", "hint"),
    [
        ("vgg11", "auto", (16, 16), 4, "use larger images: 32x32 work"),
        ("densenet121", "auto", (16, 40), 2, "use larger images: 64x64 work"),
        (
            "resnet18",
            "imagenet",
            (32, 32),
            1,
            'set `batch_size` to 2 or more, or use larger images: 64x64 work, or set `stem = "small"`',
        ),
        (
            "efficientnet_b0",
            "auto",
            (32, 32),
            1,
            "set `batch_size` to 2 or more, or use larger images: 64x64 work",
        ),
    ],
)
def test_impossible_input_is_told_before_training(
    model_name: ModelName, stem: Stem, size: tuple[int, int], batch_size: int, hint: str
) -> None:
    model = untrained(model_name, size, stem).model
    told = f"{model_name} cannot train on images of {size[0]}x{size[1]} .* with batch_size {batch_size}: ."
    with pytest.raises(ModelError, match=told) as caught:
        check_input(model, model_name, size, batch_size)
    assert caught.value.hint == hint


def test_a_vision_transformer_of_another_size_is_told() -> None:
    with pytest.raises(ModelError, match="Expected 64 but got 96"):
        check_input(untrained("vit_b_32", (64, 64)).model, "vit_b_32", (96, 96), 2)


@pytest.mark.parametrize(
    ("model_name", "published"), [("resnet18", 1.814e9), ("mobilenet_v3_small", 0.057e9)]
)
def test_the_work_of_a_forward_pass_is_the_published_one(model_name: ModelName, published: float) -> None:
    model = untrained(model_name, (224, 224), num_classes=1000).model
    work = check_input(model, model_name, (224, 224), 3)
    assert work == pytest.approx(published, rel=0.01)


def test_frozen_batch_norm_needs_no_second_image() -> None:
    model = untrained("resnet18", (32, 32), "imagenet").model
    freeze(model, ["layer4"])
    check_input(model, "resnet18", (32, 32), 1)


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch_size", [1, 2])
def test_the_check_changes_nothing(training: bool, batch_size: int) -> None:
    model = real(ModelConfig(model_name="efficientnet_b0", pretrained=False)).model.train(training)
    freeze(model, [r"features\.0"])
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    flags = [parameter.requires_grad for parameter in model.parameters()]
    random = torch.get_rng_state()
    if batch_size == 1:
        with pytest.raises(ModelError):
            check_input(model, "efficientnet_b0", (32, 32), batch_size)
    else:
        check_input(model, "efficientnet_b0", (32, 32), batch_size)
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()] == flags
    assert all(module.training is training for module in model.modules())
    assert all(parameter.grad is None for parameter in model.parameters())
