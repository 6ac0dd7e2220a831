"""Where everything of a run lies. Only this and `inference_layout` know a file's name."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Literal

from pochi_cli.errors import StorageError

RUN_NAME = re.compile(r"(?P<date>[0-9]{8})_(?P<number>[0-9]{3,})")

_EVENTS = "events.out.tfevents"
"""How the name of an event file has to begin for TensorBoard to see it."""

GradientFigure = Literal[
    "timeline_all",
    "timeline_early",
    "timeline_late",
    "heatmap",
    "statistics_initial_vs_final",
    "statistics_stability",
    "statistics_max",
    "statistics_min",
    "snapshots",
    "snapshots_linear",
]
"""The pictures of a gradient trace."""


@dataclass(frozen=True)
class RunLayout:
    """The paths of one run.

    Attributes:
        directory: The run's own directory.
        stamp: Start of the run as `YYYYMMDD_HHMMSS`, part of some names.
    """

    directory: Path
    stamp: str

    @property
    def name(self) -> str:
        """The run's id: the name of its directory."""
        name = self.directory.name
        return self.directory.resolve().name if name in ("", "..") else name

    @property
    def config_toml(self) -> Path:
        """Resolved config; training it again repeats the run."""
        return self.directory / "config.toml"

    @property
    def config_json(self) -> Path:
        """The resolved config for programs."""
        return self.directory / "config.json"

    @property
    def run_json(self) -> Path:
        """What, when, where, and how it ended."""
        return run_json_in(self.directory)

    @property
    def history_json(self) -> Path:
        """One array per quantity."""
        return self.directory / "train_history.json"

    @property
    def log(self) -> Path:
        """What was told while training."""
        return self.directory / "train.log"

    @property
    def lock(self) -> Path:
        """Held by the process that trains the run."""
        return self.directory / ".lock"

    @property
    def models(self) -> Path:
        """Directory of the checkpoints."""
        return self.directory / "models"

    @property
    def best_model(self) -> Path:
        """Checkpoint of the best epoch."""
        return self.models / "best_model.pth"

    @property
    def latest_model(self) -> Path:
        """Checkpoint of the last finished epoch, from which the run resumes."""
        return self.models / "latest_model.pth"

    def checkpoint(self, epoch: int) -> Path:
        """Numbered checkpoint of an epoch."""
        return self.models / f"checkpoint_epoch_{epoch:03d}.pth"

    def numbered_checkpoints(self) -> dict[int, Path]:
        """Find the numbered checkpoints that are there, by their epochs."""
        return {
            int(path.stem.rpartition("_")[2]): path
            for path in self.models.glob(self.checkpoint_pattern)
            if path.stem.rpartition("_")[2].isdecimal()
        }

    @property
    def checkpoint_pattern(self) -> str:
        """Matches the names of the numbered checkpoints, in the directory of the models."""
        return "checkpoint_epoch_*.pth"

    @property
    def visualization(self) -> Path:
        """Directory of the metrics and their graphs."""
        return self.directory / "visualization"

    @property
    def metrics_csv(self) -> Path:
        """Metrics, one row per epoch."""
        return self.visualization / f"training_metrics_{self.stamp}.csv"

    def metrics_figure(self, kind: str) -> Path:
        """Graph of the metrics: `loss`, `accuracy` or, of an encoder, `experiment`; and `layer_wise_lr`."""
        return self.visualization / f"training_metrics_{self.stamp}_{kind}.png"

    @property
    def gradient_trace(self) -> Path:
        """Norms of the layers' gradients, one row per recorded epoch."""
        return self.visualization / f"gradient_trace_{self.stamp}.csv"

    @property
    def gradient_steps(self) -> Path:
        """The same step by step, one row per step and layer."""
        return self.visualization / f"gradient_steps_{self.stamp}.csv"

    @property
    def monitor_steps(self) -> Path:
        """Loss, gradient norm and more of the monitored steps, one row each."""
        return self.visualization / f"monitor_steps_{self.stamp}.csv"

    @property
    def monitor_updates(self) -> Path:
        """Update ratios, one row per measured step and block."""
        return self.visualization / f"monitor_updates_{self.stamp}.csv"

    @property
    def inference_results(self) -> Path:
        """Directory of what was inferred, in directories of their own."""
        return inference_results_in(self.directory)

    @property
    def report(self) -> Path:
        """The page that tells all about the run."""
        return self.directory / "report.html"

    def exported_model(self, suffix: Literal["onnx", "pt2"]) -> Path:
        """The model in a form that other programs run."""
        return self.models / f"model.{suffix}"

    @property
    def tensorboard(self) -> Path:
        """Directory of the event files; TensorBoard takes it for a run."""
        return self.directory / "tensorboard"

    @property
    def event_pattern(self) -> str:
        """Matches the names of the event files, in their directory."""
        return f"{_EVENTS}.*"

    def event_file(self, second: int, process: str, number: int) -> Path:
        """Event file of a session; readers take them in the order of their names.

        Args:
            second: When it begins, in seconds since 1970.
            process: What tells the process from others, such as host and number.
            number: How many there are already.
        """
        return self.tensorboard / f"{_EVENTS}.{second:010d}.{process}.{number:04d}"

    @property
    def projector_config(self) -> Path:
        """Tells TensorBoard's projector what there is; the name is its own."""
        return self.tensorboard / "projector_config.pbtxt"

    @property
    def embeddings(self) -> Path:
        """Directory of what the projector shows."""
        return self.tensorboard / "embeddings"

    @property
    def embedding_vectors(self) -> Path:
        """One vector a line."""
        return self.embeddings / "vectors.tsv"

    @property
    def embedding_labels(self) -> Path:
        """What each vector is of."""
        return self.embeddings / "labels.tsv"

    @property
    def embedding_sprite(self) -> Path:
        """A small picture of each."""
        return self.embeddings / "sprite.png"


def gradient_figure(directory: Path, kind: GradientFigure) -> Path:
    """Picture of a gradient trace, which need not be a run's."""
    return directory / f"gradient_trace_{kind}.png"


def gradient_flow_figure(directory: Path) -> Path:
    """Picture of the gradients of one backward pass."""
    return directory / "gradient_flow.png"


def monitor_figure(directory: Path) -> Path:
    """Picture of the course of a training."""
    return directory / "training_monitor.png"


def comparison_figure(work_dir: Path) -> Path:
    """Picture of several runs of a work_dir."""
    return work_dir / "comparison.png"


def inference_results_in(directory: Path) -> Path:
    """Where what is inferred with a model goes, in the directory of its run or checkpoint."""
    return directory / "inference_results"


def run_json_in(directory: Path) -> Path:
    """Where a run's record lies, which makes a directory a run."""
    return directory / "run.json"


def create_run_directory(work_dir: Path, now: datetime) -> RunLayout:
    """Make the directory of a new run.

    Making a directory is atomic, so two runs started together get different numbers.

    Args:
        work_dir: Directory of the runs; made where missing.
        now: Start of the run, local time.

    Raises:
        StorageError: It cannot be made.
    """
    directory = create_numbered(
        work_dir, now, "a run directory", "choose another work_dir, or mend its permissions or space"
    )
    layout = RunLayout(directory, stamp_of(now))
    try:
        make_parts(layout)
    except StorageError:
        shutil.rmtree(directory, ignore_errors=True)
        raise
    return layout


def create_trial(directory: Path, now: datetime) -> RunLayout:
    """Make the directory of a run that is part of a search, and keeps no checkpoints.

    Raises:
        StorageError: It cannot be made, or exists.
    """
    layout = RunLayout(directory, stamp_of(now))
    try:
        directory.mkdir(parents=True)
    except OSError as error:
        raise StorageError(f"cannot make {directory}: {error.strerror or error}") from error
    make_part(layout.visualization)
    return layout


def stamp_of(moment: datetime) -> str:
    """Write a moment as names of files hold it, `YYYYMMDD_HHMMSS`."""
    return f"{moment:%Y%m%d_%H%M%S}"


def create_numbered(parent: Path, now: datetime, what: str, remedy: str) -> Path:
    """Make `YYYYMMDD_NNN` with the next number in a directory, which is made where missing.

    Making a directory is atomic, so two that are made together get different numbers.

    Args:
        parent: Where.
        now: Local time.
        what: What it is, for the message.
        remedy: What to do where it cannot be made.

    Raises:
        StorageError: It cannot be made.
    """
    date = f"{now:%Y%m%d}"
    try:
        parent.mkdir(parents=True, exist_ok=True)
        taken = [
            int(match["number"])
            for entry in parent.iterdir()
            if (match := RUN_NAME.fullmatch(entry.name)) and match["date"] == date
        ]
        number = max(taken, default=0) + 1
        while True:
            directory = parent / f"{date}_{number:03d}"
            try:
                directory.mkdir()
                return directory
            except FileExistsError:
                number += 1
    except OSError as error:
        raise StorageError(f"cannot make {what} in {parent}: {error.strerror or error}", remedy) from error


def make_parts(layout: RunLayout) -> None:
    """Make those directories of a run that are missing.

    Raises:
        StorageError: They cannot be made, or are links: a run writes only below its own directory.
    """
    for part in (layout.models, layout.visualization):
        make_part(part)


def make_part(part: Path) -> None:
    """Make a directory of a run if it is missing.

    Raises:
        StorageError: It cannot be made, or is a link: a run writes only below its own directory.
    """
    if part.is_symlink():
        raise StorageError(
            f"{part} is a symbolic link, and a run writes only inside its own directory",
            hint="put a directory in its place; to keep runs elsewhere, link or set work_dir",
        )
    try:
        part.mkdir(exist_ok=True)
    except OSError as error:
        raise StorageError(f"cannot make {part}: {error.strerror or error}") from error
