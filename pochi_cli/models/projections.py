"""Linear encoders that need no training: what a learned one has to beat."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812 - torch's own convention
from torch import Tensor


class Projection(NamedTuple):
    """An affine map to fewer dimensions.

    Attributes:
        weight: float32 (L, D).
        bias: float32 (L,).
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, vectors: Tensor) -> Tensor:
        """Map vectors (N, D) of any floating dtype to float32 (N, L), on the device of the weight."""
        return F.linear(vectors.to(self.weight), self.weight, self.bias)


def pca(rows: Iterable[Tensor], latent_dim: int) -> Projection:
    """Project on the principal components (Pearson, 1901; Jolliffe, Principal Component Analysis, 2002).

    The components are orthonormal and stand by falling variance; the largest entry of each is positive. Where
    the rows vary in fewer than `latent_dim` directions, the others are some that are orthogonal to them.

    Mean and covariance are gathered in float64 in one pass, each chunk's centred products joined to the
    others' by the pairwise update of Chan, Golub and LeVeque (1983, equation 2.1), which doesn't cancel
    where the mean is large. Memory is that of a few (D, D) matrices and one chunk.

    Args:
        rows: Chunks (n, D) of any floating dtype; where they are cut does not matter.
        latent_dim: L, at most D.

    Raises:
        ValueError: There are no rows, or `latent_dim` is not from 1 to D.
    """
    count = 0
    mean = products = torch.zeros(())
    for chunk in rows:
        if not len(chunk):
            continue
        # Apple's GPUs have no float64.
        part = (chunk.cpu() if chunk.device.type == "mps" else chunk).double()
        part_mean = part.mean(0)
        part = part - part_mean
        part_products = part.T @ part
        if count:
            joined = count + len(part)
            delta = part_mean - mean
            mean = mean + delta * (len(part) / joined)
            products = products + part_products + torch.outer(delta, delta) * (count * len(part) / joined)
        else:
            mean, products = part_mean, part_products
        count += len(part)
    if not count:
        raise ValueError("pca needs rows, and there are none")
    _check_latent_dim(latent_dim, len(mean))
    components = torch.linalg.eigh(products / count).eigenvectors.T.flip(0)[:latent_dim]
    largest = components.gather(1, components.abs().argmax(1, keepdim=True))
    weight = components * largest.sign()
    return Projection(weight.float().contiguous(), (-weight @ mean).float())


def random_projection(dim: int, latent_dim: int, seed: int) -> Projection:
    """Project on random directions, which keeps distances on average (Johnson and Lindenstrauss, 1984).

    The entries are independent Gaussian ones of variance 1/L: E |Wx|^2 = |x|^2.

    Args:
        dim: D.
        latent_dim: L, from 1 on; it may exceed D.
        seed: The global generator of random numbers is neither used nor changed.

    Raises:
        ValueError: `latent_dim` is below 1.
    """
    if latent_dim < 1:
        raise ValueError(f"latent_dim is {latent_dim}, and must be at least 1")
    generator = torch.Generator().manual_seed(seed)
    weight = torch.randn(latent_dim, dim, generator=generator) / latent_dim**0.5
    return Projection(weight, torch.zeros(latent_dim))


def truncation(dim: int, latent_dim: int) -> Projection:
    """Keep the first L of D components, in which embeddings of Matryoshka kind hold the most.

    Raises:
        ValueError: `latent_dim` is not from 1 to `dim`.
    """
    _check_latent_dim(latent_dim, dim)
    return Projection(torch.eye(latent_dim, dim), torch.zeros(latent_dim))


def _check_latent_dim(latent_dim: int, dim: int) -> None:
    if not 1 <= latent_dim <= dim:
        raise ValueError(
            f"latent_dim is {latent_dim}, and must be from 1 to {dim}, the dimension of the vectors"
        )
