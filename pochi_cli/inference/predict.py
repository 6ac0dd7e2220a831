"""A model is asked about images."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pochi_cli.characters import unicode_text
from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.steps.arguments import Size
from pochi_cli.data.datasets import BadImage, Batch, ImageDataset
from pochi_cli.data.findings import counted
from pochi_cli.data.folder import FolderIndex
from pochi_cli.data.images import as_rgb, read_rgb
from pochi_cli.data.loaders import BatchLoader, Remedies
from pochi_cli.data.loading import Workers, resolve_workers
from pochi_cli.data.sampling import EpochBatchSampler
from pochi_cli.data.transforms import StepError
from pochi_cli.engine.classification_objective import evaluate_images
from pochi_cli.engine.losses import CrossEntropy
from pochi_cli.engine.memory import explaining_batches
from pochi_cli.engine.objectives import Watch
from pochi_cli.errors import DataError, ModelError
from pochi_cli.inference.images import ImageSource
from pochi_cli.inference.model import LoadedModel
from pochi_cli.inference.predictions import Predictions

_REMEDIES = Remedies(
    lost="bring the data back, and begin anew",
    undecodable="leave such files out with `--set on_bad_image=skip`; or mend or remove the file",
)
_MEASURED_S = 0.5
"""Time that the forward pass is measured for."""
_LEAST_REPEATS, _MOST_REPEATS = 3, 20

Tell = Callable[[int, int], None]
ImageInput = str | Path | Image.Image
"""What is asked about: a file, or an image of Pillow's."""


@dataclass(frozen=True)
class Speed:
    """How fast it went.

    Attributes:
        forward_images_per_second: Images through the forward pass alone, in batches that are there.
        images_per_second: Images from their files to their predictions, the start of the loading included.
        batch_size: Images in a batch.
        num_workers: Processes that loaded.
    """

    forward_images_per_second: float
    images_per_second: float
    batch_size: int
    num_workers: int


@dataclass(frozen=True, eq=False)
class Answers:
    """What came of asking about images.

    Attributes:
        predictions: In the order of the images, without those that were skipped.
        loss: As training computes it for validation data; `None` without labels.
        skipped: Images that cannot be decoded.
        input_size: Height and width in pixels of what the network got.
        speed: How fast it went.
    """

    predictions: Predictions
    loss: float | None
    skipped: tuple[BadImage, ...]
    input_size: Size
    speed: Speed


def ask(loaded: LoadedModel, source: ImageSource, tell: Tell = lambda *_: None) -> Answers:
    """Predict images as validation does, in the process's current settings.

    Args:
        loaded: The model.
        source: The images.
        tell: Told how many images are done, and of how many.

    Raises:
        DataError: An image is bad (unless bad ones are skipped), or the images differ in size.
        MemoryExhaustedError: The device has too little memory.
    """
    runtime, index, batch_size = loaded.runtime, source.index, loaded.config.images_per_batch
    workers = _workers(loaded, len(index))
    collected = _Collected(tell, len(index))
    with explaining_batches(runtime.device, batch_size):
        started = time.perf_counter()
        loader = create_loader(loaded, index, workers)
        means = evaluate_images(
            loaded.model,
            loaded.model,
            CrossEntropy(loaded.class_weights).to(runtime.device),
            collected.noting(_of_its_size(loaded, loader.batches(epoch=0))),
            len(loader),
            runtime,
            Watch(collected.add),
        )
        duration_s = time.perf_counter() - started
        assert collected.first is not None  # else no batch could be used, which is an error
        forward_s = measure_forward(loaded, collected.first)
    indices = torch.cat(collected.indices).tolist()
    labels = np.array([index.labels[i] for i in indices], dtype=np.int64)
    predictions = Predictions(
        class_names=loaded.class_names,
        paths=tuple(unicode_text(index.file(i)) for i in indices),
        logits=torch.cat(collected.logits).numpy(),
        labels=labels if source.is_labelled else None,
    )
    _require_numbers(predictions, loaded)
    speed = Speed(len(collected.first) / forward_s, len(indices) / duration_s, batch_size, workers)
    height, width = collected.first.images.shape[-2:]
    return Answers(
        predictions=predictions,
        loss=means["loss"] if source.is_labelled else None,
        skipped=tuple(loader.skipped),
        input_size=(height, width),
        speed=speed,
    )


class _Collected:
    """What passes by while images are evaluated."""

    def __init__(self, tell: Tell, total: int) -> None:
        self._tell = tell
        self._total = total
        self._done = 0
        self.indices: list[Tensor] = []
        self.logits: list[Tensor] = []
        self.first: Batch | None = None

    def noting(self, batches: Iterator[tuple[int, Batch]]) -> Iterator[tuple[int, Batch]]:
        """Note which images the batches hold."""
        self._tell(0, self._total)
        for number, batch in batches:
            if self.first is None:
                self.first = batch
            self.indices.append(batch.indices)
            yield number, batch

    def add(self, _: int, logits: Tensor, labels: Tensor) -> None:
        """Keep the logits of a batch."""
        self.logits.append(logits.float().cpu())
        self._done += len(labels)
        self._tell(self._done, self._total)


def _workers(loaded: LoadedModel, images: int) -> int:
    """Decide how many processes load: at least one beside the model, unless there is only one batch."""
    if loaded.config.num_workers == "auto" and images <= loaded.config.images_per_batch:
        return 0
    workers = resolve_workers(loaded.config.num_workers, loaded.runtime.device.type)
    return max(1, workers) if loaded.config.num_workers == "auto" else workers


def create_loader(
    loaded: LoadedModel,
    index: FolderIndex,
    workers: int,
    batch_size: int | None = None,
    remedies: Remedies = _REMEDIES,
) -> BatchLoader:
    """Create what loads images for a model.

    Args:
        loaded: The model.
        index: The images.
        workers: Processes that load; 0 loads in this one.
        batch_size: Images in a batch; `None`: as the model's config says.
        remedies: What errors advise.
    """
    config = loaded.config
    return BatchLoader(
        ImageDataset(index, loaded.transform, config.seed),
        EpochBatchSampler(index.labels, batch_size or config.images_per_batch, config.seed, "sequential"),
        workers=Workers(workers),
        device_type=loaded.runtime.device.type,
        on_bad_image=config.on_bad_image,
        minimum=1,
        remedies=remedies,
    )


@torch.inference_mode()
def measure_forward(loaded: LoadedModel, batch: Batch) -> float:
    """Measure the forward pass alone: the median, in seconds, over some passes with one batch."""
    runtime = loaded.runtime
    images = batch.to(runtime.device, channels_last=runtime.channels_last).images
    times: list[float] = []
    while len(times) < _LEAST_REPEATS or (sum(times) < _MEASURED_S and len(times) < _MOST_REPEATS):
        synchronize(runtime.device)
        started = time.perf_counter()
        with runtime.autocast():
            loaded.model(images)
        synchronize(runtime.device)
        times.append(time.perf_counter() - started)
    return median(times)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all that it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    elif device.type == "mps":
        torch.mps.synchronize()


def require_size(loaded: LoadedModel, size: Size) -> None:
    """Make sure that a model can take images of a size; a Vision Transformer takes one alone.

    Args:
        loaded: The model.
        size: Height and width that the transform gives.

    Raises:
        DataError: It cannot.
    """
    name, (height, width) = loaded.config.model_name, loaded.size
    if CATALOGUE[name].patch_size is not None and size != loaded.size:
        raise DataError(
            f"the transform gives images of {size[0]} x {size[1]} (height x width), but this {name} takes "
            f"{height} x {width} alone",
            f"let val_transform end in that size, as Resize with size = [{height}, {width}] does, or use "
            "images of the shape of the training's",
        )


def _of_its_size(loaded: LoadedModel, batches: Iterator[tuple[int, Batch]]) -> Iterator[tuple[int, Batch]]:
    for number, batch in batches:
        height, width = batch.images.shape[-2:]
        require_size(loaded, (height, width))
        yield number, batch


def _require_numbers(predictions: Predictions, loaded: LoadedModel) -> None:
    is_finite = np.isfinite(predictions.logits).all(axis=1)
    if not is_finite.all():
        first = predictions.paths[int(np.flatnonzero(~is_finite)[0])]
        raise ModelError(
            f"the model gives no finite numbers for {counted(int((~is_finite).sum()), 'image')} of "
            f"{len(predictions):,}, the first is {first}",
            f"the training may have diverged, or {loaded.checkpoint} is spoilt: use another checkpoint",
        )


@torch.inference_mode()
def predict(loaded: LoadedModel, images: Iterable[ImageInput]) -> Predictions:
    """Predict images that are at hand.

    Args:
        loaded: The model; it is set to eval mode.
        images: Files or images of Pillow's, of any mode and size; at least one.

    Raises:
        DataError: There is none, one is something else or cannot be decoded, the transform cannot take one,
            or it makes them of different sizes.
        ModelError: The model gives no finite numbers.
    """
    if isinstance(images, str | bytes | Path | Image.Image):
        raise DataError("one image alone is no sequence of images", "write [image]")
    images = list(images)
    if not images:
        raise DataError("there is no image to predict")
    loaded.model.eval()
    tensors = [prepare_image(loaded, image, at) for at, image in enumerate(images)]
    other = next((tensor for tensor in tensors if tensor.shape != tensors[0].shape), None)
    if other is not None:
        sizes = " and ".join(f"{t.shape[1]} x {t.shape[2]}" for t in (tensors[0], other))
        raise DataError(
            f"the transform gives tensors of different sizes (height x width): {sizes}",
            "predict images of one size together",
        )
    height, width = tensors[0].shape[-2:]
    require_size(loaded, (height, width))
    size, runtime = loaded.config.images_per_batch, loaded.runtime
    logits = []
    with explaining_batches(runtime.device, size):
        for start in range(0, len(tensors), size):
            batch = torch.stack(tensors[start : start + size]).to(
                runtime.device, memory_format=runtime.memory_format
            )
            with runtime.autocast():
                logits.append(loaded.model(batch).float().cpu())
    paths = tuple(
        unicode_text(image) if isinstance(image, str | Path) else f"images[{at}]"
        for at, image in enumerate(images)
    )
    predictions = Predictions(loaded.class_names, paths, torch.cat(logits).numpy())
    _require_numbers(predictions, loaded)
    return predictions


def prepare_image(loaded: LoadedModel, image: ImageInput, at: int) -> Tensor:
    """Decode and transform an image, float32 (3, height, width).

    Args:
        loaded: Whose transform it is.
        image: A file, or an image of Pillow's.
        at: Its position, for messages.

    Raises:
        DataError: It is something else, cannot be decoded, or the transform cannot take it.
    """
    if not isinstance(image, str | Path | Image.Image):
        raise DataError(
            f"images[{at}] is of type {type(image).__name__}, and neither a path nor an image of Pillow's",
            "PIL.Image.fromarray makes one of an array (height, width, 3) of uint8",
        )
    name = f"images[{at}]" if isinstance(image, Image.Image) else str(image)
    decoded = as_rgb(image, name) if isinstance(image, Image.Image) else read_rgb(image)
    try:
        return loaded.transform(decoded)
    except StepError as error:
        size = f"{decoded.height} x {decoded.width} (height x width)"
        raise DataError(f"{name}: the transform cannot take its {size}: {error}") from error
