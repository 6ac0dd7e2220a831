"""Maps of what is important over images: where they lie, and what is told of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from pochi_cli.inspection.attention_record import AttendedInput, Faithfulness, SaliencyMap
from pochi_cli.plots.saliency import Explained, draw_saliency, overlay, upsample
from tests.plots.attentions import assert_inside, make_vit

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FAITHFUL = Faithfulness(0.123, 0.678, (0.3, 0.4, 0.2), (0.5, 0.9, 0.4))


def make_input(
    height: int, width: int, name: str = "cat.png", prediction: str | None = None
) -> AttendedInput:
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8)
    return AttendedInput(name, (make_vit(2),), image, prediction)


def make_map(
    rows: int, columns: int, faithfulness: Faithfulness | None = FAITHFUL, layer: str = ""
) -> SaliencyMap:
    return SaliencyMap(
        "attention rollout", layer, np.random.default_rng(1).random((rows, columns)), faithfulness
    )


def pictures(figure: Figure) -> list[Axes]:
    return [axes for axes in figure.axes if axes.get_images()]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.texts]


@pytest.mark.parametrize(
    ("size", "images", "maps"), [((8, 8), 1, 1), ((32, 32), 3, 2), ((224, 224), 1, 4), ((60, 224), 1, 3)]
)
def test_everything_is_within_the_picture(size: tuple[int, int], images: int, maps: int) -> None:
    found = [make_map(2, 3, layer="encoder.layers." * 5 + "attention")] * maps
    shown = Explained(make_input(*size, name="$猫" * 30, prediction="$チワワ " * 30), found)
    figure = draw_saliency([shown] * images, "Attention in $1, " + "very long " * 12)
    assert_inside(figure)
    assert len(pictures(figure)) == images * (1 + maps)


def test_words_do_not_run_into_the_next_column() -> None:
    shown = Explained(make_input(32, 32, "猫" * 50, "IMG_2026" * 12), [make_map(4, 4, layer="猫" * 50)] * 2)
    figure = draw_saliency([shown], "Attention")
    assert_inside(figure)
    columns = [axes.get_window_extent().x0 for axes in pictures(figure)]
    for text in figure.texts[1:]:
        box = text.get_window_extent()
        following = min((start for start in columns if start > box.x0 + 1), default=figure.bbox.x1)
        assert box.x1 <= following, text.get_text()


def test_small_images_keep_their_pixels() -> None:
    shown = make_input(8, 8)
    figure = draw_saliency([Explained(shown, [make_map(2, 2)])], "Attention")
    (image,) = pictures(figure)[0].get_images()
    picture = np.asarray(image.get_array())
    assert picture.shape == (224, 224, 3)
    assert shown.image is not None
    np.testing.assert_array_equal(picture[14::28, 14::28], shown.image)
    np.testing.assert_array_equal(picture[0:28, 28:56], np.broadcast_to(shown.image[0, 1], (28, 28, 3)))


def test_images_keep_their_proportions() -> None:
    figure = draw_saliency([Explained(make_input(100, 300), [make_map(2, 2)])], "Attention")
    for axes in pictures(figure):
        box = axes.get_window_extent()
        assert box.width == pytest.approx(3 * box.height)


@pytest.mark.parametrize(("rows", "columns"), [(1, 1), (2, 3), (14, 14)])
def test_maps_are_upsampled_bilinearly(rows: int, columns: int) -> None:
    values = np.random.default_rng(2).random((rows, columns))
    expected = torch.nn.functional.interpolate(
        torch.from_numpy(values)[None, None], size=(56, 33), mode="bilinear", align_corners=False
    )
    np.testing.assert_allclose(upsample(values, 56, 33), expected[0, 0].numpy(), atol=1e-12)


def test_colours_show_what_is_important_and_the_picture_below() -> None:
    from matplotlib import colormaps

    picture = np.zeros((4, 4, 3), dtype=np.uint8)
    picture[:, 2:] = 255
    drawn = overlay(picture, np.array([[0.2], [0.7]])).astype(int)
    ends = np.array([colormaps["inferno"](at)[:3] for at in (0.0, 1.0)])
    np.testing.assert_allclose(drawn[0, 0], 255 * (0.55 * ends[0] + 0.45 * 0.25), atol=1)
    np.testing.assert_allclose(drawn[3, 3], 255 * (0.55 * ends[1] + 0.45), atol=1)
    assert (drawn[:, 3] > drawn[:, 0]).all()


def test_captions_tell_method_prediction_and_whether_the_network_agrees() -> None:
    shown = Explained(
        make_input(32, 32, "cat_$1.png", "tabby 93 %"),
        [make_map(2, 2, layer="encoder.layer_3"), make_map(2, 2, None)],
    )
    assert texts(draw_saliency([shown], "Attention in $1")) == [
        "Attention in \\$1",
        "cat_\\$1.png",
        "tabby 93 %",
        "Attention rollout\nencoder.layer_3",
        # 0.555 against 0.2, 0.5 and 0.2 of the random maps
        "deletion 0.12 (random maps 0.30)\ninsertion 0.68 (random maps 0.60)\nbeats 3 of 3 random maps",
        "Attention rollout",
        "",
    ]


def test_a_map_without_differences_says_so() -> None:
    flat = SaliencyMap("Grad-CAM", "layer4", np.zeros((7, 7)), FAITHFUL)
    figure = draw_saliency([Explained(make_input(32, 32), [flat])], "Attention")
    assert texts(figure)[-2:] == ["Grad-CAM\nlayer4", "the same value everywhere"]


def test_without_random_maps_only_the_scores_are_told() -> None:
    found = make_map(2, 2, Faithfulness(0.1, 0.6, (), ()))
    figure = draw_saliency([Explained(make_input(32, 32), [found])], "Attention")
    assert texts(figure)[-1] == "deletion 0.10\ninsertion 0.60"


def test_text_is_refused() -> None:
    sentence = AttendedInput("The cat sat", (make_vit(2),))
    with pytest.raises(ValueError, match="The cat sat is no image"):
        draw_saliency([Explained(sentence, [make_map(2, 2)])], "Attention")
