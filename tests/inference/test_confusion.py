"""The CSV of a confusion matrix is read, whoever wrote it, or refused with its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from pochi_cli.errors import RunError
from pochi_cli.inference.confusion import read_confusion_matrix


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "is empty"),
        ("true/predicted\n", "names no class"),
        (",a,b\na,1,2\n", "its rows a"),
        (",a,b\nb,1,2\na,3,4\n", "its columns are a, b and its rows b, a"),
        (",a,b\na,1,2\nb,3\n", "row 3 has 2 cells, the first 3"),
        (",a,b\na,1,x\nb,3,4\n", "row 2, column 3: 'x' is no count"),
        (",a,b\na,1,-2\nb,3,4\n", "row 2, column 3: '-2' is no count"),
        (",a,b\na,1,2.5\nb,3,4\n", "row 2, column 3: '2.5' is no count"),
        (f",a,b\na,1,{10**30}\nb,3,4\n", "row 2, column 3"),
        ('"', "damaged"),
    ],
)
def test_what_is_no_confusion_matrix_is_refused_with_its_place(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "matrix.csv"
    path.write_text(text, "utf-8")
    with pytest.raises(RunError, match=told):
        read_confusion_matrix(path)


def test_a_confusion_matrix_of_another_tool_is_read(tmp_path: Path) -> None:
    path = tmp_path / "matrix.csv"
    path.write_bytes("\ufeff,猫,犬\r\n猫, 5 ,1\r\n\r\n犬,0,7\r\n".encode())
    matrix = read_confusion_matrix(path)
    assert matrix.class_names == ("猫", "犬")
    assert matrix.counts.tolist() == [[5, 1], [0, 7]]
