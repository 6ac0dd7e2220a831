"""Short names of some of a network's layers, which still tell each from all others."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from pochi_cli.plots import style
from pochi_cli.plots.layers import ending

_CHARACTERS = 30


def panel_labels(names: Sequence[str], chosen: Sequence[int]) -> list[str]:
    """Write the names of some layers so that they can be drawn, each unlike that of any other layer.

    Too long a name loses its first parts. Where another layer is then called the same, they are shortened to
    their initials and numbers instead: `f.d3.denselayer12.norm1`. Where that is not enough either, the place
    of the layer in the network stands before it, from 1.

    Args:
        names: Of all layers, in the order of the network.
        chosen: Which of them are drawn.
    """
    labels = [style.drawable(ending(name, _CHARACTERS)) for name in names]
    labels = _mended(labels, [style.drawable(_abbreviated(name)) for name in names])
    labels = _mended(labels, [f"{place}: {label}" for place, label in enumerate(labels, start=1)])
    return [labels[at] for at in chosen]


def _mended(labels: list[str], others: list[str]) -> list[str]:
    """Put others where several labels are the same."""
    times = Counter(labels)
    return [label if times[label] == 1 else other for label, other in zip(labels, others, strict=True)]


def _abbreviated(name: str) -> str:
    """Shorten as many of a dotted name's first parts as need be."""
    *first, last = name.split(".")
    for at, part in enumerate(first):
        if len(".".join((*first, last))) <= _CHARACTERS:
            break
        first[at] = re.sub(r"^(\D)\D*", r"\1", part)  # denseblock3: d3
    return ending(".".join((*first, last)), _CHARACTERS)
