"""Parts of a network that are not trained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from pochi_cli.config.patterns import matches
from pochi_cli.errors import ModelError


@dataclass(frozen=True)
class FrozenPart:
    """What `freeze` left untrained.

    Attributes:
        names: Dotted names of the frozen parameters, in registration order.
        frozen_values: How many numbers they hold.
        all_values: How many numbers all parameters hold.
    """

    names: tuple[str, ...]
    frozen_values: int
    all_values: int

    @property
    def summary(self) -> str:
        """How much is frozen, in words."""
        return f"frozen: {self.frozen_values:,} of {self.all_values:,} parameter values"


def freeze(model: nn.Module, patterns: Sequence[str]) -> FrozenPart:
    """Stop training the parameters that any of the patterns matches.

    Args:
        model: Its parameters' `requires_grad` is set to False where a pattern matches.
        patterns: As in the config's `freeze`; see `pochi_cli.config.patterns`.

    Raises:
        ModelError: A pattern matches no parameter, or nothing is left to train. The model is as it was.
    """
    parameters = dict(model.named_parameters())
    for pattern in patterns:
        if not any(matches(pattern, name) for name in parameters):
            parts = ", ".join(dict.fromkeys(name.split(".")[0] for name in parameters))
            raise ModelError(f"freeze: `{pattern}` matches no parameter", f"the model's parts are {parts}")
    frozen = {
        name: p for name, p in parameters.items() if any(matches(pattern, name) for pattern in patterns)
    }
    trained = [name for name, p in parameters.items() if p.requires_grad and name not in frozen]
    if frozen and not trained:
        raise ModelError(
            f"freeze: all {len(parameters)} parameters are frozen, nothing is left to train",
            "leave out the pattern that matches the last layer",
        )
    for parameter in frozen.values():
        parameter.requires_grad_(False)
    return FrozenPart(
        names=tuple(frozen),
        frozen_values=sum(parameter.numel() for parameter in frozen.values()),
        all_values=sum(parameter.numel() for parameter in parameters.values()),
    )


def train_mode(model: nn.Module) -> None:
    """Set training mode, except for frozen batch norms.

    A batch norm whose parameters are all frozen stays in eval mode: its running statistics belong to
    the weights that were loaded, and would drift away from them even though no gradient flows.
    """
    model.train()
    for module in model.modules():
        if isinstance(module, _BatchNorm) and is_frozen(module):
            module.eval()


def is_frozen(norm: _BatchNorm) -> bool:
    """Tell whether all parameters of a batch norm are frozen, if it has any."""
    own = list(norm.parameters(recurse=False))
    return bool(own) and not any(parameter.requires_grad for parameter in own)
