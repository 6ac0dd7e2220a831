"""What is known of a model's attention to some images. Free of torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np

from pochi_cli.inspection.attention_record import AttendedInput, SaliencyMap
from pochi_cli.inspection.findings import Finding, network_finding
from pochi_cli.inspection.head_similarity import (
    ALIKE_CORRELATION,
    HeadFacts,
    HeadSimilarity,
    compare_heads,
    describe_heads,
    pooled,
)

NON_FINITE = "non-finite"
REDUNDANT_HEADS = "redundant-heads"
UNIFORM_HEADS = "uniform-heads"
UNFAITHFUL_MAP = "unfaithful-map"

_UNIFORM = 0.995
"""Entropy, as a share of the largest, from which a head attends to everything alike."""
_MOST_PAIRS = 12


@dataclass(frozen=True, eq=False)
class LayerHeads:
    """The heads of a layer, over all images.

    Attributes:
        name: Dotted name of the module.
        queries, keys, windows: How many there are of each.
        facts: What each head is like.
        similarity: How alike they are.
        non_finite: Rows that are not finite.
    """

    name: str
    queries: int
    keys: int
    windows: int
    facts: tuple[HeadFacts, ...]
    similarity: HeadSimilarity
    non_finite: int

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON; heads are numbered from 1."""
        return {
            "name": self.name,
            "queries": self.queries,
            "keys": self.keys,
            "windows": self.windows,
            "heads": [{"head": at, **asdict(facts)} for at, facts in enumerate(self.facts, start=1)],
            "correlation": self.similarity.correlation.tolist(),
            "divergence": self.similarity.divergence.tolist(),
            "redundant": [[a + 1, b + 1] for a, b in self.similarity.redundant],
        }


@dataclass(frozen=True, eq=False)
class SeenImage:
    """An image, the class whose maps are shown, and the maps.

    Attributes:
        name: Of its file.
        predicted, probability: The most probable class, and its probability, 0 to 1.
        shown: The class that the maps are of.
        attended: What the network saw, with its attention; without layers where it has none.
        maps: How important the parts are for the class that is shown.
    """

    name: str
    predicted: str
    probability: float
    shown: str
    attended: AttendedInput
    maps: tuple[SaliencyMap, ...]

    def to_record(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "name": self.name,
            "predicted": self.predicted,
            "probability": self.probability,
            "class": self.shown,
            "maps": [_map_record(one) for one in self.maps],
        }


@dataclass(frozen=True, eq=False)
class AttentionReport:
    """The attention of a model, or where it finds its classes.

    Attributes:
        model: Name of the run, or the path of the checkpoint.
        model_name: Of the network.
        checkpoint: Where the weights come from.
        device: What it was computed on.
        layers: The layers that attend, from the input to the output; none for a network without attention.
        images: The images, at least one.
        chosen_layer: Position of the layer that pictures show; `None` without attention.
        chosen_head: Position of its head that they show; `None` for the mean of all.
        asked_class: The class that was asked for; `None` for the predicted one of each image.
        messages: What is not as one would expect, in words.
    """

    model: str
    model_name: str
    checkpoint: Path
    device: str
    layers: tuple[LayerHeads, ...]
    images: tuple[SeenImage, ...]
    chosen_layer: int | None
    chosen_head: int | None
    asked_class: str | None
    messages: tuple[str, ...]

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is wrong or should be known."""
        return (
            *_non_finite(self.layers),
            *_redundant(self.layers),
            *_uniform(self.layers),
            *_unfaithful(self),
        )

    @property
    def has_error(self) -> bool:
        """Whether something was found that keeps the network from learning."""
        return any(finding.severity == "error" for finding in self.findings)

    def to_record(self, files: Sequence[Path]) -> dict[str, Any]:
        """Plain values for JSON.

        Args:
            files: What was written.
        """
        return {
            "model": self.model,
            "model_name": self.model_name,
            "checkpoint": str(self.checkpoint),
            "device": self.device,
            "has_attention": bool(self.layers),
            "layers": [layer.to_record() for layer in self.layers],
            "images": [image.to_record() for image in self.images],
            "findings": [finding.to_record() for finding in self.findings],
            "messages": list(self.messages),
            "files": list(map(str, files)),
        }


def survey_heads(inputs: Sequence[AttendedInput]) -> tuple[LayerHeads, ...]:
    """Describe and compare the heads of each layer over several inputs.

    Args:
        inputs: Of one network, with tokens that lie alike; at least one.
    """
    return tuple(_survey(layers) for layers in zip(*(one.layers for one in inputs), strict=True))


def _survey(layers: Sequence[Any]) -> LayerHeads:
    layer = pooled(layers)
    windows, _, queries, keys = layers[0].weights.shape
    lost = ~np.isfinite(layer.weights).all(axis=(1, 3))
    return LayerHeads(
        layer.name, queries, keys, windows, describe_heads(layer), compare_heads(layer), int(lost.sum())
    )


def _map_record(one: SaliencyMap) -> dict[str, Any]:
    faithfulness = None
    if (measured := one.faithfulness) is not None:
        faithfulness = {
            **asdict(measured),
            "score": measured.score,
            "random_score": fmean(measured.random_scores),
            "beaten": measured.beaten,
        }
    return {
        "method": one.method,
        "layer": one.layer,
        "values": one.values.tolist(),
        "faithfulness": faithfulness,
    }


def _non_finite(layers: Sequence[LayerHeads]) -> Iterator[Finding]:
    bad = [layer for layer in layers if layer.non_finite]
    if bad:
        first = bad[0]
        yield network_finding(
            NON_FINITE,
            "error",
            first.name,
            f"the attention of {first.name} is not finite",
            f"{first.non_finite:,} rows of weights hold NaN or infinity",
            "look for weights that are not finite (pochi inspect model), and train anew with a lower "
            "learning_rate, warmup_epochs or clip_grad_norm",
            also=[layer.name for layer in bad[1:]],
        )


def _redundant(layers: Sequence[LayerHeads]) -> Iterator[Finding]:
    for layer in layers:
        pairs = layer.similarity.redundant
        if not pairs:
            continue
        strongest = max(pairs, key=lambda pair: layer.similarity.correlation[pair])
        listed = ", ".join(f"{a + 1} and {b + 1}" for a, b in pairs[:_MOST_PAIRS])
        more = f" and {len(pairs) - _MOST_PAIRS} more" if len(pairs) > _MOST_PAIRS else ""
        value = float(layer.similarity.correlation[strongest])
        yield network_finding(
            REDUNDANT_HEADS,
            "note",
            layer.name,
            f"heads of {layer.name} attend alike: {listed}{more}",
            f"correlation of row-centred weights up to {value:.3f}, with a Jensen-Shannon divergence of "
            f"{abs(layer.similarity.divergence[strongest]):.3f} bit",
            "one of such heads could be left out: a smaller model may do as well",
            value=value,
            threshold=ALIKE_CORRELATION,
        )


def _uniform(layers: Sequence[LayerHeads]) -> Iterator[Finding]:
    flat = {
        layer.name: [at for at, facts in enumerate(layer.facts, start=1) if facts.entropy >= _UNIFORM]
        for layer in layers
        if layer.keys > 1
    }
    flat = {name: heads for name, heads in flat.items() if heads}
    if not flat:
        return
    count, total = sum(map(len, flat.values())), sum(len(layer.facts) for layer in layers)
    where = max(flat, key=lambda name: len(flat[name]))
    largest = max(facts.entropy for layer in layers for facts in layer.facts)
    yield network_finding(
        UNIFORM_HEADS,
        "note",
        where,
        f"{count} of {total} heads attend to all tokens alike",
        f"their rows have {_UNIFORM:.1%} or more of the largest entropy; of {where} the "
        f"{'head' if len(flat[where]) == 1 else 'heads'} {', '.join(map(str, flat[where]))}",
        "usual before training; after it such heads have learnt no pattern: train longer, or use fewer heads",
        value=largest,
        threshold=_UNIFORM,
        also=[name for name in flat if name != where],
    )


def _unfaithful(report: AttentionReport) -> Iterator[Finding]:
    """Judge each kind of map over all images: for one alone chance says too much."""
    kinds = dict.fromkeys((one.method, one.layer) for image in report.images for one in image.maps)
    for method, layer in kinds:
        measured = [
            one.faithfulness
            for image in report.images
            for one in image.maps
            if (one.method, one.layer) == (method, layer) and one.faithfulness is not None
        ]
        if not measured:
            continue
        score, random = fmean(m.score for m in measured), fmean(fmean(m.random_scores) for m in measured)
        if score > random:
            continue
        images = f"{len(measured)} image" + ("s" if len(measured) > 1 else "")
        yield network_finding(
            UNFAITHFUL_MAP,
            "warning",
            layer or method,
            f"{method} says no more about what the model needs than chance",
            f"insertion less deletion over {images}: {_rounded(score)}; of random maps {_rounded(random)}",
            "do not read it as an explanation; look at more images, or at another layer (--layer)",
            value=score,
            threshold=random,
        )


def _rounded(value: float) -> str:
    return f"{round(value, 3) + 0.0:.3f}"  # no minus before zeros
