"""Over how many directions the outputs of a layer are spread."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pochi_cli.inspection.activation_record import MOST_RANKED_POSITIONS, MOST_RANKED_UNITS


class EffectiveRank:
    """Computes the effective rank of a layer's outputs over many positions.

    It is exp(H) with H = - sum p_i ln p_i and p_i the singular values of the covariance matrix of the units
    over the positions, divided by their sum (Roy and Vetterli, "The effective rank", EUSIPCO 2007): 1 where
    all vary along one direction, and the number of units where they vary alike and independently.

    The covariance matrix of more than 512 units is that of 512 sums of them with fixed random signs (a count
    sketch: Charikar et al., 2002), and its rank an estimate, rather too low.

    Args:
        units: Number of units.
        device: Where the outputs are.
    """

    def __init__(self, units: int, device: torch.device) -> None:
        self._signs: Tensor | None = None
        if units > MOST_RANKED_UNITS:
            generator = torch.Generator().manual_seed(0)
            self._signs = torch.randint(2, (units,), generator=generator).mul_(2).sub_(1).float().to(device)
        size = min(units, MOST_RANKED_UNITS)
        self._rows = 0
        self._shift: Tensor | None = None
        self._sum = torch.zeros(size, device=device)
        self._products = torch.zeros(size, size, device=device)

    @property
    def rows(self) -> int:
        """Over how many positions it is."""
        return self._rows

    @property
    def limit(self) -> int:
        """What the rank is at most: the number of units or their sums, or one less than that of positions."""
        return max(min(len(self._sum), self._rows - 1), 0)

    def add(self, rows: Tensor) -> None:
        """Take outputs into account.

        Args:
            rows: float32 (n, units), finite.
        """
        if not len(rows):
            return
        if self._signs is not None:
            rows = rows * self._signs
            missing = -rows.shape[1] % MOST_RANKED_UNITS
            rows = torch.nn.functional.pad(rows, (0, missing))
            rows = rows.reshape(len(rows), -1, MOST_RANKED_UNITS).sum(1)
        if self._shift is None:
            self._shift = rows.mean(0)  # else little would be left of the variance of units with large means
        rows = rows - self._shift
        self._rows += len(rows)
        self._sum += rows.sum(0)
        self._products.addmm_(rows.T, rows)  # in place, and so in full precision under autocast too

    def result(self) -> float | None:
        """Compute it; `None` where nothing varies, or more than float32 can hold."""
        if self._rows < 2:
            return None
        mean = self._sum.cpu().double() / self._rows
        covariance = self._products.cpu().double() / self._rows - torch.outer(mean, mean)
        if not bool(covariance.isfinite().all()):
            return None
        # Symmetric and without negative eigenvalues: these are its singular values.
        values = torch.linalg.eigvalsh(covariance).clamp_(min=0)
        total = float(values.sum())
        if not total > 0:
            return None
        shares = values / total
        return math.exp(float(torch.special.entr(shares).sum()))


def sampled_rows(output: Tensor, axis: int) -> Tensor:
    """Take the units at up to 64 evenly spaced positions of each sample, the first and the last included.

    Args:
        output: Of a layer, with the samples along its first dimension.
        axis: Along which its units lie.

    Returns:
        (n, units)
    """
    units_last = output.movedim(axis, -1)
    inner = units_last.shape[1:-1]
    count = math.prod(inner)
    if count > MOST_RANKED_POSITIONS:
        places = torch.linspace(0, count - 1, MOST_RANKED_POSITIONS, dtype=torch.float64).round().long()
        # Picked out one by one: to flatten the dimensions first would copy all of the output.
        at: tuple[slice | Tensor, ...] = slice(None), *torch.unravel_index(places.to(output.device), inner)
        units_last = units_last[at]
    return units_last.reshape(-1, units_last.shape[-1])
