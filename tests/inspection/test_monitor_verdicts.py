"""Overfitting, unstable and healthy trainings are told apart, with their numbers."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pochi_cli.engine.training import train
from pochi_cli.errors import NonFiniteLossError
from pochi_cli.inspection.monitor_verdicts import judge_training
from pochi_cli.runs.history import History
from pochi_cli.runs.index import find_run
from pochi_cli.runs.monitor_record import read_monitor_epochs
from tests.engine.tiny import tiny_config
from tests.inspection.monitored import healthy_losses, make_epochs, make_history

FALLING = [1.0, 0.7, 0.5, 0.4, 0.3, 0.22, 0.16, 0.11, 0.08, 0.06, 0.04, 0.03]
RISING = [1.1, 0.8, 0.7, 0.66, 0.65, 0.68, 0.72, 0.78, 0.85, 0.9, 0.97, 1.05]
NONE = History()


def codes(*arguments: object) -> list[tuple[str, str]]:
    return [(found.code, found.where) for found in judge_training(*arguments)]  # type: ignore[arg-type]


def test_a_healthy_training_is_not_accused() -> None:
    history = make_history(FALLING, [1.05 * loss + 0.02 for loss in FALLING])
    assert judge_training(history, make_epochs(healthy_losses(12, 40), ratios=(1e-3, 3e-2)), 10) == []


def test_overfitting_quotes_its_numbers() -> None:
    (found,) = judge_training(make_history(FALLING, RISING), [], 10)
    assert (found.code, found.severity, found.where, found.epoch) == (
        "overfitting",
        "warning",
        "validation loss",
        5,
    )
    rise = 0.9 / 0.68  # medians of epochs 8 to 12 and 3 to 7
    assert found.value == pytest.approx(rise)
    assert "least 7 epochs ago, 0.65 in epoch 5, and is 1.05 now" in found.message
    assert "1.32 times that around epoch 5" in found.evidence
    assert "the training loss fell from 0.3 to 0.03" in found.evidence
    assert f"{100 * math.exp(-0.65):.2f} % then, {100 * math.exp(-1.05):.2f} % now" in found.evidence


NOT_OVERFITTING: dict[str, tuple[list[float], list[float | None]]] = {
    # The gap alone, which a ratio of the two losses would take for it.
    "a gap that is wide and steady": (FALLING, [0.9 + 0.1 / epoch for epoch in range(1, 13)]),
    "a minimum that is too young": (FALLING[:9], [*RISING[:5], 1.5, 2.0, 2.5, 3.0]),
    "both rise": ([*FALLING[:5], 0.5, 0.7, 0.9, 1.1, 1.3, 1.5, 1.7], [*RISING]),
    "one lucky epoch": (FALLING, [0.8, 0.82, 0.5, 0.79, 0.8, 0.81, 0.8, 0.79, 0.81, 0.8, 0.8, 0.8]),
    "a plateau": (FALLING, [0.8, 0.7, 0.6, 0.6, 0.61, 0.61, 0.62, 0.61, 0.62, 0.61, 0.62, 0.62]),
    "no validation": (FALLING, [None] * 12),
    "few epochs": (FALLING[:4], [0.1, 0.2, 0.3, 0.4]),
    "a validation loss that is not finite": (FALLING, [*RISING[:-1], math.nan]),
}


@pytest.mark.parametrize("case", NOT_OVERFITTING)
def test_what_is_no_overfitting(case: str) -> None:
    assert judge_training(make_history(*NOT_OVERFITTING[case]), [], 10) == []


def test_a_loss_that_jumps_again_and_again_is_unstable() -> None:
    losses = healthy_losses(8, 40)
    losses[2, 30] = losses[4, 10] = losses[6, 5] = 4.0
    losses[6, 6] = 9.0  # the same jump
    (found,) = judge_training(NONE, make_epochs(losses, np.ones_like(losses)), 10)
    assert (found.code, found.where, found.epoch, found.step) == ("unstable", "loss", 3, 31)
    assert "3 times it jumps to more than 3 times its median" in found.message
    assert "the worst at epoch 7, step 7: 9 after a median of" in found.evidence
    assert found.value is not None
    assert found.value > 9


@pytest.mark.parametrize("places", [[(6, 5), (6, 9)], [(1, 5), (2, 5), (2, 30)], [(6, 5), (6, 15), (6, 25)]])
def test_jumps_that_are_few_or_past_or_of_one_epoch_are_not(places: list[tuple[int, int]]) -> None:
    losses = healthy_losses(8, 40)
    for place in places:
        losses[place] = 9.0
    assert judge_training(NONE, make_epochs(losses, np.ones_like(losses)), 10) == []


def test_hard_batches_of_a_trained_network_are_no_jumps() -> None:
    losses = np.full((8, 40), 0.01)
    losses[0, :20] = np.linspace(2.3, 0.1, 20)
    losses[1:, ::10] = 1.5  # 150 times what is usual
    assert judge_training(NONE, make_epochs(losses, np.ones_like(losses)), 10) == []


def test_a_gradient_norm_that_jumps_is_unstable() -> None:
    losses = healthy_losses(8, 40)
    norms = np.ones_like(losses)
    norms[2, 30] = norms[4, 10] = norms[6, 5] = 30.0
    (found,) = judge_training(NONE, make_epochs(losses, norms), 10)
    assert (found.code, found.where, found.value) == ("unstable", "gradient norm", 30.0)
    assert "30 after a median of 1, and 1 in the first epoch" in found.evidence


def test_a_loss_that_stays_above_guessing_has_diverged() -> None:
    losses = np.full((4, 40), 3.5)
    losses[0, 0] = 2.4
    (found,) = judge_training(NONE, make_epochs(losses), 10)
    assert (found.code, found.severity, found.epoch, found.value) == ("diverged", "error", 2, 3.5)
    assert "medians of the last 3 epochs 3.5, 3.5, 3.5" in found.evidence
    assert "2.4" in found.evidence
    assert codes(NONE, make_epochs(np.full((4, 40), 2.32)), 10) == [("not-learning", "loss")]


def test_a_loss_that_stays_at_guessing_has_learnt_nothing() -> None:
    losses = np.full((5, 40), math.log(10)) * np.tile([0.99, 1.02], 20)
    losses[0] = 5.0  # how it came to that does not matter
    (found,) = judge_training(NONE, make_epochs(losses, np.ones_like(losses)), 10)
    assert (found.code, found.severity, found.epoch) == ("not-learning", "warning", 3)
    assert found.value == pytest.approx(1.005 * math.log(10))
    assert "medians of the last 3 epochs 2.314, 2.314, 2.314, after 200 recorded steps" in found.evidence
    # With a hundred classes the same loss is a good deal learnt.
    assert judge_training(NONE, make_epochs(losses, np.ones_like(losses)), 100) == []


@pytest.mark.parametrize("case", ["few steps", "few epochs", "begins to learn"])
def test_a_training_that_may_still_learn_is_not_accused(case: str) -> None:
    losses = np.full((4, 40), math.log(10))
    if case == "few steps":
        losses = losses[:, :20]
    elif case == "few epochs":
        losses = np.full((2, 100), math.log(10))
    else:
        losses[3] *= 0.95
    assert judge_training(NONE, make_epochs(losses, np.ones_like(losses)), 10) == []


def test_what_is_not_finite_is_an_error_with_its_step() -> None:
    losses = healthy_losses(2, 40)
    losses[1, 20:] = np.nan
    (found,) = judge_training(NONE, make_epochs(losses), 10)
    assert (found.code, found.severity, found.where) == ("non-finite", "error", "loss")
    assert (found.epoch, found.step) == (2, 21)
    assert "over the 20 recorded steps before" in found.evidence
    losses[:] = np.nan
    (found,) = judge_training(NONE, make_epochs(losses), 10)
    assert found.evidence == "from the very first step"


def test_a_step_that_was_passed_over_is_no_fault() -> None:
    losses = healthy_losses(2, 40)
    norms = np.ones_like(losses)
    norms[1, 3] = np.inf
    first, second = make_epochs(losses, norms)
    assert codes(NONE, [first, second], 10) == [("non-finite", "gradient")]
    passed_over = np.arange(40) == 3
    assert codes(NONE, [first, replace(second, is_passed_over=passed_over)], 10) == []


@pytest.mark.parametrize(
    ("ratios", "code", "where", "also"),
    [
        ((1e-3, 1e-6, 3e-6), "update-too-small", "block2", ("block3",)),
        ((1e-3, 0.0, 1e-3), "update-too-small", "block2", ()),
        ((0.5, 1e-3, 0.9), "update-too-large", "block3", ("block1",)),
    ],
)
def test_updates_far_from_what_is_usual(
    ratios: tuple[float, ...], code: str, where: str, also: tuple[str, ...]
) -> None:
    (found,) = judge_training(NONE, make_epochs(healthy_losses(4, 40), ratios=ratios), 10)
    assert (found.code, found.where, found.also) == (code, where, also)
    assert found.value == ratios[int(where[-1]) - 1]
    assert "median of the later 40 measured steps; 100% of them" in found.evidence


def test_updates_are_not_judged_where_the_schedule_makes_them_small_or_at_the_beginning() -> None:
    losses = healthy_losses(6, 40)
    usual, small, large = (make_epochs(losses[:3], ratios=(ratio,)) for ratio in (1e-3, 1e-6, 0.5))
    ending = make_epochs(losses[3:], ratios=(1e-6,), rates=[1e-3] * 3, first=4)
    later = make_epochs(losses[3:], ratios=(1e-3,), first=4)
    assert codes(NONE, [*usual, *ending], 10) == []
    assert codes(NONE, [*large, *later], 10) == []
    assert codes(NONE, [*small, *make_epochs(losses[3:], ratios=(1e-6,), first=4)], 10) == [
        ("update-too-small", "block1")
    ]


@pytest.mark.slow
def test_a_real_training_on_labels_without_meaning_overfits(few_digits: Path, tmp_path: Path) -> None:
    """They can be learnt by heart, which is of no use for the validation data."""
    names = sorted(path.name for path in (few_digits / "train").iterdir())
    for at, image in enumerate(sorted((few_digits / "train").glob("*/*"))):
        directory = tmp_path / "mixed" / names[at % len(names)]
        directory.mkdir(parents=True, exist_ok=True)
        (directory / f"{at}{image.suffix}").symlink_to(image)
    config = tiny_config(
        few_digits,
        train_data_root=str(tmp_path / "mixed"),
        work_dir=str(tmp_path),
        epochs=14,
        optimizer="Adam",
        learning_rate=0.001,
        threads=1,
        monitor={"enabled": True},
    )
    run = train(config)
    found = judge_training(run.history, read_monitor_epochs(run.layout), 4)
    assert "overfitting" in {finding.code for finding in found}
    (verdict,) = (finding for finding in found if finding.code == "overfitting")
    best = min(run.history.classification, key=lambda record: record.val_loss or math.inf)
    assert f"{best.val_loss:.4g} in epoch {best.epoch}" in verdict.message


@pytest.mark.slow
def test_real_trainings_healthy_and_lost_are_told_apart(few_digits: Path, tmp_path: Path) -> None:
    settings = {
        "work_dir": str(tmp_path),
        "monitor": {"enabled": True, "update_ratio_every": 1},
        "threads": 1,
    }
    healthy = train(tiny_config(few_digits, **settings, epochs=6, learning_rate=0.01))
    assert judge_training(healthy.history, read_monitor_epochs(healthy.layout), 4) == []
    with pytest.raises(NonFiniteLossError) as caught:
        train(tiny_config(few_digits, **settings, model_name="vgg11", stem=None, learning_rate=1.0, epochs=3))
    lost = find_run("latest", tmp_path)
    found = judge_training(lost.history, read_monitor_epochs(lost.layout), 4)
    (last,) = (finding for finding in found if finding.code == "non-finite")
    assert f"epoch {last.epoch}, step {last.step}" in str(caught.value)
