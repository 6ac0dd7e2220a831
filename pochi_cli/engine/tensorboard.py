"""What a training writes for TensorBoard, and when."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import tomli_w
from torch import Tensor, nn

from pochi_cli.characters import without_surrogates
from pochi_cli.config.recording import HardwareConfig, RecordingConfig
from pochi_cli.config.root import Config
from pochi_cli.config.values import show
from pochi_cli.data.batches import Loaders
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.board import Tell
from pochi_cli.engine.optim import BASE
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.totals import EpochTotals
from pochi_cli.runs.epochs import EpochRecord
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.gradient_record import GradientEpoch
from pochi_cli.runs.layout import RunLayout
from pochi_cli.runs.monitor_record import MonitorEpoch
from pochi_cli.runs.records import RunRecord
from pochi_cli.tensorboard import summaries
from pochi_cli.tensorboard.events import EventFile
from pochi_cli.tensorboard.graph import model_graph
from pochi_cli.tensorboard.histograms import histogram_of

_NO_HYPER_PARAMETERS = frozenset(
    {
        "task", "optuna", "train_data_root", "val_data_root", "train_vectors", "vector_column", "num_classes",
        "num_workers", "cache", "on_bad_image", "channels_last", "cudnn_benchmark", "sync_batch_norm",
        "confusion_matrix_config",
        "recall_ks", "recall_every_epochs", "recall_samples",
    }
)  # fmt: skip
"""Keys that change nothing in a training."""


class TensorBoardWriter(ABC):
    """Writes a training's event files; the horizontal axis counts optimizer steps from the beginning.

    All tags share that axis: when a run goes on, what its files hold from a step on is to be forgotten, and
    TensorBoard knows one such step for all tags. What is due is written at once, so that the page is live
    and a checkpoint is never ahead of the events.

    Args:
        config: The config.
        model: The model that is trained, frozen already.
        average: The model that counts.
        runtime: What it is computed on.
    """

    def __init__(
        self, config: Config, model: nn.Module, average: ExponentialAverage | NoAverage, runtime: Runtime
    ) -> None:
        self._config = config
        self._model = model
        self._average = average
        self._runtime = runtime
        self._has_begun = False
        # Sums of the epoch's totals at the last point of the running loss.
        self._sums: list[float] | None = None

    def open(
        self, layout: RunLayout, loaders: Loaders[Any], steps: int, place: tuple[int, int], tell: Tell
    ) -> None:
        """Begin a file, and write what is written once unless an earlier session did.

        Args:
            layout: Of the run.
            loaders: The data.
            steps: Optimizer steps of an epoch.
            place: The epoch that begins or goes on, from 1, and the steps of it that are done.
            tell: Told in words what is not written.

        Raises:
            StorageError: Writing failed.
        """
        epoch, done = place
        self._layout, self._loaders, self._tell = layout, loaders, tell
        self._steps_per_epoch = steps
        self._epoch_start, self._done = (epoch - 1) * self._steps_per_epoch, done
        # What is written at the beginning stands at step 0, and what an epoch gives at its last step: both
        # are written again by a training that begins, or has yet to validate.
        is_written = self._now > 0 and done < self._steps_per_epoch
        self._file = EventFile(layout, self._now + is_written)
        if not self._has_begun:
            self._write_beginning()
        self._file.flush()

    @abstractmethod
    def batch(self, inputs: Tensor) -> None:
        """See a training batch, (N, ...)."""

    @property
    @abstractmethod
    def sees_validation(self) -> bool:
        """Whether it makes something of the outputs for the validation data."""

    @abstractmethod
    def validation(self, outputs: Tensor, targets: Tensor) -> None:
        """See a batch of the validation data: outputs (N, ...), targets (N, ...)."""

    @abstractmethod
    def _scalars(self, record: EpochRecord) -> Mapping[str, float]:
        """Choose what is written of an epoch, by tags."""

    @abstractmethod
    def _running(self, means: Mapping[str, float]) -> Mapping[str, float]:
        """Choose what is written within an epoch, by tags."""

    @abstractmethod
    def _example(self) -> Tensor | None:
        """Give an input of the model, by which its graph is drawn."""

    @abstractmethod
    def _write_more(self) -> None:
        """Write what else an epoch gives."""

    @abstractmethod
    def _write_embedding(self) -> None:
        """Write what the projector shows."""

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
        for tag, value in self._scalars(record).items():
            self._scalar(tag, value)
        for group, rate in rates.items():
            self._scalar(f"learning_rate/{'base' if group == BASE else group}", rate)
        every = self._config.tensorboard.histogram_every_epochs
        if every and (record.epoch - 1) % every == 0:
            self._write_histograms()
        self._write_more()
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
            self._write_embedding()

    def state_dict(self) -> dict[str, Any]:
        """Whether the beginning is written, and the sums at the last point of the running loss."""
        return {"has_begun": self._has_begun, "sums": self._sums}

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the state up again; `None` where nothing was written before."""
        if state is not None:
            self._has_begun, self._sums = state["has_begun"], state["sums"]

    @property
    @abstractmethod
    def _compared(self) -> Sequence[str]:
        """Tags by which runs are compared with their hyper-parameters."""

    @property
    def _now(self) -> int:
        return self._epoch_start + self._done

    def _scalar(self, tag: str, value: float) -> None:
        self._file.add(summaries.scalar(tag, value), self._now)

    def _write_beginning(self) -> None:
        values = self._config.model_dump(mode="json", exclude_none=True)
        toml = without_surrogates(tomli_w.dumps(values))
        steps = f"{self._steps_per_epoch:,} optimizer steps an epoch; the horizontal axes count these."
        self._file.add(summaries.text("config", f"{steps}\n\n```\n{toml}\n```"), 0)
        for name, value in hyper_parameters(self._config).items():
            self._file.add(summaries.text(f"config/{name}", str(value)), 0)
        if (example := self._example()) is not None:
            self._file.add_graph(model_graph(self._model, example))

    def _write_running(self) -> None:
        sums = self._totals.state()
        since = np.subtract(sums, self._sums or [0.0] * len(sums)).tolist()
        self._sums = sums
        if since[-1]:
            for tag, value in self._running(self._totals.means_of(since)).items():
                self._scalar(tag, value)

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

    def _write_hyper_parameters(self, *, succeeded: bool) -> None:
        metrics = list(self._compared)
        if self._loaders.val is not None:
            metrics = [f"best/{self._config.best_metric}", *metrics]
        values = hyper_parameters(self._config)
        name = self._layout.name
        for summary in summaries.hyper_parameters(name, values, metrics, succeeded=succeeded):
            self._file.add(summary, self._now)


def hyper_parameters(config: Config) -> dict[str, float | str]:
    """Collect what decides the course of a training, by dotted keys; flags and lists as text."""
    aside = {*RecordingConfig.model_fields, *HardwareConfig.model_fields, *_NO_HYPER_PARAMETERS}
    values = config.model_dump(mode="json", exclude_none=True)
    chosen = {key: values[key] for key in values if key not in aside - {"precision", "seed"}}
    chosen.get("layer_wise_lr_config", {}).pop("graph_config", None)
    flat = flatten(chosen)
    return {without_surrogates(key): _plain(value) for key, value in flat.items()}


def _plain(value: Any) -> float | str:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return value
    return without_surrogates(value if isinstance(value, str) else show(value))
