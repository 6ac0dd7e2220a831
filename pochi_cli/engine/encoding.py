"""Encoding vectors with a trained encoder, chunk by chunk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor, nn

from pochi_cli.engine.runtime import Runtime


@torch.inference_mode()
def encode(model: nn.Module, chunks: Iterable[Tensor], runtime: Runtime) -> Iterator[Tensor]:
    """Encode vectors in eval mode; each is encoded alone, so it does not matter where chunks are cut.

    Args:
        model: The encoder, on the runtime's device; it is set to eval mode.
        chunks: float32 (n, D) each, on the CPU.
        runtime: Device and precision.

    Yields:
        Latents float32 (n, L) of each chunk, on the CPU.
    """
    model.eval()
    for chunk in chunks:
        with runtime.autocast():
            latents = model(chunk.to(runtime.device))
        yield latents.float().cpu()
