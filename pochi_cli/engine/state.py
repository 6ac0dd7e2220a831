"""All that a training consists of between two steps, and its form in a checkpoint."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from pochi_cli.data.sampling import derive_seed
from pochi_cli.engine.averaging import ExponentialAverage, NoAverage
from pochi_cli.engine.board import NoBoard
from pochi_cli.engine.checkpoint import FORMAT_VERSION
from pochi_cli.engine.early_stopping import EarlyStopping
from pochi_cli.engine.gradients import GradientTracer, NoTracer
from pochi_cli.engine.monitor import NoMonitor, TrainingMonitor
from pochi_cli.engine.runtime import restore_random_state, seed_all
from pochi_cli.runs.history import History

if TYPE_CHECKING:
    from pochi_cli.engine.tensorboard import TensorBoardWriter


@dataclass(frozen=True)
class ModelSpec:
    """What a model's answers depend on besides its weights: part of every checkpoint.

    Attributes:
        config: The resolved config, as plain values.
        facts: What its task adds, by the keys of a checkpoint: plain values as well.
    """

    config: dict[str, Any]
    facts: dict[str, Any]


@dataclass(frozen=True)
class Position:
    """Where a training stands within an epoch.

    Attributes:
        epoch: The epoch that goes on, from 1.
        batches: Batches of it that are done.
        steps: Optimizer steps of it that are done.
        sums: State of the epoch's totals; empty at its start.
        duration_s: Time spent on it, over all sessions.
    """

    epoch: int
    batches: int = 0
    steps: int = 0
    sums: tuple[float, ...] = ()
    duration_s: float = 0.0


@dataclass
class TrainingState:
    """What changes while training.

    Attributes:
        model: The model that is trained.
        average: The model that counts: the averaged one, or `model` itself.
        tracer: What records the gradients.
        monitor: What records the steps.
        board: What writes for TensorBoard.
        position: Where it stands.
        history: The finished epochs.
        duration_s: Time spent on them, over all sessions.
    """

    model: nn.Module
    average: ExponentialAverage | NoAverage
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    early_stopping: EarlyStopping
    tracer: GradientTracer | NoTracer = field(default_factory=NoTracer)
    monitor: TrainingMonitor | NoMonitor = field(default_factory=NoMonitor)
    board: TensorBoardWriter | NoBoard = field(default_factory=NoBoard)
    position: Position = field(default_factory=lambda: Position(epoch=1))
    history: History = field(default_factory=History)
    duration_s: float = 0.0

    def to_checkpoint(self, spec: ModelSpec, random_states: Sequence[Any]) -> dict[str, Any]:
        """Collect tensors and plain values from which this very state can be restored.

        Args:
            spec: What the model's answers depend on.
            random_states: Of each of the processes that train together.
        """
        return {
            "format_version": FORMAT_VERSION,
            "epoch": len(self.history),
            "model_state_dict": self.model.state_dict(),
            "ema_state_dict": self.average.state_dict(),
            "optimizer_state_dict": self.optimizer.state_dict(),
            # Rates are a function of the epoch: see config/schedule.py.
            "scheduler_state_dict": {"last_epoch": len(self.history)},
            "scaler_state_dict": self.scaler.state_dict(),
            "early_stopping": self.early_stopping.state_dict(),
            "gradient_trace": self.tracer.state_dict(),
            "monitor": self.monitor.state_dict(),
            "tensorboard": self.board.state_dict(),
            "rng_state": random_states[0],
            "peer_rng_states": list(random_states[1:]),
            # Order and augmentation are functions of seed, epoch and image: the place is enough.
            "sampler_state": {
                "epoch": self.position.epoch,
                "batches": self.position.batches,
                "steps": self.position.steps,
                "sums": list(self.position.sums),
                "duration_s": self.position.duration_s,
            },
            "train_history": self.history.to_dict(),
            "duration_s": self.duration_s,
            **spec.facts,
            "config": spec.config,
        }

    def restore(self, checkpoint: dict[str, Any], rank: int) -> None:
        """Take up the state of a checkpoint, the process's random state included.

        Where more processes go on than there were, the others draw random numbers of their own.

        Args:
            checkpoint: As `to_checkpoint` makes it.
            rank: Of this process.

        Raises:
            RuntimeError, KeyError, ValueError: It does not fit this model or optimizer.
        """
        self.model.load_state_dict(checkpoint["model_state_dict"])
        self.average.load_state_dict(checkpoint["ema_state_dict"])
        self.optimizer.load_state_dict(checkpoint["optimizer_state_dict"])
        self.scaler.load_state_dict(checkpoint["scaler_state_dict"])
        self.early_stopping.load_state_dict(checkpoint["early_stopping"])
        self.tracer.load_state_dict(checkpoint["gradient_trace"])
        self.monitor.load_state_dict(checkpoint["monitor"])
        self.board.load_state_dict(checkpoint["tensorboard"])
        self.history = History.from_dict(checkpoint["train_history"])
        place = checkpoint["sampler_state"]
        self.position = Position(**{**place, "sums": tuple(place["sums"])})
        self.duration_s = checkpoint["duration_s"]
        states = [checkpoint["rng_state"], *checkpoint["peer_rng_states"]]
        if rank < len(states):
            restore_random_state(states[rank])
        else:
            seed_all(derive_seed(checkpoint["config"]["seed"], rank, self.position.epoch) % 2**32)
