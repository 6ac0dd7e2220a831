"""Grad-CAM and LayerCAM find where the evidence is."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from pochi_cli.config.catalogue import MODEL_NAMES
from pochi_cli.inspection.class_activation import NoFeatureMapError, class_activation_maps, last_feature_map
from pochi_cli.models.architectures import build_network
from tests.inspection.networks import WordNetwork, assert_unchanged, state_of


class Quadrants(nn.Module):
    """Class 0 is red anywhere, class 1 is green; the ReLU works in place."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(nn.Conv2d(3, 2, 1, bias=False), nn.ReLU(inplace=True), nn.MaxPool2d(2))
        self.features[0].weight.data = torch.tensor([[1.0, 0, 0], [0, 1.0, 0]])[..., None, None]
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(2, 2, bias=False)
        self.head.weight.data = torch.eye(2)

    def forward(self, images: Tensor) -> Tensor:
        """Classify (batch, 3, height, width)."""
        logits: Tensor = self.head(self.pool(self.features(images)).flatten(1))
        return logits


def picture() -> Tensor:
    """Red at the top left, some green at the bottom right; (1, 3, 16, 16)."""
    image = torch.zeros(1, 3, 16, 16)
    image[0, 0, :4, :4] = 1
    image[0, 1, 12:, 12:] = 0.5
    return image


@pytest.mark.parametrize("frozen", [True, False])
def test_it_is_where_the_class_is(frozen: bool) -> None:
    model = Quadrants().requires_grad_(not frozen)
    before = state_of(model)
    red = class_activation_maps(model, picture())
    assert red.layer == "features"
    assert red.classes.tolist() == [0]
    green = class_activation_maps(model, picture(), torch.tensor([1]))
    assert_unchanged(model, before)
    for found, rows in ((red, slice(0, 2)), (green, slice(6, 8))):
        for maps in (found.grad_cam, found.layer_cam):
            assert maps.shape == (1, 8, 8)
            inside = maps[0, rows, rows]
            assert (inside > 0).all()
            assert inside.sum() == pytest.approx(float(maps.sum()))


def test_values_are_those_of_the_papers() -> None:
    torch.manual_seed(0)
    model = build_network("resnet18", 5).eval()
    images = torch.randn(2, 3, 128, 128)
    found = class_activation_maps(model, images, layer="layer3")
    stages = [
        model.get_submodule(name)
        for name in ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")
    ]
    features = nn.Sequential(*stages)(images).detach().requires_grad_()
    logits = model.get_submodule("fc")(
        model.get_submodule("avgpool")(model.get_submodule("layer4")(features)).flatten(1)
    )
    torch.testing.assert_close(found.logits, logits.detach())
    for at in range(2):
        (gradient,) = torch.autograd.grad(logits[at, int(logits[at].argmax())], features, retain_graph=True)
        alpha = gradient[at].mean((1, 2))
        expected = (alpha[:, None, None] * features[at]).sum(0).relu().detach()
        torch.testing.assert_close(found.grad_cam[at], expected)
        expected = (gradient[at].clamp(min=0) * features[at]).sum(0).relu().detach()
        torch.testing.assert_close(found.layer_cam[at], expected)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("resnet18", (224, 224), "layer4"),
        ("resnet18", (64, 64), "layer3"),
        ("resnet50", (64, 64), "layer3"),  # not what is within a block, which the shortcut passes by
        ("swin_t", (64, 64), "features.5"),  # channels last
        ("vgg11", (224, 224), "features"),
        ("vgg_compact", (32, 32), "features.20"),
        ("swin_t", (224, 224), "permute"),
        ("convnext_tiny", (224, 224), "features"),
        ("densenet121", (224, 224), "features"),
        ("mobilenet_v3_small", (128, 192), "features"),
        ("efficientnet_b0", (224, 224), "features"),
    ],
)
def test_the_last_map_of_the_image_is_taken(name: str, size: tuple[int, int], expected: str) -> None:
    assert name in MODEL_NAMES
    model = build_network(name, 4).eval()
    images = torch.randn(1, 3, *size)
    assert last_feature_map(model, images) == expected
    found = class_activation_maps(model, images)
    rows, columns = found.grad_cam.shape[1:]
    assert min(rows, columns) >= 4
    assert rows / columns == size[0] / size[1]
    assert bool(found.layer_cam.isfinite().all())


def test_layers_that_cannot_be_looked_at() -> None:
    model, images = build_network("resnet18", 4), torch.randn(1, 3, 64, 64)
    before = state_of(model)
    with pytest.raises(NoFeatureMapError, match="ResNet has no layer layer9"):
        class_activation_maps(model, images, layer="layer9")
    with pytest.raises(NoFeatureMapError, match=r"fc gives \(1, 4\), which is no map of the image") as caught:
        class_activation_maps(model, images, layer="fc")
    assert caught.value.hint == "layer3 gives one"
    assert_unchanged(model, before)
    flat = nn.Sequential(nn.Flatten(), nn.Linear(48, 2))
    with pytest.raises(NoFeatureMapError, match="no layer whose output is a map"):
        class_activation_maps(flat, torch.randn(1, 3, 4, 4))
    with pytest.raises(NoFeatureMapError, match="no layer whose output is a map"):
        last_feature_map(WordNetwork().eval(), torch.zeros(1, 6, dtype=torch.int64))
