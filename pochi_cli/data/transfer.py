"""Copies from the memory of the CPU to that of a device."""

from __future__ import annotations

import torch
from torch import Tensor


def to_device(values: Tensor, device: torch.device) -> Tensor:
    """Copy a tensor to a device; with CUDA neither this process nor the device waits for the other.

    That takes page-locked memory, which is made where the tensor does not lie in it. Other devices know none
    of it: what is freed here before it is copied would arrive as something else.
    """
    if device.type != "cuda" or values.device.type != "cpu":
        return values.to(device)
    return values.pin_memory().to(device, non_blocking=True)
