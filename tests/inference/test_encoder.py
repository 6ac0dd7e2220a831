"""Trained encoders: loaded, asked, judged."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from pochi_cli import api
from pochi_cli.engine.training import train
from pochi_cli.errors import DataError, RunError
from pochi_cli.inference.encoder_evaluation import final_recall
from pochi_cli.inference.model import is_encoder
from pochi_cli.runs.index import Run, open_run
from tests.engine.vectors import make_vectors, vector_config, write_vectors


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Read only."""
    directory = tmp_path_factory.mktemp("encoder")
    return train(vector_config(write_vectors(directory), epochs=3, ema_decay=0.9))


@pytest.fixture
def run(trained: Run, tmp_path: Path) -> Run:
    """A copy."""
    return open_run(shutil.copytree(trained.directory, tmp_path / "work_dirs" / trained.layout.name))


def test_a_file_is_encoded_as_the_model_does(run: Run, tmp_path: Path) -> None:
    loaded = api.load_encoder(run)
    assert (loaded.dim, loaded.config.latent_dim, loaded.is_averaged) == (12, 4, True)
    values = make_vectors(seed=5)
    source, output = tmp_path / "in.npy", tmp_path / "out.npy"
    np.save(source, values)
    assert api.embed(loaded, source, output) == 200
    with torch.no_grad():
        expected = loaded.model(torch.from_numpy(values)).numpy()
    written = np.load(output)
    assert (written.dtype, written.shape) == (np.float32, (200, 4))
    np.testing.assert_allclose(written, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(loaded(values), written)
    np.testing.assert_array_equal(loaded(values.astype(np.float64)), written)


def test_rows_stay_in_order_over_the_pieces(run: Run, tmp_path: Path) -> None:
    loaded = api.load_encoder(run)
    values = make_vectors(rows=20_000, seed=5)
    np.save(tmp_path / "in.npy", values)
    told: list[tuple[int, int]] = []
    api.embed(loaded, tmp_path / "in.npy", tmp_path / "out.parquet", tell=lambda *done: told.append(done))
    column = pq.read_table(tmp_path / "out.parquet").column("embedding")
    written = np.stack(column.to_numpy())
    with torch.no_grad():
        expected = loaded.model(torch.from_numpy(values)).numpy()
    np.testing.assert_allclose(written, expected, rtol=1e-5, atol=1e-6)
    assert told == [(8192, 20_000), (16_384, 20_000), (20_000, 20_000)]


def test_what_cannot_be_encoded(run: Run, tmp_path: Path) -> None:
    loaded = api.load_encoder(run)
    output = tmp_path / "out.npy"
    output.write_bytes(b"before")
    np.save(tmp_path / "wide.npy", make_vectors(dim=13))
    with pytest.raises(DataError, match=r"vectors of 13 dimensions, but the encoder takes 12"):
        api.embed(loaded, tmp_path / "wide.npy", output)
    bad = make_vectors()
    bad[150, 3] = np.nan
    np.save(tmp_path / "bad.npy", bad)
    with pytest.raises(DataError, match="row 150 holds NaN or infinity"):
        api.embed(loaded, tmp_path / "bad.npy", output)
    with pytest.raises(DataError, match="is no file that vectors are written to"):
        api.embed(loaded, write_vectors(tmp_path), tmp_path / "out.txt")
    with pytest.raises(DataError, match=r"must be \(N, 12\)"):
        loaded(np.zeros((3, 2)))
    with pytest.raises(DataError, match="row 150 of the vectors holds NaN"):
        loaded(bad)
    assert output.read_bytes() == b"before"
    assert not list(tmp_path.glob("*.tmp*"))


def test_nothing_is_written_over_what_is_read(run: Run, tmp_path: Path) -> None:
    loaded = api.load_encoder(run)
    source = write_vectors(tmp_path)
    (tmp_path / "link.npy").symlink_to(source)
    before = source.read_bytes()
    for output in (source, tmp_path / "x" / ".." / "vectors.npy", tmp_path / "link.npy"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(DataError, match="whose vectors would be lost"):
            api.embed(loaded, source, output)
    with pytest.raises(DataError, match="whose vectors would be lost"):
        api.embed(loaded, source, loaded.config.train_vectors)
    assert source.read_bytes() == before


def test_vectors_that_have_changed_are_not_called_held_out(run: Run) -> None:
    path = Path(run.config.train_vectors) if hasattr(run.config, "train_vectors") else Path()
    before = path.read_bytes()
    np.save(path, make_vectors()[::-1])
    try:
        with pytest.raises(DataError, match="have changed since the training"):
            api.evaluate(api.load_encoder(run))
    finally:
        path.write_bytes(before)


def test_the_judgement_is_that_of_the_training(run: Run) -> None:
    done = api.evaluate(api.load_encoder(run))
    summary = done.summary
    best = run.history.embedding[(run.record.best_epoch or 0) - 1]
    assert summary.recalls["encoder"] == {f"recall_at_{k}": value for k, value in best.recall.items()}
    baselines = run.record.baselines
    assert baselines is not None
    assert {name: summary.recalls[name] for name in baselines} == baselines
    assert (summary.is_held_out, summary.n_query, summary.n_pool) == (True, 50, 50)
    assert summary.fitted_on == "the rows that it was trained on"
    stored = json.loads(done.layout.summary_json.read_text())
    assert stored["recalls"] == summary.recalls
    header, first, *_ = done.layout.recalls.read_text().splitlines()
    assert header == "encoding,recall_at_1,recall_at_5"
    assert float(first.split(",")[2]) == best.recall[5]
    assert "principal components" in done.layout.summary_text.read_text()


def test_given_vectors_are_judged(run: Run, tmp_path: Path) -> None:
    loaded = api.load_encoder(run.layout.latest_model)
    np.save(tmp_path / "new.npy", make_vectors(rows=100, seed=0)[:80])
    done = api.evaluate(loaded, tmp_path / "new.npy", tmp_path / "results")
    assert (done.summary.n_query, done.summary.rows, done.summary.is_held_out) == (80, 80, False)
    assert done.layout.directory == tmp_path / "results"
    Path(loaded.config.train_vectors).rename(tmp_path / "away.npy")
    try:
        done = api.evaluate(loaded, tmp_path / "new.npy")
        assert done.summary.fitted_on == "the very vectors that are compared"
        with pytest.raises(DataError):
            api.evaluate(loaded)
    finally:
        (tmp_path / "away.npy").rename(loaded.config.train_vectors)
    np.save(tmp_path / "few.npy", make_vectors(rows=5))
    with pytest.raises(DataError, match="has 5 vectors, too few for recall_at_5"):
        api.evaluate(loaded, tmp_path / "few.npy")


def test_the_final_recall_of_a_run_that_measured_none(run: Run) -> None:
    history = json.loads(run.layout.history_json.read_text())
    recalls = history["recall_history"]
    expected = {int(name.rpartition("_")[2]): values[-1] for name, values in recalls.items()}
    history["recall_epochs"] = []
    history["recall_history"] = {name: [] for name in recalls}
    run.layout.history_json.write_text(json.dumps(history))
    # Of the averaged weights, which are validated.
    assert final_recall(run).recall == expected
    run.layout.latest_model.unlink()
    with pytest.raises(RunError, match="there is no checkpoint"):
        final_recall(run)


def test_encoders_and_classifiers_are_told_apart(run: Run, trained_run: Run) -> None:
    assert is_encoder(run, Path())
    assert is_encoder(run.layout.latest_model, Path())
    assert not is_encoder(trained_run, Path())
    with pytest.raises(RunError, match="is an encoder of vectors, not a classifier"):
        api.load_model(run)
    with pytest.raises(RunError, match="is a classifier of images, not an encoder"):
        api.load_encoder(trained_run)
