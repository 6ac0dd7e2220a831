"""The network of a run or a config: described, judged and measured."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from pochi_cli.config.data import DEFAULT_BATCH_SIZE
from pochi_cli.config.root import ClassificationConfig, EmbeddingConfig
from pochi_cli.engine.distance_objective import create_loss
from pochi_cli.engine.footprint import missing_averages, with_overhead
from pochi_cli.engine.losses import CrossEntropy
from pochi_cli.engine.memory import available_memory, explaining_batches
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.runtime import configured, random_state, restore_random_state
from pochi_cli.inspection.model_costs import BatchMemory, TrainingMemory
from pochi_cli.inspection.model_memory import least_memory, measure_paired_memory, measure_training_memory
from pochi_cli.inspection.model_operations import describe_structure
from pochi_cli.inspection.model_probing import byte_size
from pochi_cli.inspection.model_report import ModelReport, StepCosts
from pochi_cli.inspection.model_speed import BATCH_SIZES, measure_speed
from pochi_cli.inspection.model_statistics import weight_statistics
from pochi_cli.inspection.model_step import Loss
from pochi_cli.inspection.model_subject import Subject
from pochi_cli.inspection.model_text import mebibytes, shape_text
from pochi_cli.inspection.model_weights import judge_weights

_SPARED = 0.1
"""Share of the free memory that the largest batch leaves: how much the others take changes."""

Tell = Callable[[int, int], None]


def inspect_model(
    subject: Subject, batch_size: int | None = None, tell: Tell = lambda *_: None
) -> ModelReport:
    """Describe a network, judge its weights, and measure memory and speed. The network does not change.

    Where even the smallest steps do not fit into memory nothing is measured, and the report says so.

    Args:
        subject: The network.
        batch_size: Samples in a batch of the training step; by default the config's.
        tell: Told how many of the parts are done, and of how many.

    Raises:
        ModelError: The network cannot take its inputs.
        MemoryExhaustedError: Even the smallest batches take more memory than there is.
    """
    done, parts = 0, 2 + 2 + len(BATCH_SIZES)

    def count() -> None:
        nonlocal done
        done += 1
        tell(done, parts)

    tell(0, parts)
    before = random_state()
    try:
        with configured(subject.config, subject.runtime):
            return _inspect(subject, batch_size, count)
    finally:
        restore_random_state(before)


def _inspect(subject: Subject, batch_size: int | None, count: Callable[[], None]) -> ModelReport:
    model, runtime = subject.model, subject.runtime
    structure = describe_structure(model, torch.empty(1, *subject.input_shape, device="meta"))
    count()
    weights = weight_statistics(model)
    count()
    findings = tuple(judge_weights(weights, is_trained=subject.origin.checkpoint is not None))
    if obstacle := _obstacle(subject):
        return ModelReport(subject.origin, structure, weights, None, None, findings, obstacle)
    with explaining_batches(runtime.device, 2):
        memory = _step_costs(subject, batch_size, count)
        speed = measure_speed(
            model,
            subject.inputs(),
            precision=runtime.precision,
            autocast=runtime.autocast,
            on_batch_size=count,
        )
    return ModelReport(subject.origin, structure, weights, memory, speed, findings)


def _obstacle(subject: Subject) -> str | None:
    """Say why nothing can be measured: the smallest steps take more memory than there is."""
    available = available_memory(subject.runtime.device)
    least = least_memory(subject.model, subject.input_shape)
    if subject.runtime.precision != "fp32":
        least //= 2
    if available is None or least <= available:
        return None
    return (
        f"steps of 2 and 4 inputs of {shape_text(subject.input_shape)} take at least {mebibytes(least)}, but "
        f"only {mebibytes(available)} are free"
    )


def _step_costs(subject: Subject, batch_size: int | None, count: Callable[[], None]) -> StepCosts:
    config, model, device = subject.config, subject.model, subject.runtime.device
    available = available_memory(device)
    state = missing_averages(create_optimizer(config, model))
    averaged = 0
    if config.ema_decay is not None:
        averaged = sum(map(byte_size, [*model.parameters(), *model.buffers()]))
    if isinstance(config, EmbeddingConfig):
        compare = create_loss(config)
        training = measure_paired_memory(
            model,
            subject.inputs(),
            lambda vectors, latents: compare(vectors, latents).total,
            usable=float("inf") if available is None else (1 - _SPARED) * available,
            optimizer_state=state,
            averaged_weights=averaged,
            accumulate_steps=config.accumulate_steps,
            autocast=subject.runtime.autocast,
        )
        count()
        count()
    else:
        training = measure_training_memory(
            model,
            subject.inputs(),
            optimizer_state=state,
            averaged_weights=averaged,
            accumulate_steps=config.accumulate_steps,
            loss=_classification_loss(config),
            autocast=subject.runtime.autocast,
            on_batch=count,
        )
    return StepCosts(
        training=training,
        batch_size=batch_size or (DEFAULT_BATCH_SIZE if config.batch_size == "auto" else config.batch_size),
        optimizer=config.optimizer,
        precision=subject.runtime.precision,
        device=str(device),
        available=available,
        largest_batch=None if available is None else largest_batch(training, available, device),
    )


def _classification_loss(config: ClassificationConfig) -> Loss:
    entropy = CrossEntropy(label_smoothing=config.label_smoothing)

    def loss(logits: object) -> Tensor:
        assert isinstance(logits, Tensor)
        labels = torch.zeros(len(logits), dtype=torch.int64, device=logits.device)
        return entropy.forward(logits, labels).losses.mean()

    return loss


def largest_batch(training: TrainingMemory, available: int, device: torch.device) -> int:
    """Find the largest batch that fits, with what the process takes beside the tensors; 0 where none does.

    Args:
        training: What a step takes.
        available: Bytes that the process may still take; parameters and buffers are there already.
        device: Where it runs.
    """
    there = training.parameters + training.buffers
    usable = (1 - _SPARED) * available

    def fits(batch: BatchMemory) -> bool:
        return with_overhead(device, batch.peak - there) <= usable

    return training.largest_batch(fits)
