"""An exported model answers as PyTorch does, and carries what its users need."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir
import onnxruntime
import pytest
import torch
from PIL import Image
from torch import Tensor, nn
from torch.export import ExportedProgram

from pochi_cli.data.images import read_rgb
from pochi_cli.data.transforms import build_pipeline
from pochi_cli.errors import DataError, InstallationError, ModelError, StorageError
from pochi_cli.inference import export_formats
from pochi_cli.inference.contract import ExportFormat, preprocessing
from pochi_cli.inference.export import Export, default_path, export_model
from pochi_cli.inference.images import ImageSource, find_images
from pochi_cli.inference.model import LoadedModel, load_model
from pochi_cli.inference.predict import predict
from tests.data.photos import write_photos
from tests.engine.tiny import STEPS, tiny_config
from tests.inference.exported import CLASS_NAMES, digit_images, write_model

MODELS = ["resnet18", "vgg_compact", "vit_tiny", pytest.param("mobilenet_v3_small", marks=pytest.mark.slow)]
FORMATS = list(ExportFormat)
GUIDE = (Path(__file__).parent.parent.parent / "configs" / "docs" / "export.md").read_text("utf-8")


@pytest.fixture(scope="module", params=MODELS)
def loaded(request: pytest.FixtureRequest, few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A model of each family."""
    directory = tmp_path_factory.mktemp(request.param)
    path = write_model(directory / "model.pth", few_digits, model_name=request.param, stem="auto")
    return load_model(path)


@pytest.fixture(scope="module")
def compact(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> LoadedModel:
    """A model that is exported quickly."""
    path = tmp_path_factory.mktemp("compact") / "model.pth"
    return load_model(write_model(path, few_digits, model_name="vgg_compact", stem="auto"))


@pytest.fixture(scope="module")
def source(few_digits: Path) -> ImageSource:
    return find_images(few_digits / "val", CLASS_NAMES, unlabelled=True)


@pytest.fixture(scope="module", params=FORMATS)
def exported(
    request: pytest.FixtureRequest,
    compact: LoadedModel,
    source: ImageSource,
    tmp_path_factory: pytest.TempPathFactory,
) -> Export:
    """It in either format; read only."""
    path = tmp_path_factory.mktemp("exported") / "new" / f"model.{request.param.suffix}"
    return export_model(compact, request.param, path, source)


def answering(exported: Export) -> Callable[[Tensor], Tensor]:
    """The exported model, run as any program would."""
    if exported.format is ExportFormat.torch:
        module: Callable[[Tensor], Tensor] = torch.export.load(exported.path).module()
        return module
    session = onnxruntime.InferenceSession(exported.path)
    return lambda images: torch.from_numpy(session.run(None, {"images": images.numpy()})[0])


def texts_in(exported: Export) -> dict[str, str]:
    """Its metadata."""
    if exported.format is ExportFormat.onnx:
        session = onnxruntime.InferenceSession(exported.path)
        return dict(session.get_modelmeta().custom_metadata_map)
    texts = {"class_names": ""}  # the others are read as well
    torch.export.load(exported.path, extra_files=texts)
    return texts


@pytest.mark.parametrize("form", FORMATS)
def test_logits_are_those_of_pytorch_whatever_the_batch(
    loaded: LoadedModel, form: ExportFormat, source: ImageSource, few_digits: Path, tmp_path: Path
) -> None:
    exported = export_model(loaded, form, tmp_path / f"model.{form.suffix}", source)
    run = answering(exported)
    images = digit_images(loaded.config, few_digits / "val", (32, 32))
    with torch.no_grad():
        expected = loaded.model(images)
        assert expected.std(dim=0).max() > 1e-3  # or a difference would not show
        for size in (1, 2, 7):
            assert torch.allclose(run(images[:size]), expected[:size], rtol=0, atol=1e-4), size
    assert exported.agreement.largest_difference <= 1e-4
    assert exported.agreement.images == exported.agreement.same_class == 30
    assert (exported.input_size, exported.classes) == ((32, 32), 4)
    assert exported.file_bytes == exported.path.stat().st_size
    assert [path.name for path in tmp_path.iterdir()] == [exported.path.name]  # the weights are inside


def test_the_metadata_tell_what_a_program_needs(exported: Export) -> None:
    texts = texts_in(exported)
    assert json.loads(texts.pop("class_names")) == list(CLASS_NAMES)
    assert json.loads(texts.pop("preprocessing")) == {
        "color": "RGB",
        "exif_orientation": "applied",
        "transparency": "over white",
        "steps": [
            {
                "name": "Resize",
                "size": 32,
                "interpolation": "bilinear",
                "max_size": None,
                "antialias": True,
            },
            {"name": "ToTensor"},
            {"name": "Normalize", "mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]},
        ],
    }
    own = {key: texts[key] for key in ("model_name", "epoch", "pochi_version")}
    assert own == {"model_name": "vgg_compact", "epoch": "3", "pochi_version": "0.1.0"}
    assert not {"run", "experiment_id"} & texts.keys()


@pytest.mark.parametrize("exported", [ExportFormat.onnx], indirect=True)
def test_an_onnx_file_is_valid_and_tells_names_and_shapes(exported: Export) -> None:
    model = onnx.load(exported.path)
    onnx.checker.check_model(model, full_check=True)
    assert [opset.version for opset in model.opset_import if not opset.domain] == [exported.opset]
    assert model.ir_version <= 10  # what onnxruntime 1.20 reads
    shapes = {
        value.name: [size.dim_param or size.dim_value for size in value.type.tensor_type.shape.dim]
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {"images": ["batch", 3, 32, 32], "logits": ["batch", 4]}


def test_a_file_says_nothing_of_this_machine(exported: Export) -> None:
    content = exported.path.read_bytes()
    for part in (
        Path(torch.__file__).parent.parent,
        Path(export_formats.__file__).parent,
        exported.path.parent,
    ):
        assert str(part).encode() not in content


def test_steps_are_written_out() -> None:
    steps = [
        {"name": "Letterbox", "size": [24, 32]},
        {"name": "ToTensor"},
        {"name": "RandomApply", "p": 1.0, "transforms": [{"name": "Normalize", "std": [1.0, 2.0, 3.0]}]},
    ]
    config = tiny_config(val_transform=steps)
    assert config.val_transform is not None
    written = preprocessing(config.val_transform, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert json.loads(json.dumps(written["steps"])) == [
        {"name": "Letterbox", "size": [24, 32], "interpolation": "bilinear", "fill": 0},
        {"name": "ToTensor"},
        {
            "name": "RandomApply",
            "p": 1.0,
            "transforms": [{"name": "Normalize", "mean": [0.1, 0.2, 0.3], "std": [1.0, 2.0, 3.0]}],
        },
    ]


def spoil_onnx(patch: pytest.MonkeyPatch) -> None:
    """Let torch's exporter get a weight wrong."""
    export = torch.onnx.export

    def wrong(program: ExportedProgram, **options: Any) -> Any:
        exported = export(program, **options)
        assert exported is not None
        bias = exported.model.graph.initializers["classifier.3.bias"]
        assert bias.const_value is not None
        bias.const_value = onnx_ir.tensor(bias.const_value.numpy() + np.float32(2e-4), name=bias.name)
        return exported

    patch.setattr(torch.onnx, "export", wrong)


def spoil_torch(patch: pytest.MonkeyPatch) -> None:
    """Let torch.export save a weight wrong."""
    save = torch.export.save

    def wrong(program: ExportedProgram, *arguments: Any, **options: Any) -> None:
        bias = program.state_dict["classifier.3.bias"]
        program.state_dict["classifier.3.bias"] = nn.Parameter(bias + 2e-4)
        save(program, *arguments, **options)

    patch.setattr(torch.export, "save", wrong)


@pytest.mark.parametrize(("form", "spoil"), [("onnx", spoil_onnx), ("torch", spoil_torch)])
def test_a_wrong_weight_is_noticed_and_an_older_file_stays(
    compact: LoadedModel,
    source: ImageSource,
    form: str,
    spoil: Callable[[pytest.MonkeyPatch], None],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    older = tmp_path / f"model.{ExportFormat(form).suffix}"
    older.write_bytes(b"older")
    spoil(monkeypatch)
    with pytest.raises(
        ModelError, match=r"differs from PyTorch by 0\.0002\d* in a logit of .*\.png, more"
    ) as told:
        export_model(compact, ExportFormat(form), older, source)
    assert told.value.hint is None
    assert older.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [older]


@pytest.mark.parametrize(
    ("factor", "message", "hint"),
    [
        (float("nan"), "own logits are not finite", "export another checkpoint"),
        (1e7, "differs from PyTorch", "float32 is not enough for this model"),
    ],
)
def test_what_no_export_can_mend_is_told(
    few_digits: Path, source: ImageSource, factor: float, message: str, hint: str, tmp_path: Path
) -> None:
    loaded = load_model(
        write_model(tmp_path / "model.pth", few_digits, model_name="vgg_compact", stem="auto")
    )
    with torch.no_grad():
        loaded.model.get_parameter("classifier.3.weight").mul_(factor)
    with pytest.raises(ModelError, match=message) as told:
        export_model(loaded, ExportFormat.torch, tmp_path / "model.pt2", source)
    assert told.value.hint is not None
    assert hint in told.value.hint
    assert not (tmp_path / "model.pt2").exists()


class Branching(nn.Module):
    """Does what no graph can hold."""

    def forward(self, images: Tensor) -> Tensor:
        return images.mean((2, 3)) if images.sum() > 0 else images.amax((2, 3))


class Decomposing(nn.Module):
    """Does what ONNX has no operator for."""

    def forward(self, images: Tensor) -> Tensor:
        values: Tensor = torch.linalg.svdvals(images.mean(dim=1))
        return values


@pytest.mark.parametrize(
    ("form", "model", "reason"),
    [
        ("torch", Branching(), "Could not guard on data-dependent expression"),
        ("onnx", Branching(), "Could not guard on data-dependent expression"),
        ("onnx", Decomposing(), "No ONNX function found for .*svd"),
    ],
)
def test_a_model_that_cannot_be_exported_is_told(
    compact: LoadedModel,
    source: ImageSource,
    form: str,
    model: nn.Module,
    reason: str,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(ModelError, match=f"^torch cannot export the model: .*{reason}") as told:
        export_model(replace(compact, model=model), ExportFormat(form), tmp_path / "model", source)
    assert told.value.message.isprintable()
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("package", ["onnx", "onnxscript", "onnxruntime"])
def test_a_missing_package_is_named(
    compact: LoadedModel,
    source: ImageSource,
    package: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(InstallationError, match=f"needs {package}, not installed here") as told:
        export_model(compact, ExportFormat.onnx, tmp_path / "model.onnx", source)
    assert told.value.hint == 'pip install "pochi[onnx]"'
    export_model(compact, ExportFormat.torch, tmp_path / "model.pt2", source)


def test_an_onnxscript_that_does_not_know_torch_is_told(
    compact: LoadedModel, source: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def missing(*_: Any, **__: Any) -> None:
        raise ModuleNotFoundError("No module named 'onnxscript._framework_apis.torch_9_9'")

    monkeypatch.setattr(torch.onnx, "export", missing)
    with pytest.raises(
        InstallationError, match=r"does not fit torch .*: No module named .*torch_9_9"
    ) as told:
        export_model(compact, ExportFormat.onnx, tmp_path / "model.onnx", source)
    assert told.value.hint == 'pip install --upgrade "pochi[onnx]"'


def test_a_model_too_large_for_one_onnx_file_is_told(
    compact: LoadedModel, source: ImageSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export_formats, "_LARGEST_BYTES", 30_000_000)
    with pytest.raises(ModelError, match=r"take 0\.0 GiB, and an ONNX file holds less than 2") as told:
        export_model(compact, ExportFormat.onnx, tmp_path / "model.onnx", source)
    assert told.value.hint is not None
    assert "--format torch" in told.value.hint


def test_a_model_is_compared_on_images_from_everywhere(
    compact: LoadedModel, digits: Path, tmp_path: Path
) -> None:
    for at, file in enumerate(sorted((digits / "val").rglob("*.png"))[:64]):
        # Of 64 images every second one is taken: the others are none.
        (tmp_path / f"{at:02d}.png").write_bytes(file.read_bytes() if at % 2 == 0 else b"nothing")
    many = find_images(tmp_path, CLASS_NAMES, unlabelled=True)
    assert len(many.index) == 64
    exported = export_model(compact, ExportFormat.torch, tmp_path / "model.pt2", many)
    assert exported.agreement.images == 32


def test_the_size_is_that_of_the_validation(few_digits: Path, source: ImageSource, tmp_path: Path) -> None:
    larger = [{"name": "Resize", "size": [40, 48]}, *STEPS[1:]]
    path = write_model(
        tmp_path / "model.pth", few_digits, model_name="vgg_compact", stem="auto", val_transform=larger
    )
    loaded = load_model(path)
    assert loaded.size == (32, 32)
    exported = export_model(loaded, ExportFormat.torch, tmp_path / "model.pt2", source)
    assert exported.input_size == (40, 48)
    assert answering(exported)(torch.zeros(3, 3, 40, 48)).shape == (3, 4)


def test_one_image_is_enough(compact: LoadedModel, few_digits: Path, tmp_path: Path) -> None:
    file = next((few_digits / "val").rglob("*.png"))
    one = find_images(file, CLASS_NAMES, unlabelled=True)
    assert export_model(compact, ExportFormat.torch, tmp_path / "model.pt2", one).agreement.images == 1


def test_images_of_another_size_are_told(compact: LoadedModel, tmp_path: Path) -> None:
    Image.new("RGB", (80, 40)).save(tmp_path / "wide.png")
    wide = find_images(tmp_path / "wide.png", CLASS_NAMES, unlabelled=True)
    with pytest.raises(DataError, match=r"wide\.png: the transform gives 32 x 64 .* for 32 x 32"):
        export_model(compact, ExportFormat.torch, tmp_path / "model.pt2", wide)
    assert not (tmp_path / "model.pt2").exists()


def test_bad_images_are_told_or_left_out_as_the_config_says(
    compact: LoadedModel, few_digits: Path, tmp_path: Path
) -> None:
    (tmp_path / "bad.png").write_bytes(b"nothing")
    good = next((few_digits / "val").rglob("*.png"))
    (tmp_path / "good.png").write_bytes(good.read_bytes())
    both = find_images(tmp_path, CLASS_NAMES, unlabelled=True)
    with pytest.raises(DataError, match=r"bad\.png: not an image") as told:
        export_model(compact, ExportFormat.torch, tmp_path / "model.pt2", both)
    assert told.value.hint is not None
    assert "--data" in told.value.hint
    skipping = replace(compact, config=compact.config.model_copy(update={"on_bad_image": "skip"}))
    exported = export_model(skipping, ExportFormat.torch, tmp_path / "model.pt2", both)
    assert exported.agreement.images == 1


def test_a_place_that_cannot_be_written_is_told(
    compact: LoadedModel, source: ImageSource, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        export_model(compact, ExportFormat.torch, tmp_path / "file" / "model.pt2", source)


def test_the_model_itself_stays_as_it_is(compact: LoadedModel, source: ImageSource, tmp_path: Path) -> None:
    before = {name: value.clone() for name, value in compact.model.state_dict().items()}
    compact.model.to(memory_format=torch.channels_last)
    export_model(compact, ExportFormat.torch, tmp_path / "model.pt2", source)
    weight = compact.model.get_parameter("features.0.weight")
    assert weight.is_contiguous(memory_format=torch.channels_last)
    assert weight.requires_grad
    assert all(torch.equal(value, before[name]) for name, value in compact.model.state_dict().items())


def test_a_checkpoint_of_no_run_gets_its_file_beside_it(compact: LoadedModel) -> None:
    assert default_path(compact, ExportFormat.onnx) == compact.checkpoint.with_name("model.onnx")


# The guide


@pytest.fixture(scope="module")
def example() -> str:
    """The program in the guide that needs neither Pochi nor PyTorch."""
    (program,) = re.findall(r"```python\n(import json\n.*?)```", GUIDE, re.DOTALL)
    return str(program)


@pytest.fixture(scope="module")
def photos(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Digits, and photographs of many sizes and modes."""
    root = write_photos(tmp_path_factory.mktemp("photos"))
    (root / "dogs" / "deep.png").unlink()  # 16 bits: the example takes none
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return files + sorted((few_digits / "val").rglob("*.png"))[:6]


def prepared(program: str, path: Path, contract: dict[str, Any]) -> Any:
    """What the example makes of an image."""
    names: dict[str, Any] = {}
    exec(compile(program.partition("\nsession = ")[0], "export.md", "exec"), names)  # noqa: S102
    return names["prepare"](path, contract)


CROPPED: list[dict[str, object]] = [
    {"name": "Resize", "size": 36},
    {"name": "CenterCrop", "size": 32},
    {"name": "ToTensor"},
    {"name": "Normalize"},
]


@pytest.mark.parametrize(
    "steps",
    [
        CROPPED,
        [{"name": "Resize", "size": [20, 45], "interpolation": "bicubic"}, *CROPPED[2:]],
        [{"name": "CenterCrop", "size": [33, 20]}, {"name": "ToTensor"}],
        [{"name": "Resize", "size": 15, "interpolation": "nearest"}, *CROPPED[1:3]],
    ],
)
def test_the_example_prepares_images_as_pochi_does(
    example: str, photos: list[Path], steps: list[dict[str, object]], tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    for at in range(12):
        height, width = rng.integers(8, 70, 2)
        noise = rng.integers(0, 256, (height, width, 3), np.uint8)
        Image.fromarray(noise).save(tmp_path / f"{at}.png")
    config = tiny_config(val_transform=steps)
    assert config.val_transform is not None
    contract = preprocessing(config.val_transform, config.mean, config.std)
    pipeline = build_pipeline(config.val_transform, config.mean, config.std)
    for path in [*photos, *sorted(tmp_path.glob("*.png"))]:
        found, expected = prepared(example, path, contract), pipeline(read_rgb(path)).numpy()
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-6, err_msg=str(path))


@pytest.mark.parametrize(
    "step", [{"name": "Grayscale"}, {"name": "Resize", "size": 8, "max_size": 9, "antialias": True}]
)
def test_the_example_follows_no_step_that_it_does_not_know(
    example: str, photos: list[Path], step: dict[str, object]
) -> None:
    with pytest.raises(SystemExit, match="cannot follow"):
        prepared(example, photos[0], {"steps": [step]})


def test_the_example_refuses_what_it_would_get_wrong(example: str, tmp_path: Path) -> None:
    Image.fromarray(np.full((9, 9), 40_000, np.uint16)).save(tmp_path / "deep.png")
    with pytest.raises(SystemExit, match="more than 8 bits"):
        prepared(example, tmp_path / "deep.png", {"steps": []})


def test_the_example_predicts_as_pochi_does(
    example: str, photos: list[Path], few_digits: Path, tmp_path: Path
) -> None:
    path = write_model(
        tmp_path / "model.pth", few_digits, model_name="vgg_compact", stem="auto", val_transform=CROPPED
    )
    loaded = load_model(path)
    source = find_images(photos[0].parent, CLASS_NAMES, unlabelled=True)
    export_model(loaded, ExportFormat.onnx, tmp_path / "model.onnx", source)
    program = tmp_path / "example.py"
    program.write_text(example + '\nassert not {"torch", "pochi_cli"} & sys.modules.keys()\n', "utf-8")
    result = subprocess.run(
        [sys.executable, "-X", "utf8", "-W", "error", program, tmp_path / "model.onnx", *photos],
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    assert result.returncode == 0, result.stderr
    expected = predict(loaded, photos).predicted_names
    assert len(set(expected)) > 1
    assert result.stdout.splitlines() == [
        f"{file} {name}" for file, name in zip(photos, expected, strict=True)
    ]


def test_the_guide_shows_what_is_written() -> None:
    (shown,) = re.findall(r"```json\n(.*?)```", GUIDE, re.DOTALL)
    steps = [{"name": "Resize", "size": 256}, {"name": "CenterCrop", "size": 224}, *STEPS[1:]]
    config = tiny_config(val_transform=steps)
    assert config.val_transform is not None
    assert json.loads(shown) == json.loads(
        json.dumps(preprocessing(config.val_transform, config.mean, config.std))
    )


@pytest.mark.parametrize("exported", [ExportFormat.torch], indirect=True)
def test_the_guides_lines_for_torch_work(exported: Export, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"```python\n(import torch\n.*?)```", GUIDE, re.DOTALL)
    monkeypatch.chdir(exported.path.parent)
    names: dict[str, Any] = {}
    exec(compile(code.replace("224", "32"), "export.md", "exec"), names)  # noqa: S102
    assert names["logits"].shape == (1, 4)
    assert json.loads(names["texts"]["class_names"]) == list(CLASS_NAMES)
