"""The JSON Schema: an editor accepts what Pochi accepts, and refuses the usual mistakes."""

from __future__ import annotations

import copy
import json
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft7Validator

from pochi_cli.config.load import validate
from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ClassificationConfig, EmbeddingConfig
from pochi_cli.config.schema import SCHEMA_FILE, config_schema, is_pochi_schema, root_schema, schema_text
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.errors import ConfigError
from tests.config.raw import EDITOR, TO_TENSOR, folder
from tests.config.test_load import DEFAULTS, RANGES, WRONG_TYPES, configs, mutated
from tests.config.test_steps import FLIP, NAMES, REQUIRED, pipeline

CONFIGS = Path(__file__).parent.parent.parent / "configs"
SCHEMA = config_schema()


def refusals(raw: dict[str, Any]) -> list[str]:
    """What an editor would say, with the place."""
    return [f"{error.json_path}: {error.message}" for error in EDITOR.iter_errors(raw)]


def parts(node: Any) -> list[dict[str, Any]]:
    """Every table of the schema."""
    inner = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    return [*([node] if isinstance(node, dict) else []), *(part for item in inner for part in parts(item))]


def test_it_is_a_schema_of_a_draft_that_editors_know() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert SCHEMA["$schema"] == "http://json-schema.org/draft-07/schema#"
    newer = {"$defs", "prefixItems", "discriminator", "unevaluatedProperties", "dependentSchemas"}
    assert not newer & {key for part in parts(SCHEMA) for key in part}


def test_it_refers_to_nothing_outside_and_holds_nothing_unused() -> None:
    used = {part["$ref"] for part in parts(SCHEMA) if "$ref" in part}
    assert used == {f"#/definitions/{name}" for name in SCHEMA["definitions"]}
    # Editors of this draft ignore what stands beside a reference.
    assert all(len(part) == 1 for part in parts(SCHEMA) if "$ref" in part)


def test_no_condition_hides_the_keys_from_completion() -> None:
    assert "allOf" not in SCHEMA
    assert not [name for name, part in SCHEMA["definitions"].items() if "allOf" in part]


def test_every_key_is_there_with_its_description_and_default() -> None:
    root = root_schema(SCHEMA, ClassificationConfig)
    assert root["properties"].keys() == ClassificationConfig.model_fields.keys()
    for key, part in root["properties"].items():
        assert part["description"].endswith("."), key
        scalar = DEFAULTS[key] is not None and not isinstance(DEFAULTS[key], dict)
        required = ClassificationConfig.model_fields[key].is_required() or key == "train_data_root"
        if scalar and not required:
            assert part["default"] == json.loads(json.dumps(DEFAULTS[key])), key
        else:
            assert "default" not in part, key
    assert set(root["required"]) == {"epochs", "learning_rate", "train_transform"}


def test_the_embedding_task_has_its_own_keys_and_defaults() -> None:
    root = root_schema(SCHEMA, EmbeddingConfig)
    assert root["properties"].keys() == EmbeddingConfig.model_fields.keys()
    assert root["required"] == ["task", "train_vectors"]
    defaults = validate({"task": "embedding", "train_vectors": "a.npy"}).model_dump(mode="json")
    for key, part in root["properties"].items():
        assert part["description"].endswith("."), key
        if "default" in part:
            assert part["default"] == defaults[key], key
    shown = {key for key, part in root["properties"].items() if "default" in part}
    tables = {key for key, value in defaults.items() if isinstance(value, dict)}
    assert shown == {key for key, value in defaults.items() if value is not None} - tables - {
        "task",
        "train_vectors",
    }


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"latent_dim": 0}, "0 is less than the minimum of 1"),
        ({"model_name": "resnet18"}, "'model_name' was unexpected"),
        ({"loss_function": "DPLossV3"}, "'DPLossV3' is not one of"),
        ({"optimizer_params": {"momentum": 0.9}}, "'momentum' was unexpected"),
        ({"early_stopping": {"monitor": "val_accuracy"}}, "does not match"),
    ],
)
def test_mistakes_in_embedding_configs_are_refused(changes: dict[str, Any], told: str) -> None:
    raw = {"task": "embedding", "train_vectors": "a.npy"}
    assert refusals(raw) == []
    (refusal,) = refusals(raw | changes)
    assert told in refusal


def test_every_argument_of_a_step_is_there_with_its_description() -> None:
    assert SCHEMA["definitions"].keys() > STEPS.keys()
    for name, step in STEPS.items():
        part = SCHEMA["definitions"][name]
        assert part["properties"].keys() == step.model_fields.keys()
        assert part["additionalProperties"] is False
        assert all(argument["description"].endswith(".") for argument in part["properties"].values())


def test_the_committed_file_is_fresh() -> None:
    text = (CONFIGS / SCHEMA_FILE).read_text("utf-8")
    assert text == schema_text(), f"write it anew: pochi schema > configs/{SCHEMA_FILE}"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.toml")), ids=lambda path: path.name)
def test_example_configs_name_it_and_are_accepted(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.startswith(f"#:schema ./{SCHEMA_FILE}\n")
    assert refusals(tomllib.loads(text)) == []


@settings(max_examples=60, deadline=None)
@given(raw=configs())
def test_valid_configs_are_accepted(raw: dict[str, Any]) -> None:
    assert refusals(raw) == []


VALUES = st.one_of(
    st.sampled_from([0, 1, 2, 3, -1, 0.5, 1.0, -0.5, 8, 255, 2**32, True, False]),
    st.sampled_from(["auto", "none", "balanced", "random", "cpu", "digits", "nearest", "edge", "a", ""]),
    st.sampled_from(["SGD", "Adam", "AdamW", "StepLR", "MultiStepLR", "ExponentialLR", "LinearLR"]),
    st.sampled_from([[], [1], [1, 2], [0.5, 0.9], [1, 2, 3], [1, 2, 3, 4], [TO_TENSOR], [FLIP]]),
    st.sampled_from([{}, {"gamma": 0.5}, {"step_size": 2}, {"betas": [0, 0.5]}, {"patience": 1}]),
)
KEYS = st.sampled_from(sorted(ClassificationConfig.model_fields))


@st.composite
def one_step(draw: st.DrawFn) -> dict[str, Any]:
    """A config with a step that has some more arguments."""
    name = draw(st.sampled_from(NAMES))
    optional = sorted(STEPS[name].model_fields.keys() - {"name", *REQUIRED.get(name, {})})
    keys = draw(st.lists(st.sampled_from(optional), max_size=2)) if optional else []
    return pipeline(name, **{key: draw(VALUES) for key in keys})


@st.composite
def nearly_valid(draw: st.DrawFn) -> dict[str, Any]:
    """A config with some keys set to values that are right for some key."""
    raw = draw(st.one_of(configs(), st.just(folder()), one_step()))
    return copy.deepcopy(raw | draw(st.dictionaries(KEYS, VALUES, max_size=2)))


@settings(max_examples=400, deadline=None)
@given(raw=st.one_of(nearly_valid(), mutated()))
def test_what_pochi_accepts_is_accepted(raw: dict[str, Any]) -> None:
    try:
        validate(raw)
    except ConfigError:
        return
    assert refusals(raw) == []


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (folder(epoch=3), "'epoch' was unexpected"),
        (folder(early_stopping={"patiense": 3}), "'patiense' was unexpected"),
        (folder(layer_wise_lr_config={"graph_config": {"log": True}}), "'log' was unexpected"),
        (folder(optimizer="adam"), "'adam' is not one of"),
        (folder(model_name="resnet81"), "'resnet81' is not one of"),
        (folder(device="gpu"), "'gpu' does not match"),
        (folder(learning_rate=2), "2 is greater than the maximum"),
        (folder(layer_wise_lr_config={"layer_rates": {"fc": 0}}), "0 is less than or equal to the minimum"),
        (folder(optimizer_params={"betas": [0.9, 0.9]}), "'betas' was unexpected"),
        (folder(optimizer="SGD", optimizer_params={"betas": [0.9, 0.9]}), "'betas' was unexpected"),
        (folder(optimizer="Adam", optimizer_params={"momentum": 0.9}), "'momentum' was unexpected"),
        (folder(optimizer="AdamW", optimizer_params={"eps": 0}), "0 is less than or equal to the minimum"),
        (folder(optimizer_params={"momentum": 1}), "1 is greater than or equal to the maximum"),
        (folder(scheduler="StepLR"), "'scheduler_params' is a required property"),
        (folder(scheduler="StepLR", scheduler_params={}), "'step_size' is a required property"),
        (folder(scheduler_params={"gamma": 0.5}), "'scheduler' is a dependency of 'scheduler_params'"),
        (
            folder(scheduler="ExponentialLR", scheduler_params={"gamma": 0.5, "T_max": 1}),
            "'T_max' was unexpected",
        ),
        (folder(val_data_root="a"), "'val_transform' is a dependency of 'val_data_root'"),
        (folder(val_split=0.2), "'val_transform' is a dependency of 'val_split'"),
        (folder(dataset="digits"), "'val_transform' is a required property"),
        ({key: v for key, v in folder().items() if key != "train_data_root"}, "'train_data_root' is a req"),
        (folder(train_transform=[]), "[] should be non-empty"),
        (folder(train_transform=["ToTensor"]), "'ToTensor' is not of type 'object'"),
        (folder(train_transform=[{"size": 3}]), "'name' is a required property"),
        (folder(train_transform=[{"name": "Rezise"}, TO_TENSOR]), "'Rezise' is not one of"),
        (pipeline("Resize", sise=3), "'sise' was unexpected"),
        (pipeline("Resize", size=0), "0 is not valid under any"),
        (pipeline("Resize", size=[8, 8, 8]), "[8, 8, 8] is not valid under any"),
        (pipeline("RandomApply", transforms=[{"name": "Resize"}]), "'size' is a required property"),
        (pipeline("RandomApply", transforms=[{"name": "Normalise"}]), "'Normalise' is not one of"),
    ],
)
def test_the_usual_mistakes_are_refused_in_one_line(raw: dict[str, Any], told: str) -> None:
    (refusal,) = refusals(raw)
    assert told in refusal


@pytest.mark.parametrize("key", ["epochs", "learning_rate", "train_transform"])
def test_missing_keys_are_refused(key: str) -> None:
    raw = folder()
    del raw[key]
    assert refusals(raw) == [f"$: {key!r} is a required property"]


@pytest.mark.parametrize(
    ("key", "value"),
    [(key, value) for key, _, bad in RANGES for value in bad if (key, value) != ("num_classes", 1)],
)
def test_values_out_of_range_are_refused(key: str, value: Any) -> None:
    assert any(refusal.startswith(f"$.{key}") for refusal in refusals(folder(**{key: value})))


@pytest.mark.parametrize(
    ("key", "value"),
    [case.values[:2] for case in WRONG_TYPES if isinstance(case.values[1], int | float | str | list | dict)],
)
def test_values_of_a_wrong_type_are_refused(key: str, value: Any) -> None:
    assert any(refusal.startswith(f"$.{key}") for refusal in refusals(folder(**{key: value})))


@pytest.mark.parametrize("name", NAMES)
def test_arguments_of_steps_are_checked(name: str) -> None:
    (refusal,) = refusals(pipeline(name, inplace=True))
    assert "'inplace' was unexpected" in refusal
    for argument in STEPS[name].model_fields.keys() - {"name"}:
        assert refusals(pipeline(name, **{argument: {"a": 1}})), argument
    for argument in REQUIRED.get(name, {}):
        raw = pipeline(name)
        del raw["train_transform"][1][argument]
        (refusal,) = refusals(raw)
        assert f"{argument!r} is a required property" in refusal


@pytest.mark.parametrize("optimizer", OPTIMIZER_PARAMS)
def test_arguments_of_optimizers_are_checked(optimizer: str) -> None:
    for argument in OPTIMIZER_PARAMS[optimizer].model_fields:
        assert refusals(folder(optimizer=optimizer, optimizer_params={argument: "a"})), argument


@pytest.mark.parametrize("scheduler", SCHEDULER_PARAMS)
def test_arguments_of_schedulers_are_checked(scheduler: str) -> None:
    for argument in SCHEDULER_PARAMS[scheduler].model_fields:
        assert refusals(folder(scheduler=scheduler, scheduler_params={argument: "a"})), argument


@pytest.mark.parametrize(
    ("text", "ours"),
    [
        (schema_text(), True),
        ("{}", False),
        ("[]", False),
        ('{"title": "mine"}', False),
        ("", False),
        ("[" * 100_000, False),
    ],
    ids=["ours", "empty", "array", "another", "nothing", "deep"],
)
def test_a_schema_of_pochi_is_known_again(text: str, ours: bool) -> None:
    assert is_pochi_schema(text) is ours
