"""Diagnostics at their places: in the file, in its tables, in `--set` arguments."""

from __future__ import annotations

import random
import time
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import given, settings
from hypothesis import strategies as st

from pochi_cli.config.document import read_document
from pochi_cli.config.load import check_document, load_config
from pochi_cli.errors import ConfigError, Diagnostic
from tests.config.raw import folder
from tests.config.test_load import mutated
from tests.config.test_spans import check

CONFIGS = Path(__file__).parent.parent.parent / "configs"

TEN = """\
# Ten mistakes. 花の分類
model_name = "resnet81"
num_classes = 4
train_data_root = "data/train"
batch_size = 0
epoch = 30
learning_rate = "0.01"
optimizer_params = { momentun = 0.9, weight_decay = 1e-4 }
scheduler = "StepLR"
scheduler_params = { gamma = 0.1 }
class_weights = [1.0, 2.0,
  1.5]
train_transform = [
  { name = "日本" }, { name = "RandomResizedCrop", size = [224, 224, 3] },
  { name = "ToTensor" },
]
\t"freeze" = "conv1"
[early_stopping]
patience = 99
enabled = 1
"""
PLACES = [
    ("unknown-value", 2, 14, 2, 24),
    ("out-of-range", 5, 14, 5, 15),
    ("unknown-key", 6, 1, 6, 6),
    ("wrong-type", 7, 17, 7, 23),
    ("unknown-key", 8, 22, 8, 30),
    ("missing-key", 9, 13, 9, 21),
    ("class-weights-length", 11, 17, 12, 7),
    ("unknown-value", 14, 12, 14, 16),
    ("out-of-range", 14, 57, 14, 70),
    ("wrong-type", 17, 13, 17, 20),
    ("wrong-type", 20, 11, 20, 12),
]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def diagnostics(path: Path, *overrides: str) -> list[Diagnostic]:
    """Every mistake and doubt, as `load_config` and the commands find them."""
    try:
        found = check_document(read_document(path, overrides))
    except ConfigError as error:
        return list(error.diagnostics)
    assert (found.config is None) == any(d.severity == "error" for d in found.diagnostics)
    return list(found.diagnostics)


def places(path: Path, *overrides: str) -> list[tuple[str, str]]:
    return [(diagnostic.code, str(diagnostic.span)) for diagnostic in diagnostics(path, *overrides)]


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_each_of_ten_mistakes_has_its_place(tmp_path: Path, newline: str, mark: str) -> None:
    path = write(tmp_path / "ten.toml", mark + TEN.replace("\n", newline))
    found = [
        (d.code, d.span.line, d.span.column, d.span.end_line, d.span.end_column)
        for d in diagnostics(path)
        if d.span and d.severity == "error"
    ]
    assert found == PLACES
    assert {d.span.source for d in diagnostics(path) if d.span} == {str(path)}


def test_notes_have_their_places_too(tmp_path: Path) -> None:
    path = write(tmp_path / "ten.toml", TEN)
    (mistake,) = [d for d in diagnostics(path) if d.code == "class-weights-length"]
    assert [(note.message, str(note.span)) for note in mistake.notes] == [
        ("num_classes is set here", f"{path}:3:15")
    ]


def test_a_note_on_a_default_is_left_out(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", tomli_w.dumps(folder(freeze=["layer9"])))
    (mistake,) = [d for d in diagnostics(path) if d.severity == "error"]
    assert mistake.notes == ()
    path = write(tmp_path / "a.toml", tomli_w.dumps(folder(freeze=["layer9"], model_name="resnet18")))
    (mistake,) = [d for d in diagnostics(path) if d.severity == "error"]
    assert len(mistake.notes) == 1


BASE = 'epochs = 9\nlearning_rate = 0.1\ntrain_data_root = "a"\ntrain_transform = [{ name = "ToTensor" }]\n'


@pytest.mark.parametrize(
    ("text", "overrides", "expected"),
    [
        # A missing key: the file, the table's header, the inline table, or the key that calls for it.
        ("epochs = 3\n", [], [("missing-key", "FILE:1:1")] * 3),
        (BASE + '[early_stopping]\nenabled = true\nmonitor = "val_loss"\n', [],
         [("conflict", "FILE:6:11"), ("missing-key", "FILE:7:11")]),
        (BASE + "val_split = 0.2\n", [], [("missing-key", "FILE:5:13")]),
        (BASE + 'scheduler = "StepLR"\n', [], [("missing-key", "FILE:5:13")]),
        (BASE.replace("}]", "},\n { name = 'Resize' }]"), [], [("missing-key", "FILE:5:2")]),
        (BASE + "enable_layer_wise_lr = true\n[layer_wise_lr_config]\n", [],
         [("missing-layer-rates", "FILE:5:24")]),
        # Keys in tables of every form.
        (BASE + "[early_stopping]\n  patience = 0\n", [], [("out-of-range", "FILE:6:14")]),
        (BASE + "early_stopping.patience = 0\n", [], [("out-of-range", "FILE:5:27")]),
        (BASE + "early_stopping = { patience = 0 }\n", [], [("out-of-range", "FILE:5:31")]),
        (BASE + "[early_stopping]\n\"pat\\u0069ens\" = 0\n", [], [("unknown-key", "FILE:6:1")]),
        (BASE + "[layer_wise_lr_config.layer_rates]\nlayer2.0 = 0.5\n", [], [("wrong-type", "FILE:6:1")]),
        (BASE + "[layer_wise_lr_config.layer_rate]\n", [], [("unknown-key", "FILE:5:23")]),
        (BASE + "[[early_stopping]]\n", [], [("wrong-type", "FILE:5:1")]),
        (BASE + "[early_stopping]\nepochs = 3\n", [], [("unknown-key", "FILE:6:1")]),
        # The argument is the place of what it sets, and of what its value holds.
        (BASE, ["epochs=0"], [("out-of-range", "--set:1:8")]),
        (BASE, ["seed=1", " epochs = 0 "], [("out-of-range", "--set:2:11")]),
        (BASE, ["epoch=0"], [("unknown-key", "--set:1:1")]),
        (BASE, ["epochs=0", "epochs=1"], []),
        (BASE, ["epochs=1", "epochs=none"], [("wrong-type", "--set:2:8")]),
        (BASE, ["early_stopping.patience=0"], [("out-of-range", "--set:1:25")]),
        (BASE, ["early_stopping={ patience = 0 }"], [("out-of-range", "--set:1:29")]),
        (BASE + "[early_stopping]\npatience = 0\n", ["early_stopping.min_delta=-1"],
         [("out-of-range", "FILE:6:12"), ("out-of-range", "--set:1:26")]),
        (BASE, ['train_transform=[{name="ToTensor"},\n{ name = "Pad" }]'], [("missing-key", "--set:1:37")]),
        (BASE, ["val_split=0.2"], [("missing-key", "--set:1:11")]),
        (BASE, ["nonsense", "batch_size=0"], [("invalid-set", "--set:1:1"), ("out-of-range", "--set:2:12")]),
    ],
)  # fmt: skip
def test_places(tmp_path: Path, text: str, overrides: list[str], expected: list[tuple[str, str]]) -> None:
    path = write(tmp_path / "a.toml", text)
    found = [
        (d.code, str(d.span).replace(str(path), "FILE"))
        for d in diagnostics(path, *overrides)
        if d.severity == "error"
    ]
    assert found == expected


@pytest.mark.parametrize(
    ("content", "line", "column"),
    [
        (b'epochs = 3\nwork_dir = "caf\xe9"\n', 2, 16),
        (b"\xff\xfee\0p\0", 1, 1),
        (b"\xef\xbb\xbfa = '\xc3\xa9\xe9'", 1, 7),
    ],
)
def test_the_place_of_bytes_that_are_no_text(tmp_path: Path, content: bytes, line: int, column: int) -> None:
    path = tmp_path / "a.toml"
    path.write_bytes(content)
    (diagnostic,) = diagnostics(path)
    assert diagnostic.code == "unreadable-file"
    assert str(diagnostic.span) == f"{path}:{line}:{column}"


def test_a_missing_file_suggests_the_one_beside_it(tmp_path: Path) -> None:
    write(tmp_path / "flowers.toml", BASE)
    (diagnostic,) = diagnostics(tmp_path / "flowerz.toml")
    assert diagnostic.help == f"did you mean {tmp_path / 'flowers.toml'}?"


def test_a_broken_file_and_a_broken_argument_are_told_together(tmp_path: Path) -> None:
    path = write(tmp_path / "a.toml", "epochs = \n")
    assert places(path, "nonsense") == [("invalid-toml", f"{path}:1:10"), ("invalid-set", "--set:1:1")]


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_no_doubt_about_the_examples(path: Path) -> None:
    assert diagnostics(path) == []


# ---------------------------------------------------------------- any text at all


def survives(path: Path, content: bytes) -> None:
    """Diagnostics with places inside the text, or a valid config; nothing else."""
    path.write_bytes(content)
    found = diagnostics(path)
    lines = content.decode("utf-8-sig", "replace").replace("\r\n", "\n").split("\n")
    for diagnostic in found:
        span = diagnostic.span
        assert span is not None
        if span.line is not None:
            assert span.column and span.end_line and span.end_column
            assert span.line <= span.end_line <= len(lines)
            assert span.column <= len(lines[span.line - 1]) + 1
    if found == []:
        load_config(path)


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("any") / "a.toml"


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=60))
def test_any_bytes(scratch: Path, content: bytes) -> None:
    survives(scratch, content)


@settings(max_examples=200, deadline=None)
@given(raw=mutated())
def test_any_values(scratch: Path, raw: dict[str, Any]) -> None:
    try:
        text = tomli_w.dumps(raw)
    except (TypeError, ValueError):
        return  # what TOML cannot hold
    survives(scratch, text.encode("utf-8", "surrogatepass"))


TEXTS = [path.read_bytes() for path in sorted(CONFIGS.glob("*.toml"))] + [TEN.encode()]


@settings(max_examples=150, deadline=None)
@given(
    content=st.sampled_from(TEXTS),
    start=st.floats(0, 1),
    length=st.integers(0, 40),
    insert=st.one_of(
        st.just(b""),
        st.binary(max_size=3),
        st.sampled_from([b"[", b"]", b'"', b"'''", b"{", b"}", b"\n", b"="]),
        st.sampled_from([b"[[a]]\n", b"nan", b"1e999", b"\xc3"]),
    ),
    is_cut=st.booleans(),
)  # fmt: skip
def test_damaged_configs(
    scratch: Path, content: bytes, start: float, length: int, insert: bytes, is_cut: bool
) -> None:
    at = int(start * len(content))
    survives(scratch, content[:at] + insert + (b"" if is_cut else content[at + length :]))


def _swapped(content: bytes) -> bytes:
    """Values of one line put into another."""
    lines = content.decode().splitlines()
    generator = random.Random(0)
    pairs = [line.partition(" = ") for line in lines]
    values = [value for _, _, value in pairs if value]
    return "\n".join(
        f"{key} = {generator.choice(values)}" if value else key for key, _, value in pairs
    ).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"epochs = nan",
        b"epochs = -inf\nlearning_rate = inf",
        b"epochs = 1979-05-27\nlearning_rate = 07:32:00\nseed = 1979-05-27T07:32:00Z",
        b"epochs = 99999999999999999999999\nseed = -99999999999999999999999",
        b"epochs = " + b"9" * 10_000,
        b"seed = 0x" + b"f" * 100_000,
        b"mean = " + b"[" * 3000 + b"]" * 3000,
        b"a = " + b"{a=" * 200 + b"1" + b"}" * 200,
        b"epochs" + b".a" * 20_000 + b" = 1",
        b"[epochs" + b".a" * 20_000 + b"]",
        b"\n".join(b"key_%d = %d" % (i, i) for i in range(20_000)),
        b"\n".join(b"[table_%d]\nepochs = 1" % i for i in range(10_000)),
        b"[layer_wise_lr_config.layer_rates]\n" + b"\n".join(b"layer%d = 0" % i for i in range(10_000)),
        b"train_transform = [" + b"{ name = 'Resize', size = 0 }," * 20_000 + b"]",
        b"train_transform = [" + b"{ name = 'ToTensor' }," * 20_000 + b"]",
        b"class_weights = [" + b"'a'," * 100_000 + b"]",
        b"class_weights = [" + b"1.0," * 100_000 + b"]",
        b"freeze = [" + b"'layer9'," * 5_000 + b"]",
        b"model_name = '" + b"resnet" * 50_000 + b"'",
        b"'" + b"epochs" * 50_000 + b"' = 1",
        b"epochs = '''" + b"\n" * 500_000,
        b"#" + b"x" * 999_000,
        b"\n" * 999_000 + b"epochs",
        b"x" * 10_000_000,
        b"\0" * 1000,
        b"\xff" * 1000,
        _swapped(TEXTS[0]),
        _swapped(TEXTS[-1]),
    ],
    ids=lambda content: repr(content[:25]),
)
def test_monstrous_configs(scratch: Path, content: bytes) -> None:
    started = time.thread_time()
    survives(scratch, content)
    # No benchmark: a course that is quadratic in the size takes minutes.
    assert time.thread_time() - started < 30


# The TOML project's own files, in the part of them that comes with Python's tests.
TOML_TESTS = Path(tomllib.__file__).parents[1] / "test" / "test_tomllib" / "data"


@pytest.mark.skipif(not TOML_TESTS.is_dir(), reason="this Python came without its own tests")
def test_the_files_of_the_toml_project(scratch: Path) -> None:
    invalid = sorted((TOML_TESTS / "invalid").rglob("*.toml"))
    valid = sorted((TOML_TESTS / "valid").rglob("*.toml"))
    assert len(invalid) > 40
    assert len(valid) > 9
    for path in invalid:
        survives(scratch, path.read_bytes())
        assert {d.code for d in diagnostics(scratch)} & {"invalid-toml", "unreadable-file"}, path
    for path in valid:
        survives(scratch, path.read_bytes())
        check(path.read_text("utf-8").replace("\r\n", "\n"))
