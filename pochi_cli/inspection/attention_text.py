"""The attention of a model in words and cells. Free of torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from statistics import fmean

from pochi_cli.inspection.attention_record import Faithfulness
from pochi_cli.inspection.attention_report import AttentionReport, LayerHeads, SeenImage

LAYER_HEADER = ("layer", "heads", "tokens", "entropy", "distance", "to class", "redundant pairs")
LAYER_NUMBERS = LAYER_HEADER[1:]
LAYER_LEFT_OUT = ("to class", "tokens", "distance", "heads")
"""Columns that a narrow terminal goes without, in this order."""

MAP_HEADER = ("image", "predicted", "map", "deletion", "insertion", "random maps", "beats random", "layer")
MAP_NUMBERS = MAP_HEADER[3:-1]
MAP_SHORTENED = ("image", "predicted")
MAP_LEFT_OUT = ("layer", "random maps", "deletion", "insertion")


def describe_report(report: AttentionReport) -> tuple[str, list[tuple[str, str]]]:
    """Write a heading, and what was inspected as names and values."""
    fields = [("model", report.model_name), ("checkpoint", report.checkpoint.name)]
    if report.layers:
        heads = sum(len(layer.facts) for layer in report.layers)
        count = len(report.layers)
        fields.append(("attention", f"{count} layer{'s' if count > 1 else ''}, {heads} heads"))
    else:
        fields.append(("attention", f"{report.model_name} has none: Grad-CAM and LayerCAM instead"))
    count = len(report.images)
    fields.append(("images", f"{count}, on {report.device}"))
    if report.asked_class is not None:
        fields.append(("class", f"{report.asked_class}, whatever is predicted"))
    fields += [("note", message) for message in report.messages]
    return f"Attention of {report.model}", fields


def layer_rows(layers: Iterable[LayerHeads]) -> list[tuple[str, ...]]:
    """Write layers as cells below `LAYER_HEADER`; of the heads their least and their largest number."""
    return [
        (
            layer.name,
            f"{len(layer.facts)}",
            _tokens(layer),
            _range([facts.entropy for facts in layer.facts]),
            _range([facts.distance for facts in layer.facts]),
            _range([facts.to_class for facts in layer.facts]),
            f"{len(layer.similarity.redundant)}",
        )
        for layer in layers
    ]


def map_rows(images: Iterable[SeenImage]) -> list[tuple[str, ...]]:
    """Write the maps of images as cells below `MAP_HEADER`."""
    return [
        (
            image.name,
            f"{image.predicted} {image.probability:.1%}",
            one.method,
            *_faithfulness(one.faithfulness),
            one.layer,
        )
        for image in images
        for one in image.maps
    ]


def prediction_text(predicted: str, probability: float, shown: str) -> str:
    """Write what a model makes of an image, and the class that is shown if it is another."""
    text = f"{predicted} ({probability:.1%})"
    return text if shown == predicted else f"{text}, shown: {shown}"


def _tokens(layer: LayerHeads) -> str:
    text = f"{layer.queries}" if layer.queries == layer.keys else f"{layer.queries} x {layer.keys}"
    return text if layer.windows == 1 else f"{layer.windows} windows of {text}"


def _range(values: Sequence[float | None]) -> str:
    known = [value for value in values if value is not None and math.isfinite(value)]
    if not known:
        return ""
    least, largest = f"{min(known):.2f}", f"{max(known):.2f}"
    return least if least == largest else f"{least} to {largest}"


def _faithfulness(measured: Faithfulness | None) -> tuple[str, ...]:
    if measured is None:
        return ("", "", "", "")
    count = len(measured.random_scores)
    random = f"{fmean(measured.random_deletion):.3f} / {fmean(measured.random_insertion):.3f}"
    return (
        f"{measured.deletion:.3f}",
        f"{measured.insertion:.3f}",
        random,
        f"{round(measured.beaten * count)} of {count}",
    )
