"""When to stop before the last epoch."""

from __future__ import annotations

import math
from dataclasses import dataclass

from pochi_cli.config.optim import StoppingConfig


@dataclass
class EarlyStopping:
    """Watches a metric and counts the epochs without improvement.

    Improvement is a change by at least `min_delta` against the best value so far; with `min_delta = 0`,
    any change for the better.

    Args:
        config: How long to wait, and what counts.
        metric: What is watched; it need not be measured at every epoch.
    """

    config: StoppingConfig
    metric: str
    best: float | None = None
    best_epoch: int = 0
    epochs_waited: int = 0

    def update(self, epoch: int, value: float | None) -> bool:
        """Take in the value of an epoch, from 1; `None` where it was not measured.

        Returns:
            Whether to stop.
        """
        if not self.config.enabled or value is None:
            return False
        if self._improves(value):
            self.best, self.best_epoch = value, epoch
        self.epochs_waited = epoch - self.best_epoch
        return self.is_exhausted

    @property
    def is_exhausted(self) -> bool:
        """Whether the patience has run out; a training that is resumed then has nothing left to do."""
        return self.config.enabled and self.epochs_waited >= self.config.patience

    def _improves(self, value: float) -> bool:
        if self.best is None:
            return not math.isnan(value)
        gain = self.best - value if self.metric.endswith("loss") else value - self.best
        # 1.0 - 0.9 is a little less than 0.1: rounding must not decide.
        enough = gain >= self.config.min_delta or math.isclose(gain, self.config.min_delta, rel_tol=1e-9)
        return enough and gain > 0

    def state_dict(self) -> dict[str, float | int | None]:
        """State for a checkpoint."""
        return {"best": self.best, "best_epoch": self.best_epoch, "epochs_waited": self.epochs_waited}

    def load_state_dict(self, state: dict[str, float | int | None]) -> None:
        """Take the state up again."""
        self.best = state["best"]
        self.best_epoch = int(state["best_epoch"] or 0)
        self.epochs_waited = int(state["epochs_waited"] or 0)
