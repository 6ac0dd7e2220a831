"""A trained model, ready to be asked."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tomli_w
from torch import nn

from pochi_cli.config.document import Document
from pochi_cli.config.load import check_document, validate
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.spans import SourceText
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import Pipeline, final_size, flatten
from pochi_cli.data.transforms import ImagePipeline, build_pipeline
from pochi_cli.engine.checkpoint import load_checkpoint, load_weights
from pochi_cli.engine.runtime import Runtime, choose_runtime, own_runtime
from pochi_cli.errors import ConfigError, Diagnostic, RunError
from pochi_cli.models.factory import check_input, create_shell
from pochi_cli.runs.index import Run, choose_checkpoint, find_run, names_file, run_around

_MAY_CHANGE = (
    "device", "precision", "channels_last", "threads", "cudnn_benchmark", "sync_batch_norm", "deterministic",
    "batch_size", "num_workers", "cache", "on_bad_image", "train_data_root", "val_data_root", "val_transform",
    "confusion_matrix_config",
)  # fmt: skip
"""Keys that say how the model is asked; all others say what it is."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A trained model with all that its answers depend on.

    Attributes:
        model: In eval mode, on the runtime's device; takes float32 (N, 3, height, width) to logits (N, K).
            With the averaged weights, where an average was kept.
        class_names: Name of each of its K classes.
        transform: Turns an RGB image into what it takes, float32 (3, height, width).
        config: The config that it was trained with.
        steps: What `transform` is made of.
        class_weights: Of the loss, one per class; `None` for equal ones.
        size: Height and width that it was trained on.
        runtime: Device, precision and layout: those of the training, where they are to be had.
        checkpoint: The file that it was loaded from.
        epoch: Finished epochs when that was written.
        is_averaged: Whether its weights are averaged.
        run: The run that it is of; `None` for a checkpoint elsewhere.
        altered: Keys on which its answers depend, and that are not as they were in training.
        messages: What is not as one would expect, in words.
    """

    model: nn.Module
    class_names: tuple[str, ...]
    transform: ImagePipeline
    config: ClassificationConfig
    steps: Pipeline
    class_weights: tuple[float, ...] | None
    size: Size
    runtime: Runtime
    checkpoint: Path
    epoch: int
    is_averaged: bool
    run: Run | None
    altered: tuple[str, ...]
    messages: tuple[str, ...]

    @property
    def home(self) -> Path:
        """Directory of its run, or of its file."""
        return self.checkpoint.parent if self.run is None else self.run.directory


def load_model(
    reference: str | Path | Run, work_dir: Path = Path("work_dirs"), overrides: Iterable[str] = ()
) -> LoadedModel:
    """Load the model of a run, its best if there is one and else its latest, or that of a checkpoint.

    Args:
        reference: A checkpoint's path, a run, or what names one: its directory, name, UUID, a unique prefix
            of it, or `latest`.
        work_dir: Where all but a path are looked up.
        overrides: `key=value` arguments that replace keys of the config which it was trained with, of those
            that say how it is asked.

    Raises:
        RunError: There is no such run or checkpoint, or it is damaged.
        ConfigError: An override is no valid one, or of a key that says what the model is.
        ModelError: The model cannot take images of the size that the transform gives.
        DeviceError: A device or precision that an override asks for is not there.
    """
    run, path = find_checkpoint(reference, work_dir)
    checkpoint = load_checkpoint(path)
    try:
        trained = _plain_config(checkpoint, path)
        class_names = tuple(map(str, checkpoint["class_names"]))
        height, width = map(int, checkpoint["image_size"])
        weights = checkpoint["class_weights"]
        class_weights = None if weights is None else tuple(map(float, weights))
        epoch = int(checkpoint["epoch"])
        is_within_epoch = bool(checkpoint["sampler_state"]["batches"])
        if class_weights is not None and (len(class_weights) != len(class_names) or min(class_weights) <= 0):
            raise ValueError(f"its class weights {class_weights} are none for {len(class_names)} classes")
    except KeyError as error:
        raise RunError(f"{path} is incomplete: it has no {error}") from error
    except (TypeError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}") from error
    config = _overridden(trained, overrides, path)
    steps = evaluation_steps(config)
    chosen = {key for key in ("device", "precision") if getattr(config, key) != getattr(trained, key)}
    runtime = choose_runtime(config) if chosen else own_runtime(config)
    model = create_shell(config, len(class_names), (height, width))
    is_averaged = load_weights(model, checkpoint, path)
    if (size := final_size(steps)) is not None and size != (height, width):
        check_input(model, config.model_name, size, 2)
    model.to(runtime.device)
    model.to(memory_format=runtime.memory_format)
    model.eval()
    return LoadedModel(
        model=model,
        class_names=class_names,
        transform=build_pipeline(steps, config.mean, config.std),
        config=config,
        steps=steps,
        class_weights=class_weights,
        size=(height, width),
        runtime=runtime,
        checkpoint=path,
        epoch=epoch,
        is_averaged=is_averaged,
        run=run,
        altered=tuple(_altered(trained, config, runtime)),
        messages=(
            *_doubts(run, path, epoch, is_within_epoch=is_within_epoch),
            *(() if chosen else _replacements(trained, runtime)),
        ),
    )


def is_encoder(reference: str | Path | Run, work_dir: Path) -> bool:
    """Tell whether a run or a checkpoint is of an encoder of vectors.

    Raises:
        RunError: There is none, or it is damaged.
    """
    run, path = find_checkpoint(reference, work_dir)
    if run is not None:
        return run.record.task == "embedding"
    config = load_checkpoint(path).get("config")
    return isinstance(config, dict) and config.get("task") == "embedding"


def find_checkpoint(reference: str | Path | Run, work_dir: Path) -> tuple[Run | None, Path]:
    """Find a run, where there is one, and the checkpoint by which it is judged.

    Raises:
        RunError: There is no such run, or it has no checkpoint.
    """
    if not isinstance(reference, Run) and Path(reference).suffix.lower() == ".toml":
        raise RunError(
            f"{reference} is a config, and neither a run nor a checkpoint", "train it, and name the run"
        )
    if not isinstance(reference, Run) and names_file(reference, ".pth"):
        return run_around(Path(reference)), Path(reference)
    run = reference if isinstance(reference, Run) else find_run(reference, work_dir)
    return run, choose_checkpoint(run).path


def _doubts(run: Run | None, path: Path, epoch: int, *, is_within_epoch: bool) -> Iterator[str]:
    best = None if run is None else run.record.best_epoch
    is_latest = run is not None and path == run.layout.latest_model
    if is_latest and best is not None and epoch != best:
        yield f"the best checkpoint, of epoch {best}, is gone: {path} is of epoch {epoch}"
    if is_within_epoch:
        yield f"{path} was saved within epoch {epoch + 1}: its weights are those of no finished epoch"


def _altered(trained: ClassificationConfig, config: ClassificationConfig, runtime: Runtime) -> Iterator[str]:
    if config.val_transform != trained.val_transform:
        yield "val_transform"
    if runtime.precision != trained.precision:
        yield "precision"
    if config.on_bad_image != trained.on_bad_image:
        yield "on_bad_image"


def _plain_config(checkpoint: dict[str, Any], path: Path) -> ClassificationConfig:
    if not isinstance(checkpoint["config"], dict):
        raise RunError(f"{path} is damaged: its config is no table")
    try:
        config = validate(checkpoint["config"])
    except ConfigError as error:
        raise RunError(
            f"{path} is damaged: its config is not valid: {error.diagnostics[0].message}"
        ) from error
    if not isinstance(config, ClassificationConfig):
        raise RunError(
            f"{path} is an encoder of vectors, not a classifier of images",
            hint="pochi embed encodes with it, and pochi infer judges it",
        )
    return config


def _overridden(trained: ClassificationConfig, overrides: Iterable[str], path: Path) -> ClassificationConfig:
    text = tomli_w.dumps(trained.model_dump(mode="json", exclude_none=True))
    document = Document(SourceText(text, f"config of {path}"), overrides)
    config = check_document(document).valid()
    assert isinstance(config, ClassificationConfig)  # an override of the task does not fit the other keys
    changed = [
        Diagnostic(
            "conflict",
            f"{key} says what the trained model is, and cannot be changed",
            (key,),
            help=f"may be changed: {', '.join(_MAY_CHANGE)}",
        )
        for key in type(config).model_fields
        if key not in _MAY_CHANGE and getattr(config, key) != getattr(trained, key)
    ]
    if config.batch_size == "auto":
        undecided = "batch_size must be a number here: nothing is tried out"
        changed.append(Diagnostic("conflict", undecided, ("batch_size",), help="give one, or leave it out"))
    if changed:
        raise ConfigError(document.place(changed))
    return config


def evaluation_steps(config: ClassificationConfig) -> Pipeline:
    """Find what the model sees of an image: the validation transform, or one for training without chance.

    Raises:
        ConfigError: There is none.
    """
    if config.val_transform is not None:
        return config.val_transform
    if not any(step.is_random for step in flatten(config.train_transform)):
        return config.train_transform
    raise ConfigError(
        [
            Diagnostic(
                "missing-key",
                "it was trained without `val_transform`, and its train_transform is random: how images are "
                "to be shown to it is not known",
                ("val_transform",),
                help='give it: --set \'val_transform=[{ name = "Resize", size = [224, 224] }, '
                '{ name = "ToTensor" }, { name = "Normalize" }]\'',
            )
        ]
    )


def _replacements(trained: ClassificationConfig, runtime: Runtime) -> Iterator[str]:
    now = {"device": str(runtime.device), "precision": runtime.precision}
    for key, value in now.items():
        if (before := getattr(trained, key)) != value:
            yield f"it was trained with {key} = {before}; here it is {value}"
