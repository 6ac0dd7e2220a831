"""The gradients of a run: its trace is judged, and a fresh backward pass computed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from pochi_cli.config.root import ClassificationConfig, Config
from pochi_cli.engine.checkpoint import load_checkpoint, load_weights
from pochi_cli.engine.classification import ClassificationTask
from pochi_cli.engine.memory import explaining_batches
from pochi_cli.engine.objectives import Objective
from pochi_cli.engine.runtime import Runtime, choose_runtime, configured, own_runtime
from pochi_cli.engine.tasks import prepare_task
from pochi_cli.errors import DataError, ModelError, RunError, first_line
from pochi_cli.inspection.gradient_flow import judge_flow
from pochi_cli.inspection.gradient_report import FreshPass, GradientReport
from pochi_cli.inspection.gradient_rows import survey_gradients
from pochi_cli.inspection.gradients import measure_gradient_flow
from pochi_cli.inspection.verdicts import judge_gradients
from pochi_cli.runs.gradient_record import read_gradient_epochs
from pochi_cli.runs.index import Run

_BATCHES = 4
_EPOCH = 1
"""Whose batches they are: any would do, but always the same."""

Numbered = tuple[int, Any]
"""A batch and its number."""
Tell = Callable[[int, int], None]


def inspect_gradients(run: Run, config: Config | None = None, tell: Tell = lambda *_: None) -> GradientReport:
    """Judge the traced gradients of a run, and those of a fresh backward pass.

    The pass takes the first batches of the first epoch, with the run's own transforms but unmixed (neither
    MixUp nor CutMix), in training mode and with the run's seed, and the weights of the best checkpoint, or of
    the latest where there is no best: the averaged ones where the run keeps an average, for they count. Its
    loss is that of one optimizer step over all these batches. It goes without where the data or a checkpoint
    are missing; then the trace alone is judged.

    Args:
        run: The run.
        config: Where it should differ from the run's own: on another device, say. The run's own device is
            replaced by the best there is where it is missing.
        tell: Told how many batches are done, and of how many.

    Raises:
        RunError: A checkpoint or the trace is damaged, or there is nothing to judge.
        DeviceError: The device asked for is not there.
        MemoryExhaustedError: The device has too little memory.
    """
    epochs = read_gradient_epochs(run.layout)
    found = judge_gradients(epochs)
    trace = survey_gradients(epochs, found) if epochs else None
    fresh, obstacle = None, None
    path = next((path for path in (run.layout.best_model, run.layout.latest_model) if path.exists()), None)
    if path is None:
        obstacle = "it has no checkpoint"
    else:
        try:
            fresh = _compute(run, config, path, tell)
        except (DataError, ModelError) as error:
            obstacle = f"its training data cannot be used: {first_line(error)}"
    if fresh is None and not epochs:
        raise RunError(
            f"there are no gradients of {run.layout.name} to inspect: none were traced, and {obstacle}",
            hint="bring back what is missing, or train with enable_gradient_tracking = true",
        )
    if fresh is not None:
        found = [*found, *judge_flow(fresh.flow, found)]
    return GradientReport(run.layout.name, trace, tuple(found), fresh, obstacle)


def _compute(run: Run, config: Config | None, path: Path, tell: Tell) -> FreshPass:
    checkpoint = load_checkpoint(path)  # before all else: a damaged one is told at once
    choose = own_runtime if config is None else choose_runtime
    config = _for_one_pass(config or run.config)
    runtime = choose(config)
    with configured(config, runtime), explaining_batches(runtime.device, _batch_size(config)):
        task = prepare_task(config, lambda _: None)
        if task.class_names != run.record.class_names:
            raise DataError("their classes are no longer those of the run")
        model, _ = task.build_model(runtime, from_scratch=False)
        if isinstance(task, ClassificationTask):
            task.check_model(model, runtime.team.size)
        is_averaged = load_weights(model, checkpoint, path)
        parts = task.parts(runtime)
        batches = list(islice(parts.loaders.train.batches(_EPOCH), _BATCHES))
        tell(0, len(batches))
        flow = measure_gradient_flow(
            model,
            batches,
            _loss_of_one_step(parts.objective, batches, runtime),
            lambda done: tell(done, len(batches)),
        )
    has_changed = task.fingerprint != run.record.data_fingerprint
    return FreshPass(
        flow=flow,
        checkpoint=path,
        epoch=checkpoint["epoch"],
        is_averaged=is_averaged,
        samples=sum(len(batch) for _, batch in batches),
        device=str(runtime.device),
        remarks=("the data have changed since the run began",) if has_changed else (),
    )


def _loss_of_one_step(
    objective: Objective[Any], batches: Sequence[Numbered], runtime: Runtime
) -> Callable[[nn.Module, Numbered], Tensor]:
    """Make the loss whose mean over the batches is that of one step over all their samples."""
    weights = [float(objective.prepare(batch, _EPOCH, number).weight) for number, batch in batches]
    share = len(batches) / sum(weights)

    def loss(model: nn.Module, numbered: Numbered) -> Tensor:
        number, batch = numbered
        step = objective.prepare(batch, _EPOCH, number)
        with runtime.autocast():
            outputs = model(step.inputs)
        return objective.training_losses(outputs, step).losses.sum() * share

    return loss


def _batch_size(config: Config) -> int:
    return config.images_per_batch if isinstance(config, ClassificationConfig) else config.batch_size


def _for_one_pass(config: Config) -> Config:
    """Leave out what a single unmixed pass has no use for."""
    changes: dict[str, Any] = {}
    if isinstance(config, ClassificationConfig):
        changes = {"mixup_alpha": 0.0, "cutmix_alpha": 0.0, "num_workers": 0, "cache": "none"}
    if config.precision == "fp16":
        changes["precision"] = "fp32"  # without a scaled loss small gradients would become 0
    return config.model_copy(update=changes)
