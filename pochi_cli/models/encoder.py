"""Encoders of vectors."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn

from pochi_cli.models.projections import Projection


class Encoder(nn.Module):
    """A multi-layer perceptron that maps vectors to fewer dimensions, perhaps beside a linear projection.

    Each hidden layer is linear with a ReLU behind it; the head is linear. With a projection, its output and
    the head's are added, as in a residual block (He et al., arXiv:1512.03385).

    Args:
        dim: Dimensions of the vectors.
        hidden_dims: Widths of the hidden layers; there may be none.
        latent_dim: Dimensions of the latents.
        with_projection: Whether there is a projection beside the layers.
    """

    def __init__(
        self, dim: int, hidden_dims: Sequence[int], latent_dim: int, *, with_projection: bool
    ) -> None:
        super().__init__()
        widths = [dim, *hidden_dims]
        self.projection = nn.Linear(dim, latent_dim) if with_projection else None
        self.hidden = nn.ModuleList(nn.Linear(before, after) for before, after in pairwise(widths))
        self.head = nn.Linear(widths[-1], latent_dim)

    @torch.no_grad()
    def start_as(self, projection: Projection) -> None:
        """Make the encoder the same as a linear one: the head becomes zero.

        Raises:
            ValueError: It has no projection of this shape.
        """
        if self.projection is None or self.projection.weight.shape != projection.weight.shape:
            raise ValueError("the encoder has no projection of this shape")
        self.projection.weight.copy_(projection.weight)
        self.projection.bias.copy_(projection.bias)
        self.head.weight.zero_()
        self.head.bias.zero_()

    def forward(self, vectors: Tensor) -> Tensor:
        """Encode vectors.

        Args:
            vectors: (N, dim).

        Returns:
            Latents, (N, latent_dim).
        """
        hidden = vectors
        for layer in self.hidden:
            hidden = torch.relu(layer(hidden))
        latents: Tensor = self.head(hidden)
        return latents if self.projection is None else self.projection(vectors) + latents
