"""What is written about activations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from pochi_cli.inspection.activation_record import LayerActivation, Saturation
from pochi_cli.inspection.activation_text import HEADER, describe_report, layer_table, percentage
from tests.inspection.active import make_layer, make_report


def test_what_there_is_nothing_to_tell_of_has_no_column() -> None:
    header, (row,) = layer_table([make_layer("conv")])
    assert header == tuple(name for name in HEADER if name not in ("constant", "at bounds", "not finite"))
    assert dict(zip(header, row, strict=True))["dead"] == "0"
    odd = make_layer(
        "tanh",
        dead=(3, 4),
        constant=(5,),
        non_finite=7,
        saturation=Saturation(-1, 1, 0.25, 0.5, False),
        effective_rank=None,
    )
    header, (row,) = layer_table([odd])
    assert header == HEADER
    cells = dict(zip(header, row, strict=True))
    assert (cells["dead"], cells["constant"], cells["not finite"]) == ("2 of 100", "1", "7")
    assert (cells["at bounds"], cells["effective rank"], cells["shape"]) == ("75.0 %", "", "100 x 4 x 4")


@pytest.mark.parametrize(
    ("share", "text"),
    [
        (0, "0.0 %"),
        (1e-9, "<0.1 %"),
        (0.5, "50.0 %"),
        (1 - 1e-9, ">99.9 %"),
        (1, "100.0 %"),
        (math.nan, "none"),
    ],
)
def test_a_share_is_not_rounded_to_none_or_all(share: float, text: str) -> None:
    assert percentage(share) == text


@pytest.mark.parametrize(
    ("changes", "label"),
    [
        ({}, "block.relu"),
        ({"call": 2}, "block.relu#2"),
        ({"function": "gelu"}, "block.relu.gelu()"),
        ({"name": "", "function": "gelu", "call": 3}, "gelu()#3"),
        ({"name": ""}, "ReLU"),
    ],
)
def test_every_call_has_a_name_of_its_own(changes: dict[str, str | int], label: str) -> None:
    layer: LayerActivation = make_layer("block.relu", type="ReLU")
    assert replace(layer, **changes).label == label  # type: ignore[arg-type]


def test_the_samples_are_counted() -> None:
    fields = dict(describe_report(make_report(3))[1])
    assert fields["samples"] == "64, in eval mode on cpu in fp32"
    fields = dict(describe_report(replace(make_report(3), samples=10, remarks=("so",)))[1])
    assert (fields["samples"], fields["note"]) == ("10 of 64, in eval mode on cpu in fp32", "so")


def test_it_is_told_what_the_effective_rank_is_over() -> None:
    def lines(*layers: LayerActivation) -> list[str]:
        fields = describe_report(make_report(layers))[1]
        return [text for name, text in fields if name == "effective rank"]

    conv = make_layer("conv", rank_positions=4096)
    assert lines(conv) == ["over 4,096 positions, at most 64 of each sample"]
    assert lines(make_layer("dead", effective_rank=None)) == []
    few = make_layer("head", rank_positions=64, rank_limit=63)
    wide = make_layer("wide", units=2000, rank_positions=5000, rank_limit=512)
    assert lines(conv, few, wide) == [
        "over 64 to 5,000 positions, at most 64 of each sample",
        "of 1 layer with more than 512 units estimated from 512 sums of them, rather too low",
        "perhaps too low in 1 layer with fewer than 3 positions for each unit: take more samples",
    ]
