"""The pictures of an inspection of attention."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from pochi_cli.inspection.attention_report import AttentionReport
from pochi_cli.plots.attention import draw_pattern
from pochi_cli.plots.attention_flow import draw_flow
from pochi_cli.plots.attention_heads import draw_heads
from pochi_cli.plots.attention_similarity import draw_similarity
from pochi_cli.plots.files import save_figure
from pochi_cli.plots.saliency import Explained, draw_saliency
from pochi_cli.runs.inspection_layout import InspectionLayout

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_attention_figures(report: AttentionReport, layout: InspectionLayout) -> list[Path]:
    """Draw the chosen layer's attention to the first image, and what is important in every image.

    Args:
        report: What was found.
        layout: Where the pictures go.

    Returns:
        The files.

    Raises:
        StorageError: One cannot be written.
    """
    files = []
    for path, figure in (*_layer_figures(report, layout), *_saliency_figures(report, layout)):
        save_figure(figure, path)
        files.append(path)
    return files


def _layer_figures(report: AttentionReport, layout: InspectionLayout) -> Iterator[tuple[Path, Figure]]:
    if report.chosen_layer is None:
        return
    first, heads, head = report.images[0], report.layers[report.chosen_layer], report.chosen_head
    layer = first.attended.layers[report.chosen_layer]
    title = f"{report.model}, {first.name}"
    number = None if head is None else head + 1
    yield layout.attention_pattern(layer.name, number), draw_pattern(layer, head, title)
    yield layout.attention_heads(layer.name), draw_heads(layer, title, facts=heads.facts)
    yield layout.attention_flow(layer.name, number), draw_flow(layer, head, title)
    count = len(report.images)
    title = f"{report.model}, {layer.name}, over {count} image{'s' if count > 1 else ''}"
    yield layout.attention_similarity(layer.name), draw_similarity(heads.similarity, title)


def _saliency_figures(report: AttentionReport, layout: InspectionLayout) -> Iterator[tuple[Path, Figure]]:
    explained = [Explained(one.attended, one.maps) for one in report.images if one.maps]
    if explained:
        yield layout.saliency, draw_saliency(explained, report.model)
