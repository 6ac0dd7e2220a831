"""The page of the most confident mistakes."""

from __future__ import annotations

from collections.abc import Sequence

from pochi_cli.data.folder import FolderIndex
from pochi_cli.inference.mistakes import count_mistakes, most_confident_mistakes, with_pictures
from pochi_cli.inference.results import InferenceSummary, PredictedImage
from pochi_cli.web.pages import render


def mistakes_page(
    summary: InferenceSummary, images: Sequence[PredictedImage], index: FolderIndex | None
) -> str:
    """Write the page.

    Args:
        summary: What the inference came to.
        images: What was predicted, with known classes.
        index: The images themselves; `None` where they are not to be had.
    """
    wrong = count_mistakes(images)
    shown = with_pictures(most_confident_mistakes(images), index)
    told = f"{wrong:,} of {len(images):,} predictions for {summary.data} are wrong"
    if len(shown) < wrong:
        told += f"; these are the {len(shown)} of which the model was surest"
    return render("gallery.html", title="Mistakes", told=told, mistakes=shown)
