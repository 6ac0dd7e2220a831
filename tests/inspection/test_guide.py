"""The guide's example runs as it stands, and what it names is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import pochi_cli.inspection

GUIDE = (Path(__file__).parents[2] / "configs" / "docs" / "inspection.md").read_text("utf-8")


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", GUIDE, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "inspection.md", "exec"), {"__name__": "guide"})  # noqa: S102
    shown = capsys.readouterr().out
    assert shown.count("(1, 8, 6, 6)") == 4
    assert {path.name for path in tmp_path.iterdir()} == {"pattern.png", "flow.png", "attention.html"}
    page = (tmp_path / "attention.html").read_text("utf-8")
    assert "The cat sat on the mat" in page


def test_its_functions_are_there() -> None:
    table = GUIDE.rpartition("| function | gives |")[2]
    names = re.findall(r"`(\w+)\(", table)
    assert len(names) == 15
    for name in names:
        assert callable(getattr(pochi_cli.inspection, name))
    assert set(names) <= set(dir(pochi_cli.inspection))


def test_an_unknown_name_is_an_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute nothing"):
        _ = pochi_cli.inspection.nothing
