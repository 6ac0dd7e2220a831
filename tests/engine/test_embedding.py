"""The embedding task: an encoder trained through the same loop as everything else."""

from __future__ import annotations

import json
import math
import os
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pochi_cli.config.load import load_config
from pochi_cli.engine.embedding import EmbeddingTask
from pochi_cli.engine.losses import DPLossV2
from pochi_cli.engine.progress import SilentProgress, StepRecord
from pochi_cli.engine.runtime import choose_runtime
from pochi_cli.engine.training import resume, train
from pochi_cli.errors import ConfigError, DataError, Interrupted, NonFiniteLossError, RunError
from pochi_cli.inspection.run_gradients import inspect_gradients
from pochi_cli.models.encoder import Encoder
from pochi_cli.runs.continuation import continued_config
from pochi_cli.runs.epochs import EmbeddingEpoch, EpochRecord
from pochi_cli.runs.gradient_record import read_gradient_epochs
from pochi_cli.runs.index import Run, find_run
from pochi_cli.runs.monitor_record import read_monitor_epochs
from tests.engine.events import read_events
from tests.engine.naive import naive_steps
from tests.engine.trained import assert_same_run, checkpoint, rows
from tests.engine.vectors import make_vectors, vector_config, write_vectors

EVERYTHING: dict[str, Any] = {
    "ema_decay": 0.9,
    "accumulate_steps": 2,
    "clip_grad_norm": 1.0,
    "scheduler": "CosineAnnealingLR",
    "scheduler_params": {"T_max": 4},
    "warmup_epochs": 1,
    "enable_layer_wise_lr": True,
    "layer_wise_lr_config": {"layer_rates": {"head": 0.01}},
    "early_stopping": {"enabled": True, "patience": 30},
    "enable_gradient_tracking": True,
    "monitor": {"enabled": True, "update_ratio_every": 1},
    "enable_tensorboard": True,
}
"""Keys that switch on all that has a state."""


@pytest.fixture
def vectors(tmp_path: Path) -> Path:
    return write_vectors(tmp_path)


class Told(SilentProgress):
    """Keeps what is told."""

    def __init__(self) -> None:
        self.messages: list[str] = []
        self.warnings: list[str] = []

    def message(self, text: str) -> None:
        self.messages.append(text)

    def warning(self, text: str) -> None:
        self.warnings.append(text)


def neighbors(points: Any, k: int) -> list[set[int]]:
    """The k nearest rows of each row but itself, by brute force."""
    points = np.asarray(points, dtype=np.float64)
    found = []
    for at, point in enumerate(points):
        order = np.argsort(((points - point) ** 2).sum(1), kind="stable")
        found.append(set(order[order != at][:k].tolist()))
    return found


def recall(x: Any, z: Any, k: int) -> float:
    pairs = zip(neighbors(x, k), neighbors(z, k), strict=True)
    return float(np.mean([len(one & other) / k for one, other in pairs]))


def held_out(run: Run) -> Any:
    config = load_config(run.layout.config_toml)
    task = EmbeddingTask.prepare(config, lambda _: None)  # type: ignore[arg-type]
    return make_vectors()[task.held]


def trained_encoder(run: Run) -> Encoder:
    model = Encoder(12, [16], 4, with_projection=True)
    model.load_state_dict(checkpoint(run.layout.latest_model)["model_state_dict"])
    return model.eval()


def test_what_is_recorded_is_true(vectors: Path) -> None:
    run = train(vector_config(vectors, epochs=3, learning_rate=0.01))
    last = run.history.embedding[-1]
    x = held_out(run)
    with torch.no_grad():
        z = trained_encoder(run)(torch.from_numpy(x))
    for k in (1, 5):
        assert last.recall[k] == pytest.approx(recall(x, z, k), abs=1e-12)
    losses = [
        DPLossV2(tau=0.3, tau_mode="relative")(torch.from_numpy(x[start : start + 32]), z[start : start + 32])
        for start in (0, 18)  # batches of the same size: the last overlaps the first
    ]
    expected = (losses[0].total + losses[1].total) / 2
    assert last.val_total_loss == pytest.approx(float(expected), rel=1e-5)
    assert last.total_loss == pytest.approx(last.rank_loss + 0.3 * last.pairdist_loss, rel=1e-5)
    assert last.total_loss < run.history.embedding[0].total_loss


def test_the_steps_are_those_of_the_plainest_training(vectors: Path) -> None:
    config = vector_config(vectors, accumulate_steps=2, clip_grad_norm=0.5, monitor={"enabled": True})
    run = train(config)
    steps = naive_steps(config)
    seen = np.concatenate([epoch.losses for epoch in read_monitor_epochs(run.layout)])
    assert seen == pytest.approx([step.loss for step in steps], rel=1e-5)
    # 150 rows in 5 batches: two steps of 64 rows, and one of 22.
    first = sum(64 * step.loss for step in steps[:2]) + 22 * steps[2].loss
    assert run.history.embedding[0].total_loss == pytest.approx(first / 150, rel=1e-5)


def test_baselines_are_those_of_the_same_rows(vectors: Path) -> None:
    run = train(vector_config(vectors, epochs=1))
    x = held_out(run)
    config = load_config(run.layout.config_toml)
    training = make_vectors()[EmbeddingTask.prepare(config, lambda _: None).train]  # type: ignore[arg-type]
    centred = training - training.mean(0)
    components = np.linalg.svd(centred.astype(np.float64))[2][:4]
    baselines = run.record.baselines
    assert baselines is not None
    assert list(baselines) == ["pca", "random_projection", "truncation"]
    for k in (1, 5):
        name = f"recall_at_{k}"
        assert baselines["pca"][name] == pytest.approx(recall(x, x @ components.T, k))
        assert baselines["truncation"][name] == pytest.approx(recall(x, x[:, :4], k))
    assert (run.record.settings["n_query"], run.record.settings["n_pool"]) == (50, 50)
    assert (run.record.settings["train_rows"], run.record.settings["val_rows"]) == (150, 50)


def test_the_encoder_starts_as_the_principal_components(vectors: Path) -> None:
    config = vector_config(vectors)
    task = EmbeddingTask.prepare(config, lambda _: None)
    model, messages = task.build_model(choose_runtime(config), from_scratch=True)
    x = torch.from_numpy(make_vectors())
    assert task.principal is not None
    assert torch.allclose(model(x), task.principal(x), atol=1e-6)
    assert messages == ("the encoder starts as the first 4 principal components",)
    spread = np.linalg.svd(make_vectors()[task.train] - make_vectors()[task.train].mean(0))[1]
    latents = model(x[task.train]).detach().numpy()
    assert np.linalg.svd(latents - latents.mean(0))[1] == pytest.approx(spread[:4], rel=1e-4)


def test_every_file_is_complete_after_every_epoch(vectors: Path) -> None:
    seen: list[tuple[list[int], int]] = []

    def look(record: EpochRecord) -> None:
        (run,) = (vectors.parent / "work_dirs").iterdir()
        config = json.loads((run / "config.json").read_text())
        assert config["loss_function"] == "DPLossV2"
        assert {"experiment_id", "tau", "lambda_rank", "k", "latent_dim", "hidden_dims"} <= config.keys()
        history = json.loads((run / "train_history.json").read_text())
        assert [len(history[key]) for key in ("total_loss", "rank_loss", "pairdist_loss", "epoch_times")] == [
            record.epoch
        ] * 4
        latest = torch.load(run / "models" / "latest_model.pth", weights_only=True)
        seen.append((history["epochs"], latest["epoch"]))
        assert latest["train_history"]["total_loss"] == history["total_loss"]
        assert history["recall_epochs"] == [epoch for epoch in history["epochs"] if epoch % 2 == 0]
        assert len(history["recall_history"]["recall_at_5"]) == len(history["recall_epochs"])
        assert history["totals"]["epochs"] == record.epoch

    train(vector_config(vectors, epochs=4, recall_every_epochs=2), on_epoch=look)
    assert seen == [(list(range(1, epoch + 1)), epoch) for epoch in (1, 2, 3, 4)]


def test_the_checkpoints_of_the_guide(vectors: Path) -> None:
    run = train(vector_config(vectors, epochs=95, save_interval=10, recall_every_epochs=None, hidden_dims=[]))
    numbered = sorted(path.name for path in run.layout.models.glob("checkpoint_epoch_*.pth"))
    assert numbered == [f"checkpoint_epoch_{epoch:03d}.pth" for epoch in (*range(10, 100, 10), 95)]
    assert len(numbered) == 10
    for path in run.layout.models.iterdir():
        content = torch.load(path, weights_only=True)
        assert {
            "model_state_dict",
            "optimizer_state_dict",
            "train_history",
            "config",
            "dim",
        } <= content.keys()
    measured = [record.epoch for record in run.history.embedding if record.has_recall]
    assert measured == [*range(10, 100, 10), 95]


def test_metrics_are_empty_where_nothing_was_measured(vectors: Path) -> None:
    run = train(vector_config(vectors, epochs=3, recall_every_epochs=2, recall_ks=[1]))
    lines = rows(run)
    assert list(lines[0]) == [
        "epoch", "learning_rate", "total_loss", "rank_loss", "pairdist_loss", "val_total_loss", "recall_at_1",
        "recall_at_5",
    ]  # fmt: skip
    assert [line["recall_at_5"] == "" for line in lines] == [True, False, False]
    assert float(lines[2]["total_loss"]) == run.history.embedding[2].total_loss


class Stopping(Told):
    """Asks to stop within the third epoch."""

    def epoch(self, epoch: int, batches_done: int) -> None:  # noqa: ARG002
        self.now = epoch

    def step(self, record: StepRecord) -> None:
        if self.now == 3 and record.batches >= 2:
            os.kill(os.getpid(), signal.SIGTERM)


def test_resuming_equals_never_stopping(tmp_path: Path) -> None:
    vectors = write_vectors(tmp_path)
    settings = {**EVERYTHING, "recall_every_epochs": 2, "epochs": 4}
    straight = train(vector_config(vectors, **settings, work_dir=str(tmp_path / "straight")))
    config = vector_config(vectors, **settings, work_dir=str(tmp_path / "stopped"))
    with pytest.raises(Interrupted):
        train(config, progress=Stopping())
    half = find_run("latest", tmp_path / "stopped")
    assert (half.status, len(half.history)) == ("interrupted", 2)
    torch.manual_seed(12345)
    resumed = resume(half, continued_config(half, load_config(half.layout.config_toml)))
    assert_same_run(straight, resumed)


def test_resuming_refuses_other_vectors(vectors: Path) -> None:
    run = train(vector_config(vectors))
    changed = make_vectors()
    changed[7, 3] += 1
    np.save(vectors, changed)
    config = continued_config(run, load_config(run.layout.config_toml, ["epochs=3"]))
    with pytest.raises(RunError, match=r"have changed .* as many as before, but they are others"):
        resume(run, config)
    np.save(vectors, changed[:-8])
    with pytest.raises(RunError, match="had 150 vectors to train on and has 144"):
        resume(run, config)


def test_the_best_encoder_is_that_of_the_best_recall(vectors: Path) -> None:
    run = train(vector_config(vectors, epochs=6, learning_rate=0.03))
    recalls = [record.recall[5] for record in run.history.embedding]
    assert run.record.best_metric == "recall_at_5"
    assert run.record.best_value == max(value for value in recalls if value is not None)
    assert run.record.best_epoch == recalls.index(run.record.best_value) + 1
    assert checkpoint(run.layout.best_model)["epoch"] == run.record.best_epoch


def test_early_stopping_waits_for_epochs_not_for_measurements(vectors: Path) -> None:
    settings = {"enabled": True, "patience": 4, "min_delta": 1.0}  # no recall can rise by so much
    run = train(vector_config(vectors, epochs=20, recall_every_epochs=2, early_stopping=settings))
    # The first is measured at epoch 2; four epochs later is 6.
    assert len(run.history) == 6
    by_loss = {"enabled": True, "patience": 2, "min_delta": 1e9, "monitor": "val_total_loss"}
    run = train(vector_config(vectors, epochs=20, recall_every_epochs=2, early_stopping=by_loss))
    assert (len(run.history), run.record.best_metric) == (3, "val_total_loss")
    best = min(run.history.embedding, key=lambda record: record.val_total_loss or math.inf)
    assert run.record.best_epoch == best.epoch


def test_nothing_held_out(vectors: Path) -> None:
    told = Told()
    run = train(vector_config(vectors, holdout=0.0, enable_tensorboard=True), progress=told)
    (record, _) = run.history.embedding
    assert (record.val_total_loss, record.recall) == (None, {})
    assert list(record.metrics) == ["total_loss", "rank_loss", "pairdist_loss", "val_total_loss"]
    assert (run.record.baselines, run.record.best_epoch) == (None, None)
    assert not run.layout.best_model.exists()


@pytest.mark.parametrize("loss", ["DPLossV1", "DPLossV1Norm", "DPLossV2", "DPLossV2Norm"])
def test_each_loss_trains(vectors: Path, loss: str) -> None:
    soft = {} if loss.startswith("DPLossV2") else {"tau": None, "tau_mode": None}
    run = train(
        vector_config(
            vectors,
            loss_function=loss,
            epochs=5,
            learning_rate=0.01,
            pair_norm=True,
            exclude_self=True,
            **soft,
        )
    )
    first, *_, last = run.history.embedding
    assert last.pairdist_loss < first.pairdist_loss or soft == {}
    assert last.total_loss < first.total_loss or soft != {}
    record = json.loads(run.layout.config_json.read_text())
    assert record["loss_function"] == loss


def test_more_threads_than_cores_are_told(vectors: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pochi_cli.engine.runtime.usable_cores", lambda: 1)
    told = Told()
    train(vector_config(vectors, threads=2, epochs=1), progress=told)
    assert told.warnings == ["computes with 2 threads on 1 core: each step waits for its slowest thread"]


def test_what_is_doubtful_is_told(vectors: Path) -> None:
    told = Told()
    train(vector_config(vectors, loss_function="DPLossV1", tau=None, tau_mode=None, epochs=1), progress=told)
    assert "the hard ranks of DPLossV1 have no gradient" in told.warnings[0]
    assert "loss DPLossV1" in told.messages  # without a temperature
    told = Told()
    train(vector_config(vectors, tau=50.0, tau_mode="absolute", epochs=1), progress=told)
    (hot,) = told.warnings
    assert hot.startswith("tau is 50, ")
    told = Told()
    train(
        vector_config(vectors, loss_function="DPLossV2Norm", tau=50.0, tau_mode="absolute", epochs=1),
        progress=told,
    )
    assert "of the pair-distance term on a sample" in told.warnings[1]
    told = Told()
    np.save(vectors, np.ones((200, 12), np.float32))
    train(vector_config(vectors, epochs=1), progress=told)
    assert told.warnings == ["all vectors of a sample are the same: there is nothing to tell apart"]
    np.save(vectors, make_vectors())
    told = Told()
    train(vector_config(vectors, batch_size=64, epochs=1), progress=told)
    (few,) = told.warnings
    assert few.startswith("50 rows are held out, fewer than batch_size")
    told = Told()
    train(vector_config(vectors, epochs=1), progress=told)
    assert told.warnings == []
    assert any(text.startswith("experiment ") for text in told.messages)
    assert 'loss DPLossV2, tau = 0.3, tau_mode = "relative"' in told.messages


def test_a_collapse_is_told(vectors: Path) -> None:
    told = Told()
    # All that the encoder has is its head, which is zero and stays so.
    config = vector_config(
        vectors, hidden_dims=[], learning_rate=1e-12, freeze=["projection"], init="pca_residual"
    )
    task = EmbeddingTask.prepare(config, lambda _: None)
    assert task.neighborhoods is not None
    assert task.neighborhoods.compare(torch.zeros(50, 4)).spread == 0
    train(config, progress=told)
    assert told.warnings == []
    small = vector_config(vectors, init="random", hidden_dims=[], learning_rate=1e-12)
    original = EmbeddingTask.build_model

    def tiny(self: EmbeddingTask, *args: Any, **keys: Any) -> Any:
        model, messages = original(self, *args, **keys)
        for parameter in model.parameters():
            parameter.data.mul_(1e-6)
        return model, messages

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EmbeddingTask, "build_model", tiny)
        train(small, progress=told)
    assert any(text.startswith("the encoder collapses: after epoch 1") for text in told.warnings)


@pytest.mark.parametrize(
    ("changes", "values", "told"),
    [
        ({}, "nan", r"2 rows hold NaN or infinity: 3, 17"),
        ({"metric": "cosine"}, "zero", "row 5 is all zeros"),
    ],
)
def test_bad_vectors_are_refused(vectors: Path, changes: dict[str, Any], values: str, told: str) -> None:
    rows = make_vectors()
    if values == "nan":
        rows[3, 1], rows[17, 0] = np.nan, np.inf
    else:
        rows[5] = 0
    np.save(vectors, rows)
    with pytest.raises(DataError, match=told):
        train(vector_config(vectors, **changes))
    assert not (vectors.parent / "work_dirs").exists()


def test_all_that_the_vectors_lack_is_told_at_once(vectors: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        train(vector_config(vectors, batch_size=151, recall_ks=[50], latent_dim=13))
    assert [diagnostic.message.partition(vectors.name)[0] for diagnostic in caught.value.diagnostics] == [
        f"batch_size is 151, but {vectors.parent}/",
        f"recall_ks asks for 50 neighbours, but of 50 held-out rows in {vectors.parent}/",
        "latent_dim is 13, but the vectors have 12 dimensions, and so many principal components",
    ]
    assert not (vectors.parent / "work_dirs").exists()


def test_an_early_stop_is_told(vectors: Path) -> None:
    told = Told()
    stopping = {"enabled": True, "patience": 2, "min_delta": 1.0}
    run = train(vector_config(vectors, epochs=20, early_stopping=stopping), progress=told)
    assert told.messages[-1] == "stopped early: recall_at_5 has not improved enough for 2 epochs"
    assert told.messages[-1] in run.layout.log.read_text()


def test_more_latents_than_dimensions(vectors: Path) -> None:
    with pytest.raises(ConfigError, match="latent_dim is 13, but the vectors have 12 dimensions"):
        train(vector_config(vectors, latent_dim=13))
    run = train(vector_config(vectors, latent_dim=13, init="random", epochs=1))
    assert run.record.baselines is not None
    assert list(run.record.baselines) == ["random_projection"]


def test_a_diverging_training_names_the_step(vectors: Path) -> None:
    with pytest.raises(NonFiniteLossError, match="not finite"):
        train(vector_config(vectors, optimizer="SGD", learning_rate=1.0, optimizer_params={}, epochs=30))


def test_what_tensorboard_shows(vectors: Path) -> None:
    run = train(vector_config(vectors, **{**EVERYTHING, "early_stopping": None}, epochs=2, log_every_steps=1))
    events = read_events(run.layout.tensorboard)
    history = run.history.embedding
    assert [value for _, value in events["scalars:loss/total"]] == pytest.approx(
        [record.total_loss for record in history], rel=1e-6
    )
    assert [value for _, value in events["scalars:recall/at_5"]] == pytest.approx(
        [record.recall[5] for record in history], rel=1e-6
    )
    for tag in ("loss/rank", "loss/pairdist", "loss/val_total", "learning_rate/base", "loss/train_running"):
        assert len(events[f"scalars:{tag}"]) >= 2, tag
    assert any(name.startswith("scalars:gradients/") for name in events)
    assert any(name.startswith("scalars:update_ratio/") for name in events)
    assert any(name.startswith("histograms:parameters/head") for name in events)


def test_gradients_are_traced_and_inspected(vectors: Path) -> None:
    run = train(vector_config(vectors, hidden_dims=[16, 8], enable_gradient_tracking=True, epochs=2))
    first, *_ = read_gradient_epochs(run.layout)
    assert first.blocks == ("projection", "hidden.0", "hidden.1", "head")
    report = inspect_gradients(run)
    assert report.fresh is not None
    assert {layer.name for layer in report.fresh.flow.layers} >= {"projection.weight", "head.weight"}


def test_records_round_trip(vectors: Path) -> None:
    run = train(vector_config(vectors, epochs=3, recall_every_epochs=2))
    read = run.history
    assert [type(record) for record in read.epochs] == [EmbeddingEpoch] * 3
    assert read.to_dict() == json.loads(run.layout.history_json.read_text())
    content = json.loads(run.layout.history_json.read_text())
    content["recall_history"]["recall_at_5"].pop()
    run.layout.history_json.write_text(json.dumps(content))
    with pytest.raises(RunError, match="not a training history"):
        _ = run.history
