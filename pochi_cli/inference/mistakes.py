"""The predictions that are wrong, with small pictures. Free of torch."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from PIL import Image

from pochi_cli.characters import unicode_text
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import BadImageError
from pochi_cli.inference.predictions import Predictions
from pochi_cli.inference.results import PredictedImage

MOST = 100
"""Mistakes that are shown."""
_EDGE = 160
"""Longest edge of a picture in pixels."""
_QUALITY = 82


@dataclass(frozen=True)
class Mistake:
    """An image whose class was mistaken.

    Attributes:
        image: What was predicted.
        picture: A small picture of it as a `data:` URL; `None` where the image is not to be had.
    """

    image: PredictedImage
    picture: str | None


def predicted_images(predictions: Predictions) -> list[PredictedImage]:
    """List what was predicted of each image."""
    names, labels = predictions.class_names, predictions.labels
    return [
        PredictedImage(
            path,
            names[predictions.predicted[at]],
            None if labels is None else names[labels[at]],
            float(predictions.confidence[at]),
        )
        for at, path in enumerate(predictions.paths)
    ]


def count_mistakes(images: Sequence[PredictedImage]) -> int:
    """Count the wrong predictions."""
    return sum(map(_is_mistaken, images))


def most_confident_mistakes(images: Sequence[PredictedImage], most: int = MOST) -> list[PredictedImage]:
    """Choose the wrong predictions of which the model was surest, the surest first."""
    return sorted(filter(_is_mistaken, images), key=lambda image: -image.confidence)[:most]


def _is_mistaken(image: PredictedImage) -> bool:
    return image.true not in (None, image.predicted)


def with_pictures(images: Sequence[PredictedImage], index: FolderIndex | None) -> list[Mistake]:
    """Add small pictures.

    Args:
        images: Some of the images.
        index: All of them; `None` where they are not to be had.
    """
    if index is None:
        return [Mistake(image, None) for image in images]
    places = _places(index, {image.path for image in images})
    return [
        Mistake(image, _picture(index, places[image.path]) if image.path in places else None)
        for image in images
    ]


def _places(index: FolderIndex, wanted: set[str]) -> Mapping[str, int]:
    names = (unicode_text(index.file(at)) for at in range(len(index)))
    return {name: at for at, name in enumerate(names) if name in wanted}


def _picture(index: FolderIndex, at: int) -> str | None:
    try:
        image = index.read_rgb(at)
    except BadImageError:
        return None  # it was there when it was predicted, and is no more
    buffer = io.BytesIO()
    if max(image.size) <= _EDGE // 2:  # tiny ones would lose what there is to see
        image.save(buffer, "PNG")
        kind = "png"
    else:
        image.thumbnail((_EDGE, _EDGE), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=_QUALITY)
        kind = "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
