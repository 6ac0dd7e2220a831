"""Event files as TensorBoard's own reader has them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tensorboard.backend.event_processing.plugin_event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

Series = list[tuple[int, Any]]
"""Step and value of each point."""


def read_events(directory: Path) -> dict[str, Series]:
    """Everything in a directory by `plugin:tag`, times aside.

    Scalars as numbers, images as PNG, all else as it is stored.
    """
    found = EventAccumulator(str(directory), tensor_size_guidance=dict.fromkeys(_PLUGINS, 0)).Reload()
    series: dict[str, Series] = {}
    for tag in found.Tags()["tensors"]:
        plugin = found.SummaryMetadata(tag).plugin_data.plugin_name
        if plugin == "hparams" or tag.startswith("__"):
            continue  # they hold times; the graph is below
        points = [(event.step, event.tensor_proto) for event in found.Tensors(tag)]
        series[f"{plugin}:{tag}"] = [(step, _value(plugin, tensor)) for step, tensor in points]
    if found.Tags()["graph"]:
        series["graph:"] = [(0, found.Graph().SerializeToString())]
    return series


_PLUGINS = ("scalars", "histograms", "images", "pr_curves", "text")


def _value(plugin: str, tensor: Any) -> Any:
    match plugin:
        case "scalars":
            return make_ndarray(tensor).item()
        case "images":
            return tensor.string_val[2]  # behind width and height
        case _:
            return tensor.SerializeToString()
