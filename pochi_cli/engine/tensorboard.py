"""What a training writes for TensorBoard, and when."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
import tomli_w
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from torch import Tensor, nn

from pochi_cli.characters import without_surrogates
from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.data import DataConfig
from pochi_cli.config.model import ModelConfig
from pochi_cli.config.optim import OptimConfig
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.values import show
from pochi_cli.data.datasets import ImageDataset, Sample
from pochi_cli.data.loaders import Loaders
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.board import Tell
from pochi_cli.engine.examples import load_examples, spread
from pochi_cli.engine.optim import BASE
from pochi_cli.engine.precision_recall import PrecisionRecall
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import EpochTotals
from pochi_cli.plots.predictions import Prediction, draw_predictions
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.gradient_record import GradientEpoch
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.monitor_record import MonitorEpoch
from pochi_cli.runs.records import EpochRecord, RunRecord
from pochi_cli.tensorboard import summaries
from pochi_cli.tensorboard.events import EventFile
from pochi_cli.tensorboard.graph import model_graph
from pochi_cli.tensorboard.histograms import histogram_of
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
_NO_HYPER_PARAMETERS = frozenset({"train_data_root", "val_data_root", "num_workers", "on_bad_image"})
"""Keys of the data's part of the config that change nothing in a training."""


class TensorBoardWriter:
    """Writes a training's event files; the horizontal axis counts optimizer steps from the beginning.

    All tags share that axis: when a run goes on, what its files hold from a step on is to be forgotten, and
    TensorBoard knows one such step for all tags. What is due is written at once, so that the page is live
    and a checkpoint is never ahead of the events.

    Args:
        config: The config.
        model: The model that is trained, frozen already.
        average: The model that counts.
        runtime: What it is computed on.
        class_names: In the order of the labels.
    """

    def __init__(
        self,
        config: ClassificationConfig,
        model: nn.Module,
        average: ExponentialAverage | NoAverage,
        runtime: Runtime,
        class_names: tuple[str, ...],
    ) -> None:
        self._config = config
        self._model = model
        self._average = average
        self._runtime = runtime
        self._class_names = tuple(map(without_surrogates, class_names))
        self._curves = PrecisionRecall(len(class_names), runtime.device)
        self._examples: list[Sample] | None = None
        self._has_begun = False
        # Sums of the epoch's totals at the last point of the running loss.
        self._sums: list[float] | None = None

    def open(self, layout: RunLayout, loaders: Loaders, place: tuple[int, int], tell: Tell) -> None:
        """Begin a file, and write what is written once unless an earlier session did.

        Args:
            layout: Of the run.
            loaders: The data.
            place: The epoch that begins or goes on, from 1, and the steps of it that are done.
            tell: Told in words what is not written.

        Raises:
            StorageError: Writing failed.
        """
        epoch, done = place
        self._layout, self._loaders, self._tell = layout, loaders, tell
        self._steps_per_epoch = -(-len(loaders.train) // self._config.accumulate_steps)
        self._epoch_start, self._done = (epoch - 1) * self._steps_per_epoch, done
        # What is written at the beginning stands at step 0, and what an epoch gives at its last step: both
        # are written again by a training that begins, or has yet to validate.
        is_written = self._now > 0 and done < self._steps_per_epoch
        self._file = EventFile(layout, self._now + is_written)
        if not self._has_begun:
            self._write_beginning()
        if loaders.val is not None and not self._has_curves:
            tell(
                "TensorBoard: precision-recall curves are left out, for there are "
                f"{len(self._class_names):,} classes, more than {_MOST_CURVES}"
            )
        self._file.flush()

    def batch(self, images: Tensor) -> None:
        """See a training batch, (N, 3, height, width); the first of a training is drawn."""
        if self._has_begun:
            return
        height, width = images.shape[-2:]
        count = min(len(images), _MOST_IN_GRID, max(4, _GRID_PIXELS // (height * width)))
        pictures = self._loaders.train.dataset.pipeline.pictures(images[:count])
        columns = square_edge(count)
        grid = lay_out(pictures, columns=columns, rows=-(-count // columns), gap=1)
        self._file.add(summaries.image("images/train_batch", png(grid), *grid.shape[:2]), 0)
        self._file.flush()
        self._has_begun = True

    def begin(self, totals: EpochTotals) -> None:
        """Begin an epoch or go on with it; reading its totals, where that is due, waits for the device."""
        self._totals = totals
        self._traced: list[tuple[str, float]] = []

    def step(self, step: int, *, is_due: bool) -> None:
        """See that an optimizer step is done.

        Args:
            step: Its number in the epoch, from 1.
            is_due: Whether to write means over the steps since the last time.

        Raises:
            StorageError: Writing failed.
        """
        self._done = step
        if is_due and step < self._steps_per_epoch:
            self._write_running()
            self._file.flush()

    def validation(self, logits: Tensor, labels: Tensor) -> None:
        """See a batch of the validation data: logits (N, K), labels int64 (N,)."""
        if self._has_curves:
            self._curves.add(logits, labels)

    def gradients(self, traced: GradientEpoch) -> None:
        """Keep the mean norm of each block's gradients until the epoch is done."""
        means = zip(traced.blocks, traced.means, strict=True)
        self._traced += [(f"gradients/{block}", mean) for block, mean in means if mean is not None]

    def updates(self, seen: MonitorEpoch) -> None:
        """Keep the median of each block's update ratios until the epoch is done."""
        self._traced += [
            (f"update_ratio/{block}", float(np.nanmedian(ratios)))
            for block, ratios in zip(seen.blocks, seen.update_ratios.T, strict=True)
            if not np.isnan(ratios).all()
        ]

    def epoch(self, record: EpochRecord, rates: Mapping[str, float]) -> None:
        """Write what a finished epoch gave.

        Args:
            record: Its record.
            rates: The rate that was in force, by group of parameters.

        Raises:
            StorageError: Writing failed.
        """
        self._done = self._steps_per_epoch  # also where batches of bad images were passed over
        self._write_running()
        self._write_traced()
        self._scalar("loss/train", record.train_loss)
        self._scalar("accuracy/train", record.train_accuracy)
        if record.val_loss is not None and record.val_accuracy is not None:
            self._scalar("loss/val", record.val_loss)
            self._scalar("accuracy/val", record.val_accuracy)
        for group, rate in rates.items():
            self._scalar(f"learning_rate/{'base' if group == BASE else group}", rate)
        every = self._config.tensorboard.histogram_every_epochs
        if every and (record.epoch - 1) % every == 0:
            self._write_histograms()
        if (curves := self._curves.read()) is not None:
            for name, curve in zip(self._class_names, curves, strict=True):
                self._file.add(summaries.pr_curve(f"pr_curve/{name}", curve), self._now)
        self._write_predictions()
        self._file.flush()
        self._epoch_start, self._done = record.epoch * self._steps_per_epoch, 0
        self._sums = None

    def fail(self, reason: str) -> None:
        """Write what can be said of a training that is no longer finite, and tell what cannot be drawn.

        Raises:
            StorageError: Writing failed.
        """
        self._done += 1  # the step that failed is not done
        self._write_running()
        self._write_traced()
        left_out = self._write_histograms()
        lines = [reason, "", *(f"- `{name}`: {what}" for name, what in left_out.items())]
        self._file.add(summaries.text("report", "\n".join(lines)), self._now)
        self._write_hyper_parameters(succeeded=False)
        self._file.flush()
        if left_out:
            self._tell(
                f"TensorBoard: the histograms of {len(left_out)} parameters are left out, for they hold "
                "values that are not finite; its text `report` names them"
            )

    def end(self, record: RunRecord) -> None:
        """Write what is written once, when the training is done.

        Raises:
            StorageError: Writing failed.
        """
        self._done = 1  # one step behind the last: a training that goes on is to forget it
        if record.best_value is not None:
            self._scalar(f"best/{record.best_metric}", record.best_value)
        self._write_hyper_parameters(succeeded=True)
        self._file.flush()
        if self._loaders.val is not None:
            self._write_embedding(self._loaders.val.dataset)

    def state_dict(self) -> dict[str, Any]:
        """Whether the beginning is written, and the sums at the last point of the running loss."""
        return {"has_begun": self._has_begun, "sums": self._sums}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the state up again; `None` where nothing was written before."""
        if state is not None:
            self._has_begun, self._sums = state["has_begun"], state["sums"]

    @property
    def _now(self) -> int:
        return self._epoch_start + self._done

    @property
    def _has_curves(self) -> bool:
        return len(self._class_names) <= _MOST_CURVES

    def _scalar(self, tag: str, value: float) -> None:
        self._file.add(summaries.scalar(tag, value), self._now)

    def _write_beginning(self) -> None:
        values = self._config.model_dump(mode="json", exclude_none=True)
        toml = without_surrogates(tomli_w.dumps(values))
        steps = f"{self._steps_per_epoch:,} optimizer steps an epoch; the horizontal axes count these."
        self._file.add(summaries.text("config", f"{steps}\n\n```\n{toml}\n```"), 0)
        for name, value in hyper_parameters(self._config).items():
            self._file.add(summaries.text(f"config/{name}", str(value)), 0)
        if example := load_examples(self._loaders.train.dataset, [0]):
            self._file.add_graph(model_graph(self._model, self._on_device(example)))

    def _write_running(self) -> None:
        sums = self._totals.state()
        loss, weight, correct, count = np.subtract(sums, self._sums or [0.0] * len(sums)).tolist()
        self._sums = sums
        if count:
            self._scalar("loss/train_running", loss / weight if weight else np.nan)
            self._scalar("accuracy/train_batch", 100 * correct / count)

    def _write_traced(self) -> None:
        for tag, value in self._traced:
            self._scalar(tag, value)

    def _write_histograms(self) -> dict[str, str]:
        """Write how each parameter's values are spread; say why, where that cannot be."""
        left_out: dict[str, str] = {}
        for name, parameter in self._model.named_parameters():
            bad = parameter.numel() - int(parameter.isfinite().sum())
            if bad:
                left_out[name] = f"{bad:,} of {parameter.numel():,} values are not finite"
            else:
                summary = summaries.histogram(f"parameters/{name}", histogram_of(parameter))
                self._file.add(summary, self._now)
        return left_out

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

    def _write_hyper_parameters(self, *, succeeded: bool) -> None:
        metrics = ["accuracy/train", "loss/train"]
        if self._loaders.val is not None:
            metrics = [f"best/{self._config.early_stopping.monitor}", "accuracy/val", "loss/val", *metrics]
        values = hyper_parameters(self._config)
        name = self._layout.name
        for summary in summaries.hyper_parameters(name, values, metrics, succeeded=succeeded):
            self._file.add(summary, self._now)

    def _write_embedding(self, dataset: ImageDataset) -> None:
        """Write what the model's last layer gets of some images."""
        chosen = spread(len(dataset), _EMBEDDINGS)
        size = self._config.images_per_batch
        features: list[Tensor] = []
        labels: list[tuple[str, str, str]] = []
        pictures = []
        head = self._average.model.get_submodule(CATALOGUE[self._config.model_name].head)
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


def hyper_parameters(config: ClassificationConfig) -> dict[str, float | str]:
    """Collect what decides the course of a training, by dotted keys; flags and lists as text."""
    keys = (*ModelConfig.model_fields, *DataConfig.model_fields, *OptimConfig.model_fields)
    values = config.model_dump(mode="json", exclude_none=True)
    chosen = {key: values[key] for key in (*keys, "precision", "seed") if key in values}
    chosen = {key: value for key, value in chosen.items() if key not in _NO_HYPER_PARAMETERS}
    chosen.get("layer_wise_lr_config", {}).pop("graph_config", None)
    flat = flatten(chosen)
    return {without_surrogates(key): _plain(value) for key, value in flat.items()}


def _plain(value: Any) -> float | str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return without_surrogates(value if isinstance(value, str) else show(value))
