"""Images of one size that are held in memory as one array. torch is imported only for other processes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from pochi_cli.config.steps.arguments import Size


class Pixels:
    """Images of one size, decoded.

    Processes that load share the array rather than each having its own: where they are forked the system
    does it, and else torch, as whose tensor the array travels.

    Args:
        values: uint8 (N, height, width) of gray images or (N, height, width, 3) of RGB ones.
    """

    def __init__(self, values: NDArray[np.uint8]) -> None:
        self.values = np.ascontiguousarray(values)
        self._shared: Any = None

    def __len__(self) -> int:
        """Count the images."""
        return len(self.values)

    def __getstate__(self) -> Any:
        """Hand the array over as a tensor in shared memory, of which torch's processes get no copies."""
        if self._shared is None:
            import torch

            self._shared = torch.from_numpy(self.values).share_memory_()  # type: ignore[no-untyped-call]
            self.values = self._shared.numpy()
        return self._shared

    def __setstate__(self, tensor: Any) -> None:
        """Take the array over."""
        self._shared = tensor
        self.values = tensor.numpy()

    @property
    def mode(self) -> str:
        """Pillow's name of what the images hold."""
        return "L" if self.values.ndim == 3 else "RGB"

    @property
    def size(self) -> Size:
        """Height and width of each image."""
        return self.values.shape[1], self.values.shape[2]

    def rgb(self, index: int) -> Image.Image:
        """Copy an image, in mode RGB."""
        return Image.fromarray(self.values[index]).convert("RGB")

    def take(self, indices: Sequence[int]) -> Pixels:
        """Copy the images at these positions."""
        return Pixels(self.values[np.asarray(indices, dtype=np.int64)])

    def image_digest(self, index: int) -> bytes:
        """BLAKE2b of an image's values, 16 bytes."""
        return hashlib.blake2b(self.values[index].data, digest_size=16).digest()

    def digest(self) -> bytes:
        """SHA-256 of all values."""
        return hashlib.sha256(self.values.data).digest()
