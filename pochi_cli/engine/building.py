"""The state that a training begins with."""

from __future__ import annotations

import torch

from pochi_cli.engine.averaging import create_average
from pochi_cli.engine.early_stopping import EarlyStopping
from pochi_cli.engine.gradients import create_tracer
from pochi_cli.engine.monitor import create_monitor
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.state import TrainingState
from pochi_cli.engine.tasks import Task
from pochi_cli.models.sync_norm import synchronise


def build_state(task: Task, runtime: Runtime, *, from_scratch: bool) -> tuple[TrainingState, tuple[str, ...]]:
    """Build model and optimizer; weights are loaded only for a run that begins.

    What depends on precision and memory layout is added by `equip`, once these are decided.

    Args:
        task: The config and the data.
        runtime: The device, and a layout for the time being.
        from_scratch: Whether the weights that the config names are loaded; else others will be.
    """
    config = task.config
    model, messages = task.build_model(runtime, from_scratch=from_scratch)
    state = TrainingState(
        model=model,
        average=create_average(model, config.ema_decay),
        optimizer=create_optimizer(config, model),
        scaler=torch.amp.GradScaler(runtime.device.type, enabled=False),
        early_stopping=EarlyStopping(config.early_stopping, config.best_metric),
    )
    return state, messages


def equip(state: TrainingState, task: Task, runtime: Runtime) -> None:
    """Lay out the weights, and add loss scaler, tracer, monitor and what writes for TensorBoard.

    From here on several processes normalise together: none may run the model in training mode for itself.

    Of several processes, which hold the same gradients and weights, the first one alone looks at them.
    """
    config, model = task.config, state.model
    if runtime.team.size > 1 and task.syncs_batch_norm:
        synchronise(model, runtime.device.type)
    model.to(memory_format=runtime.memory_format)
    state.average.model.to(memory_format=runtime.memory_format)
    state.scaler = runtime.create_scaler()
    is_scaled = state.scaler.is_enabled()
    if not runtime.team.is_first:
        return
    state.tracer = create_tracer(config, model, is_scaled=is_scaled)
    state.monitor = create_monitor(config.monitor, model, is_scaled=is_scaled)
    state.board = task.board(model, state.average, runtime)
