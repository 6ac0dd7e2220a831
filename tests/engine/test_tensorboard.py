"""What a training leaves for TensorBoard, read by TensorBoard's own reader."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import precision_score, recall_score
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData
from tensorboard.util.tensor_util import make_ndarray

from pochi_cli.config.schedule import learning_rate
from pochi_cli.engine.precision_recall import PrecisionRecall
from pochi_cli.engine.progress import SilentProgress
from pochi_cli.engine.tensorboard import hyper_parameters
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import Interrupted, NonFiniteLossError, StorageError
from pochi_cli.runs.gradient_record import read_gradient_epochs
from pochi_cli.runs.index import Run, find_run
from pochi_cli.runs.monitor_record import read_monitor_epochs
from tests.engine.events import read_events
from tests.engine.test_resuming import Stopper
from tests.engine.tiny import tiny_config
from tests.engine.trained import EVERYTHING, going_on

EPOCHS = 3
STEPS_PER_EPOCH = 4  # 65 images in batches of 10, two batches a step; the last batch of 5 alone
LOG_EVERY = 3
ON: dict[str, Any] = {
    **EVERYTHING,
    "enable_tensorboard": True,
    "monitor": {"enabled": True, "update_ratio_every": 1},
    "log_every_steps": LOG_EVERY,
}
ENDS = [epoch * STEPS_PER_EPOCH for epoch in range(1, EPOCHS + 1)]
RUNNING = [3, 4, 7, 8, 11, 12]


CONFIG = tiny_config(**ON, epochs=EPOCHS)


@pytest.fixture(scope="module")
def run(few_digits: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run with everything; read only."""
    return train(tiny_config(few_digits, **ON, epochs=EPOCHS, work_dir=str(tmp_path_factory.mktemp("work"))))


@pytest.fixture(scope="module")
def events(run: Run) -> dict[str, list[tuple[int, Any]]]:
    return read_events(run.layout.tensorboard)


def steps(events: dict[str, list[tuple[int, Any]]], name: str) -> list[int]:
    return [step for step, _ in events[name]]


def test_every_epoch_has_its_scalars(run: Run, events: dict[str, list[tuple[int, Any]]]) -> None:
    history = run.history.classification
    expected = {
        "loss/train": [record.train_loss for record in history],
        "loss/val": [record.val_loss for record in history],
        "accuracy/train": [record.train_accuracy for record in history],
        "accuracy/val": [record.val_accuracy for record in history],
        # With layer-wise rates, the record has the configured one.
        "learning_rate/base": [learning_rate(CONFIG, CONFIG.learning_rate, epoch) for epoch in (1, 2, 3)],
        "learning_rate/classifier": [record.layer_rates["classifier"] for record in history],
    }
    for tag, values in expected.items():
        assert steps(events, f"scalars:{tag}") == ENDS, tag
        assert [value for _, value in events[f"scalars:{tag}"]] == pytest.approx(values, rel=1e-6), tag
    assert run.record.best_value is not None
    assert events["scalars:best/val_accuracy"] == [
        (ENDS[-1] + 1, pytest.approx(run.record.best_value, rel=1e-6))
    ]


def test_the_running_loss_is_a_mean_over_the_steps_since_the_last_point(
    run: Run, events: dict[str, list[tuple[int, Any]]]
) -> None:
    assert steps(events, "scalars:loss/train_running") == RUNNING
    assert steps(events, "scalars:accuracy/train_batch") == RUNNING
    running = [value for _, value in events["scalars:loss/train_running"]]
    # Of the four steps of an epoch three have 20 images, and the last one has 5.
    for epoch, record in enumerate(run.history.classification):
        early, late = running[2 * epoch : 2 * epoch + 2]
        assert (60 * early + 5 * late) / 65 == pytest.approx(record.train_loss, rel=1e-5)


def test_what_is_traced_is_that_of_the_other_files(
    run: Run, events: dict[str, list[tuple[int, Any]]]
) -> None:
    for epoch, traced in enumerate(read_gradient_epochs(run.layout)):
        for block, mean in zip(traced.blocks, traced.means, strict=True):
            assert events[f"scalars:gradients/{block}"][epoch] == (ENDS[epoch], pytest.approx(mean, rel=1e-6))
    for epoch, seen in enumerate(read_monitor_epochs(run.layout)):
        for block, ratios in zip(seen.blocks, seen.update_ratios.T, strict=True):
            step, value = events[f"scalars:update_ratio/{block}"][epoch]
            assert (step, value) == (ENDS[epoch], pytest.approx(float(np.median(ratios)), rel=1e-6))


def test_no_other_scalars(events: dict[str, list[tuple[int, Any]]]) -> None:
    kinds = {name.partition("/")[0] for name in events if name.startswith("scalars:")}
    assert kinds == {
        f"scalars:{kind}"
        for kind in ("loss", "accuracy", "learning_rate", "gradients", "update_ratio", "best")
    }


def test_histograms_are_those_of_the_weights(run: Run) -> None:
    state = torch.load(run.layout.latest_model, weights_only=True)["model_state_dict"]
    found = EventAccumulator(str(run.layout.tensorboard), size_guidance={"histograms": 0}).Reload()
    names = [tag.removeprefix("parameters/") for tag in found.Tags()["histograms"]]
    assert len(names) == len([name for name in state if name.endswith(("weight", "bias"))])
    for name in names:
        points = found.Histograms(f"parameters/{name}")
        assert [point.step for point in points] == ENDS
        drawn, values = points[-1].histogram_value, state[name].double()
        assert (drawn.min, drawn.max) == (values.min(), values.max())
        assert drawn.num == sum(drawn.bucket) == values.numel()
        assert drawn.sum == pytest.approx(float(values.sum()), rel=1e-4, abs=1e-4)
        assert drawn.sum_squares == pytest.approx(float(values.square().sum()), rel=1e-4)
        if drawn.min < drawn.max:
            counts, _ = np.histogram(values.numpy(), bins=64, range=(drawn.min, drawn.max))
            assert np.abs(np.cumsum(counts) - np.cumsum(drawn.bucket)).max() <= 2  # at the edges, in float32
            assert drawn.bucket_limit[-1] == drawn.max


def test_the_pictures_are_there(events: dict[str, list[tuple[int, Any]]]) -> None:
    ((step, grid),) = events["images:images/train_batch"]
    assert step == 0
    picture = Image.open(io.BytesIO(grid))
    assert picture.size == (4 * 34, 3 * 34)  # 10 images of 32 pixels with a white line around each
    assert np.asarray(picture)[2 * 34 :, 2 * 34 :].min() == 255  # there is no eleventh
    assert np.asarray(picture)[1:33, 1:33].std() > 20
    assert steps(events, "images:predictions") == ENDS
    pictures = [np.asarray(Image.open(io.BytesIO(png))) for _, png in events["images:predictions"]]
    first, last = pictures[0], pictures[-1]
    assert first.shape == last.shape
    assert (first != last).any()


def test_texts_hold_the_config_and_each_hyper_parameter(run: Run) -> None:
    texts = EventAccumulator(str(run.layout.tensorboard), size_guidance={"tensors": 0}).Reload()

    def text(tag: str) -> str:
        (event,) = texts.Tensors(tag)
        assert event.step == 0
        return str(event.tensor_proto.string_val[0].decode())

    assert run.layout.config_toml.read_text().strip() in text("config")
    assert "4 optimizer steps an epoch" in text("config")
    values = hyper_parameters(going_on(run))
    assert values["batch_size"] == 10
    assert values["layer_wise_lr_config.layer_rates.classifier"] == 0.01
    assert values["pretrained"] == "false"
    assert "work_dir" not in values
    for name, value in values.items():
        assert text(f"config/{name}") == str(value)


def test_hyper_parameters_stand_in_the_run_itself(run: Run) -> None:
    assert sorted(path.name for path in run.layout.tensorboard.iterdir() if path.is_dir()) == ["embeddings"]
    found = EventAccumulator(str(run.layout.tensorboard)).Reload()
    data = {
        tag: HParamsPluginData.FromString(found.SummaryMetadata(f"_hparams_/{tag}").plugin_data.content)
        for tag in ("experiment", "session_start_info", "session_end_info")
    }
    start = data["session_start_info"].session_start_info
    assert start.group_name == run.layout.name
    assert start.hparams["batch_size"].number_value == 10
    assert start.hparams["optimizer"].string_value == "SGD"
    metrics = {info.name.tag for info in data["experiment"].experiment.metric_infos}
    assert metrics <= set(found.Tags()["scalars"])
    assert {"best/val_accuracy", "accuracy/val", "loss/val"} <= metrics
    assert data["session_end_info"].session_end_info.status == 1  # STATUS_SUCCESS


def test_each_class_has_its_curve(run: Run) -> None:
    found = EventAccumulator(str(run.layout.tensorboard), size_guidance={"tensors": 0}).Reload()
    for name in run.record.class_names:
        points = found.Tensors(f"pr_curve/{name}")
        assert [event.step for event in points] == ENDS
        tp, fp, tn, fn, _, recall = make_ndarray(points[-1].tensor_proto)
        assert set(tp + fp + tn + fn) == {30}
        assert recall[0] == 1
        assert tp[0] == {"0": 10, "1": 10, "2": 5, "3": 5}[name]


def test_curves_equal_those_of_scikit_learn() -> None:
    torch.manual_seed(0)
    logits, labels = 3 * torch.randn(200, 5), torch.randint(0, 5, (200,))
    curves = PrecisionRecall(5, torch.device("cpu"))
    for part in range(0, 200, 64):  # however they are batched
        curves.add(logits[part : part + 64], labels[part : part + 64])
    found = curves.read()
    assert found is not None
    assert curves.read() is None
    probabilities = logits.softmax(1).numpy()
    for label in range(5):
        truth = labels.numpy() == label
        for at in (0, 1, 30, 63, 100, 126):
            chosen = probabilities[:, label] >= np.float32(at / 126)
            _, _, _, _, precision, recall = found[label, :, at]
            assert precision == pytest.approx(precision_score(truth, chosen, zero_division=0))
            assert recall == pytest.approx(recall_score(truth, chosen))


def test_probabilities_that_are_no_numbers_count_as_zero() -> None:
    curves = PrecisionRecall(2, torch.device("cpu"))
    curves.add(torch.full((3, 2), torch.nan), torch.tensor([0, 1, 1]))
    found = curves.read()
    assert found is not None
    assert found[1, :4, 0].tolist() == [2, 1, 0, 0]
    assert found[1, :4, 1].tolist() == [0, 0, 1, 2]


def test_the_projector_gets_features_labels_and_pictures(run: Run) -> None:
    layout = run.layout
    vectors = np.loadtxt(layout.embedding_vectors, delimiter="\t")
    with layout.embedding_labels.open(newline="") as file:
        labels = list(csv.DictReader(file, delimiter="\t"))
    assert len(vectors) == len(labels) == 30  # all of the validation data
    assert vectors.shape[1] == 1024  # what mobilenet_v3_small's head gets
    assert {row["class"] for row in labels} == set(run.record.class_names)
    assert all(row["image"].startswith(f"{row['class']}/") for row in labels)
    # Features that go through the head give the predictions that stand beside them.
    state = torch.load(layout.latest_model, weights_only=True)["ema_state_dict"]["model"]
    weight, bias = state["classifier.3.weight"], state["classifier.3.bias"]
    predicted = (torch.tensor(vectors).float() @ weight.T + bias).argmax(1).tolist()
    assert [run.record.class_names[guess] for guess in predicted] == [row["predicted"] for row in labels]
    with Image.open(layout.embedding_sprite) as sprite:
        assert sprite.size == (6 * 32, 6 * 32)
    config = layout.projector_config.read_text()
    assert 'tensor_path: "embeddings/vectors.tsv"' in config


def assert_same_events(
    found: dict[str, list[tuple[int, Any]]], expected: dict[str, list[tuple[int, Any]]]
) -> None:
    assert found.keys() == expected.keys()
    for name in expected:
        assert len(found[name]) == len(expected[name]), name
        if "config" not in name:  # the other work_dir
            assert found[name] == expected[name], name


@pytest.mark.slow
@pytest.mark.parametrize("batches", [4, 7])
def test_events_of_a_resumed_run_are_those_of_one_that_never_stopped(
    batches: int, events: dict[str, list[tuple[int, Any]]], few_digits: Path, tmp_path: Path
) -> None:
    config = tiny_config(few_digits, **ON, epochs=EPOCHS, work_dir=str(tmp_path))
    with pytest.raises(Interrupted):
        train(config, progress=Stopper(signal.SIGINT, epoch=2, batches=batches))
    stopped = find_run("latest", tmp_path)
    resumed = resume(stopped, going_on(stopped))
    assert len(list(resumed.layout.tensorboard.glob("events*"))) == 2
    assert_same_events(read_events(resumed.layout.tensorboard), events)


@pytest.mark.slow
def test_events_beyond_the_checkpoint_are_forgotten(
    events: dict[str, list[tuple[int, Any]]], few_digits: Path, tmp_path: Path
) -> None:
    run = train(tiny_config(few_digits, **ON, epochs=EPOCHS, work_dir=str(tmp_path), save_interval=1))
    run.layout.checkpoint(1).replace(run.layout.latest_model)
    run.layout.run_json.write_text(run.layout.run_json.read_text().replace('"finished"', '"running"'))
    run = find_run(run.directory)
    assert_same_events(read_events(resume(run, going_on(run)).layout.tensorboard), events)


def test_it_may_be_switched_on_later_and_without_histograms(few_digits: Path, tmp_path: Path) -> None:
    plain = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1))
    assert not plain.layout.tensorboard.exists()
    overrides = ["epochs=2", "enable_tensorboard=true", "tensorboard.histogram_every_epochs=0"]
    run = resume(plain, going_on(plain, overrides))
    found = read_events(run.layout.tensorboard)
    assert steps(found, "scalars:loss/val") == [8]
    assert {"images:images/train_batch", "text:config", "graph:"} <= found.keys()
    assert not [name for name in found if name.startswith("histograms:")]


@pytest.mark.slow
def test_it_may_be_switched_off_for_a_while(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path), epochs=1, enable_tensorboard=True))
    run = resume(run, going_on(run, ["epochs=2", "enable_tensorboard=false"]))
    run = resume(run, going_on(run, ["epochs=3", "enable_tensorboard=true"]))
    assert steps(read_events(run.layout.tensorboard), "scalars:loss/train") == [4, 12]


def test_without_validation_data_the_rest_is_there(few_digits: Path, tmp_path: Path) -> None:
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        val_data_root=None,
        val_transform=None,
        epochs=3,
        enable_tensorboard=True,
        tensorboard={"histogram_every_epochs": 2},
    )
    run = train(config)
    found = read_events(run.layout.tensorboard)
    assert steps(found, "scalars:loss/train") == [4, 8, 12]
    assert steps(found, "images:predictions") == [4, 8, 12]
    assert steps(found, "histograms:parameters/fc.weight") == [4, 12]
    assert not {name for name in found if "val" in name.partition(":")[2].split("/") or "pr_curve" in name}
    assert not run.layout.embeddings.exists()


class Warnings(SilentProgress):
    """Keeps what is warned of."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def warning(self, text: str) -> None:
        self.texts.append(text)


def test_a_training_that_diverges_logs_what_it_can_and_says_so(few_digits: Path, tmp_path: Path) -> None:
    told = Warnings()
    config = tiny_config(
        few_digits,
        work_dir=str(tmp_path),
        learning_rate=1.0,
        # Makes the first step overflow, whose own loss is finite.
        optimizer_params={"nesterov": True, "weight_decay": 3e38},
        enable_tensorboard=True,
        enable_gradient_tracking=True,
        monitor={"enabled": True},
    )
    with pytest.raises(NonFiniteLossError) as error:
        train(config, progress=told)
    run = find_run("latest", tmp_path)
    found = EventAccumulator(str(run.layout.tensorboard), size_guidance={"tensors": 0}).Reload()
    (report,) = found.Tensors("report")
    text = report.tensor_proto.string_val[0].decode()
    assert error.value.message in text
    assert any(name.startswith("gradients/") for name in found.Tags()["scalars"])
    drawn = {name for name in found.Tags()["histograms"] if found.Histograms(name)[-1].step == report.step}
    lost = {f"parameters/{line.split('`')[1]}" for line in text.splitlines() if line.startswith("- `")}
    assert lost
    assert "values are not finite" in text
    assert not drawn & lost
    assert f"the histograms of {len(lost)} parameters are left out" in told.texts[-1]
    assert run.record.status == "failed"


def test_many_classes_get_no_curves_and_are_told(tmp_path: Path) -> None:
    for part in ("train", "val"):
        for label in range(101):
            directory = tmp_path / "data" / part / f"{label:03d}"
            directory.mkdir(parents=True)
            Image.new("RGB", (32, 32), (label, 0, 0)).save(directory / "0.png")
    told = Warnings()
    config = tiny_config(tmp_path / "data", work_dir=str(tmp_path), epochs=1, enable_tensorboard=True)
    found = read_events(train(config, progress=told).layout.tensorboard)
    assert not [name for name in found if "pr_curve" in name]
    assert any("there are 101 classes, more than 100" in text for text in told.texts)


def test_a_link_in_place_of_its_directory_is_refused(few_digits: Path, tmp_path: Path) -> None:
    run = train(tiny_config(few_digits, work_dir=str(tmp_path / "work"), epochs=1))
    (tmp_path / "elsewhere").mkdir()
    run.layout.tensorboard.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StorageError, match="symbolic link"):
        resume(run, going_on(run, ["epochs=2", "enable_tensorboard=true"]))
    assert not list((tmp_path / "elsewhere").iterdir())


def test_the_package_is_not_imported_where_it_is_off() -> None:
    code = "import sys; import pochi_cli.engine.training; print('tensorboard' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "False"
