"""The pages of a search stand alone: they open without a network, and show data or why there are none."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from pochi_cli.runs.search_layout import STUDY_FIGURES, SearchLayout
from pochi_cli.web.study import write_study_pages
from tests.search.test_figures import made

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def opened(page: Path, tmp_path: Path) -> tuple[str, str]:
    """Open a page in a browser without a network; return its final document and what it logged."""
    assert CHROMIUM is not None
    command = [
        CHROMIUM,
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--host-resolver-rules=MAP * ~NOTFOUND",
        f"--user-data-dir={tmp_path / 'profile'}",
        "--enable-logging=stderr",
        "--virtual-time-budget=10000",
        "--dump-dom",
        page.as_uri(),
    ]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium")
@pytest.mark.parametrize("kind", STUDY_FIGURES)
def test_data_are_shown(kind: str, tmp_path: Path) -> None:
    study = replace(made(12), study_name="<script>alert(1)</script> 探索")
    write_study_pages(tmp_path, study)
    page = SearchLayout(tmp_path).page(kind)  # type: ignore[arg-type]
    assert not re.search(r"<(?:script|link|img)[^>]+(?:src|href)=[\"']?https?:", page.read_text("utf-8"))
    document, console = opened(page, tmp_path)
    assert console == ""
    drawn = {
        "optimization_history": 'class="point"',
        "param_importances": 'class="point"',
        "contour": "contourlevel",
    }
    assert drawn[kind] in document
    assert "<script>alert" not in document


@pytest.mark.parametrize("kind", STUDY_FIGURES)
def test_without_data_the_reason_is_told(kind: str, tmp_path: Path) -> None:
    write_study_pages(tmp_path, replace(made(1), study_name="<b>bold</b>"))
    page = SearchLayout(tmp_path).page(kind).read_text("utf-8")  # type: ignore[arg-type]
    assert "There is nothing to draw: only one trial is complete, and two are needed." in page
    assert "&lt;b&gt;bold" in page
    assert "default-src &#39;none&#39;" in page
