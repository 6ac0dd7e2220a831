"""What is shown while training goes on: a screen that is left clean, and lines for logs."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence

import pytest

from pochi_cli.display import PlainProgress, TerminalProgress
from pochi_cli.engine.progress import Start
from pochi_cli.inspection.findings import Finding
from pochi_cli.runs.epochs import ClassificationEpoch
from pochi_cli.runs.gradient_record import GradientEpoch
from tests.inspection.traced import make_epochs, make_finding

EPOCHS = 4
TRACE = make_epochs({f"layer{at}": [1.0, 0.5, 0.2, 0.1] for at in range(30)})


def judge(epochs: Sequence[GradientEpoch]) -> list[Finding]:
    """Find one fault from the second epoch on, and another from the third."""
    faults = [make_finding("layer7", "vanishing", "warning"), make_finding("layer9")]
    return faults[: max(0, len(epochs) - 1)]


def record_of(epoch: int) -> ClassificationEpoch:
    return ClassificationEpoch(
        epoch=epoch,
        learning_rate=0.1,
        train_loss=1.0,
        train_accuracy=50.0,
        val_loss=None,
        val_accuracy=None,
        layer_rates={},
        duration_s=1.0,
        samples_per_second=100.0,
    )


def train(progress: TerminalProgress | PlainProgress, *, recorded: int = EPOCHS) -> None:
    progress.start(Start("20261121_001", 1, EPOCHS, 10, 0, tuple(record_of(1).metrics), "val_accuracy"))
    for epoch in range(1, EPOCHS + 1):
        progress.epoch(epoch, 0)
        if epoch <= recorded:
            progress.gradients(TRACE[:epoch])
            time.sleep(0.3)  # the display is drawn four times a second
        progress.epoch_done(record_of(epoch), is_best=False, checkpoint=None)
    progress.stop()
    progress.stop()


class Screen:
    """What a terminal shows, by the few orders that a live display gives it."""

    def __init__(self, text: str) -> None:
        self.lines = [""]
        row = 0
        for part in re.findall(r"\x1b\[[?\d;]*[A-Za-z]|\r?\n|\r|[^\x1b\r\n]+", text):
            if part.endswith("\n"):
                row += 1
                self.lines += [""] * (row + 1 - len(self.lines))
            elif part == "\x1b[2K":
                self.lines[row] = ""
            elif order := re.fullmatch(r"\x1b\[(\d+)A", part):
                row -= int(order[1])
                assert row >= 0
            elif part[0] not in "\x1b\r":
                self.lines[row] += part


@pytest.mark.parametrize("width", [40, 80, 140])
def test_a_terminal_is_left_with_the_epochs_and_the_whole_table_once(
    width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": str(width), "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    train(TerminalProgress(judge))
    text = capsys.readouterr().err
    assert text.count("22 more") > 1  # it was live
    lines = [line.rstrip() for line in Screen(text).lines]
    joined = "\n".join(lines)
    assert [f"{epoch}/4" in joined for epoch in range(1, 5)] == [True] * 4
    begin = lines.index("gradients of epoch 4" + (", change since epoch 1" if width > 40 else ""))
    assert lines[begin + 1].split()[0] == "block"
    assert [line.split()[0] for line in lines[begin + 3 : begin + 33]] == [f"layer{at}" for at in range(30)]
    assert max(map(len, lines[begin:])) <= width
    for once in ("gradients of", "warning[vanishing]: layer7", "error[dead-block]: layer9"):
        assert joined.count(once) == 1
    assert not re.search("━|more|train  ", joined)


def test_beside_the_bars_there_is_room_for_the_echo_of_ctrl_c(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    train(TerminalProgress(judge), recorded=1)
    text = re.sub(r"\x1b\[[?\d;]*[A-Za-z]", "", capsys.readouterr().err)
    bars = [line for line in re.split("[\r\n]+", text) if line.startswith(("train ", "epochs "))]
    assert {len(line) for line in bars} == {77}


def test_a_terminal_shows_no_table_before_the_first_recorded_epoch(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"FORCE_COLOR": "1", "TERM": "xterm", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    train(TerminalProgress(judge), recorded=0)
    text = capsys.readouterr().err
    assert "4/4" in text
    assert "gradients" not in text
    assert "verdict" not in text


def test_a_log_gets_each_finding_when_it_is_new_and_the_table_at_the_end(
    capsys: pytest.CaptureFixture[str],
) -> None:
    train(PlainProgress(judge))
    lines = capsys.readouterr().err.splitlines()
    told = [line for line in lines if line.startswith(("warning: ", "error: "))]
    assert told == ["warning: layer7 gets no gradient", "error: layer9 gets no gradient"]
    at = [lines.index(line) for line in told]
    epochs = [
        next(place for place, line in enumerate(lines) if f"{epoch}/4" in line) for epoch in range(1, 5)
    ]
    assert epochs[0] < at[0] < epochs[1] < at[1] < epochs[2]
    begin = lines.index("gradients of epoch 4, change since epoch 1")
    assert begin > epochs[3]
    assert [line.split()[0] for line in lines[begin + 3 : begin + 33]] == [f"layer{at}" for at in range(30)]
    assert lines[begin + 10].split()[-1] == "vanishing"
    rest = "\n".join(lines[begin + 33 :])
    assert [rest.count(part) for part in ("warning[vanishing]: layer7", "error[dead-block]: layer9")] == [
        1,
        1,
    ]
    assert [rest.count(part) for part in ("= note: the norms of", "= help: learn faster")] == [2, 2]
    assert sum(line.startswith("gradients of") for line in lines) == 1


def test_a_log_without_trace_has_no_table(capsys: pytest.CaptureFixture[str]) -> None:
    train(PlainProgress(judge), recorded=0)
    assert "gradients" not in capsys.readouterr().err


def test_a_healthy_training_is_told_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    train(PlainProgress(lambda _: []))
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1] == "no faults found in the gradients"
    assert not any(line.startswith(("warning", "error")) for line in lines)
