"""Writes the catalogue's parameter tables anew: `python tests/config/write_parameters.py`.

Needed when a model joins the catalogue, or when torchvision names a parameter differently.
"""

from __future__ import annotations

from functools import cache
from pathlib import Path

from torch import nn

import pochi_cli.config
from pochi_cli.config.catalogue import MODEL_NAMES, ModelName
from pochi_cli.models.architectures import build_network, valueless_device

FOLDER = Path(pochi_cli.config.__file__).parent / "parameters"


@cache
def build(model_name: ModelName) -> nn.Module:
    """Build a model for 1,000 classes, without spending time on its values."""
    with valueless_device(model_name):
        return build_network(model_name)


def parameter_table(model_name: ModelName) -> str:
    """Write down a model's parameters, one `name shape` a line."""
    parameters = build(model_name).named_parameters()
    lines = [f"{name} {'x'.join(map(str, parameter.shape))}" for name, parameter in parameters]
    return "\n".join(lines) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for model_name in MODEL_NAMES:
        (FOLDER / f"{model_name}.txt").write_text(parameter_table(model_name), "utf-8", newline="\n")


if __name__ == "__main__":
    main()
