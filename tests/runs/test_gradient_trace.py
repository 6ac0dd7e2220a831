"""The CSV of a gradient trace: what is read, what is refused, and where it is found."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.gradient_statistics import maxima, minima, variation
from pochi_cli.runs.gradient_trace import GradientTrace, find_gradient_trace, read_gradient_trace
from pochi_cli.runs.layout import gradient_figure
from tests.runs.fake import make_run
from tests.runs.traces import fill, make_trace


def read(path: Path, content: str | bytes) -> GradientTrace:
    csv = path / "trace.csv"
    csv.write_bytes(content if isinstance(content, bytes) else content.encode())
    return read_gradient_trace(csv)


def test_a_trace_is_read(tmp_path: Path) -> None:
    trace = read(tmp_path, "epoch,conv1,layer1\n1,2.5,1e-05\n3,0.125,0\n")
    assert trace.epochs == (1, 3)
    assert trace.names == ("conv1", "layer1")
    assert trace.values.dtype == np.float64
    assert trace.values.tolist() == [[2.5, 1e-05], [0.125, 0.0]]
    assert not trace.not_finite.any()


@pytest.mark.parametrize(
    "content",
    [
        "\ufeffepoch,a,b\r\n1,1.5,2\r\n2,.5,3.\r\n",
        "Epoch , a,b \n\n1.0, 1.50e0,+2 \n2,5E-1,3\n\n  \n",
        '"epoch","a", "b"\n"1","1.5","2"\n2,0.5,3',
        "EPOCH,a,b\r2,0.5,3\r1,1.5,2\r",
    ],
    ids=["mark, CRLF", "spaces, blank lines", "quotes", "CR, unsorted"],
)
def test_other_tools_write_it_otherwise(tmp_path: Path, content: str) -> None:
    trace = read(tmp_path, content)
    assert (trace.epochs, trace.names) == ((1, 2), ("a", "b"))
    assert trace.values.tolist() == [[1.5, 2.0], [0.5, 3.0]]


def test_epochs_begin_at_0_and_have_gaps(tmp_path: Path) -> None:
    trace = read(tmp_path, "epoch,model.conv1.weight\n100,3\n0,1\n7,2\n")
    assert trace.epochs == (0, 7, 100)
    assert trace.values[:, 0].tolist() == [1, 2, 3]


def test_what_is_not_finite_is_told_from_what_is_empty(tmp_path: Path) -> None:
    trace = read(tmp_path, "epoch,a,b,c,d,e,f\n1,nan,NaN,inf,Infinity,-nan,1e999\n2,, ,0,-0.0,1,2\n")
    assert np.isnan(trace.values[0]).all()
    assert trace.not_finite[0].all()
    assert np.isnan(trace.values[1, :2]).all()
    assert not trace.not_finite[1].any()
    assert trace.values[1, 2:].tolist() == [0, 0, 1, 2]


def test_names_are_kept_as_they_are(tmp_path: Path) -> None:
    assert read(tmp_path, 'epoch,"a,b",$x_{1}$,層 1\n1,1,2,3\n').names == ("a,b", "$x_{1}$", "層 1")


FORM = "is not a gradient trace: "
MALFORMED = {
    "": FORM + "it is empty",
    "\n \n": FORM + "it is empty",
    "epoch,a\n": FORM + "it has no row below the header",
    "epoch\n1\n": FORM + "row 1 names no layer after epoch",
    "step,a\n1,2\n": FORM + "row 1, column 1 is 'step', not epoch",
    "epoch;a\n1;2\n": FORM + "row 1, column 1 is 'epoch;a', not epoch",
    "a,epoch\n1,2\n": FORM + "row 1, column 1 is 'a', not epoch",
    "epoch,a,,b\n1,2,3,4\n": FORM + "row 1, column 3 has no name",
    "epoch,a,b, a\n1,2,3,4\n": FORM + "row 1, column 4 is 'a', as column 2",
    "epoch,a\n1,0.5\n2,fast\n": FORM + "row 3, column 2 (a) is 'fast', not a number",
    "epoch,a\n1,1_000\n": FORM + "row 2, column 2 (a) is '1_000', not a number",
    "epoch,a\n1,１\n": FORM + "row 2, column 2 (a) is '１', not a number",
    "epoch,a\n1,-0.5\n": FORM + "row 2, column 2 (a) is -0.5: a norm is never negative",
    "epoch,a\n1,-inf\n": FORM + "row 2, column 2 (a) is -inf: a norm is never negative",
    "epoch,a\nfirst,1\n": FORM + "row 2, column 1 (epoch) is 'first', not a whole number from 0",
    "epoch,a\n1.5,1\n": FORM + "row 2, column 1 (epoch) is '1.5', not a whole number from 0",
    "epoch,a\n-1,1\n": FORM + "row 2, column 1 (epoch) is '-1', not a whole number from 0",
    "epoch,a\nnan,1\n": FORM + "row 2, column 1 (epoch) is 'nan', not a whole number from 0",
    "epoch,a\n1e300,1\n": FORM + "row 2, column 1 (epoch) is '1e300', not a whole number from 0",
    "epoch,a\n,1\n": FORM + "row 2, column 1 (epoch) is '', not a whole number from 0",
    "epoch,a\n1,1\n\n2,1\n1,1\n": FORM + "row 5, column 1 (epoch) is 1, as in row 2",
    "epoch,a,b\n1,1,1\n2,1\n": FORM + "row 3, column 3 (b) is missing: the row has 2 cells, the header 3",
    "epoch,a\n1,1,1\n": FORM + "row 2, column 3 has no name: the row has 3 cells, the header 2",
    'epoch,a\n1,"2\n': FORM + "row 2 is not CSV: unexpected end of data",
    'epoch,"a\nb"\n1,x\n': FORM + "row 3, column 2 (a\nb) is 'x', not a number",
    b"epoch,a,b\n1,2,3\n2,1,\xe9\n": FORM + "row 3, column 3 is not UTF-8 (byte 0xe9)",
    b"\xff\xfee\x00p\x00": FORM + "row 1, column 1 is not UTF-8 (byte 0xff)",
}


@pytest.mark.parametrize("content", MALFORMED)
def test_a_malformed_trace_is_one_error_with_its_place(tmp_path: Path, content: str | bytes) -> None:
    with pytest.raises(RunError) as caught:
        read(tmp_path, content)
    assert caught.value.message == f"{tmp_path / 'trace.csv'} {MALFORMED[content]}"
    assert caught.value.hint is not None
    assert "epoch,<name>,..." in caught.value.hint


def test_what_cannot_be_read(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "none.csv"):
        with pytest.raises(RunError, match=f"cannot read {path}: "):
            read_gradient_trace(path)


def test_a_run_or_a_file_is_found(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    with pytest.raises(RunError, match="has no gradient trace") as caught:
        find_gradient_trace("latest", tmp_path)
    assert "enable_gradient_tracking" in str(caught.value.hint)
    trace = run.layout.gradient_trace
    assert trace == run.layout.visualization / "gradient_trace_20261120_123005.csv"
    trace.write_text("epoch,a\n1,1\n")
    for name in ("latest", run.layout.name, run.record.experiment_id[:8], str(run.directory)):
        found = find_gradient_trace(name, tmp_path)
        assert found.path == trace
        assert found.run is not None
    assert find_gradient_trace(str(trace), tmp_path).run is None
    (tmp_path / "trace").write_text("")
    assert find_gradient_trace(str(tmp_path / "trace"), tmp_path).path == tmp_path / "trace"
    missing = str(tmp_path / "none.csv")
    assert str(find_gradient_trace(missing, tmp_path).path) == missing
    for nothing in (str(tmp_path), "none", "x" * 5000):
        with pytest.raises(RunError, match=r"there is no run|holds no run"):
            find_gradient_trace(nothing, tmp_path)
    trace.unlink()
    trace.mkdir()
    with pytest.raises(RunError, match="is no regular file"):
        find_gradient_trace("latest", tmp_path)


def test_names_of_the_pictures(tmp_path: Path) -> None:
    assert gradient_figure(tmp_path, "statistics_max") == tmp_path / "gradient_trace_statistics_max.png"


def test_variation_is_that_of_the_finite_norms() -> None:
    trace = fill([[1, 0, 0, 1e308, 5], [3, 0, 2, 1e308, 5], [math.nan, 0, 4, 3e307, math.nan]], [(1, 4)])
    expected: list[float] = [
        1 / 2,
        math.nan,
        math.sqrt(8 / 3) / 2,
        float(np.std([1, 1, 0.3])) / (2.3 / 3),
        math.nan,
    ]
    np.testing.assert_allclose(variation(trace), expected)
    long = make_trace(5, 40)
    np.testing.assert_allclose(variation(long), long.values.std(axis=0) / long.values.mean(axis=0))


def test_extremes_have_the_first_epoch_of_each() -> None:
    nan = math.nan
    trace = fill([[1, 0, nan, nan], [3, 7, 0, nan], [3, 0, 0, nan]], [(0, 3)])
    np.testing.assert_array_equal(maxima(trace).values, [3, 7, 0, nan])
    assert maxima(trace).epochs[:3].tolist() == [2, 2, 2]
    np.testing.assert_array_equal(minima(trace).values, [1, 0, 0, nan])
    assert minima(trace).epochs[:3].tolist() == [1, 1, 2]
