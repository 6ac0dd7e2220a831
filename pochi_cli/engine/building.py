"""Model, optimizer and objective, from their parts of the config."""

from __future__ import annotations

from typing import Literal

from torch import nn

from pochi_cli.config.root import ClassificationConfig
from pochi_cli.data.balance import balanced_weights
from pochi_cli.data.prepare import Data
from pochi_cli.engine.averaging import create_average
from pochi_cli.engine.board import create_board
from pochi_cli.engine.early_stopping import EarlyStopping
from pochi_cli.engine.gradients import create_tracer
from pochi_cli.engine.losses import CrossEntropy
from pochi_cli.engine.mixing import create_mixing
from pochi_cli.engine.monitor import create_monitor
from pochi_cli.engine.objectives import ClassificationObjective
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.state import TrainingState
from pochi_cli.models.factory import check_input, create_model
from pochi_cli.models.freezing import freeze


def build_state(
    config: ClassificationConfig, data: Data, runtime: Runtime, *, from_scratch: bool
) -> tuple[TrainingState, tuple[str, ...]]:
    """Build model and optimizer; weights are loaded only for a run that begins."""
    model, messages = build_model(config, data, runtime, from_scratch=from_scratch)
    scaler = runtime.create_scaler()
    average = create_average(model, config.ema_decay)
    state = TrainingState(
        model=model,
        average=average,
        optimizer=create_optimizer(config, model),
        scaler=scaler,
        early_stopping=EarlyStopping(config.early_stopping),
        tracer=create_tracer(config, model, is_scaled=scaler.is_enabled()),
        monitor=create_monitor(config.monitor, model, is_scaled=scaler.is_enabled()),
        board=create_board(config, model, average, runtime, data.class_names),
    )
    return state, messages


def build_model(
    config: ClassificationConfig, data: Data, runtime: Runtime, *, from_scratch: bool
) -> tuple[nn.Module, tuple[str, ...]]:
    """Build the model on its device, frozen as the config says, and tell what happened.

    Args:
        config: The config.
        data: The data, which decide the sizes of input and output.
        runtime: Device and layout.
        from_scratch: Whether the weights that the config names are loaded; else others will be.

    Raises:
        ModelError: It cannot be built, or cannot be trained on these data.
    """
    start = config if from_scratch else config.model_copy(update={"pretrained": False, "weights": None})
    built = create_model(start, len(data.class_names), data.size)
    model = built.model
    frozen = freeze(model, config.freeze)
    check_input(model, config.model_name, data.size, _smallest_batch(len(data.train), config.batch_size))
    if data.val_size is not None and data.val_size != data.size:
        check_input(model, config.model_name, data.val_size, 2)
    model.to(runtime.device)
    model.to(memory_format=runtime.memory_format)
    messages = built.messages if from_scratch else ()
    if frozen.names:
        messages += (f"frozen: {frozen.frozen_values:,} of {frozen.all_values:,} parameter values",)
    return model, messages


def _smallest_batch(images: int, batch_size: int | Literal["auto"]) -> int:
    """Size of the smallest training batch, given that a last one of one image joins the one before."""
    if batch_size == "auto":
        return min(images, 2)
    if images <= batch_size:
        return images
    rest = images % batch_size
    return batch_size if rest in (0, 1) else rest


def build_objective(config: ClassificationConfig, data: Data) -> ClassificationObjective:
    """Build the loss, with the class weights that the config and the data give, and the mixing."""
    weights = class_weights(config, data)
    return ClassificationObjective(
        CrossEntropy(weights, config.label_smoothing),
        CrossEntropy(weights),
        create_mixing(config, len(data.class_names), config.seed),
    )


def class_weights(config: ClassificationConfig, data: Data) -> tuple[float, ...] | None:
    """Find the weights of the classes in the loss; `None` for equal ones."""
    match config.class_weights:
        case "none":
            return None
        case "balanced":
            return tuple(balanced_weights(data.train.class_counts))
        case given:
            return tuple(given)
