"""How runs differ, and which was better."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from pochi_cli.errors import RunError
from pochi_cli.runs.candidates import choose_runs
from pochi_cli.runs.comparison import Comparison, compare_runs
from pochi_cli.runs.comparison_text import comparison_record, describe_comparison, name_columns
from pochi_cli.runs.flattening import flatten
from pochi_cli.runs.index import Run, open_run
from pochi_cli.runs.measures import best_epoch
from pochi_cli.runs.seeds import group_label
from pochi_cli.runs.verdict_text import remarks, verdict
from tests.runs.fake import encoder_history, history, make_encoder_run, make_run

CROP = {"name": "RandomCrop", "size": [32, 32], "padding": [4, 4]}
STEPS: list[dict[str, object]] = [{"name": "Resize", "size": 32, "antialias": True}, {"name": "ToTensor"}]


def texts(*runs: Run) -> dict[str, dict[str, tuple[str, ...]]]:
    """The sections, by the beginning of their titles."""
    return {
        section.title.split()[0]: {row[0]: row[1:] for row in section.rows}
        for section in describe_comparison(compare_runs(runs))
    }


def test_only_what_differs_is_told(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0), {"learning_rate": 0.1, "work_dir": "a", "clip_grad_norm": 1.0})
    two = make_run(tmp_path, history(90.0), {"learning_rate": 0.01, "work_dir": "b", "compile": True})
    found = texts(one, two)
    assert found.keys() == {"Runs", "Config", "Where"}
    assert found["Config"] == {
        "learning_rate": ("0.1", "0.01"),
        "clip_grad_norm": ("1.0", "not given"),
        "compile": ("false", "true"),
    }
    assert found["Where"] == {"work_dir": ("a", "b")}
    same = texts(make_run(tmp_path, history(90.0)), make_run(tmp_path, history(90.0)))
    assert same.keys() == {"Runs"}


def test_a_pipeline_is_compared_step_by_step(tmp_path: Path) -> None:
    wider = [{**STEPS[0], "size": 64}, STEPS[1]]
    one, two, three = (
        make_run(tmp_path, None, {"train_transform": s}) for s in (STEPS, [CROP, *STEPS], wider)
    )
    assert texts(one, two)["Config"] == {
        "train_transform": ("Resize, ToTensor", "RandomCrop, Resize, ToTensor"),
        "train_transform.RandomCrop": ("not given", "{ size = [32, 32], padding = [4, 4] }"),
    }
    assert texts(one, three)["Config"] == {"train_transform.Resize.size": ("32", "64")}
    twice = flatten({"train_transform": [CROP, CROP], "optimizer_params": {"momentum": 0.9}, "freeze": []})
    assert twice == {
        "train_transform": ["RandomCrop", "RandomCrop"],
        "train_transform.RandomCrop": {"size": [32, 32], "padding": [4, 4]},
        "train_transform.RandomCrop[2]": {"size": [32, 32], "padding": [4, 4]},
        "optimizer_params.momentum": 0.9,
        "freeze": [],
    }


def test_the_best_of_each_measure_is_marked(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0, 95.0, 93.0), best_value=95.0, best_epoch=2)
    two = make_run(tmp_path, history(80.0, math.nan), best_value=80.0, best_epoch=1)
    blind = make_run(tmp_path, history(None), epochs=9)
    empty = make_run(tmp_path)
    rows = texts(one, two, blind, empty)["Runs"]
    assert rows["best val_accuracy"] == ("95.0000 % *", "80.0000 %", "-", "-")
    assert rows["  in epoch"] == ("2", "1", "-", "-")
    assert rows["best val_loss"] == ("0.0500 *", "0.2000", "-", "-")
    assert rows["last train_loss"] == ("0.3333 *", "0.5000", "1.0000", "-")
    assert rows["last train_accuracy"] == ("53.0000 % *", "52.0000 %", "51.0000 %", "-")
    assert rows["images per second"] == ("100", "100", "100", "-")
    assert rows["epochs"] == ("3/2", "2/2", "1/9", "0/2")
    assert verdict(compare_runs([two, one, blind])) == "best: 20261120_001, val_accuracy 95.0000 % in epoch 2"
    assert verdict(compare_runs([one, blind])) == "best: no telling, only 20261120_001 has a val_accuracy"
    assert verdict(compare_runs([empty, blind])) == "best: no telling, no run has a val_accuracy"


def test_equal_runs_are_both_the_best(tmp_path: Path) -> None:
    one, two = (make_run(tmp_path, history(90.0), best_value=90.0, best_epoch=epoch) for epoch in (1, 3))
    comparison = compare_runs([one, two])
    assert comparison.best == (0, 1)
    assert verdict(comparison) == (
        "best: 20261120_001 and 20261120_002, val_accuracy 90.0000 % in epoch 1 and 3"
    )
    assert "*" not in str(describe_comparison(comparison))  # a mark for all would tell nothing


def test_runs_that_watched_different_metrics_have_no_best(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0), best_value=90.0)
    two = make_run(tmp_path, history(90.0), best_metric="val_loss", best_value=0.1)
    comparison = compare_runs([one, two])
    assert comparison.best == ()
    assert verdict(comparison).endswith("different metrics: val_accuracy, val_loss")
    lower = make_run(tmp_path, history(90.0), best_metric="val_loss", best_value=0.05, best_epoch=1)
    assert verdict(compare_runs([two, lower])).startswith("best: 20261120_003, val_loss 0.0500")


def test_a_nan_is_never_the_best(tmp_path: Path) -> None:
    assert best_epoch(history(math.nan, 50.0, 50.0), "val_accuracy") == (2, 50.0)
    epoch, value = best_epoch(history(math.nan), "val_loss")
    assert epoch == 1
    assert math.isnan(value or 0)
    one, two, three = (
        make_run(tmp_path, history(value), best_value=value) for value in (math.nan, 50.0, 60.0)
    )
    rows = texts(one, two, three)["Runs"]
    assert rows["best val_accuracy"] == ("nan %", "50.0000 %", "60.0000 % *")
    assert compare_runs([one, two, three]).best == (2,)


def test_other_data_and_versions_are_pointed_out(tmp_path: Path) -> None:
    plain = make_run(tmp_path)
    other = make_run(
        tmp_path,
        data_fingerprint="f" * 64,
        class_names=("a", "c"),
        environment={"pochi": "0.1.0", "torch": "2.7.1", "git_commit": "d" * 40},
        settings={"device": "cuda:0", "train_images": 66, "val_images": 30},
    )
    found = texts(plain, other)
    assert found["Data"] == {
        "data": ("0123456789ab", "f" * 12),
        "train_images": ("65", "66"),
        "classes": ("2, also b", "2, also c"),
        "torch": ("2.6.0", "2.7.1"),
        "git_commit": ("abc", "d" * 12),
    }
    assert found["Where"] == {"device": ("cpu", "cuda:0")}
    turned = make_run(tmp_path, class_names=("b", "a"))
    assert texts(plain, turned)["Data"] == {"classes": ("2 in the order a, b", "2 in the order b, a")}


def test_the_same_run_twice_is_an_error(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    (tmp_path / "link").symlink_to(run.directory)
    for second in (run, open_run(tmp_path / "link")):
        with pytest.raises(RunError, match="given twice"):
            compare_runs([run, second])


def test_runs_of_the_same_name_are_told_by_their_directories(tmp_path: Path) -> None:
    one, two = make_run(tmp_path / "a"), make_run(tmp_path / "b")
    assert compare_runs([one, two]).labels == (str(one.directory), str(two.directory))


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_config_is_named(tmp_path: Path, content: str) -> None:
    one, two = make_run(tmp_path), make_run(tmp_path)
    two.layout.config_json.write_text(content)
    with pytest.raises(RunError, match=r"20261120_002/config\.json"):
        compare_runs([one, two])


def test_the_record_is_json(tmp_path: Path) -> None:
    one = make_run(tmp_path, history(90.0), {"clip_grad_norm": 1.0}, best_value=90.0)
    two = make_run(tmp_path, history(80.0), {"train_transform": [CROP]}, best_value=80.0)
    record = json.loads(json.dumps(comparison_record(compare_runs([one, two])), allow_nan=False))
    assert record["best"] == [0]
    assert {"key": "clip_grad_norm", "values": [1.0, None]} in record["config"]
    assert record["measures"][0] == {
        "name": "val_accuracy",
        "values": [90.0, 80.0],
        "epochs": [1, 1],
        "best": [0],
    }


def encoder(place: Path, *recalls: float | None, pca: float | None = 0.6, **changes: Any) -> Run:
    """A run of the embedding task with these recalls at 5; without `pca` nothing is held out."""
    trained = encoder_history(*recalls, held_out=pca is not None)
    return make_encoder_run(place, trained, changes.pop("config", None), pca=pca, **changes)


def test_encoders_are_compared_by_recall_and_with_what_is_not_learnt(tmp_path: Path) -> None:
    one = encoder(tmp_path, None, 0.5, None, 0.55)
    two = encoder(tmp_path, None, 0.65, None, 0.64, config={"learning_rate": 0.1})
    found = texts(one, two)
    recalls = found["Best"]
    assert recalls["recall@5"] == ("0.5500", "0.6500 *")
    assert recalls["recall@50"] == ("0.6738", "0.7963 *")
    assert recalls["  PCA"] == ("0.7350", "0.7350")  # of the last k, which the rows are read by
    rows = describe_comparison(compare_runs([one, two]))[1].rows
    start = [row[0] for row in rows].index("recall@5")
    assert rows[start + 1 : start + 6] == (
        ("  in epoch", "4", "2"),
        ("  PCA", "0.6000", "0.6000"),
        ("  random projection", "0.3000", "0.3000"),
        ("  truncation", "0.1500", "0.1500"),
        ("  better than PCA by", "-0.0500", "+0.0500"),
    )
    runs = found["Runs"]
    assert runs["last total loss"] == ("2.6000", "2.6000")  # equal: none stands out
    assert runs["last pairdist loss"] == ("0.0600", "0.0600")
    assert runs["last held-out total"] == ("2.9500", "2.9500")
    assert runs["vectors per second"] == ("20,000", "20,000")
    assert verdict(compare_runs([one, two])) == (
        "best: 20261120_002, recall@5 0.6500 in epoch 2, better than PCA by 0.0500"
    )
    worse = encoder(tmp_path, 0.4)
    assert verdict(compare_runs([one, worse])).endswith("0.5500 in epoch 4, worse than PCA by 0.0500")


def test_only_numbers_of_neighbours_that_all_have_are_compared(tmp_path: Path) -> None:
    one = make_encoder_run(tmp_path, encoder_history(0.5, ks=(1, 5)))
    two = make_encoder_run(tmp_path, encoder_history(0.6, ks=(5, 10)))
    blind = encoder(tmp_path, None, pca=None)
    names = [measure.name for measure in compare_runs([one, two, blind]).measures]
    assert [name for name in names if name.startswith("recall")] == ["recall_at_5"]
    assert texts(one, two, blind)["Best"]["recall@5"] == ("0.5000", "0.6000 *", "-")


def test_recalls_of_other_pools_do_not_compare(tmp_path: Path) -> None:
    one = encoder(tmp_path, 0.5)
    other = encoder(tmp_path, 0.6, settings={"n_query": 100, "n_pool": 100})
    comparison = compare_runs([one, other])
    assert comparison.best == ()
    assert not any(measure.best for measure in comparison.measures if measure.name.startswith("recall"))
    assert list(remarks(comparison)) == ["the recalls do not compare: n_query and n_pool differ"]
    assert verdict(comparison) == "best: no telling, these recalls do not compare"
    assert texts(one, other)["Data"]["n_pool"] == ("3000", "100")
    for changes in ({"data_fingerprint": "f"}, {"settings": {"metric": "cosine"}}):
        comparison = compare_runs([one, encoder(tmp_path, 0.6, **changes)])
        assert comparison.best == ()
    blind = encoder(tmp_path, None, pca=None)
    assert not compare_runs([one, blind]).obstacles.recalls  # it has none that could mislead
    assert verdict(compare_runs([one, blind])) == "best: no telling, only 20261120_001 has a recall@5"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("loss_function", "DPLossV2Norm"),
        ("tau", 2.0),
        ("tau_mode", "relative"),
        ("lambda_rank", 2.0),
        ("lambda_pairdist", 0.1),
        ("pair_norm", True),
        ("exclude_self", True),
        ("k", 10),
        ("batch_size", 64),
    ],
)
def test_losses_that_mean_something_else_have_no_best(tmp_path: Path, key: str, value: object) -> None:
    one = make_encoder_run(tmp_path, encoder_history(0.5))
    lower = make_encoder_run(tmp_path, encoder_history(0.6, scale=0.5))
    other = make_encoder_run(tmp_path, encoder_history(0.6, scale=0.5), {key: value})

    def best(comparison: Comparison, name: str) -> tuple[int, ...]:
        return next(measure.best for measure in comparison.measures if measure.name == name)

    same, differing = compare_runs([one, lower]), compare_runs([one, other])
    for name in ("final_total_loss", "final_rank_loss", "final_pairdist_loss", "final_val_total_loss"):
        assert best(same, name) == (1,)
        # The pair-distance term is the same in all losses.
        is_same = name == "final_pairdist_loss" and key not in ("pair_norm", "exclude_self", "batch_size")
        assert best(differing, name) == ((1,) if is_same else ())
    assert best(differing, "recall_at_5") == (1,)
    assert list(remarks(same)) == []
    assert list(remarks(differing)) == [f"the losses do not compare: {key} differs"]
    by_loss = [
        make_encoder_run(
            tmp_path, encoder_history(0.5), config, best_metric="val_total_loss", best_value=2.0, best_epoch=1
        )
        for config in (None, {key: value})
    ]
    assert verdict(compare_runs(by_loss)) == "best: no telling, these losses do not compare"


def test_of_runs_that_watched_the_loss_all_recalls_are_held_against_pca(tmp_path: Path) -> None:
    watched: dict[str, Any] = {"best_metric": "val_total_loss", "best_epoch": 1}
    one = make_encoder_run(tmp_path, encoder_history(0.7), best_value=2.0, **watched)
    two = make_encoder_run(tmp_path, encoder_history(0.7), best_value=3.0, **watched)
    comparison = compare_runs([one, two])
    assert "val_total_loss" in [measure.name for measure in comparison.measures]
    told = "recall better than PCA's for k = 1, 5, 10 and 50"
    assert verdict(comparison) == f"best: 20261120_001, held-out total loss 2.0000 in epoch 1, {told}"


def test_runs_of_two_tasks_are_refused(tmp_path: Path) -> None:
    pictures, vectors = make_run(tmp_path, history(90.0)), encoder(tmp_path, 0.5)
    with pytest.raises(RunError, match=r"20261120_001 is a run of the task classification, .*embedding"):
        compare_runs([pictures, vectors])


def seeds(place: Path, values: Sequence[float], **config: object) -> list[Run]:
    """Runs that differ in their seeds alone."""
    return [
        make_encoder_run(
            place,
            encoder_history(value),
            {**config, "seed": seed, "work_dir": f"w{seed}"},
            pca=0.6,
            data_fingerprint="0123456789abcdef",
        )
        for seed, value in enumerate(values, start=1)
    ]


def test_runs_that_differ_in_seeds_alone_have_mean_and_spread(tmp_path: Path) -> None:
    runs = seeds(tmp_path, (0.5, 0.6, 0.7))
    comparison = compare_runs(runs)
    assert name_columns(comparison) == (*comparison.labels, "mean ± spread")
    rows = describe_comparison(comparison)[1].rows
    row = next(row for row in rows if row[0] == "recall@5")
    assert row == ("recall@5", "0.5000", "0.6000", "0.7000", "0.6000 ± 0.1000")
    assert all(len(row) == 5 for section in describe_comparison(comparison) for row in section.rows)
    # Each has held-out rows of its own: only the mean says something.
    assert comparison.best == ()
    assert list(remarks(comparison)) == []
    assert verdict(comparison) == "mean of 3 seeds: recall@5 0.6000 ± 0.1000, as good as PCA"
    (group,) = comparison_record(comparison)["groups"]
    assert group["names"] == list(comparison.labels)
    assert group["seeds"] == (1, 2, 3)
    measured = group["measures"]["recall_at_5"]
    assert (measured["mean"], measured["deviation"], measured["n"]) == pytest.approx((0.6, 0.1, 3))
    alone = encoder(tmp_path, 0.9, config={"tau": 0.5})
    mixed = compare_runs([*runs, alone])
    assert name_columns(mixed)[-1] == "tau 1 (3 seeds)"
    assert next(remarks(mixed)) == "the recalls do not compare: seed differs"
    assert verdict(mixed) == "best: no telling, these recalls do not compare"


@pytest.mark.parametrize(("key", "value"), [("seed", 7), ("holdout", 0.3)])
def test_other_held_out_rows_are_not_compared(tmp_path: Path, key: str, value: object) -> None:
    one = make_encoder_run(tmp_path, encoder_history(0.5))
    other = make_encoder_run(tmp_path, encoder_history(0.6, scale=0.5), {key: value, "tau": 0.5})
    comparison = compare_runs([one, other])
    assert next(remarks(comparison)) == f"the recalls do not compare: {key} differs"
    assert comparison.best == ()
    stars = {measure.name: measure.best for measure in comparison.measures}
    assert (stars["recall_at_5"], stars["final_val_total_loss"]) == ((), ())


def test_groups_of_seeds_are_compared_by_their_means(tmp_path: Path) -> None:
    low = seeds(tmp_path, (0.50, 0.52, 0.99), loss_function="DPLossV1")
    high = seeds(tmp_path, (0.70, 0.72, 0.74), loss_function="DPLossV2")
    comparison = compare_runs([*low, *high])
    assert name_columns(comparison) == ("DPLossV1 (3 seeds)", "DPLossV2 (3 seeds)")
    found = {
        section.title: {row[0]: row[1:] for row in section.rows}
        for section in describe_comparison(comparison)
    }
    assert found["Config"] == {"loss_function": ("DPLossV1", "DPLossV2")}
    assert found["Single runs by their seeds, and their best recall@5"]["seed 3"] == (
        "20261120_003: 0.9900",
        "20261120_006: 0.7400",
    )
    recalls = found["Best recalls, and those of encodings that are not learnt"]
    assert recalls["recall@5"] == ("0.6700 ± 0.2773", "0.7200 ± 0.0200 *")
    assert verdict(comparison) == (
        "best by mean: DPLossV2 (3 seeds), recall@5 0.7200 ± 0.0200, better than PCA by "
        "0.1200 ± 0.0200; DPLossV1 (3 seeds) (0.6700 ± 0.2773) is within the spread: more seeds "
        "would tell"
    )
    record = json.loads(json.dumps(comparison_record(comparison), allow_nan=False))
    assert len(record["runs"]) == 6
    assert [(group["runs"], group["is_best"]) for group in record["groups"]] == [
        ([0, 1, 2], False),
        ([3, 4, 5], True),
    ]
    clear = compare_runs([*seeds(tmp_path / "b", (0.5, 0.51), tau=0.5), *seeds(tmp_path / "b", (0.7, 0.71))])
    assert "within" not in verdict(clear)
    alone = encoder(tmp_path, 0.9, config={"tau": 0.1})
    assert name_columns(compare_runs([*low, *high, alone]))[-1] == "20261120_007"


def test_what_makes_runs_a_group(tmp_path: Path) -> None:
    def groups(*runs: Run) -> list[tuple[int, ...]]:
        return [group.members for group in compare_runs(runs).grouping.groups]

    one, two = seeds(tmp_path, (0.5, 0.6))
    again = seeds(tmp_path, (0.7,))[0]
    assert groups(one, two) == [(0, 1)]
    assert groups(one, again) == [(0,), (1,)]  # the same seed twice is no sample of seeds
    grouping = compare_runs([one, two, again]).grouping
    assert grouping.groups[0].members == (0, 1, 2)
    spread = next(measure.spreads[0] for measure in grouping.measures if measure.name == "recall_at_5")
    assert spread is not None
    assert spread.mean == pytest.approx(0.6)  # of 0.5 and 0.7 their mean counts once
    assert spread.n == 2
    other = encoder(tmp_path, 0.5, config={"seed": 9}, data_fingerprint="f")
    assert groups(one, other) == [(0,), (1,)]
    moved = encoder(tmp_path, 0.5, config={"seed": 9, "learning_rate": 0.5})
    assert groups(one, moved, two) == [(0, 2), (1,)]


def test_a_seed_that_diverged_does_not_vanish_in_the_mean(tmp_path: Path) -> None:
    runs = [
        make_encoder_run(tmp_path, encoder_history(0.5, scale=scale), {"seed": seed})
        for seed, scale in enumerate((1.0, math.nan))
    ]
    grouped = compare_runs(runs).grouping
    spread = next(measure.spreads[0] for measure in grouped.measures if measure.name == "final_total_loss")
    assert spread is not None
    assert math.isnan(spread.mean)
    assert texts(*runs)["Runs"]["last total loss"] == ("10.1000", "nan", "nan")


def test_classifiers_of_several_seeds(tmp_path: Path) -> None:
    runs = [
        make_run(
            tmp_path, history(value), {"learning_rate": rate, "seed": seed}, best_value=value, best_epoch=1
        )
        for rate, values in ((0.1, (90.0, 92.0)), (0.2, (80.0, 81.0)))
        for seed, value in enumerate(values)
    ]
    comparison = compare_runs(runs)
    assert texts(*runs)["Runs"]["best val_accuracy"] == (
        "91.0000 ± 1.4142 % *",
        "80.5000 ± 0.7071 %",
    )
    assert verdict(comparison) == (
        "best by mean: learning_rate 0.1 (2 seeds), val_accuracy 91.0000 ± 1.4142 %"
    )


def test_labels_of_groups() -> None:
    names = [f"20261120_{number:03d}" for number in (1, 2, 3, 7, 10, 11)]
    assert group_label(names, 6) == "20261120_001..003,007,010..011 (6 seeds)"
    scattered = [f"20261120_{number:03d}" for number in range(1, 30, 2)]
    assert group_label(scattered, 15) == "20261120_001 and 14 more (15 seeds)"
    assert (
        group_label(["실험/20261120_001", "実験/20261120_001"], 2) == "실험/20261120_001 and 1 more (2 seeds)"
    )


def test_all_runs_of_the_latest_task_are_chosen(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="no run with a finished epoch"):
        choose_runs((), tmp_path)
    make_run(tmp_path, history(90.0))
    first, second = encoder(tmp_path, 0.5), encoder(tmp_path, 0.6)
    make_encoder_run(tmp_path)
    encoder(tmp_path, 0.5).layout.run_json.write_text("{")
    encoder(tmp_path, 0.5).layout.history_json.write_text("[]")
    chosen, notes = choose_runs((), tmp_path)
    assert [run.directory for run in chosen] == [first.directory, second.directory]
    assert [note.split("passed over: ")[1].split()[0] for note in notes[:1]] == ["20261120_004"]
    assert "20261120_005/run.json is damaged" in notes[1]
    assert "20261120_006/train_history.json" in notes[2]
    assert notes[3] == "passed over: 1 run of the task classification"
    assert choose_runs([first.layout.name, str(second.directory)], tmp_path)[0] == (first, second)
