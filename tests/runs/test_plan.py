"""The plan, held against what training really does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.config.load import validate
from pochi_cli.config.schedule import learning_rate
from pochi_cli.data.loaders import create_loaders
from pochi_cli.data.prepare import prepare_data
from pochi_cli.engine.optim import create_optimizer
from pochi_cli.engine.training import train
from pochi_cli.models.factory import create_model
from pochi_cli.models.freezing import freeze
from pochi_cli.runs.plan import DataFacts
from pochi_cli.runs.plan_text import describe_plan, describe_rates
from pochi_cli.runs.planning import make_plan
from tests.config.raw import folder, valid
from tests.engine.tiny import classifier, tiny_config, tiny_raw

CLASSES = tuple("0123456789")
RATES = {
    "enable_layer_wise_lr": True,
    "layer_wise_lr_config": {"layer_rates": {r"layer2\.0": 0.02, "layer[12]": 0.01, "fc": 0.03}},
}


def facts(images: int) -> DataFacts:
    return DataFacts(images, 7, CLASSES, (64, 64), None)


def planned(known: DataFacts | None = None, **keys: Any) -> Any:
    return make_plan(validate(folder(**keys)), known)


def test_the_groups_are_those_of_the_optimizer() -> None:
    config = valid(freeze=["conv1", "bn1"], pretrained=False, **RATES)
    plan = make_plan(config, facts(100))
    built = create_model(config, 10, (64, 64))
    freeze(built.model, config.freeze)
    optimizer = create_optimizer(config, built.model)
    found = [(g["lr"], sum(p.numel() for p in g["params"])) for g in optimizer.param_groups]
    assert [(group.learning_rate, group.parameters) for group in plan.groups] == found
    total = sum(parameter.numel() for parameter in built.model.parameters())
    frozen = sum(p.numel() for p in built.model.parameters() if not p.requires_grad)
    assert (plan.parameters, plan.frozen_parameters) == (total, frozen)


def test_the_epoch_and_the_files_are_those_of_the_run(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        epochs=3,
        save_interval=2,
        accumulate_steps=2,
        enable_gradient_tracking=True,
        monitor={"enabled": True},
        **RATES,
    )
    data = prepare_data(config, config.seed)
    plan = make_plan(
        config, DataFacts(len(data.train), len(data.val or ()), data.class_names, data.size, data.val_size)
    )
    loaders = create_loaders(config, data, seed=0, device_type="cpu", order="shuffle")
    assert plan.steps is not None
    assert plan.steps.batches_per_epoch == len(loaders.train)
    run = train(config)
    for group in plan.groups[:-1]:
        column = f"lr_{group.pattern}"
        assert list(group.rates) == [
            epoch.layer_rates[column.removeprefix("lr_")] for epoch in run.history.epochs
        ]
    written = {str(path.relative_to(run.directory)) for path in run.directory.rglob("*") if path.is_file()}
    told = {str(Path(path).relative_to(Path(plan.writes[0]).parent)) for path in plan.writes}
    stamp = run.layout.stamp
    expected = {path.replace("<time>", stamp) for path in told}
    numbered = {path for path in written if "checkpoint_epoch" in path}
    assert len(numbered) == plan.numbered_checkpoints == 2
    graphs = {path for path in expected if path.endswith(".png")}  # drawn after training
    pattern = {path for path in expected if "*" in path}
    assert expected - graphs - pattern == written - numbered - {".lock"}
    assert len(graphs) == 3


@pytest.mark.parametrize(
    ("images", "batch_size", "accumulate", "batches", "steps"),
    [(100, 32, 1, 4, 4), (97, 32, 1, 3, 3), (100, 32, 3, 4, 2), (1, 32, 1, 1, 1), (32, 32, 1, 1, 1)],
)
def test_steps(images: int, batch_size: int, accumulate: int, batches: int, steps: int) -> None:
    plan = planned(facts(images), batch_size=batch_size, accumulate_steps=accumulate, epochs=5)
    assert (plan.steps.batches_per_epoch, plan.steps.steps_per_epoch) == (batches, steps)
    assert plan.steps.steps == 5 * steps


@pytest.mark.parametrize("images", [1, 31, 64, 65, 66, 96, 97, 98, 129, 193])
@pytest.mark.parametrize("batch_size", [2, 4, 16, 32])
def test_steps_of_batches_that_are_not_decided(images: int, batch_size: int) -> None:
    """However a step of 64 images is cut, there are as many steps."""
    plan = planned(facts(images), batch_size="auto", accumulate_steps=2, epochs=5)
    decided = planned(facts(images), batch_size=batch_size, accumulate_steps=64 // batch_size, epochs=5)
    assert (plan.batch_size, plan.images_per_step) == ("auto", 64)
    assert plan.steps.batches_per_epoch is None
    assert (plan.steps.steps_per_epoch, plan.steps.steps) == (
        decided.steps.steps_per_epoch,
        decided.steps.steps,
    )
    assert "batches as large as fit, 64 images per step" in dict(describe_plan(plan))["epoch"]


def test_what_is_not_known_is_left_open() -> None:
    plan = planned()
    assert (plan.num_classes, plan.parameters, plan.steps, plan.val_data) == (None, None, None, None)
    assert plan.groups[0].parameters is None
    assert planned(num_classes=10).parameters is None  # the stem is not known
    assert planned(num_classes=10, stem="imagenet").parameters == 11_181_642
    assert planned(num_classes=10, model_name="densenet121").parameters == 6_964_106
    open_head = planned(stem="imagenet")
    assert (open_head.parameters, open_head.backbone_parameters) == (None, 11_176_512)
    assert "11,176,512 parameters and a head, as many classes" in dict(describe_plan(open_head))["model"]
    text = dict(describe_plan(plan))
    assert "as many classes as the data have" in text["model"]
    assert "--data" in text["epoch"]


def test_named_data_are_known_without_their_files() -> None:
    raw = folder(dataset="digits", val_transform=[{"name": "ToTensor"}])
    del raw["train_data_root"]
    plan: Any = make_plan(validate(raw))
    assert plan.steps is not None
    assert (plan.steps.train_images, plan.steps.val_images, plan.num_classes) == (1438, 359, 10)
    assert (plan.input_size, plan.stem) == ((8, 8), "small")
    assert make_plan(validate({**raw, "val_split": 0.5})).steps is None


def test_published_data_are_known_without_their_files() -> None:
    raw = folder(
        dataset="mnist",
        train_data_root="data",
        model_name="vit_tiny",
        val_transform=[{"name": "ToTensor"}],
    )
    plan: Any = make_plan(validate(raw))
    assert plan.steps is not None
    assert (plan.steps.train_images, plan.steps.val_images, plan.num_classes) == (60_000, 10_000, 10)
    assert (plan.input_size, plan.weights) == ((28, 28), "random")
    assert (plan.train_data, plan.val_data) == ("mnist in data", "mnist, its official test part")
    built = create_model(classifier(validate(raw)), 10, (28, 28)).model
    assert plan.parameters == sum(parameter.numel() for parameter in built.parameters())
    split: Any = make_plan(validate({**raw, "val_split": 0.5}))
    assert (split.steps, split.input_size, split.parameters) == (None, (28, 28), plan.parameters)


def test_rates_of_a_long_training_are_sampled() -> None:
    plan = planned(epochs=1_000_000, scheduler="LinearLR", scheduler_params={"total_iters": 1_000_000})
    epochs, rates = plan.rate_epochs, plan.groups[0].rates
    assert len(epochs) == len(rates) == 1000
    assert (epochs[0], epochs[-1]) == (1, 1_000_000)
    assert list(epochs) == sorted(set(epochs))
    config = validate(
        folder(epochs=1_000_000, scheduler="LinearLR", scheduler_params={"total_iters": 1_000_000})
    )
    assert rates[500] == learning_rate(config, 0.1, epochs[500])


def test_a_record_is_json() -> None:
    plan = planned(freeze=["conv1"], early_stopping={"enabled": False}, class_weights=[1.0, 2.0])
    record = json.loads(json.dumps(plan.to_record(), allow_nan=False))
    assert record["groups"][0]["rates"] == [0.1] * 20
    assert record["extras"] == {"freeze": ["conv1"]}
    assert record["train_transform"] == [{"name": "ToTensor"}]
    assert record["class_weights"] == [1.0, 2.0]


def test_the_text() -> None:
    raw = tiny_raw(
        train_transform=[
            {"name": "RandomApply", "transforms": [{"name": "ColorJitter", "hue": 0.1}], "p": 0.3},
            {"name": "Resize", "size": [32, 32], "interpolation": "nearest"},
            {"name": "ToTensor"},
            {"name": "Normalize"},
        ],
        mixup_alpha=0.2,
        warmup_epochs=1,
        epochs=4,
    )
    text = dict(describe_plan(make_plan(validate(raw))))
    assert text["train transform"].splitlines() == [
        "RandomApply transforms = ColorJitter, p = 0.3",
        "Resize size = [32, 32], interpolation = nearest",
        "ToTensor",
        "Normalize mean = [0.485, 0.456, 0.406], std = [0.229, 0.224, 0.225]",
        "32 x 32 px",
    ]
    assert text["mixup_alpha"] == "0.2"
    assert text["warmup"] == "1 epoch"
    assert text["seed"] == "0"
    assert text["device"].startswith("cpu, precision ")


def test_the_sparkline_follows_the_rates() -> None:
    plan = planned(epochs=8, scheduler="LinearLR", scheduler_params={"end_factor": 0.0, "total_iters": 7})
    ((name, _, course, ends),) = describe_rates(plan, width=8)
    assert (name, course, ends) == ("all", "█▇▆▅▄▃▂▁", "0.1 to 0")
    warm = planned(epochs=9, warmup_epochs=3, scheduler="ExponentialLR", scheduler_params={"gamma": 0.5})
    ((_, _, course, ends),) = describe_rates(warm, width=24)
    assert len(course) == 9
    assert ends == "0.025 to 0.00313, at most 0.1 in epoch 4"
    ((_, _, course, ends),) = describe_rates(planned(epochs=1000), width=24)
    assert (course, ends) == ("█" * 24, "0.1")
