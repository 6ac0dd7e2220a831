"""What is found in attention, and what is not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from pochi_cli.inspection.attention_record import AttendedInput, AttentionLayer, Faithfulness, SaliencyMap
from pochi_cli.inspection.attention_report import AttentionReport, SeenImage, survey_heads
from pochi_cli.inspection.attention_text import (
    LAYER_HEADER,
    MAP_HEADER,
    describe_report,
    layer_rows,
    map_rows,
)
from pochi_cli.inspection.head_similarity import compare_heads, pooled

NAMES = tuple("abcdefgh")


def random_weights(seed: int, heads: int = 4) -> NDArray[np.float64]:
    """Softmax of independent logits, (heads, 8, 8)."""
    exponents = np.exp(2 * np.random.default_rng(seed).normal(size=(heads, 8, 8)))
    return np.asarray(exponents / exponents.sum(-1, keepdims=True))


def report_of(*weights: NDArray[np.float64], faithful: bool | None = True) -> AttentionReport:
    """A report on two images of these layers, whose map is faithful, is not, or was not tried."""
    layers = tuple(
        AttentionLayer(f"layer{at}", one[None].astype(np.float32), NAMES, NAMES)
        for at, one in enumerate(weights)
    )
    measured = None
    if faithful is not None:
        insertion = 0.9 if faithful else 0.3
        measured = Faithfulness(0.2, insertion, (0.3, 0.3, 0.1), (0.5, 0.5, 0.9))
    maps = (SaliencyMap("Grad-CAM", "layer4", np.ones((2, 2)), measured),)
    inputs = [AttendedInput(f"{at}.png", layers) for at in range(2)]
    return AttentionReport(
        model="20261120_001",
        model_name="vit_tiny",
        checkpoint=Path("models/best_model.pth"),
        device="cpu",
        layers=survey_heads(inputs) if layers else (),
        images=tuple(SeenImage(one.name, "cat", 0.75, "cat", one, maps) for one in inputs),
        chosen_layer=0 if layers else None,
        chosen_head=None,
        asked_class=None,
        messages=("a remark",),
    )


def test_healthy_heads_and_maps_are_silent() -> None:
    assert report_of(random_weights(0), random_weights(1)).findings == ()
    assert report_of().findings == ()
    assert report_of(random_weights(0), faithful=None).findings == ()


def test_redundant_heads() -> None:
    weights = random_weights(1)
    weights[3] = weights[0]
    (finding,) = report_of(random_weights(0), weights).findings
    assert (finding.code, finding.severity, finding.where) == ("redundant-heads", "note", "layer1")
    assert finding.message == "heads of layer1 attend alike: 1 and 4"
    assert finding.value == pytest.approx(1)
    assert finding.threshold == 0.95
    assert "divergence of 0.000 bit" in finding.evidence


def test_uniform_heads() -> None:
    flat = random_weights(1)
    flat[1] = 1 / 8
    (finding,) = report_of(random_weights(0), flat).findings
    assert (finding.code, finding.severity, finding.where) == ("uniform-heads", "note", "layer1")
    assert finding.message == "1 of 8 heads attend to all tokens alike"
    assert "of layer1 the head 2" in finding.evidence
    assert finding.value == pytest.approx(1)


def test_attention_that_is_not_finite() -> None:
    lost = random_weights(1)
    lost[2, 5] = np.nan
    report = report_of(random_weights(0), lost, lost)
    (finding,) = report.findings
    assert (finding.code, finding.severity, finding.where) == ("non-finite", "error", "layer1")
    assert finding.also == ("layer2",)
    assert finding.evidence.startswith("2 rows")  # one of each image
    assert report.has_error


def test_a_map_that_is_no_better_than_chance() -> None:
    (finding,) = report_of(random_weights(0), faithful=False).findings
    assert (finding.code, finding.severity, finding.where) == ("unfaithful-map", "warning", "layer4")
    assert finding.value == pytest.approx(0.1)
    assert finding.threshold == pytest.approx(0.4)
    assert "over 2 images: 0.100; of random maps 0.400" in finding.evidence


def test_heads_are_those_of_all_images() -> None:
    report = report_of(random_weights(0))
    (layer,) = report.layers
    shown = report.images[0].attended.layers[0]
    other = replace(shown, weights=random_weights(7)[None].astype(np.float32))
    both = pooled([shown, other])
    assert both.weights.shape == (2, 4, 8, 8)
    np.testing.assert_allclose(layer.similarity.correlation, compare_heads(shown).correlation)
    rows = np.concatenate([shown.weights[0], other.weights[0]], axis=1)[None]
    expected = compare_heads(replace(shown, weights=rows)).correlation
    np.testing.assert_allclose(compare_heads(both).correlation, expected)


def test_words_and_cells() -> None:
    report = report_of(random_weights(0))
    title, fields = describe_report(report)
    assert title == "Attention of 20261120_001"
    assert ("attention", "1 layer, 4 heads") in fields
    assert ("note", "a remark") in fields
    (row,) = layer_rows(report.layers)
    cells = dict(zip(LAYER_HEADER, row, strict=True))
    assert (cells["layer"], cells["heads"], cells["tokens"], cells["to class"]) == ("layer0", "4", "8", "")
    entropies = [facts.entropy for facts in report.layers[0].facts]
    assert cells["entropy"] == f"{min(entropies):.2f} to {max(entropies):.2f}"
    first, _ = (dict(zip(MAP_HEADER, one, strict=True)) for one in map_rows(report.images))
    assert first == {
        "image": "0.png",
        "predicted": "cat 75.0%",
        "map": "Grad-CAM",
        "deletion": "0.200",
        "insertion": "0.900",
        "random maps": "0.233 / 0.633",
        "beats random": "2 of 3",
        "layer": "layer4",
    }
    assert dict(describe_report(report_of())[1])["attention"].startswith("vit_tiny has none")


def test_scores_of_faithfulness() -> None:
    measured = Faithfulness(0.2, 0.7, (0.4, 0.1), (0.4, 0.9))
    assert measured.score == pytest.approx(0.5)
    assert measured.random_scores == pytest.approx((0.0, 0.8))
    assert measured.beaten == 0.5
