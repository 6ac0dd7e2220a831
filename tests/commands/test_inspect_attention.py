"""`pochi inspect attention`, as a user meets it."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from pochi_cli.engine.checkpoint import load_checkpoint
from pochi_cli.engine.training import train
from pochi_cli.runs.index import Run, open_run
from tests.commands.cli import pochi
from tests.engine.tiny import tiny_config

SMALL = [{"name": "Resize", "size": [16, 16]}, {"name": "ToTensor"}, {"name": "Normalize"}]


@pytest.fixture(scope="module")
def attending(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of a Vision Transformer; read only."""
    config = tiny_config(
        few_digits,
        model_name="vit_tiny",
        stem=None,
        epochs=1,
        work_dir=str(tmp_path_factory.mktemp("work")),
        train_transform=SMALL,
        val_transform=SMALL,
        learning_rate=0.001,
    )
    return train(config)


@pytest.fixture
def run(attending: Run, tmp_path: Path) -> Run:
    """A copy of it."""
    directory = tmp_path / "work_dirs" / attending.directory.name
    return open_run(Path(shutil.copytree(attending.directory, directory)))


def test_it_shows_every_layer_and_writes_its_files(run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "attention", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = result.stdout
    assert f"Attention of {run.layout.name}" in out
    assert "6 layers, 18 heads" in out
    assert "images      4, on cpu" in out
    for at in range(6):
        assert f"encoder.layers.encoder_layer_{at}.self_attention" in out
    table = out.partition("beats random")[2].partition("\n\n")[0]
    assert table.count("attention rollout") == table.count("class-token attention") == 4
    stem = "attention_encoder.layers.encoder_layer_5.self_attention"
    names = [f"{stem}_mean.png", f"{stem}_heads.png", f"{stem}_flow_mean.png", f"{stem}_similarity.png"]
    names += ["saliency.png", "attention.html"]
    written = [str((run.layout.visualization / name).relative_to(tmp_path)) for name in names]
    assert out.splitlines()[-6:] == written
    assert all((tmp_path / path).is_file() for path in written)


def test_json_holds_everything(run: Run, tmp_path: Path) -> None:
    for name, color in (("red.png", "red"), ("gray.png", "gray")):
        Image.new("RGB", (20, 20), color).save(tmp_path / name)
    result = pochi(
        "inspect", "attention", "latest", "--image", "red.png", "--image", "gray.png", "--layer", "2",
        "--head", "3", "--class", "1", "--output-dir", "pictures", "--json", cwd=tmp_path,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    shown = json.loads(result.stdout)
    assert (shown["model"], shown["model_name"], shown["has_attention"]) == (
        run.layout.name,
        "vit_tiny",
        True,
    )
    assert len(shown["layers"]) == 6
    layer = shown["layers"][1]
    assert layer["name"] == "encoder.layers.encoder_layer_1.self_attention"
    assert (layer["queries"], layer["keys"], layer["windows"]) == (17, 17, 1)
    assert [head["head"] for head in layer["heads"]] == [1, 2, 3]
    assert [len(row) for row in layer["correlation"]] == [3, 3, 3]
    assert [image["name"] for image in shown["images"]] == ["red.png", "gray.png"]
    for image in shown["images"]:
        assert image["class"] == "1"
        assert [one["method"] for one in image["maps"]] == ["class-token attention", "attention rollout"]
        for one in image["maps"]:
            assert [len(row) for row in one["values"]] == [4] * 4
            assert 0 <= one["faithfulness"]["deletion"] <= 1
            assert len(one["faithfulness"]["random_insertion"]) == 8
    stem = "pictures/attention_encoder.layers.encoder_layer_1.self_attention"
    assert shown["files"] == [
        f"{stem}_head_3.png", f"{stem}_heads.png", f"{stem}_flow_head_3.png", f"{stem}_similarity.png",
        "pictures/saliency.png", "pictures/attention.html",
    ]  # fmt: skip
    assert not list(run.layout.visualization.glob("attention*"))


@pytest.mark.parametrize(
    ("arguments", "message", "hint"),
    [
        (
            ["--layer", "7"],
            "no layer 7 attends",
            "give a number from 1 to 6, or a name such as encoder.layers",
        ),
        (["--layer", "heads"], "no layer heads attends", "from 1 to 6"),
        (["--head", "4"], "has no head 4", "its heads are 1 to 3"),
        (["--class", "cat"], "there is no class cat", "the classes are 0, 1, 2, 3"),
        (["--image", "none.png"], "none.png", ""),
        (["--image", "text.png"], "text.png", ""),
    ],
)
def test_mistakes_are_told(run: Run, tmp_path: Path, arguments: list[str], message: str, hint: str) -> None:
    (tmp_path / "text.png").write_text("no image")
    before = sorted(run.directory.rglob("*"))
    result = pochi("inspect", "attention", *arguments, cwd=tmp_path)
    assert result.returncode == 1
    assert message in result.stderr
    assert hint in result.stderr
    assert "Traceback" not in result.stderr
    assert not result.stdout
    assert sorted(run.directory.rglob("*")) == before


def test_weights_that_are_not_finite_are_told(run: Run, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(run.layout.best_model)
    checkpoint["model_state_dict"]["encoder.ln.weight"].fill_(math.nan)
    run.layout.best_model.unlink()  # it has other names
    torch.save(checkpoint, run.layout.best_model)
    result = pochi("inspect", "attention", cwd=tmp_path)
    assert result.returncode == 1
    assert "gives no finite numbers" in result.stderr
    assert "pochi inspect model" in result.stderr


def test_a_network_without_attention_gets_grad_cam(own_run: Run, tmp_path: Path) -> None:
    result = pochi("inspect", "attention", "--strict", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    out = result.stdout
    assert "resnet18 has none: Grad-CAM and LayerCAM instead" in out
    assert out.count("  Grad-CAM  ") == out.count("  LayerCAM  ") == out.count("  layer2\n") // 2 == 4
    assert out.splitlines()[-1].endswith("saliency.png")
    assert not list(own_run.layout.visualization.glob("attention*"))
    Image.new("RGB", (20, 20), "red").save(tmp_path / "red.png")
    one = ("inspect", "attention", "--image", "red.png")
    other = pochi(*one, "--layer", "layer1.0", "--json", cwd=tmp_path)
    assert {one["layer"] for image in json.loads(other.stdout)["images"] for one in image["maps"]} == {
        "layer1.0"
    }
    wrong = pochi(*one, "--head", "1", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "resnet18 has no attention, so no head" in wrong.stderr
    wrong = pochi(*one, "--layer", "fc", cwd=tmp_path)
    assert wrong.returncode == 1
    assert "fc gives (1, 4), which is no map of the image" in wrong.stderr


def test_an_image_of_another_shape_is_told(few_digits: Path, tmp_path: Path) -> None:
    steps = [{"name": "Resize", "size": 16}, {"name": "ToTensor"}]
    small = {"model_name": "vit_tiny", "stem": None, "train_transform": steps, "val_transform": steps}
    train(tiny_config(few_digits, epochs=1, work_dir=str(tmp_path / "work_dirs"), **small))
    Image.new("RGB", (60, 20), "red").save(tmp_path / "wide.png")
    for arguments in (["inspect", "attention", "latest", "--image"], ["infer", "latest", "--data"]):
        result = pochi(*arguments, "wide.png", cwd=tmp_path)
        assert result.returncode == 1
        told = "the transform gives images of 16 x 48 (height x width), but this vit_tiny takes 16 x 16 alone"
        assert told in result.stderr


@pytest.mark.slow
def test_maps_are_those_of_the_chosen_layer(run: Run, tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), "red").save(tmp_path / "red.png")
    command = ("inspect", "attention", run.directory, "--image", "red.png", "--json", "--layer")
    shown = {layer: json.loads(pochi(*command, layer, cwd=tmp_path).stdout) for layer in ("1", "6")}
    first, last = (shown[layer]["images"][0]["maps"] for layer in ("1", "6"))
    assert first[0]["layer"] == "encoder.layers.encoder_layer_0.self_attention"
    assert last[0]["layer"] == "encoder.layers.encoder_layer_5.self_attention"
    assert first[1]["values"] != last[1]["values"]


@pytest.mark.slow
def test_a_checkpoint_elsewhere_is_drawn_beside_it_or_where_one_says(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    path = tmp_path / "elsewhere" / "model.pth"
    shutil.copy(run.layout.best_model, path)
    result = pochi("inspect", "attention", path, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list(path.parent.iterdir())) == 7
    result = pochi("inspect", "attention", path, "--output-dir", "pictures", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert len(list((tmp_path / "pictures").iterdir())) == 6
