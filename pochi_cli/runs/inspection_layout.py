"""Where the pictures and pages of an inspection lie."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from pochi_cli.runs.layout import RunLayout, make_parts

_UNSAFE = re.compile(r"[^\w.#-]+")


@dataclass(frozen=True)
class InspectionLayout:
    """The paths of what inspections draw.

    Attributes:
        directory: Where; made by whoever writes first.
    """

    directory: Path

    @property
    def activations(self) -> Path:
        """Histograms of the activations."""
        return self.directory / "activations.png"

    @property
    def structure(self) -> Path:
        """Parameters and operations of the layers."""
        return self.directory / "model_structure.png"

    @property
    def parameters(self) -> Path:
        """Distribution of the parameters."""
        return self.directory / "parameter_distribution.png"

    @property
    def explorer(self) -> Path:
        """Page on which the attention of every layer and head can be looked at."""
        return self.directory / "attention.html"

    def attention_pattern(self, layer: str, head: int | None) -> Path:
        """Heat map of a layer: of one head, from 1, or of their mean."""
        which = "mean" if head is None else f"head_{head}"
        return self.directory / f"attention_{_safe(layer)}_{which}.png"

    def attention_heads(self, layer: str) -> Path:
        """Heat maps of all heads of a layer."""
        return self.directory / f"attention_{_safe(layer)}_heads.png"

    def attention_similarity(self, layer: str) -> Path:
        """How alike the heads of a layer are."""
        return self.directory / f"attention_{_safe(layer)}_similarity.png"

    def attention_flow(self, layer: str, head: int | None) -> Path:
        """Arrows from queries to keys: of one head, from 1, or of their mean."""
        which = "mean" if head is None else f"head_{head}"
        return self.directory / f"attention_{_safe(layer)}_flow_{which}.png"

    @property
    def saliency(self) -> Path:
        """Images with what is important in them."""
        return self.directory / "saliency.png"


def choose_directory(output_dir: Path | None, run: RunLayout | None, checkpoint: Path) -> InspectionLayout:
    """Choose where the pictures of an inspection go.

    Args:
        output_dir: Where the user wants them.
        run: The run whose they are, into which they go otherwise.
        checkpoint: The file that is inspected, beside which they go where there is no run.

    Raises:
        StorageError: The run's directory for pictures cannot be made.
    """
    if output_dir is not None:
        return InspectionLayout(output_dir)
    if run is None:
        return InspectionLayout(checkpoint.parent)
    make_parts(run)
    return InspectionLayout(run.visualization)


def _safe(name: str) -> str:
    return _UNSAFE.sub("_", name)
