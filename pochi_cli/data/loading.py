"""How images are loaded: by how many processes, and where decoded ones are kept."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pochi_cli.data.cache_choice import NOTHING, Chosen, shown_bytes
from pochi_cli.data.datasets import ImageDataset
from pochi_cli.data.decoding import usable_cores
from pochi_cli.data.sampling import SampleKey

_MEASURED_IMAGES = 17
_MEASURED_S = 0.25
"""How many images are loaded, and for how long at most, to find what one takes."""
_WORTH_A_PROCESS_S = 1.0
"""Seconds of loading in a whole run below which starting processes is not worth it."""


@dataclass(frozen=True)
class Loading:
    """How the images of one part of the data are loaded.

    Attributes:
        workers: Processes that load; 0: this one does.
        image_s: Seconds that an image took to load, where that was measured.
        cached: Where decoded images are kept.
    """

    workers: int
    image_s: float | None = None
    cached: Chosen = NOTHING


def loading_text(loadings: Sequence[Loading]) -> str:
    """Tell how the parts of the data are loaded, the training data first."""
    train = loadings[0]
    text = f"loads with {'this process' if train.workers == 0 else f'{train.workers} processes'}"
    if train.image_s is not None:
        text += f", {1000 * train.image_s:.2g} ms an image"
    places = dict.fromkeys(loading.cached.place for loading in loadings if loading.cached.place != "none")
    if not places:
        return f"{text}; decoded images are not kept"
    kept = " and ".join({"ram": "in memory", "disk": "on the disk"}[place] for place in places)
    return f"{text}; decoded images are kept {kept}, {shown_bytes(sum(one.cached.size for one in loadings))}"


def choose_loading(
    num_workers: int | Literal["auto"], device_type: str, dataset: ImageDataset, epochs: int, cached: Chosen
) -> Loading:
    """Decide how many processes load; for `auto` a few images are loaded to see how long that takes."""
    if num_workers != "auto":
        return Loading(num_workers, cached=cached)
    image_s = measure_loading(dataset)
    return Loading(
        resolve_workers("auto", device_type, image_s * len(dataset) * epochs), image_s=image_s, cached=cached
    )


def measure_loading(dataset: ImageDataset) -> float:
    """Measure how many seconds an image takes to load in this process: the mean of the quicker half."""
    count = min(_MEASURED_IMAGES, len(dataset))
    times: list[float] = []
    for at in range(count):
        started = time.perf_counter()
        dataset[SampleKey(0, at * len(dataset) // count, 0)]
        times.append(time.perf_counter() - started)
        if sum(times) > _MEASURED_S:
            break
    quicker = sorted(times)[: (len(times) + 1) // 2]
    return sum(quicker) / max(1, len(quicker))


def resolve_workers(
    num_workers: int | Literal["auto"],
    device_type: str,
    loading_s: float | None = None,
    cpu_count: int | None = None,
) -> int:
    """Decide how many processes load images.

    Args:
        num_workers: A number, which is kept, or `auto`: none where there is little to load. Else for a GPU
            one per core up to 8, one core being left free; on a CPU one per core up to 8, too, which
            computing comes before.
        device_type: Type of the device that computes.
        loading_s: Seconds that loading takes one process in all; `None` if unknown.
        cpu_count: Cores; `None`: those this process may use.
    """
    if num_workers != "auto":
        return num_workers
    if loading_s is not None and loading_s < _WORTH_A_PROCESS_S:
        return 0
    cores = usable_cores() if cpu_count is None else cpu_count
    if device_type == "cpu":
        return min(8, cores) if cores > 1 else 0
    return max(0, min(8, cores - 1))
