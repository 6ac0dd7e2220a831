"""The pictures of a network."""

from __future__ import annotations

from pathlib import Path

from pochi_cli.inspection.model_structure import ModelStructure
from pochi_cli.inspection.model_weights import WeightStatistics
from pochi_cli.plots.files import save_figure
from pochi_cli.plots.model_structure import draw_model_structure
from pochi_cli.plots.parameter_distribution import draw_parameter_distribution
from pochi_cli.runs.inspection_layout import InspectionLayout


def write_model_figures(
    structure: ModelStructure, weights: WeightStatistics, title: str, layout: InspectionLayout
) -> dict[str, Path]:
    """Draw the layers and the weights of a network.

    Args:
        structure: Its layers.
        weights: The values of its parameters.
        title: What it is.
        layout: Where the pictures go.

    Returns:
        The pictures, by what they show.

    Raises:
        StorageError: One cannot be written.
    """
    save_figure(draw_model_structure(structure, title), layout.structure)
    save_figure(draw_parameter_distribution(weights, title), layout.parameters)
    return {"structure": layout.structure, "parameters": layout.parameters}
