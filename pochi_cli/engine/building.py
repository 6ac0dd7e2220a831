"""The state that a training begins with."""

from __future__ import annotations

from pochi_cli.engine.averaging import create_average
from pochi_cli.engine.early_stopping import EarlyStopping
from pochi_cli.engine.gradients import create_tracer
from pochi_cli.engine.monitor import create_monitor
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.runtime import Runtime
from pochi_cli.engine.state import TrainingState
from pochi_cli.engine.tasks import Task


def build_state(task: Task, runtime: Runtime, *, from_scratch: bool) -> tuple[TrainingState, tuple[str, ...]]:
    """Build model and optimizer; weights are loaded only for a run that begins."""
    config = task.config
    model, messages = task.build_model(runtime, from_scratch=from_scratch)
    scaler = runtime.create_scaler()
    average = create_average(model, config.ema_decay)
    state = TrainingState(
        model=model,
        average=average,
        optimizer=create_optimizer(config, model),
        scaler=scaler,
        early_stopping=EarlyStopping(config.early_stopping, config.best_metric),
        tracer=create_tracer(config, model, is_scaled=scaler.is_enabled()),
        monitor=create_monitor(config.monitor, model, is_scaled=scaler.is_enabled()),
        board=task.board(model, average, runtime),
    )
    return state, messages
