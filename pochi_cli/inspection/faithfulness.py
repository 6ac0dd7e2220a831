"""Whether a network needs what a map of an image calls important."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from pochi_cli.inspection.attention_record import Faithfulness

Map = NDArray[np.float64]

_STEPS = 8
"""In how many parts the cells are taken away."""
_RANDOM_MAPS = 8
_BLUR = 1 / 6
"""Standard deviation of the blur that takes cells away, in edges of the image."""


def measure_faithfulness(
    probability: Callable[[Tensor], Tensor],
    image: Tensor,
    maps: Sequence[Map],
    seed: int = 0,
    batch_size: int = 32,
    on_images: Callable[[int], None] = lambda _: None,
) -> list[Faithfulness]:
    """Measure deletion and insertion of maps (Petsiuk et al., algorithm 1), beside those of random ones.

    A cell is taken away by what a strong blur of the whole image leaves there, which has no edges of its own.
    Cells of the same value are taken in a random order.

    Args:
        probability: Takes images, (batch, 3, height, width), to the probability of the class, (batch,).
        image: As the network takes it, (3, height, width).
        maps: Each (rows, columns), all of one size, the larger the more important.
        seed: Of the random orders.
        batch_size: Images that are asked about at once.
        on_images: Told how many images more are done.
    """
    generator = np.random.default_rng(seed)
    ties = generator.permutation(maps[0].size)
    orders = [ties[np.argsort(-values.ravel()[ties], kind="stable")] for values in maps]
    orders += [generator.permutation(maps[0].size) for _ in range(_RANDOM_MAPS)]
    blurred = blur(image)
    areas = []
    for order in orders:
        taken = torch.stack([_taken(order, step, maps[0].shape, image) for step in range(_STEPS + 1)])
        for before, after in ((image, blurred), (blurred, image)):
            areas.append(_area(probability, torch.where(taken[:, None], after, before), batch_size))
            on_images(len(taken))
    deletions, insertions = areas[::2], areas[1::2]
    count = len(maps)
    return [
        Faithfulness(deletion, insertion, tuple(deletions[count:]), tuple(insertions[count:]))
        for deletion, insertion in zip(deletions[:count], insertions[:count], strict=True)
    ]


def images_asked_about(maps: int) -> int:
    """Count the images that so many maps of one image ask about."""
    return 2 * (_STEPS + 1) * (maps + _RANDOM_MAPS)


def _area(probability: Callable[[Tensor], Tensor], images: Tensor, batch_size: int) -> float:
    """Average the probability over the share that is taken, by the trapezoidal rule."""
    parts = [probability(images[at : at + batch_size]) for at in range(0, len(images), batch_size)]
    curve = torch.cat(parts).double().cpu().numpy()
    return float((curve[1:] + curve[:-1]).mean() / 2)


def blur(image: Tensor) -> Tensor:
    """Blur an image, (3, height, width), so that hardly more than its colours are left."""
    edges = image.shape[:0:-1]
    sigmas = [max(_BLUR * edge, 0.1) for edge in edges]
    # A kernel is odd, and reflection needs it to reach less far than the image.
    kernel = [2 * min(int(3 * sigma), edge - 1) + 1 for sigma, edge in zip(sigmas, edges, strict=True)]
    return torch.as_tensor(gaussian_blur(image, kernel, sigmas))


def _taken(order: NDArray[np.int64], step: int, cells: tuple[int, ...], image: Tensor) -> Tensor:
    """Mark the pixels that are taken at a step, bool (height, width)."""
    rows, columns = cells
    count = round(len(order) * step / _STEPS)
    marked = torch.zeros(rows * columns, dtype=torch.bool)
    marked[torch.from_numpy(order[:count])] = True
    down = torch.arange(image.shape[1]) * rows // image.shape[1]
    across = torch.arange(image.shape[2]) * columns // image.shape[2]
    return marked.reshape(rows, columns)[down[:, None], across].to(image.device)
