"""What a program has to know to use an exported model. Free of torch."""

from __future__ import annotations

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

from pochi_cli.characters import unicode_text
from pochi_cli.version import __version__

if TYPE_CHECKING:
    from pochi_cli.config.steps.nested import AnyStep
    from pochi_cli.data.transforms import Triple
    from pochi_cli.inference.model import LoadedModel

INPUT, OUTPUT = "images", "logits"
"""Names in an exported model of what it takes and gives."""


class ExportFormat(StrEnum):
    """Forms of an exported model."""

    onnx = "onnx"
    torch = "torch"

    @property
    def suffix(self) -> Literal["onnx", "pt2"]:
        """What the names of its files end in, without the dot; torch insists on its own."""
        return "onnx" if self is ExportFormat.onnx else "pt2"


def preprocessing(steps: Sequence[AnyStep], mean: Triple, std: Triple) -> dict[str, Any]:
    """Describe how an image file becomes what the model takes.

    Args:
        steps: What the model sees of an image.
        mean: Channel means for Normalize steps that give none.
        std: Channel standard deviations, likewise.

    Returns:
        What decoding gives, and the steps that follow it, in their order, every argument written out; plain
        values that JSON has.
    """
    plain = [step.model_dump(mode="json") for step in steps]
    return {
        "color": "RGB",
        "exif_orientation": "applied",
        "transparency": "over white",
        "steps": [_written_out(step, list(mean), list(std)) for step in plain],
    }


def _written_out(step: dict[str, Any], mean: list[float], std: list[float]) -> dict[str, Any]:
    if "transforms" in step:
        return {**step, "transforms": [_written_out(inner, mean, std) for inner in step["transforms"]]}
    if step["name"] == "Normalize":
        return {**step, "mean": step["mean"] or mean, "std": step["std"] or std}
    return step


def metadata(loaded: LoadedModel) -> dict[str, str]:
    """Collect what an exported model carries with it.

    Args:
        loaded: The model.

    Returns:
        `class_names` and `preprocessing` as JSON, and where the model comes from; `run` and `experiment_id`
        only where that is a run.
    """
    config, run = loaded.config, loaded.run
    origin = (
        {}
        if run is None
        else {"run": unicode_text(run.layout.name), "experiment_id": run.record.experiment_id}
    )
    return {
        "class_names": json.dumps(loaded.class_names),
        "preprocessing": json.dumps(preprocessing(loaded.steps, config.mean, config.std)),
        "model_name": config.model_name,
        "epoch": str(loaded.epoch),
        "pochi_version": __version__,
        **origin,
    }
