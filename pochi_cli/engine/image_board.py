"""What a classifier's training writes for TensorBoard beside what every training does."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor, nn

from pochi_cli.characters import without_surrogates
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.batches import Loaders
from pochi_cli.data.datasets import ImageDataset, Sample
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.board import Tell
from pochi_cli.engine.examples import load_examples, spread
from pochi_cli.engine.features import FeatureLoader
from pochi_cli.engine.precision_recall import PrecisionRecall
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.tensorboard import TensorBoardWriter
from pochi_cli.plots.predictions import Prediction, draw_predictions
from pochi_cli.runs.epochs import ClassificationEpoch, EpochRecord
from pochi_cli.runs.layout import RunLayout
from pochi_cli.tensorboard import summaries
from pochi_cli.tensorboard.pictures import lay_out, png, square_edge, thumbnails
from pochi_cli.tensorboard.projector import write_embedding

_GRID_PIXELS = 1_000_000
"""Of the picture of a training batch, about."""
_MOST_IN_GRID = 64
_PREDICTIONS = 16
_EMBEDDINGS = 500
_THUMBNAIL = 64
"""Longest edge in pixels of the projector's pictures; a sheet of 500 stays below its limit of 8,192."""
_MOST_CURVES = 100
"""Classes up to which each gets its precision-recall curve; a thousand would be megabytes at every epoch."""


class ImageBoard(TensorBoardWriter):
    """Adds pictures, precision-recall curves and predictions.

    Args:
        config: The config.
        model: The model that is trained, frozen already.
        average: The model that counts.
        runtime: What it is computed on.
        class_names: In the order of the labels.
    """

    _compared = ("accuracy/val", "loss/val", "accuracy/train", "loss/train")

    def __init__(
        self,
        config: ClassificationConfig,
        model: nn.Module,
        average: ExponentialAverage | NoAverage,
        runtime: Runtime,
        class_names: tuple[str, ...],
    ) -> None:
        super().__init__(config, model, average, runtime)
        self._images = config
        self._class_names = tuple(map(without_surrogates, class_names))
        self._curves = PrecisionRecall(len(class_names), runtime.device)
        self._examples: list[Sample] | None = None

    def open(
        self, layout: RunLayout, loaders: Loaders[Any], steps: int, place: tuple[int, int], tell: Tell
    ) -> None:
        """Begin a file, and tell whether there are too many classes for their curves."""
        super().open(layout, loaders, steps, place, tell)
        if loaders.val is not None and not self.sees_validation:
            tell(
                "TensorBoard: precision-recall curves are left out, for there are "
                f"{len(self._class_names):,} classes, more than {_MOST_CURVES}"
            )

    def batch(self, inputs: Tensor) -> None:
        """See a training batch, (N, 3, height, width); the first of a training is drawn.

        A run that began without pictures may go on with them, and train on features.
        """
        if self._has_begun or isinstance(self._loaders.train, FeatureLoader):
            return
        height, width = inputs.shape[-2:]
        count = min(len(inputs), _MOST_IN_GRID, max(4, _GRID_PIXELS // (height * width)))
        pictures = self._loaders.train.dataset.pipeline.pictures(inputs[:count])
        columns = square_edge(count)
        grid = lay_out(pictures, columns=columns, rows=-(-count // columns), gap=1)
        self._file.add(summaries.image("images/train_batch", png(grid), *grid.shape[:2]), 0)
        self._file.flush()
        self._has_begun = True

    def validation(self, outputs: Tensor, targets: Tensor) -> None:
        """See a batch of the validation data: logits (N, K), labels int64 (N,)."""
        if self.sees_validation:
            self._curves.add(outputs, targets)

    def _scalars(self, record: EpochRecord) -> Mapping[str, float]:
        assert isinstance(record, ClassificationEpoch)
        found = {
            "loss/train": record.train_loss,
            "accuracy/train": record.train_accuracy,
            "loss/val": record.val_loss,
            "accuracy/val": record.val_accuracy,
        }
        return {tag: value for tag, value in found.items() if value is not None}

    def _running(self, means: Mapping[str, float]) -> Mapping[str, float]:
        return {"loss/train_running": means["loss"], "accuracy/train_batch": means["accuracy"]}

    def _example(self) -> Tensor | None:
        example = load_examples(self._loaders.train.dataset, [0])
        return self._on_device(example) if example else None

    def _write_more(self) -> None:
        if (curves := self._curves.read()) is not None:
            for name, curve in zip(self._class_names, curves, strict=True):
                self._file.add(summaries.pr_curve(f"pr_curve/{name}", curve), self._now)
        self._write_predictions()

    @property
    def sees_validation(self) -> bool:
        """Whether there are few enough classes for their curves."""
        return len(self._class_names) <= _MOST_CURVES

    def _write_predictions(self) -> None:
        """Draw what the model makes of a few images, the same at every epoch."""
        dataset = (self._loaders.val or self._loaders.train).dataset
        if self._examples is None:
            self._examples = load_examples(dataset, spread(len(dataset), _PREDICTIONS))
        if not self._examples:
            return
        images = self._on_device(self._examples)
        confidences, predicted = self._logits(images).softmax(1).max(1)
        names = self._class_names
        figure = draw_predictions(
            [
                Prediction(picture, names[guess], confidence, names[sample.label])
                for picture, guess, confidence, sample in zip(
                    dataset.pipeline.pictures(images),
                    predicted.tolist(),
                    confidences.tolist(),
                    self._examples,
                    strict=True,
                )
            ]
        )
        canvas = FigureCanvasAgg(figure)
        buffer = io.BytesIO()
        canvas.print_png(buffer)  # type: ignore[no-untyped-call]
        width, height = canvas.get_width_height()
        self._file.add(summaries.image("predictions", buffer.getvalue(), height, width), self._now)

    def _write_embedding(self) -> None:
        """Write what the model's last layer gets of some images."""
        assert self._loaders.val is not None
        dataset: ImageDataset = self._loaders.val.dataset
        chosen = spread(len(dataset), _EMBEDDINGS)
        size = self._images.images_per_batch
        features: list[Tensor] = []
        labels: list[tuple[str, str, str]] = []
        pictures = []
        head = self._average.model.get_submodule(self._images.head)
        hook = head.register_forward_pre_hook(lambda _, inputs: features.append(inputs[0].float().flatten(1)))
        try:
            for start in range(0, len(chosen), size):
                samples = load_examples(dataset, chosen[start : start + size])
                if not samples:
                    continue
                images = self._on_device(samples)
                predicted = self._logits(images).argmax(1).tolist()
                pictures.append(thumbnails(dataset.pipeline.pictures(images), _THUMBNAIL))
                names = self._class_names
                labels += [
                    (names[sample.label], names[guess], dataset.index.paths[sample.index])
                    for sample, guess in zip(samples, predicted, strict=True)
                ]
        finally:
            hook.remove()
        if labels:
            vectors = torch.cat(features).cpu().numpy()
            write_embedding(self._layout, vectors, labels, np.concatenate(pictures))

    @torch.inference_mode()
    def _logits(self, images: Tensor) -> Tensor:
        model = self._average.model
        model.eval()
        with self._runtime.autocast():
            logits: Tensor = model(images)
        return logits.float()

    def _on_device(self, samples: list[Sample]) -> Tensor:
        images = torch.stack([sample.image for sample in samples]).to(self._runtime.device)
        return images.contiguous(memory_format=self._runtime.memory_format)
