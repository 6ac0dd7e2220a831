"""The training monitor: what happens at each step, kept on the device until the epoch ends."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pochi_cli.config.recording import MonitorConfig
from pochi_cli.engine.gradients import merge, norms_of
from pochi_cli.models.blocks import blocks_of
from pochi_cli.runs.monitor_record import MonitorEpoch


class NoMonitor:
    """Sees nothing."""

    def begin(self, epoch: int, learning_rate: float) -> None:
        """Do nothing."""

    def add(self, loss: Tensor, images: int) -> None:
        """Do nothing."""

    def before_step(self, step: int) -> None:
        """Do nothing."""

    def after_step(self) -> None:
        """Do nothing."""

    def end(self) -> MonitorEpoch | None:
        """There is nothing."""
        return None

    def state_dict(self) -> None:
        """There is no state."""

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """There is no state."""


class TrainingMonitor:
    """Records loss, gradient norm and speed of every step, and at some of them how far the weights move.

    `add` is called for each batch of a step; `before_step` between the backward pass and the optimizer,
    after unscaling and before clipping; `after_step` behind the optimizer. Nothing is copied to the host
    before the epoch ends. The update ratio is the real one, ||w_after - w_before|| / ||w_before||, from a
    copy of the weights that lives for those steps only: the rate times the gradient, which is often taken for
    it, is wrong for momentum, for Adam, and with clipping or weight decay.

    Args:
        model: Frozen already as the config says.
        config: How often the updates are measured.
        is_scaled: Whether the loss is scaled (fp16): then a gradient that is not finite makes the scaler
            pass the step over, which changes no weight.
    """

    def __init__(self, model: nn.Module, config: MonitorConfig, *, is_scaled: bool = False) -> None:
        named = dict(model.named_parameters())
        block = blocks_of(list(named))
        trained = {name: parameter for name, parameter in named.items() if parameter.requires_grad}
        # Vectors, biases and the weights of norms, begin at 0 or 1: how far they move says little.
        measured = [name for name, parameter in trained.items() if parameter.ndim > 1]
        self._trained = list(trained.values())
        self._measured = [trained[name] for name in measured]
        self._blocks: dict[str, list[int]] = {}
        for at, name in enumerate(measured):
            self._blocks.setdefault(block[name], []).append(at)
        self._every = config.update_ratio_every
        self._is_scaled = is_scaled
        # On other devices the host only queues a step: its clock says nothing about one.
        self._has_speed = self._trained[0].device.type == "cpu"
        self._epoch: int | None = None
        self._forget()

    def _forget(self) -> None:
        self._steps: list[int] = []
        self._values: list[Tensor] = []
        self._speeds: list[float] = []
        self._update_steps: list[int] = []
        self._ratios: list[Tensor] = []
        self._before: list[Tensor] = []

    def begin(self, epoch: int, learning_rate: float) -> None:
        """Begin an epoch, or go on with the one that `load_state_dict` brought back.

        Args:
            epoch: From 1.
            learning_rate: As in `EpochRecord`.
        """
        if epoch != self._epoch:
            self._epoch = epoch
            self._forget()
        self._learning_rate = learning_rate
        self._loss: Tensor | None = None
        self._images = 0
        self._since = time.perf_counter()

    @torch.no_grad()
    def add(self, loss: Tensor, images: int) -> None:
        """Add a batch to its step.

        Args:
            loss: Its share of the mean over the step's samples, ().
            images: How many it has.
        """
        loss = loss.detach()
        self._loss = loss if self._loss is None else self._loss + loss
        self._images += images

    @torch.no_grad()
    def before_step(self, step: int) -> None:
        """Compute the gradient norm, and copy the weights if their change is to be measured.

        Args:
            step: Number of the step in its epoch, from 1.
        """
        assert self._loss is not None
        gradients = [parameter.grad for parameter in self._trained if parameter.grad is not None]
        norm = torch.linalg.vector_norm(torch.stack(norms_of(gradients)))
        self._steps.append(step)
        self._values.append(torch.stack([self._loss, norm]))
        self._speeds.append(np.nan)
        if (step - 1) % self._every == 0:
            self._update_steps.append(step)
            self._before = [parameter.detach().clone() for parameter in self._measured]

    @torch.no_grad()
    def after_step(self) -> None:
        """Measure how far the weights moved, if it is a step for it; never waits for the device."""
        if self._before:
            weights = torch.stack(norms_of(self._before))
            for before, after in zip(self._before, self._measured, strict=True):
                before -= after  # in the copy: there is no room for one more
            change = torch.stack(norms_of(self._before))
            self._ratios.append(torch.where(weights > 0, change / weights, torch.nan))
            self._before = []
        if self._has_speed:
            now = time.perf_counter()
            self._speeds[-1] = self._images / max(now - self._since, 1e-9)
            self._since = now
        self._loss, self._images = None, 0

    @torch.no_grad()
    def end(self) -> MonitorEpoch | None:
        """Wait for the device, and give what was seen of the epoch; `None` if that is nothing."""
        if self._epoch is None or not self._values:
            return None
        losses, grad_norms = torch.stack(self._values).cpu().double().numpy().T
        passed_over = ~np.isfinite(grad_norms) & self._is_scaled
        count = len(self._ratios)  # one fewer than steps where the optimizer's step failed
        update_steps = self._update_steps[:count]
        lost = np.isin(update_steps, np.array(self._steps)[passed_over])
        ratios = np.empty((0, len(self._measured)))
        if count:
            ratios = torch.stack(self._ratios).cpu().double().numpy()
            ratios[lost] = np.nan
        there = ~np.isnan(ratios)
        merged = [merge(ratios[:, at], there[:, at], "median") for at in self._blocks.values()]
        seen = MonitorEpoch(
            epoch=self._epoch,
            steps=tuple(self._steps),
            losses=losses,
            grad_norms=grad_norms,
            learning_rate=self._learning_rate,
            is_passed_over=passed_over,
            samples_per_second=np.array(self._speeds),
            blocks=tuple(self._blocks),
            update_steps=tuple(update_steps),
            update_ratios=np.stack(merged, axis=1) if merged else np.empty((count, 0)),
        )
        self._epoch = None
        self._forget()
        return seen

    def state_dict(self) -> dict[str, Any] | None:
        """State within an epoch; `None` between epochs.

        Losses and gradient norms so far, (steps, 2), and update ratios, (update steps, tensors), both
        float32, with their steps.
        """
        if self._epoch is None or not self._values:
            return None
        return {
            "epoch": self._epoch,
            "steps": list(self._steps),
            "values": torch.stack(self._values),
            "samples_per_second": list(self._speeds),
            "update_steps": list(self._update_steps),
            "update_ratios": torch.stack(self._ratios) if self._ratios else None,
        }

    def load_state_dict(self, state: dict[str, Any] | None) -> None:
        """Take the state up again."""
        if state is None:
            return
        device = self._trained[0].device
        ratios = state["update_ratios"]
        self._epoch = state["epoch"]
        self._steps = list(state["steps"])
        self._values = list(state["values"].to(device))
        self._speeds = list(state["samples_per_second"])
        self._update_steps = list(state["update_steps"])
        self._ratios = [] if ratios is None else list(ratios.to(device))


def create_monitor(
    config: MonitorConfig, model: nn.Module, *, is_scaled: bool
) -> TrainingMonitor | NoMonitor:
    """Build what the config asks for.

    Args:
        config: Its part on the monitor.
        model: Frozen already as the config says.
        is_scaled: Whether the loss is scaled (fp16).
    """
    return TrainingMonitor(model, config, is_scaled=is_scaled) if config.enabled else NoMonitor()
