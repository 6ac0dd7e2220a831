"""Features of a frozen backbone take the place of images, and nothing else changes."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from pochi_cli.engine.features import frozen_tail
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import DataError, Interrupted
from pochi_cli.models.architectures import build_network
from pochi_cli.models.freezing import freeze, train_mode
from pochi_cli.runs.index import Run, open_run
from tests.engine.tiny import STEPS, tiny_config
from tests.engine.trained import assert_same_run, going_on, rows

BACKBONE = [r"(?!fc\b).*"]


@pytest.mark.parametrize(
    ("name", "head", "size", "tail"),
    [
        ("resnet18", "fc", 64, ("fc",)),
        ("vgg_compact", "classifier.3", 32, ("classifier.2", "classifier.3")),
        ("mobilenet_v3_small", "classifier.3", 64, ("classifier.1", "classifier.2", "classifier.3")),
        ("vit_tiny", "heads.head", 32, ("heads.head",)),
        ("densenet121", "classifier", 64, ("classifier",)),
    ],
)
def test_a_tail_gives_what_the_model_gives(name: Any, head: str, size: int, tail: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    model = build_network(name, 3, size)
    freeze(model, [rf"(?!{head}\b).*"])
    found = frozen_tail(model, head)
    assert found is not None
    assert found.names == tail
    images = torch.randn(4, 3, size, size)
    caught: list[torch.Tensor] = []
    hook = model.get_submodule(tail[0]).register_forward_pre_hook(lambda _, x: caught.append(x[0].clone()))
    train_mode(model)
    torch.manual_seed(1)
    logits = model(images)
    hook.remove()
    torch.manual_seed(1)
    assert torch.equal(found(model, caught[0]), logits)


@pytest.mark.parametrize(
    ("name", "head", "left"),
    [
        ("resnet18", "fc", ("layer4", "fc")),  # more is trained
        ("resnet18", "fc", ("layer1.0.bn1", "fc")),
        ("efficientnet_b0", "classifier.1", ("classifier",)),  # leaves out blocks at random
        ("convnext_tiny", "classifier.2", ("classifier.2",)),
        ("vgg11", "classifier.6", ("classifier.6",)),  # a dropout before frozen layers
    ],
)
def test_what_differs_from_epoch_to_epoch_is_not_kept(name: Any, head: str, left: tuple[str, ...]) -> None:
    model = build_network(name, 3, 64)
    for parameter, value in model.named_parameters():
        value.requires_grad_(parameter.startswith(left))
    modes = [module.training for module in model.modules()]
    assert frozen_tail(model, head) is None
    assert [module.training for module in model.modules()] == modes


def trained(data: Path, work_dir: Path, **keys: Any) -> Run:
    keys = {"freeze": BACKBONE, "epochs": 3, "work_dir": str(work_dir), **keys}
    return train(tiny_config(data, **keys))


def cache_of(run: Run) -> Any:
    return json.loads(run.layout.run_json.read_text())["settings"]["cache"]


@pytest.mark.parametrize("keys", [{}, {"sampler": "balanced", "ema_decay": 0.9, "accumulate_steps": 2}])
def test_training_on_features_is_training_on_images(few_digits: Path, tmp_path: Path, keys: Any) -> None:
    by_features = trained(few_digits, tmp_path / "features", **keys)
    by_images = trained(few_digits, tmp_path / "images", cache="none", **keys)
    assert (cache_of(by_features), cache_of(by_images)) == (["features"] * 2, ["none"] * 2)
    for one, other in zip(rows(by_features), rows(by_images), strict=True):
        assert {key: float(value) for key, value in one.items()} == pytest.approx(
            {key: float(value) for key, value in other.items()}, rel=1e-5
        )


@pytest.mark.parametrize(
    "keys",
    [
        {"mixup_alpha": 0.2},
        {"cutmix_alpha": 1.0},
        {"epochs": 1},
        {"freeze": ["conv1"]},
        {"enable_tensorboard": True},
        {"train_transform": [{"name": "RandomHorizontalFlip"}, *STEPS]},
    ],
    ids=str,
)
def test_what_needs_images_gets_them(few_digits: Path, tmp_path: Path, keys: Any) -> None:
    assert "features" not in cache_of(trained(few_digits, tmp_path, **{"epochs": 2, **keys}))


def test_a_run_on_features_goes_on_as_if_it_had_not_been_interrupted(
    few_digits: Path, tmp_path: Path
) -> None:
    straight = trained(few_digits, tmp_path / "straight")

    def stop(record: Any) -> None:
        if record.epoch == 1:
            signal.raise_signal(signal.SIGTERM)

    config = tiny_config(few_digits, freeze=BACKBONE, epochs=3, work_dir=str(tmp_path / "stopped"))
    with pytest.raises(Interrupted):
        train(config, on_epoch=stop)
    (directory,) = (tmp_path / "stopped").iterdir()
    run = open_run(directory)
    assert_same_run(resume(run, going_on(run)), straight)


def test_a_bad_image_is_left_out(few_digits: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(few_digits, data)
    file = next((data / "train").rglob("*.png"))
    file.write_bytes(b"broken")
    with pytest.raises(DataError, match="not an image"):
        trained(data, tmp_path / "error")
    run = trained(data, tmp_path / "skip", on_bad_image="skip")
    assert cache_of(run) == ["features"] * 2
    assert run.record.skipped_images == 1
    assert run.layout.log.read_text().count(f"left out {file}") == 1
