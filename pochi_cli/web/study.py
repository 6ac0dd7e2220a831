"""The pages of a search: Plotly's figures, each with all that it needs; or why there is none."""

from __future__ import annotations

from html import escape
from pathlib import Path

from pochi_cli.runs.atomic import write_text
from pochi_cli.runs.search_layout import STUDY_FIGURES, SearchLayout, StudyFigure
from pochi_cli.search.figures import NothingToDrawError, plotly_figure
from pochi_cli.search.records import StudyRecord
from pochi_cli.web.pages import render

_TITLES = {
    "optimization_history": "Optimization history",
    "param_importances": "Parameter importances",
    "contour": "Contour",
}


def write_study_pages(directory: Path, study: StudyRecord) -> list[Path]:
    """Write the three pages.

    Returns:
        Their files.

    Raises:
        StorageError: Writing failed.
    """
    layout = SearchLayout(directory)
    for kind in STUDY_FIGURES:
        write_text(layout.page(kind), study_page(study, kind))
    return [layout.page(kind) for kind in STUDY_FIGURES]


def study_page(study: StudyRecord, kind: StudyFigure) -> str:
    """Write a page."""
    try:
        figure = plotly_figure(study, kind)
    except NothingToDrawError as reason:
        told = f"There is nothing to draw: {reason}."
        return render("nothing.html", title=_TITLES[kind], told=told, name=study.study_name)
    page: str = figure.to_html(include_plotlyjs=True, full_html=True, config={"responsive": True})
    title = escape(f"{_TITLES[kind]}: {study.study_name}")
    return page.replace("<head>", f'<head><title>{title}</title><link rel="icon" href="data:,">', 1)
