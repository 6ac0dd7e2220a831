"""What a run decides once its model is there: the size of batches, precision and memory layout."""

from __future__ import annotations

import platform
import re
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pochi_cli.config.batches import batch_starts
from pochi_cli.config.root import ClassificationConfig, Config
from pochi_cli.data.digits import cache_directory
from pochi_cli.data.findings import counted
from pochi_cli.data.published import Tell
from pochi_cli.engine.choice import Choice
from pochi_cli.engine.classification import ClassificationTask
from pochi_cli.engine.distributed import Alone
from pochi_cli.engine.features import frozen_tail
from pochi_cli.engine.image_parts import are_images_fixed
from pochi_cli.engine.real_steps import RealSteps, batch_of_noise
from pochi_cli.engine.remembered import Measurement, Situation, recall, remember
from pochi_cli.engine.runtime import Runtime, by_rule, candidates, native_half
from pochi_cli.engine.state import TrainingState
from pochi_cli.engine.tasks import Task
from pochi_cli.engine.tuning import FEWEST_STEPS, Timing, fastest, measure
from pochi_cli.errors import RunError, StorageError

HEAVY = 3e9
"""Multiply-adds of a batch's forward pass from which half precision pays on a CPU that has it."""


@dataclass(frozen=True)
class Decided:
    """A task without open choices, and what it is computed on.

    Attributes:
        task: Its config holds the choices.
        runtime: Device, precision and layout.
        messages: What to tell the user.
        speed: Where precision and layout come from, for the record; `None` where there is no choice.
    """

    task: Task
    runtime: Runtime
    messages: tuple[str, ...] = ()
    speed: dict[str, Any] | None = None


def decide(
    config: Config, task: Task, runtime: Runtime, state: TrainingState, *, may_measure: bool, tell: Tell
) -> Decided:
    """Decide what depends on the model. Neither the model nor any random state changes.

    Args:
        config: As the user gave it, with what is left open.
        task: The same, resolved.
        runtime: What was chosen without the model.
        state: Model and optimizer.
        may_measure: Whether there is time for that; what is remembered counts all the same.
        tell: Told what takes a while.

    Raises:
        ModelError: The model cannot be trained on these data.
    """
    if not (isinstance(task, ClassificationTask) and isinstance(config, ClassificationConfig)):
        task, messages = task.decided(runtime, state)
        return Decided(task, runtime, messages)
    image_work = task.check_model(state.model, runtime.team.size)
    # Torch has been given the process's share of the threads by now, of which no share is to be taken again.
    found = (replace(one, threads=runtime.threads) for one in candidates(config, runtime.team))
    possible = _common(tuple(found), runtime.team)
    is_heavy = _is_heavy(config, task, image_work, runtime.device)
    rule = by_rule(possible, is_heavy=is_heavy)
    task, messages = task.decided(rule, state)
    choice, notes = _choose(config, task, rule, possible, state.model, may_measure=may_measure, tell=tell)
    at = rule.team.first(possible.index(choice.runtime))
    choice = replace(choice, runtime=possible[at])
    texts = (*messages, *choice.messages(), *notes)
    return Decided(task.resolved(choice.runtime), choice.runtime, texts, choice.to_record())


def _common(possible: tuple[Runtime, ...], team: Alone) -> tuple[Runtime, ...]:
    """Leave those that all processes have, whose devices may differ: fp32 is always among them."""
    names = team.gather([candidate.arithmetic for candidate in possible])
    return tuple(one for one in possible if all(one.arithmetic in theirs for theirs in names))


def _is_heavy(
    config: ClassificationConfig, task: ClassificationTask, image_work: int, device: torch.device
) -> bool:
    if device.type == "cuda":
        return True
    if native_half(device) is None:
        return False
    images = config.images_per_step if config.batch_size == "auto" else config.batch_size
    return min(images, len(task.data.train)) * image_work >= HEAVY


def _choose(
    config: ClassificationConfig,
    task: ClassificationTask,
    rule: Runtime,
    possible: tuple[Runtime, ...],
    model: nn.Module,
    *,
    may_measure: bool,
    tell: Tell,
) -> tuple[Choice, tuple[str, ...]]:
    """Choose by what is remembered, by measuring or by rule; returns notes on what went wrong, too."""
    if len(possible) == 1:
        is_given = config.precision != "auto" and config.channels_last != "auto"
        return Choice(rule, "config" if is_given else "rule"), ()
    if config.compile:
        return Choice(rule, "rule", "nothing is measured with compile = true"), ()
    team = rule.team
    images = min(task.config.images_per_batch, len(task.data.train))
    steps = config.epochs * len(batch_starts(len(task.data.train), images))
    images = -(-images // team.size)
    path, situation = cache_directory() / "speed.json", _situation(task, rule, possible, images)
    notes: tuple[str, ...] = ()
    try:
        if (known := recall(path, situation, steps)) is not None:
            chosen = next(candidate for candidate in possible if candidate.arithmetic == known.chosen)
            return Choice(chosen, "remembered", measurement=known), ()
    except RunError as error:
        notes = (f"{error.message}: it is passed over",)
    if not may_measure:
        return Choice(rule, "rule", "a trial measures nothing"), notes
    if are_images_fixed(task.config) and frozen_tail(model, task.config.head):
        return Choice(rule, "rule", "the features of a frozen backbone are computed once"), notes
    too_few = Choice(rule, "rule", f"{counted(steps, 'step')} would not pay for measuring")
    if steps < FEWEST_STEPS:
        return too_few, notes
    tell(f"measuring the fastest of {', '.join(situation.candidates)}")
    copies = RealSteps(task.config, model, batch_of_noise(task.config, images, task.data.size))
    timing = measure(_in_order(rule, possible), copies.open, steps)
    if len(timing.step_s) + len(timing.far_slower) + len(timing.no_memory) < 2:
        return too_few, notes
    if timing.no_memory:
        names = ", ".join(one.arithmetic for one in timing.no_memory)
        notes = (*notes, f"not measured, for lack of memory: {names}")
    if not timing.step_s:
        return Choice(rule, "rule", "none has enough memory for a step"), notes
    chosen = fastest(rule, timing.step_s)
    found = _measurement(chosen, timing, images, steps)
    # Else it may come out differently at a quieter time, or with more memory.
    if timing.is_steady and not timing.no_memory and team.is_first:
        try:
            remember(path, situation, found)
        except StorageError as error:
            notes = (*notes, f"what was measured is not remembered: {error.message}")
    return Choice(chosen, "measured", measurement=found), notes


def _in_order(rule: Runtime, possible: tuple[Runtime, ...]) -> list[Runtime]:
    """Order by what is to be known first: the rule's choice, then plain fp32."""
    return sorted(possible, key=lambda candidate: (candidate != rule, not candidate.is_plain))


def _measurement(chosen: Runtime, timing: Timing, images: int, steps: int) -> Measurement:
    return Measurement(
        chosen=chosen.arithmetic,
        images_per_second={
            one.arithmetic: float(f"{images / step_s:.4g}") for one, step_s in timing.step_s.items()
        },
        far_slower=tuple(one.arithmetic for one in timing.far_slower),
        measured_on=datetime.now().astimezone().date().isoformat(),
        steps=None if timing.is_complete else steps,
    )


def _situation(
    task: ClassificationTask, rule: Runtime, possible: tuple[Runtime, ...], images: int
) -> Situation:
    config = task.config
    return Situation(
        device=_device_name(rule.device),
        threads=rule.threads,
        torch=torch.__version__,
        model_name=config.model_name,
        stem=config.stem,
        freeze=tuple(config.freeze),
        image_size=task.data.size,
        batch_size=images,
        cudnn_benchmark=config.cudnn_benchmark,
        candidates=tuple(candidate.arithmetic for candidate in possible),
    )


def _device_name(device: torch.device) -> str:
    """Name the GPU or the processor, as exactly as the system tells."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    try:
        told = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        return platform.processor() or platform.machine()
    # A virtual machine may tell no more of the name than who made the processor.
    first = dict(re.findall(r"^(model name|cpu family|model|stepping)\s*: (.*)$", told, re.MULTILINE))
    return ", ".join(f"{key} {value}" for key, value in first.items()) or platform.machine()
