"""Old Python configs become TOML: the guide's examples, what has no counterpart, and any Python at all."""

from __future__ import annotations

import os
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from pochi_cli.config.load import validate
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.errors import ConfigError, Diagnostic
from pochi_cli.migration.migrate import Migration, migrate
from tests.migration.guide import BASE, EVERYTHING, EXAMPLES, Example, file

BASE_TEXT = file()


def migrated(tmp_path: Path, text: str | bytes) -> Migration:
    path = tmp_path / "old.py"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return migrate(path)


def keys_of(tmp_path: Path, text: str) -> dict[str, Any]:
    return tomllib.loads(migrated(tmp_path, text).text)


def uncommented(text: str) -> str:
    """A migrated file with the keys that stand in it as comments."""
    lines = []
    for line in text.splitlines():
        try:
            tomllib.loads(line.removeprefix("# "))
        except tomllib.TOMLDecodeError:
            lines.append(line)
        else:
            lines.append(line.removeprefix("# "))
    return "\n".join(lines)


def of_old(migration: Migration) -> list[Diagnostic]:
    """What is told of the old file, not of the new config."""
    return [told for told in migration.diagnostics if told.span and told.span.source.endswith(".py")]


def warned(migration: Migration) -> list[tuple[str, str]]:
    """Code and key of each diagnostic on the old file."""
    return [(told.code, ".".join(map(str, told.key))) for told in of_old(migration)]


# ---------------------------------------------------------------- the guide


@pytest.mark.parametrize("name", EXAMPLES)
def test_the_guides_examples(tmp_path: Path, name: str) -> None:
    guide: Example = EXAMPLES[name]
    migration = migrated(tmp_path, guide.text)
    assert migration.is_valid, migration.diagnostics
    wanted = {key: value for key, value in (BASE | guide.expected).items() if value is not None}
    unknown = set(wanted) - set(ClassificationConfig.model_fields)
    raw = tomllib.loads(migration.text)
    validate(raw)
    assert raw == {key: value for key, value in wanted.items() if key not in unknown}
    # What this version does not know is one keystroke away.
    assert tomllib.loads(uncommented(migration.text)) == wanted
    assert {(code, key) for code, key in warned(migration) if key in unknown} == {
        ("not-carried-over", key) for key in unknown
    }
    told = [code for code, key in warned(migration) if key.partition(".")[0] not in unknown]
    assert told == list(guide.codes)
    for comment in guide.comments:
        assert f"# {comment}" in migration.text


def test_types_are_kept(tmp_path: Path) -> None:
    text = migrated(tmp_path, BASE_TEXT + "learning_rate = 1\nbatch_size = True\n").text
    raw = tomllib.loads(text)
    assert isinstance(raw["learning_rate"], int)
    assert raw["batch_size"] is True


def test_the_order_and_the_comments_of_the_old_file_are_kept(tmp_path: Path) -> None:
    text = migrated(tmp_path, BASE_TEXT).text
    assert text.startswith("# Migrated from old.py ")
    assert (
        '\n\n# モデル設定\nmodel_name = "resnet18"\nnum_classes = 4  # クラス数\npretrained = true\n\n'
        in text
    )
    assert '  { name = "Resize", size = 256 },\n  { name = "CenterCrop", size = 224 },\n' in text
    raw = tomllib.loads(text)
    assert list(raw)[:5] == ["model_name", "num_classes", "pretrained", "train_data_root", "val_data_root"]


def test_what_the_new_config_lacks_is_an_error_and_what_is_wrong_names_the_old_line(tmp_path: Path) -> None:
    migration = migrated(tmp_path, BASE_TEXT.replace("train_data_root", "_root") + "epochs = 0\n")
    assert not migration.is_valid
    errors = {told.key: told for told in migration.diagnostics if told.severity == "error"}
    assert set(errors) == {("train_data_root",), ("epochs",)}
    (note,) = errors["epochs",].notes
    assert note.span is not None
    assert note.span.text == "epochs = 0"
    assert tomllib.loads(migration.text)["epochs"] == 0


# ---------------------------------------------------------------- values


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("x = 10 ** -4", 0.0001),
        ("x = 224 * 2", 448),
        ("x = 1 / 255", 1 / 255),
        ("x = -1e-3", -0.001),
        ("x = 1_000", 1000),
        ("x = 0x10 + 7 // 2 - 9 % 4", 18),
        ("x = not True", False),
        ("x = 'a' 'b' + 'c'", "abc"),
        ("x = [1, 2] + [3] * 2", [1, 2, 3, 3]),
        ("x = (1, (2,))", [1, [2]]),
        ("x = list(range(30, 90, 30))", [30, 60]),
        ("x = dict(a=1, **{'b': 2})", {"a": 1, "b": 2}),
        ("x = {**{'a': 1}, 'a': 2}", {"a": 2}),
        ("x = {'a': 1} | {'b': 2}", {"a": 1, "b": 2}),
        ("x = [*(1, 2), 3]", [1, 2, 3]),
        ("x = {'a': [1, 2]}['a'][-1]", 2),
        ("x = {'a': 1}.get('b', 5)", 5),
        ("x: float = 0.5", 0.5),
        ("x = y = 3", 3),
        ("(x, y), z = (1, 2), 3", 1),
        ("N = 3\nx = f'data_{N:02d}/{\"a\"}'", "data_03/a"),
        ("x = int(224 * 1.14)", 255),
        ("x = str(3)", "3"),
        ("x = len(['a', 'b'])", 2),
        ("D = False\nx = 1 if D else 2", 2),
        ("import os\nx = os.path.join('data/', 'train')", "data/train"),
        ("from os.path import join as j\nx = j('a', 'b')", "a/b"),
        ("from pathlib import Path\nx = Path('data') / 'train'", "data/train"),
        ("import pathlib as p\nx = str(p.Path('a', 'b'))", "a/b"),
        ("import torch\nx = torch.device('cuda:0')", "cuda:0"),
        ("x = 1\nx = x + 1", 2),
        ("x = 1\nx += 1", 2),
        ("x = {}\nx['a'] = 1\nx['a'] += 1", {"a": 2}),
        ("x = {'a': {}}\nx['a']['b'] = 1", {"a": {"b": 1}}),
        ("x = {'a': 1}\nx.update({'b': 2}, c=3)", {"a": 1, "b": 2, "c": 3}),
        ("x = [1]\nx.append(2)\nx.extend([3])\nx.insert(0, 0)\nx += (4,)", [0, 1, 2, 3, 4]),
        ("y = [1]\nx = y\ny.append(2)", [1, 2]),  # two names for one list
        ("y = [1]\nx = y.copy()\ny.append(2)", [1]),
        ("y = {'a': [1]}\nx = dict(y)\ny['a'].append(2)\ny['b'] = 1", {"a": [1, 2]}),
        ("x = {'a': None, 'b': 1}", {"b": 1}),
        ("x = '\\x00\\x7f\\n\"\\\\ü\\u2028'", '\x00\x7f\n"\\ü\u2028'),
        ("x = {'a b': 1, '': 2, 'ü\\n': 3}", {"a b": 1, "": 2, "ü\n": 3}),
        ("x = 1e999", float("inf")),
        ("x = [-float('inf'), 2 ** 70]", [-float("inf"), 2**70]),
        ("x = 1\nif __name__ == '__main__':\n    x = 2", 1),  # a config was imported
        ("if __name__ == '__main__':\n    x = 2\nelse:\n    x = 3", 3),
        ("D = False\nx = 1\nif D:\n    x = 2\n    exec('x = 3')", 1),
        ("D = True\nx = 1\nif D: x = 2", 2),
        ("D = 0\nif D: x = 1\nelif 2 < 3: x = 2\nelse: x = 3", 2),
        ("M = 'fast'\nx = 1 if M == 'fast' else 2", 1),
        ("D = True\nx = 3\nif D:\n  if x > 2:\n    x += 1\n  x *= 2", 8),
    ],
)
def test_values_that_reading_tells(tmp_path: Path, code: str, expected: object) -> None:
    namespace: dict[str, Any] = {}
    if "torch" not in code:
        exec(code.replace("__name__", "'config'"), namespace)  # noqa: S102 - Python itself is the oracle
        oracle = namespace["x"]
        oracle = str(oracle) if isinstance(oracle, Path) else oracle
        if isinstance(oracle, dict):
            oracle = {key: value for key, value in oracle.items() if value is not None}
        assert _listed(oracle) == expected
    renamed = code + "\nwork_dir = x\n" if not isinstance(expected, dict) else code + "\nearly_stopping = x\n"
    raw = keys_of(tmp_path, renamed)
    assert raw["early_stopping" if isinstance(expected, dict) else "work_dir"] == expected


def _listed(value: object) -> object:
    return [_listed(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    "code",
    [
        "import os\nwork_dir = os.environ['HOME']",
        "work_dir = unknown",
        "work_dir = 'a' if x else 'b'",
        "work_dir = [i for i in range(3)]",
        "work_dir = lambda: 3",
        "work_dir = {1, 2}",
        "work_dir = b'bytes'",
        "work_dir = ...",
        "work_dir = 1j",
        "work_dir = 1 / 0",
        "work_dir = 9 ** 9 ** 9",
        "work_dir = 2 ** 5000",
        "work_dir = (-8) ** 0.5",
        "work_dir = 10.0 ** 400",
        "work_dir = 0x" + "f" * 5000,
        "work_dir = 'a' * 10 ** 9",
        "work_dir = [0] * 10 ** 9",
        "work_dir = f'{1:>999999999}'",
        "work_dir = f'{3!r:>5}'",
        "work_dir = '{:>99999999}'.format(3)",
        "work_dir = '{}{}'.format(3)",
        "work_dir = '{1}'.format(3)",
        "work_dir = '{0.__class__}'.format(3)",
        "work_dir = '%99999999d' % 3",
        "work_dir = '%d' % 'a'",
        "work_dir = '\\ud800'",
        "work_dir = {1: 2}",
        "work_dir = [None]",
        "work_dir = []\nwork_dir.append(work_dir)",
        "work_dir = [1]\n" + "work_dir = [work_dir, work_dir]\n" * 60,
        "work_dir = [1]\n" + "work_dir = (work_dir, work_dir)\n" * 60 + "f(work_dir)",
        "work_dir = 'a'\n" + "work_dir += work_dir\n" * 60,
        "import copy\nwork_dir = []\n" + "work_dir = [copy.deepcopy(work_dir), work_dir]\n" * 60,
        "work_dir = print",
        "from somewhere import work_dir",
        "def work_dir(): pass",
        "class work_dir: pass",
        "x = 'a'\nif unknown: x = 'b'\nwork_dir = x",
        # what was known no longer is
        "work_dir = 'a'\nwork_dir = unknown()",
        "work_dir = 'a'\nif unknown: work_dir = 'b'",
        "work_dir = 'a'\nfor work_dir in 'ab': pass",
        "work_dir = 'a'\nwith open('x') as work_dir: pass",
        "work_dir = 'a'\ntry: work_dir = 'b'\nexcept E as e: pass",
        "work_dir = 'a'\nmatch 3:\n case work_dir: pass",
        "work_dir = 'a'\nprint(work_dir := 'b')",
        "work_dir = 'a'\n[y for x in [1] if (work_dir := 'b')]",
        "work_dir = 'a'\nwork_dir, *x = 'bc'",
        "work_dir = 'a'\nimport work_dir",
        "work_dir = 'a'\ndef f():\n global work_dir\n work_dir = 'b'\nf()",
        "work_dir = 'a'\ndel work_dir",
        "work_dir = ['a']\nchange(work_dir)",
        "work_dir = ['a']\nx = change(work_dir)",
        "work_dir = ['a']\nwork_dir.sort()",
        "work_dir = ['a']\ny = work_dir\ny.clear()",
        "work_dir = [['a']]\nwork_dir[0].clear()",
        "work_dir = ['a']\nfor x in [work_dir]:\n x[0] = 'b'",
        "work_dir = ['a']\nwhile c: work_dir += 'b'",
        "work_dir = ['a']\nwork_dir[unknown] = 'b'",
        "work_dir = ['a']\nwork_dir[:] = 'b'",
        "work_dir = ['a']\nwork_dir += unknown",
        "work_dir = ['a']\ndef f(): work_dir.append('b')\nf()",
        "work_dir = ['a']\nx = lambda: work_dir.append('b')\nx()",
        "work_dir = ['a']\nclass C:\n work_dir.append('b')",
        "import random\nwork_dir = ['a']\nrandom.shuffle(work_dir)",
        "work_dir = " + "+".join("1" * 1500),
        "work_dir = 'a'\n" + "work_dir = f'{work_dir}{work_dir}'\n" * 60,
        "work_dir = [1]\n" + "work_dir = [*work_dir, *work_dir]\n" * 60,
        "work_dir = [1]\n" + "work_dir.extend(work_dir)\n" * 60,
        "work_dir = [1]\n" + "work_dir += work_dir\n" * 60,
        "import os\nwork_dir = 'a'\n" + "work_dir = os.path.join(work_dir, work_dir)\n" * 60,
        "from pathlib import Path\nwork_dir = Path('a')\n" + "work_dir = work_dir / work_dir\n" * 60,
        # what is rare is not followed
        "work_dir = 'a'\nif 'a' in work_dir and work_dir: work_dir = 'b'",
        "work_dir = ['a', 'b']\ndel work_dir[0]",
        "import copy\nwork_dir = copy.deepcopy(['a'])",
        "work_dir = '{}/b'.format('a')",
        "work_dir = '%s/b' % 'a'",
    ],
)
def test_what_reading_does_not_tell_is_left_out(tmp_path: Path, code: str) -> None:
    migration = migrated(tmp_path, BASE_TEXT + code + "\n")
    assert "work_dir" not in tomllib.loads(migration.text)
    is_deliberate = code.endswith(("del work_dir", "import work_dir"))
    assert is_deliberate or any(
        told.code == "not-carried-over" and ("work_dir" in told.message or "import" in told.message)
        for told in migration.diagnostics
    )
    # Nothing else suffers.
    assert tomllib.loads(migration.text).get("mean", [0.485]) != []
    assert migration.is_valid


@pytest.mark.parametrize(
    "code",
    [
        "print(mean, len(mean))",
        "assert len(mean) == 3",
        "import numpy as np\nx = np.array(mean)",
        "import torch\nx = torch.tensor(mean)",
        "X = mean.index(0.485)",
        "if mean[0] > 1: raise ValueError(f'{mean}')",
        "def f(x): return [y * 2 for y in mean]",
    ],
)
def test_what_only_reads_a_value_costs_nothing(tmp_path: Path, code: str) -> None:
    assert keys_of(tmp_path, BASE_TEXT + code)["mean"] == [0.485, 0.456, 0.406]


def warning_at(migration: Migration, line: int) -> Diagnostic:
    (told,) = [told for told in of_old(migration) if told.span and told.span.line == line]
    assert told.severity == "warning"
    return told


def test_the_value_that_an_uncertain_key_had_is_a_comment(tmp_path: Path) -> None:
    code = (
        "epochs = 10  # many\nif DEBUG:\n  epochs = 1\nelif OTHER:\n  epochs = 2\n"
        "early_stopping = {'enabled': True}\nif DEBUG: early_stopping['enabled'] = False\n"
        "learning_rate = 0.5\ndevice = None\nif DEBUG: device = 'cuda'\n"
        "train_transform = transforms.Compose([transforms.ToTensor()])\n"
        "if DEBUG: train_transform.transforms.append(transforms.Resize(8))\n"
    )
    migration = migrated(tmp_path, code)
    assert tomllib.loads(migration.text) == {"learning_rate": 0.5}
    assert "\n# epochs = 10  # unless line 2 changes it; many\n" in migration.text
    told = "# early_stopping: unless line 7 changes it\n# [early_stopping]\n# enabled = true\n"
    assert told in migration.text
    assert "# device was None in the old file, unless line 10 changes it\n" in migration.text
    assert '# train_transform = [\n#   { name = "ToTensor" },\n# ]\n' in migration.text
    assert [told.span and told.span.line for told in of_old(migration)] == [2, 7, 10, 12]
    assert "kept as a comment" in (warning_at(migration, 2).help or "")


def test_a_list_that_another_name_changes_is_uncertain(tmp_path: Path) -> None:
    migration = migrated(tmp_path, "mean = [0.5]\nALIAS = mean\nALIAS.sort()\nmean.append(1)\n")
    assert tomllib.loads(migration.text) == {}
    assert "\n# mean = [0.5]  # unless line 3 changes it\n" in migration.text


def test_what_only_an_uncertain_key_gives_is_written_out(tmp_path: Path) -> None:
    code = (
        f"{NAMES}val_transform = [transforms.Normalize(mean, std)]\nif A: mean = [0.5] * 3\n"
        "scheduler = 'StepLR'\nscheduler_params = {'gamma': 0.1}\nif A: scheduler = None\n"
    )
    assert tomllib.loads(migrated(tmp_path, code).text) == {
        "std": [0.2] * 3,
        "val_transform": [{"name": "Normalize", "mean": [0.1] * 3, "std": [0.2] * 3}],
    }


def test_a_key_that_a_call_in_an_assignment_may_change_is_told_once(tmp_path: Path) -> None:
    migration = migrated(tmp_path, "epochs = 3\nmean = [0.5]\nX = [epochs for epochs in f(mean)]\n")
    assert tomllib.loads(migration.text) == {"epochs": 3}
    assert "\n# mean = [0.5]  # unless line 3 changes it\n" in migration.text
    assert warning_at(migration, 3).message == "`mean` is not carried over: this may change it"


def test_what_a_function_names_is_its_own(tmp_path: Path) -> None:
    code = "epochs = 3\nseed = 1\ndef f(x):\n  global seed\n  epochs = seed = 2\n"
    migration = migrated(tmp_path, code)
    assert tomllib.loads(migration.text) == {"epochs": 3}
    assert "\n# seed = 1  # unless line 3 changes it\n" in migration.text


@pytest.mark.parametrize(
    "change", ["for x in y: epochs = 1", "try: epochs = int(X)\nexcept E: pass", "while x: epochs = 1"]
)
def test_the_value_before_any_statement_that_may_set_it_is_a_comment(tmp_path: Path, change: str) -> None:
    text = migrated(tmp_path, f"epochs = 10\n{change}\n").text
    assert "\n# epochs = 10  # unless line 2 changes it\n" in text
    assert tomllib.loads(text) == {}


def test_a_key_that_may_be_set_again_and_again_has_its_first_value(tmp_path: Path) -> None:
    text = migrated(tmp_path, "epochs = 1\n" + "".join(f"if A: epochs = {n}\n" for n in range(2000))).text
    assert "\n# epochs = 1  # unless line 2 changes it\n" in text
    assert len(text) < 400_000
    text = migrated(tmp_path, "epochs = 1\nif A: epochs = 2\n" + "elif A: epochs = 3\n" * 300).text
    assert not tomllib.loads(text)


def test_what_is_made_of_an_uncertain_value_is_not_known(tmp_path: Path) -> None:
    text = migrated(tmp_path, "RATE = 0.1\nif A: RATE = 0.2\nlearning_rate = RATE\n").text
    assert not tomllib.loads(text)
    assert "# not carried over from line 3: learning_rate = RATE\n" in text


def test_what_a_branch_may_change_is_not_known_behind_it(tmp_path: Path) -> None:
    code = (
        "early_stopping = {'patience': 3}\nN = 1\n"
        "if A:\n  N = 2\n  epochs = N\n  early_stopping['patience'] = 4\nbatch_size = N\nseed = 1\n"
    )
    migration = migrated(tmp_path, code)
    assert tomllib.loads(migration.text) == {"seed": 1}
    assert "(it may set early_stopping, epochs)\n" in migration.text


@pytest.mark.parametrize(
    "change",
    [
        "exec('work_dir = 3')",
        "globals().update(work_dir='b')",
        "from somewhere import *",
        "globals()[unknown] = 'b'",
        "if unknown: exec('work_dir = 3')",
        "def f(): globals().update(x=3)",
    ],
)
def test_a_statement_that_may_set_any_name_casts_doubt_on_those_above_it(tmp_path: Path, change: str) -> None:
    code = "work_dir = 'a'  # here\nN = 3\nearly_stopping = {'patience': N}\n"
    code += f"{change}\nbatch_size = N\nseed = 1\n"
    migration = migrated(tmp_path, code)
    line = 4
    assert tomllib.loads(migration.text) == {
        "work_dir": "a",
        "batch_size": 3,
        "seed": 1,
        "early_stopping": {"patience": 3},
    }
    assert f'\nwork_dir = "a"  # line {line} may change it; here\n' in migration.text
    assert "\nbatch_size = 3\n" in migration.text
    assert f"\n# early_stopping: line {line} may change it\n[early_stopping]\n" in migration.text
    assert "\nseed = 1\n" in migration.text
    assert "it may change any key above it" in warning_at(migration, line).message


def test_a_value_given_after_the_doubt_is_certain(tmp_path: Path) -> None:
    text = migrated(tmp_path, "epochs = 1\nseed = 1\nexec(X)\nepochs = 2\nbatch_size = epochs\n").text
    assert "\nepochs = 2\nbatch_size = 2\n" in text
    assert "\nseed = 1  # line 3 may change it\n" in text


def test_none_is_told_where_the_default_is_another_value(tmp_path: Path) -> None:
    code = (
        "early_stopping = {'patience': None}\nwork_dir = None\ndevice = None\n"
        "optuna = {'pruner': None}\nscheduler = None\nclass_weights = None\nearly_stopping['other'] = None\n"
    )
    migration = migrated(tmp_path, code)
    told = {key: told.help for told in of_old(migration) if (key := ".".join(map(str, told.key))) != "optuna"}
    assert set(told) == {"early_stopping.patience", "early_stopping.other", "work_dir"}
    assert '\npruner = "none"\n' in migration.text
    assert "`early_stopping.patience` is 30" in (told["early_stopping.patience"] or "")
    assert '`work_dir` is "work_dirs"' in (told["work_dir"] or "")


@pytest.mark.parametrize(
    ("name", "home"),
    [
        ("momentum", "optimizer_params"),
        ("weight_decay", "optimizer_params"),
        ("gamma", "scheduler_params"),
        ("step_size", "scheduler_params"),
        ("patience", "early_stopping"),
        ("lr", "learning_rate"),
    ],
)
def test_an_unknown_key_is_told_where_it_belongs(tmp_path: Path, name: str, home: str) -> None:
    told = warning_at(migrated(tmp_path, f"{name} = 0.9\n"), 1)
    assert f"`{home}`" in (told.help or "")
    assert "kept as a comment" in (told.help or "")


def test_an_unknown_entry_is_left_out_of_its_table(tmp_path: Path) -> None:
    code = "import os\nearly_stopping = {'enabled': True, 'patience': int(os.environ['P'])}\n"
    migration = migrated(tmp_path, BASE_TEXT + code)
    assert tomllib.loads(migration.text)["early_stopping"] == {"enabled": True}
    assert ("not-carried-over", "early_stopping.patience") in warned(migration)
    line = len(BASE_TEXT.splitlines()) + 2
    quoted = "early_stopping.patience = int(os.environ['P'])"
    assert f"\n# not carried over from line {line}: {quoted}\n[early_stopping]\n" in migration.text


# ---------------------------------------------------------------- transforms


@pytest.mark.parametrize(
    ("imports", "call"),
    [
        ("from torchvision import transforms", "transforms.Resize"),
        ("from torchvision import transforms as T", "T.Resize"),
        ("import torchvision.transforms as T", "T.Resize"),
        ("import torchvision", "torchvision.transforms.Resize"),
        ("import torchvision.transforms", "torchvision.transforms.Resize"),
        ("import torchvision as tv", "tv.transforms.v2.Resize"),
        ("from torchvision.transforms import Resize", "Resize"),
        ("from torchvision.transforms import Resize as R", "R"),
        ("from torchvision.transforms import *", "Resize"),
        ("from torchvision.transforms import v2", "v2.Resize"),
        ("from torchvision.transforms.v2 import Resize", "Resize"),
        ("import torchvision.transforms.v2 as transforms", "transforms.Resize"),
        ("", "transforms.Resize"),
    ],
)
def test_transforms_by_any_name(tmp_path: Path, imports: str, call: str) -> None:
    raw = keys_of(tmp_path, f"{imports}\ntrain_transform = [{call}(7)]\n")
    assert raw["train_transform"] == [{"name": "Resize", "size": 7}]


NAMES = """\
from torchvision import transforms
import torch
from PIL import Image
mean = [0.1] * 3
std = (0.2,) * 3
"""


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (
            "Resize((8, 9), transforms.InterpolationMode.BICUBIC, antialias=None)",
            {"size": [8, 9], "interpolation": "bicubic"},
        ),
        ("Resize(8, interpolation=Image.BILINEAR)", {"size": 8, "interpolation": "bilinear"}),
        ("Resize(8, Image.Resampling.NEAREST)", {"size": 8, "interpolation": "nearest"}),
        ("Resize(8, 3)", {"size": 8, "interpolation": "bicubic"}),
        ("Resize([224])", {"size": 224}),
        ("Resize((224,), max_size=250)", {"size": 224, "max_size": 250}),
        ("CenterCrop([224])", {"size": 224}),
        ("RandomCrop([32], padding=[4])", {"size": 32, "padding": 4}),
        ("RandomResizedCrop((32,))", {"size": 32}),
        ("Pad([4])", {"padding": 4}),
        ("GaussianBlur([3])", {"kernel_size": 3}),
        ("Resize(*[8], **{'max_size': 10})", {"size": 8, "max_size": 10}),
        (
            "RandomCrop(32, 4, True, 0, 'reflect')",
            {"size": 32, "padding": 4, "pad_if_needed": True, "fill": 0, "padding_mode": "reflect"},
        ),
        ("ColorJitter(0.1, (0.2, 0.3), hue=None)", {"brightness": 0.1, "contrast": [0.2, 0.3]}),
        ("RandomAffine(0, (0.1, 0.2), fill=(5, 5, 5))", {"degrees": 0, "translate": [0.1, 0.2], "fill": 5}),
        ("AutoAugment(transforms.AutoAugmentPolicy.CIFAR10)", {"policy": "cifar10"}),
        ("Grayscale(num_output_channels=3)", {}),
        ("RandomErasing(0.2, inplace=True)", {"p": 0.2}),
        ("Normalize(mean, std)", {}),
        ("Normalize(mean=[0.1, 0.1, 0.1], std=std)", {}),
        ("Normalize([0.5], [0.5])", {"mean": [0.5] * 3, "std": [0.5] * 3}),
        ("Normalize(0.5, 0.25)", {"mean": [0.5] * 3, "std": [0.25] * 3}),
        ("Normalize(mean, [1, 1, 1])", {"mean": [0.1] * 3, "std": [1, 1, 1]}),
        (
            "RandomApply([transforms.ColorJitter(0.1)], 0.3)",
            {"transforms": [{"name": "ColorJitter", "brightness": 0.1}], "p": 0.3},
        ),
        (
            "RandomApply(torch.nn.ModuleList([transforms.GaussianBlur(3)]))",
            {"transforms": [{"name": "GaussianBlur", "kernel_size": 3}]},
        ),
        (
            "RandomOrder([transforms.RandomEqualize(), transforms.RandomInvert()])",
            {"transforms": [{"name": "RandomEqualize"}, {"name": "RandomInvert"}]},
        ),
        (
            "RandomChoice([transforms.RandomEqualize(), "
            "transforms.Compose([transforms.RandomInvert(), transforms.RandomEqualize(0.1)])])",
            {
                "transforms": [
                    {"name": "RandomEqualize"},
                    {
                        "name": "RandomApply",
                        "transforms": [{"name": "RandomInvert"}, {"name": "RandomEqualize", "p": 0.1}],
                        "p": 1.0,
                    },
                ]
            },
        ),
    ],
)
def test_arguments_of_steps(tmp_path: Path, steps: str, expected: dict[str, object]) -> None:
    migration = migrated(tmp_path, f"{NAMES}train_transform = transforms.Compose([transforms.{steps}])\n")
    (step,) = tomllib.loads(migration.text)["train_transform"]
    assert step == {"name": steps.partition("(")[0], **expected}
    assert not of_old(migration)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ("ToTensor", ["ToTensor"]),
        ("ToImage, ToDtype(torch.float32, scale=True)", ["ToTensor"]),
        ("ToImage, Resize(8), ToDtype(torch.float32, True)", ["Resize", "ToTensor"]),
        ("ToImage, ToDtype(torch.uint8, scale=True), ToDtype(torch.float32, scale=True)", ["ToTensor"]),
        ("PILToTensor, ConvertImageDtype(torch.float)", ["ToTensor"]),
        ("ToTensor, ConvertImageDtype(torch.float32)", ["ToTensor"]),
        ("RGB, Compose([Compose([Resize(8)]), ToTensor])", ["Resize", "ToTensor"]),
    ],
)
def test_ways_to_a_tensor(tmp_path: Path, steps: str, expected: list[str]) -> None:
    code = "import torch\nfrom torchvision.transforms.v2 import *\n"
    steps = re.sub(r"\b(ToTensor|ToImage|PILToTensor|RGB)\b", r"\1()", steps)
    migration = migrated(tmp_path, f"{code}val_transform = Compose([{steps}])\n")
    assert [step["name"] for step in tomllib.loads(migration.text)["val_transform"]] == expected
    assert not of_old(migration)


@pytest.mark.parametrize(
    ("step", "told"),
    [
        ("transforms.Lambda(lambda x: x)", "Pochi has no Lambda"),
        ("transforms.FiveCrop(8)", "Pochi has no FiveCrop"),
        ("Cutout(3)", "only running the file would tell it"),
        ("transforms.Resize(unknown())", "only running the file would tell its size"),
        ("transforms.RandomApply([transforms.Lambda(f)])", "a step within it is not carried over"),
        ("transforms.ToDtype(torch.float16)", "Pochi has no ToDtype"),
        ("transforms.Resize(1, 2, 3, 4, 5)", "Resize takes 4 arguments"),
    ],
)
def test_steps_that_are_not_carried_over(tmp_path: Path, step: str, told: str) -> None:
    code = f"{NAMES}train_transform = transforms.Compose([\n    {step},\n    transforms.ToTensor(),\n])\n"
    migration = migrated(tmp_path, code)
    assert tomllib.loads(migration.text)["train_transform"] == [{"name": "ToTensor"}]
    assert f"[\n  # not carried over from line 7: {step}\n" in migration.text
    (diagnostic,) = of_old(migration)
    assert told in diagnostic.message
    assert diagnostic.span is not None
    assert diagnostic.span.line == 7


@pytest.mark.parametrize("step", ["Cut()", "cut", "make(3)"])
def test_a_step_of_the_files_own_is_told_where_it_is_used(tmp_path: Path, step: str) -> None:
    code = "class Cut: pass\ndef make(n): return Cut()\ncut = Cut()\n"
    code += f"val_transform = transforms.Compose([\n    transforms.ToTensor(),\n    {step},\n])\n"
    migration = migrated(tmp_path, code)
    assert f"  # not carried over from line 6: {step}\n]" in migration.text
    told = warning_at(migration, 6)
    assert told.span is not None
    assert told.span.text == f"    {step},"
    (note,) = told.notes
    assert note.span is not None
    assert note.span.line == (2 if "make" in step else 1)
    assert "is defined here" in note.message


def test_an_entry_that_is_unknown_elsewhere_is_told_where_it_is_used(tmp_path: Path) -> None:
    code = (
        "import os\nP = int(os.environ['P'])\nearly_stopping = {\n  'enabled': True,\n  'patience': P,\n}\n"
    )
    migration = migrated(tmp_path, code)
    told = warning_at(migration, 5)
    assert told.key == ("early_stopping", "patience")
    assert [note.span and note.span.line for note in told.notes] == [2]
    assert "# not carried over from line 5: early_stopping.patience = P\n" in migration.text


def test_an_argument_that_a_step_does_not_have(tmp_path: Path) -> None:
    code = f"{NAMES}train_transform = [\n  transforms.RandomRotation(5, center=(0, 0))]\n"
    migration = migrated(tmp_path, code)
    assert tomllib.loads(migration.text)["train_transform"] == [{"name": "RandomRotation", "degrees": 5}]
    assert "  # not carried over from line 7: center of transforms.RandomRotation(5, c" in migration.text
    assert ("not-carried-over", "train_transform") in warned(migration)


def test_a_pipeline_that_is_changed_later(tmp_path: Path) -> None:
    code = NAMES + (
        "train_transform = transforms.Compose([transforms.ToTensor()])\n"
        "train_transform.transforms.insert(0, transforms.Resize(8))\n"
        "STEPS = [transforms.CenterCrop(4)]\n"
        "val_transform = transforms.Compose(STEPS + [transforms.ToTensor()])\n"
    )
    raw = keys_of(tmp_path, code)
    assert [step["name"] for step in raw["train_transform"]] == ["Resize", "ToTensor"]
    assert [step["name"] for step in raw["val_transform"]] == ["CenterCrop", "ToTensor"]


def test_a_pipeline_that_holds_itself_ends(tmp_path: Path) -> None:
    code = NAMES + "s = [transforms.ToTensor()]\ns.append(s)\ntrain_transform = transforms.Compose(s)\n"
    assert ("not-carried-over", "train_transform") in warned(migrated(tmp_path, code))


# ---------------------------------------------------------------- keys


def test_ingredients_are_no_keys(tmp_path: Path) -> None:
    code = "import os\nIMG_SIZE = 3\n_hidden = 4\nsize = 8\nUNUSED = 1\nepochs = size\n'''doc'''\n"
    migration = migrated(tmp_path, BASE_TEXT + code)
    assert not of_old(migration)
    assert tomllib.loads(migration.text) == BASE | {"epochs": 8}


def test_an_unknown_key_is_kept_as_a_comment(tmp_path: Path) -> None:
    migration = migrated(tmp_path, BASE_TEXT + "momentum = 0.9\nextra = {'a': 1}\n")
    assert warned(migration) == [("not-carried-over", "momentum"), ("not-carried-over", "extra")]
    assert "\n# momentum = 0.9\n" in migration.text
    assert "\n# [extra]\n# a = 1\n" in migration.text


def test_parameters_of_no_scheduler_are_a_comment(tmp_path: Path) -> None:
    migration = migrated(tmp_path, BASE_TEXT + "scheduler_params = {'gamma': 0.9}\n")
    assert migration.is_valid
    assert "\n# scheduler_params = { gamma = 0.9 }\n" in migration.text


def test_keys_on_one_line_stay_together(tmp_path: Path) -> None:
    text = migrated(tmp_path, "x = 1\n\n# normalisation\nmean, std = [0.1] * 3, [0.2] * 3\n").text
    assert "\n\n# normalisation\nmean = [0.1, 0.1, 0.1]\nstd = [0.2, 0.2, 0.2]\n" in text


def test_the_place_of_a_warning_counts_characters(tmp_path: Path) -> None:
    code = 'a = "日本"; device = "cuda"  # ü\r\n'
    (diagnostic,) = [
        told for told in migrated(tmp_path, "\ufeff" + code).diagnostics if told.code == "fixed-device"
    ]
    span = diagnostic.span
    assert span is not None
    assert (span.line, span.column, span.end_line, span.end_column) == (1, 11, 1, 26)
    assert span.text == code.rstrip("\r\n")


def test_statements_are_told_with_what_they_may_set(tmp_path: Path) -> None:
    migration = migrated(tmp_path, BASE_TEXT + "\n\nif DEBUG:\n    epochs = 1\n    helper = 2\n")
    line = len(BASE_TEXT.splitlines()) + 3
    quoted = "if DEBUG: epochs = 1 helper = 2 (it may set epochs)"
    assert f"\n\n# not carried over from line {line}: {quoted}\n" in migration.text
    told = migration.diagnostics[0]
    assert told.message == "this `if` is not carried over; it may set `epochs`"
    assert told.span is not None
    assert (told.span.line, told.span.end_line, told.span.text) == (line, line + 2, "if DEBUG:")


# ---------------------------------------------------------------- files


def refused(tmp_path: Path, content: bytes) -> Diagnostic:
    with pytest.raises(ConfigError) as caught:
        migrated(tmp_path, content)
    (diagnostic,) = caught.value.diagnostics
    assert diagnostic.span is not None
    assert diagnostic.span.source == str(tmp_path / "old.py")
    return diagnostic


def test_a_syntax_error_has_its_place(tmp_path: Path) -> None:
    diagnostic = refused(tmp_path, 'a = 1\nb = "日本" +\n'.encode())
    assert diagnostic.code == "invalid-python"
    assert diagnostic.span is not None
    assert (diagnostic.span.line, diagnostic.span.text) == (2, 'b = "日本" +')
    assert diagnostic.span.column == 11


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"a = 1\0", "invalid-python"),
        (b"print 3", "invalid-python"),
        (b"(" * 5000, "invalid-python"),
        (b"-" * 200_000 + b"1", "invalid-python"),
        (b"x = '\xff'", "unreadable-file"),
        (b"# coding: nonsense\n", "unreadable-file"),
        (b"# coding: rot13\n", "unreadable-file"),
        (b"# coding: ascii\nx = '\xe3'", "unreadable-file"),
        (b"# coding: unicode_escape\nx = '\\ud800'", "unreadable-file"),
        (b"\xff\xfea\0", "unreadable-file"),
        (b"#" * 1_000_001, "unreadable-file"),
    ],
)
def test_files_that_are_no_config(tmp_path: Path, content: bytes, code: str) -> None:
    assert refused(tmp_path, content).code == code


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("config.toml", "epochs = 1\n"),
        ("config.toml", "epochs = \n"),
        ("config.py", "optimizer_params.lr = 1\n[early-stopping.x]\ny = true\n[[z]]\nwhen = 1979-05-27\n"),
    ],
)
def test_a_file_that_is_toml_already(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        migrate(path)
    (told,) = caught.value.diagnostics
    assert told.message == "this is TOML already"
    assert told.help == f"pochi validate-config {path}"


def test_a_missing_file_and_a_directory(tmp_path: Path) -> None:
    for path in (tmp_path / "none.py", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ConfigError) as caught:
            migrate(path)
        assert caught.value.diagnostics[0].code == "unreadable-file"


@pytest.mark.parametrize("encoding", ["shift_jis", "euc_jp", "utf-8"])
def test_the_encoding_that_the_file_names(tmp_path: Path, encoding: str) -> None:
    migration = migrated(tmp_path, f"# coding: {encoding}\nwork_dir = '作業'  # 場所\n".encode(encoding))
    assert "# coding" not in migration.text
    assert 'work_dir = "作業"  # 場所\n' in migration.text


def test_an_invalid_escape_is_no_matter(tmp_path: Path) -> None:
    assert keys_of(tmp_path, "work_dir = 'a\\d'")["work_dir"] == "a\\d"


def test_nothing_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "planted.py").write_text("open('planted.txt', 'w').write('x')\n")
    code = """
import planted
from planted import *
open("written.txt", "w").write("x")
__import__("os").system("touch touched.txt")
work_dir = str(open("opened.txt", "w").write("x"))
class C:
    open("class.txt", "w")
def f(x=open("default.txt", "w")): ...
epochs = eval("open('evaluated.txt', 'w').write('x')")
x: open("annotated.txt", "w")
f"{open('formatted.txt', 'w')}"
"""
    migration = migrated(tmp_path, code)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["old.py", "planted.py"]
    assert not tomllib.loads(migration.text)


# ---------------------------------------------------------------- any file at all


def survives(path: Path) -> None:
    try:
        migration = migrate(path)
    except ConfigError as error:
        assert error.diagnostics
        told: tuple[Diagnostic, ...] = error.diagnostics
    else:
        tomllib.loads(migration.text)
        told = migration.diagnostics
        lines = (
            path.read_text("utf-8-sig", errors="replace")
            .replace("\r\n", "\n")
            .replace("\r", "\n")
            .split("\n")
        )
        for diagnostic in told:
            if diagnostic.span and diagnostic.span.line and diagnostic.span.source == str(path):
                assert diagnostic.span.text == lines[diagnostic.span.line - 1]
                assert 1 <= (diagnostic.span.column or 0) <= len(diagnostic.span.text) + 1
    assert all(str(diagnostic) for diagnostic in told)


ANY = settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@ANY
@given(st.text(st.characters(exclude_categories=["Cs"])))
@example("\x0c\nwork_dir = '\x0c'  # \x0c\n")
def test_any_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "any.py"
    path.write_bytes(text.encode())
    survives(path)


LINES = EVERYTHING.splitlines(keepends=True)
PIECES = [
    "(",
    ")",
    "[",
    "*",
    "**",
    "lambda: ",
    "if x: ",
    "not ",
    ".",
    " = ",
    "del ",
    "{",
    ",",
    "None",
    "'",
    "  ",
]
PIECES += [
    "mean",
    "optuna",
    "9",
    "transforms.",
    "f'{mean}'",
    ":=",
    "+=",
    "for x in mean: ",
    "\\",
    "\t",
    "import ",
]


@ANY
@given(st.data())
def test_the_guides_file_with_changes(tmp_path: Path, data: st.DataObject) -> None:
    lines = list(LINES)
    for _ in range(data.draw(st.integers(1, 6))):
        number = data.draw(st.integers(0, len(lines) - 1))
        kind = data.draw(st.sampled_from(["drop", "repeat", "insert", "swap"]))
        if kind == "drop" and len(lines) > 1:
            del lines[number]
        elif kind == "repeat":
            lines.insert(data.draw(st.integers(0, len(lines))), lines[number])
        elif kind == "swap":
            other = data.draw(st.integers(0, len(lines) - 1))
            lines[number], lines[other] = lines[other], lines[number]
        else:
            at = data.draw(st.integers(0, len(lines[number]) - 1))
            lines[number] = lines[number][:at] + data.draw(st.sampled_from(PIECES)) + lines[number][at:]
    path = tmp_path / "changed.py"
    path.write_text("".join(lines), "utf-8")
    survives(path)


SCALARS = (
    st.none()
    | st.booleans()
    | st.integers(-(2**80), 2**80)
    | st.floats()
    | st.text(st.characters(exclude_categories=["Cs"]))
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=15,
)


@ANY
@given(st.dictionaries(st.text(st.characters(exclude_categories=["Cs"]), max_size=8), VALUES, max_size=5))
def test_every_value_arrives(tmp_path: Path, value: dict[str, object]) -> None:
    migration = migrated(tmp_path, f"inf = float('inf')\nnan = inf - inf\nearly_stopping = {value!r}\n")
    read = tomllib.loads(migration.text).get("early_stopping")
    assert repr(_sorted(read)) == repr(_sorted(_without_none(value)))


def _sorted(value: object) -> object:
    """The value with every table in one order: tables within a table come last in TOML."""
    if isinstance(value, dict):
        return {key: _sorted(value[key]) for key in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _without_none(value: object) -> object:
    """The value as TOML has it; `None` in a list makes the list unknown."""
    if isinstance(value, list):
        items = [_without_none(item) for item in value]
        return None if any(item is None for item in items) else items
    if isinstance(value, dict):
        pairs = {key: _without_none(item) for key, item in value.items()}
        return {key: item for key, item in pairs.items() if item is not None}
    return value


@pytest.mark.parametrize(
    "name", ["ast", "argparse", "typing", "os", "turtle", "this", "decimal", "_pydecimal"]
)
def test_files_of_the_standard_library(name: str) -> None:
    survives(Path(os.__file__).parent / f"{name}.py")
