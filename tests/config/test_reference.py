"""The configuration reference: complete, fresh, and true in its examples."""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.config.catalogue import MODEL_NAMES
from pochi_cli.config.load import validate
from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.reference import check_complete, reference_text
from pochi_cli.config.root import ClassificationConfig, EmbeddingConfig
from pochi_cli.config.sections import EMBEDDING_SECTIONS, SCHEDULER_EXAMPLES, SECTIONS, STEP_GROUPS
from pochi_cli.config.steps.nested import STEPS
from tests.config.raw import EDITOR, TO_TENSOR, folder

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "configs" / "docs" / "configuration.md"
TEXT = reference_text()

# What a block of the documentation leaves out.
BASE = folder(val_split=0.2, val_transform=[TO_TENSOR], epochs=50)


EDGE = "whole number (at least 1)"


def blocks(path: Path) -> list[str]:
    """The configs that a document shows."""
    return re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), re.DOTALL)


DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "configs" / "docs").glob("*.md"))]
BLOCKS = [
    pytest.param(block, id=f"{path.stem}-{position}")
    for path in DOCUMENTS
    for position, block in enumerate(blocks(path))
]


def part(heading: str) -> str:
    """The lines under a heading, up to the next one."""
    (found,) = re.findall(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    return str(found)


def cells(key: str, heading: str) -> list[str]:
    """Value, default and meaning of a key."""
    (line,) = [line for line in part(heading).splitlines() if line.startswith(f"| `{key}` |")]
    return line.strip("| ").split(" | ")[1:]


def test_the_committed_file_is_fresh() -> None:
    text = FILE.read_text("utf-8")
    assert text == TEXT, f"write it anew: pochi schema --format markdown > {FILE.relative_to(ROOT)}"


def test_readme_links_it() -> None:
    assert f"]({FILE.relative_to(ROOT)})" in (ROOT / "README.md").read_text("utf-8")


def test_the_number_of_examples() -> None:
    assert len(BLOCKS) == len(SECTIONS) + len(EMBEDDING_SECTIONS) + len(SCHEDULER_EXAMPLES) + 2  # guides


@pytest.mark.parametrize("block", BLOCKS)
def test_examples_are_valid(block: str) -> None:
    shown = tomllib.loads(block)
    raw = shown if shown.get("task") == "embedding" else BASE | shown
    validate(raw)
    EDITOR.validate(raw)


@pytest.mark.parametrize("section", (*SECTIONS, *EMBEDDING_SECTIONS), ids=lambda section: section.title)
def test_examples_show_the_keys_of_their_section(section: Any) -> None:
    assert tomllib.loads(section.example).keys() & set(section.keys)


def test_every_key_is_in_one_section_and_in_the_index() -> None:
    keys = list(ClassificationConfig.model_fields)
    assert sorted(key for section in SECTIONS for key in section.keys) == sorted(keys)
    own = {key for section in EMBEDDING_SECTIONS for key in section.keys}
    assert own >= EmbeddingConfig.model_fields.keys() - set(keys)
    intro = part("The embedding task")
    assert all(f"`{key}`" in intro for key in EmbeddingConfig.model_fields.keys() - own)
    for section in SECTIONS:
        for key in section.keys:
            assert cells(key, section.title)
            anchor = section.title.lower().replace(" ", "-")
            assert f"[`{key}`](#{anchor})" in TEXT


def test_links_lead_to_headings() -> None:
    headings = re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    anchors = [re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings]
    assert len(set(anchors)) == len(anchors)
    links = re.findall(r"\]\(#([^)]*)\)", TEXT)
    assert set(links) <= set(anchors)
    assert len(links) > 80


def test_a_forgotten_key_is_an_error() -> None:
    keys = dict.fromkeys(ClassificationConfig.model_fields)
    check_complete(SECTIONS, keys)
    with pytest.raises(ValueError, match=r"reference: brand_new$"):
        check_complete(SECTIONS, keys | {"brand_new": None})
    with pytest.raises(ValueError, match=r"reference: epochs$"):
        check_complete(SECTIONS, {key: None for key in keys if key != "epochs"})
    twice = dataclasses.replace(SECTIONS[0], keys=("epochs",))
    with pytest.raises(ValueError, match=r"reference: epochs$"):
        check_complete((*SECTIONS, twice), keys)


@pytest.mark.parametrize("name", STEPS)
def test_every_step_is_described_with_its_arguments(name: str) -> None:
    text = part(name)
    assert str(STEPS[name].__doc__) in text
    for argument in STEPS[name].model_fields.keys() - {"name"}:
        assert cells(argument, name)
    assert "| `name` |" not in text
    assert STEPS[name].__module__.rpartition(".")[2] in STEP_GROUPS


@pytest.mark.parametrize("name", [*OPTIMIZER_PARAMS, *SCHEDULER_PARAMS])
def test_every_argument_of_optimizers_and_schedulers_is_described(name: str) -> None:
    for argument in (OPTIMIZER_PARAMS | SCHEDULER_PARAMS)[name].model_fields:
        assert cells(argument, name)


@pytest.mark.parametrize(
    ("key", "section", "value", "default"),
    [
        ("epochs", "Training", "whole number (at least 1)", "**required**"),
        ("learning_rate", "Training", "number (above 0 and at most 1)", "**required**"),
        ("train_transform", "Transforms", "array of one or more steps", "**required**"),
        ("optimizer", "Training", '`"SGD"`, `"Adam"` or `"AdamW"`', '`"SGD"`'),
        ("optimizer_params", "Training", "table", ""),
        ("freeze", "Training", "array of strings", "`[]`"),
        ("compile", "Hardware and reproducibility", "`true` or `false`", "`false`"),
        ("task", "Model", '`"classification"`', '`"classification"`'),
        ("model_name", "Model", "string, one of those below", '`"resnet18"`'),
        ("weights", "Model", "string", ""),
        ("pretrained", "Model", "`true` or `false`", "`true`"),
        ("mean", "Normalisation", "array of 3 numbers", "`[0.485, 0.456, 0.406]`"),
        ("std", "Normalisation", "array of 3 numbers (each above 0)", "`[0.229, 0.224, 0.225]`"),
        ("batch_size", "Data", '`"auto"`, or whole number (at least 1)', "`32`"),
        ("num_workers", "Data", '`"auto"`, or whole number (0 to 256)', '`"auto"`'),
        (
            "class_weights",
            "Loss and class weights",
            '`"balanced"` or `"none"`, or array of one or more numbers (each above 0)',
            '`"balanced"`',
        ),
        (
            "layer_wise_lr_config.layer_rates",
            "Layer-wise learning rates",
            "table of numbers (each above 0 and at most 1)",
            "",
        ),
        (
            "layer_wise_lr_config.graph_config.use_log_scale",
            "Layer-wise learning rates",
            "`true` or `false`",
            "`false`",
        ),
        ("early_stopping.patience", "Early stopping", "whole number (at least 1)", "`30`"),
        ("step_size", "StepLR", "whole number (at least 1)", "**required**"),
        ("betas", "Adam", "array of 2 numbers (each at least 0 and below 1)", "`[0.9, 0.999]`"),
        ("size", "CenterCrop", f"{EDGE}, or array of 2 whole numbers (each at least 1)", "**required**"),
        ("value", "RandomErasing", '`"random"`, or number', "`0.0`"),
    ],
)
def test_values_and_defaults_in_words_of_toml(key: str, section: str, value: str, default: str) -> None:
    assert cells(key, section)[:2] == [value, default]


def test_long_lists_are_below_their_table() -> None:
    (line,) = [line for line in part("Model").splitlines() if line.startswith("The ")]
    assert line.startswith(f"The {len(MODEL_NAMES)} values of `model_name`: ")
    assert all(f'`"{name}"`' in line for name in MODEL_NAMES)
