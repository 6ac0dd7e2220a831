"""Parsing goes on after a mistake whose meaning is plain."""

from __future__ import annotations

from pathlib import Path

import pytest

from pochi_cli.config.load import load_config
from pochi_cli.config.parsing import ABSENT, parse
from pochi_cli.config.spans import SourceText
from pochi_cli.errors import ConfigError
from tests.config.test_document import diagnostics, write

FINE = 'epochs = 3\nlearning_rate = 0.1\ntrain_data_root = "a"\ntrain_transform = [{ name = "ToTensor" }]\n'
SLOPPY = """\
model_name = resnet18
epochs: 30
learning_rate = .1
pretrained = False
val_data_root = None
train_data_root = "data/train
batch_size 16
seed == 3
optimizer_params = { nesterov = yes, weight_decay = none }
work_dir = "runs\\new\\data"
train_transform = [ { name = Resize, size = 32 }, # one
  { name = 'ToTensor }
]
milestons = 01 # ]
freeze = [conv1, "bn1"]
"""


def test_each_is_told_and_the_rest_is_checked(tmp_path: Path) -> None:
    found = [
        (d.code, d.span and d.span.line, d.span and d.span.column)
        for d in diagnostics(write(tmp_path / "a.toml", SLOPPY))
    ]
    expected = [
        ("invalid-toml", 1, 14),
        ("invalid-toml", 2, 7),
        ("invalid-toml", 3, 17),
        ("invalid-toml", 4, 14),
        ("invalid-toml", 5, 17),
        ("invalid-toml", 6, 19),
        ("invalid-toml", 7, 1),
        ("invalid-toml", 8, 7),
        ("invalid-toml", 9, 33),
        ("invalid-toml", 9, 53),
        ("invalid-toml", 10, 21),
        ("invalid-toml", 11, 30),
        ("invalid-toml", 12, 12),
        ("unknown-key", 14, 1),
        ("invalid-toml", 14, 13),
        ("invalid-toml", 15, 11),
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("a = SGD", ["SGD"]),
        ("a = True # x", [True]),
        ("a = off", [False]),
        ("a = None", [ABSENT]),
        ("a = .5", [0.5]),
        ("a = 007", [7]),
        ("a = 1.2.3", [ABSENT]),
        ("a = 2026-13-45", [ABSENT]),
        ("a = my data/train", ["my data/train"]),
        ("a = [x, 'y', z]", ["x", "z"]),
        ("a = {b = x, c = y}", ["x", "y"]),
        ('a = "x\nb = 1', ["x"]),
        ("a: 3\nb = no", [False]),
    ],
)
def test_what_is_meant(text: str, meant: list[object]) -> None:
    parsed = parse(SourceText(text, "file"))
    assert [value.meant for value in parsed.values] == meant
    assert len(parsed.text) == len(text)
    assert parsed.text.count("\n") == text.count("\n")


@pytest.mark.parametrize(
    "text", ["a = (1, (2))", "a = 1\na = 2", "[a\nb = 1", "a = [1, 2\nb = 3", 'a = """x', "a = {b", "= 3"]
)
def test_what_is_not_plain_ends_it(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SourceText("b0 = x\n" + text, "file"))
    first, *more = caught.value.diagnostics
    assert str(first.span) == "file:1:6"
    assert more


def test_nothing_is_taken_as_meant(tmp_path: Path) -> None:
    """A file with broken TOML is never used, whatever it may mean."""
    path = write(tmp_path / "a.toml", SLOPPY.replace("milestons = 01 # ]\n", ""))
    with pytest.raises(ConfigError):
        load_config(path)


def test_a_mended_value_is_not_told_again(tmp_path: Path) -> None:
    text = "epochs = None\nlearning_rate = fast\noptimizer = sdg\nearly_stopping = { patience = None }\n"
    found = diagnostics(write(tmp_path / "a.toml", text))
    told = [(d.code, d.span and d.span.line) for d in found if d.span and d.span.line != 1]
    assert told == [("invalid-toml", 2), ("invalid-toml", 3), ("invalid-toml", 4)]
    assert sorted(d.code for d in found if d.span and d.span.line == 1) == [
        "invalid-toml",
        "missing-key",
        "missing-key",
    ]


def test_the_underline_covers_what_was_written(tmp_path: Path) -> None:
    text = "epochs = 3\nlearning_rate = 0.1\ntrain_data_root = 'a'\n\nscheduler = StepLR # c\n"
    told = diagnostics(write(tmp_path / "a.toml", text))
    (step,) = [d for d in told if d.key == ("scheduler_params", "step_size")]
    assert step.span is not None
    assert (step.span.column, step.span.end_column) == (13, 19)
    assert step.span.text == "scheduler = StepLR # c"


@pytest.mark.parametrize(
    "text", ["\\", "a = {b = 1, c}", "a = {b = 1, data/x = 3}", "=", "x = [\\", "a = b = c", "[a]\n\\x = 1"]
)
def test_what_mending_does_not_help_is_told_once(tmp_path: Path, text: str) -> None:
    found = diagnostics(write(tmp_path / "a.toml", "epochs = no\n" + text))
    assert {d.code for d in found} == {"invalid-toml"}
    spans = [d.span for d in found]
    assert len(set(spans)) == len(spans) <= 3


def test_what_quotes_alone_do_not_mend_is_told_too(tmp_path: Path) -> None:
    (told, *_) = diagnostics(write(tmp_path / "a.toml", "optimizer = adam\n" + FINE))
    assert told.help == 'a string needs quotes: "adam"; did you mean "Adam"? allowed: "SGD", "Adam", "AdamW"'
    (told, *_) = diagnostics(write(tmp_path / "a.toml", "optimizer = Adam\n" + FINE))
    assert told.help == 'a string needs quotes: "Adam"'


def test_habits_of_python_do_not_hide_the_rest(tmp_path: Path) -> None:
    text = (
        "epochs = 3,\n"
        "train_transform = [\n"
        "  {\n    name = 'RandomResizedCrop',\n    size = (32, 32),\n    scale = [0, 1],\n  },\n"
        "  { name = 'ToTensor', },\n"
        "]\n"
        "epochz = 4\n"
    )
    found = diagnostics(write(tmp_path / "a.toml", text))
    told = [(d.code, d.span and (d.span.line, d.span.column)) for d in found if d.severity == "error"]
    assert told == [
        ("missing-key", (1, 1)),
        ("missing-key", (1, 1)),
        ("invalid-toml", (1, 11)),
        ("invalid-toml", (3, 3)),
        ("invalid-toml", (5, 12)),
        ("out-of-range", (6, 14)),
        ("invalid-toml", (7, 3)),
        ("invalid-toml", (8, 24)),
        ("unknown-key", (10, 1)),
    ]


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("a = (64, 64)", {"a": [64, 64]}),
        ("a = { b = 1, }", {"a": {"b": 1}}),
        ("a = {\n  b = 1,\n  c = [2]\n}\nd = 3", {"a": {"b": 1, "c": [2]}, "d": 3}),
        ("a = 1,\nb = 2 # c", {"a": 1, "b": 2}),
    ],
)
def test_what_is_mended_as_a_whole(text: str, raw: dict[str, object]) -> None:
    parsed = parse(SourceText(text, "file"))
    assert parsed.raw == raw
    assert len(parsed.diagnostics) == 1


def test_the_order_is_that_of_the_file(tmp_path: Path) -> None:
    found = diagnostics(write(tmp_path / "a.toml", "epochs: 3\nlearning_rate = s: 3\nseed: 0.1\n0.1\n"))
    places = [(d.span.line, d.span.column) for d in found if d.span]
    assert places == sorted(places, key=str)


def test_what_follows_from_a_mistake_is_not_told(tmp_path: Path) -> None:
    text = (
        'epochs = 20%\nfreeze = ["layer1\\.0.a\\.b", "layr"]\nlearning_rate = 0,01\n'
        'optimizer = "adam",\nseed = 1 2\nmean = 3'
    )
    found = diagnostics(write(tmp_path / "a.toml", text))
    assert [(d.code, d.span and d.span.line) for d in found] == [("invalid-toml", n) for n in (1, 2, 3, 4, 5)]
    assert [note.message for note in found[-1].notes] == ["the rest of the file was not checked"]
    assert [d.notes for d in found[:-1]] == [()] * 4


@pytest.mark.parametrize("text", ["a = list(1)", 'a = f"x"', "a = => 3", "a = x(1, 2)"])
def test_what_is_left_of_a_mended_value_is_not_told(text: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(SourceText(text, "file"))
    assert len(caught.value.diagnostics) == 1
