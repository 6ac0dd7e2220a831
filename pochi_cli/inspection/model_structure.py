"""What a network is made of, layer by layer. Free of torch."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

FLOPS_PER_MAC = 2
"""A multiplication and an addition."""


@dataclass(frozen=True)
class Layer:
    """A module that holds no others, or that computes or holds parameters itself.

    Attributes:
        name: Dotted; empty for the network itself.
        type: Name of its class.
        block: The block it belongs to.
        parameters: How many numbers its own parameters have; those that an earlier layer shares count there.
        trainable: How many of them are trained.
        output_shape: Of the first tensor that its first call gave, with the batch; `None` where there is
            none, as where another module uses its parameters.
        calls: How often it was called.
        macs: Multiply-accumulate operations of all its calls, without those of the modules that it holds.
    """

    name: str
    type: str
    block: str
    parameters: int
    trainable: int
    output_shape: tuple[int, ...] | None
    calls: int
    macs: int

    @property
    def label(self) -> str:
        """Its name, or its class's where it has none."""
        return self.name or self.type

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**asdict(self), "flops": FLOPS_PER_MAC * self.macs}


@dataclass(frozen=True)
class ModelStructure:
    """The layers of a network, with their sizes and operations for one input.

    A MAC is a multiplication whose result is added to others: those of matrix products and convolutions are
    counted, those of attention included. A FLOP is one of the two. Element-wise operations, such as
    activations, normalisations, sums and poolings, are not counted.

    Attributes:
        layers: In registration order.
        buffers: How many numbers the buffers have, such as running statistics.
        input_shapes: Shape of each input, with the batch.
        device: `meta` where only shapes were computed, else where the network ran.
        uncounted: Names of operations that may take as much as matrix products, but whose operations are not
            known: decompositions, Fourier transforms, and those of extensions.
    """

    layers: tuple[Layer, ...]
    buffers: int
    input_shapes: tuple[tuple[int, ...], ...]
    device: Literal["meta"] | str
    uncounted: tuple[str, ...] = ()

    @property
    def parameters(self) -> int:
        """How many numbers all parameters have; shared ones count once."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def trainable(self) -> int:
        """How many of them are trained."""
        return sum(layer.trainable for layer in self.layers)

    @property
    def frozen(self) -> int:
        """How many of them are not."""
        return self.parameters - self.trainable

    @property
    def macs(self) -> int:
        """Multiply-accumulate operations of a forward pass."""
        return sum(layer.macs for layer in self.layers)

    @property
    def flops(self) -> int:
        """Floating-point operations of a forward pass: two for each MAC."""
        return FLOPS_PER_MAC * self.macs

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "parameters": self.parameters,
            "trainable": self.trainable,
            "frozen": self.frozen,
            "buffers": self.buffers,
            "macs": self.macs,
            "flops": self.flops,
            "input_shapes": [list(shape) for shape in self.input_shapes],
            "counted_on": self.device,
            "uncounted": list(self.uncounted),
            "layers": [layer.to_record() for layer in self.layers],
        }
