"""The picture of a run of the embedding task: what it draws and tells, whatever the data."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pochi_cli.plots.experiment import USUAL_LOOK, RecallLook, draw_experiment
from pochi_cli.plots.metrics import write_metrics_figures
from pochi_cli.runs.experiment import parameter_count, read_experiment
from pochi_cli.runs.history import History
from pochi_cli.runs.index import open_run
from tests.runs.fake import KS, encoder_history, make_encoder_run, recall_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawn(place: Path, history: History, look: RecallLook = USUAL_LOOK, **changes: Any) -> Figure:
    run = make_encoder_run(place, history, **changes)
    return draw_experiment(read_experiment(run, run.history), look)


def render(figure: Figure) -> None:
    """Draw it as a file, coarsely: it takes a second otherwise."""
    figure.savefig(BytesIO(), format="png", dpi=30)


def panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left").startswith(title))


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def curves(axes: Axes) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in axes.get_lines()}  # type: ignore[arg-type]


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def words(axes: Axes) -> list[str]:
    return [text.get_text() for text in axes.texts]


def bars(axes: Axes) -> dict[str, list[float]]:
    return {
        str(container.get_label()): [patch.get_y() + patch.get_height() for patch in container.patches]  # type: ignore[attr-defined]
        for container in axes.containers
    }


def of_all(recalls: Sequence[float]) -> dict[int, list[float]]:
    return {k: [recall_of(recall, k) for recall in recalls] for k in KS}


def test_six_panels_show_losses_recalls_and_a_summary(tmp_path: Path) -> None:
    history = encoder_history(None, 0.5, None, 0.7)
    figure = drawn(tmp_path, history)
    assert titles(figure) == [
        "Total loss",
        "Rank loss",
        "Pair-distance loss",
        "All losses",
        "Recall@k after epoch 4",
        "Performance summary",
    ]
    for title, metric in (
        ("Total loss", "total_loss"),
        ("Rank loss", "rank_loss"),
        ("Pair-distance loss", "pairdist_loss"),
    ):
        axes = panel(figure, title)
        assert axes.get_yscale() == "log"
        assert curves(axes)["training"] == [epoch.metrics[metric] for epoch in history.epochs]
    assert curves(panel(figure, "Total loss"))["held out"] == [
        epoch.metrics["val_total_loss"] for epoch in history.epochs
    ]
    assert set(curves(panel(figure, "All losses"))) == {"total", "rank", "pair-distance", "held-out total"}
    recalls = panel(figure, "Recall@k")
    assert [label.get_text() for label in recalls.get_xticklabels()] == ["1", "5", "10", "50"]
    found = bars(recalls)
    assert list(found) == ["encoder", "PCA", "random projection", "truncation"]
    assert found["encoder"] == pytest.approx([recall_of(0.7, k) for k in KS])
    assert found["PCA"] == pytest.approx([recall_of(0.6, k) for k in KS])
    assert found["truncation"] == pytest.approx([recall_of(0.15, k) for k in KS])
    assert "0.700" in words(recalls)
    assert recalls.get_yscale() == "linear"


def test_the_summary_tells_what_it_came_to(tmp_path: Path) -> None:
    config = {"loss_function": "DPLossV2Norm", "tau": 0.5, "tau_mode": "relative", "hidden_dims": [300, 200]}
    run = make_encoder_run(tmp_path, encoder_history(None, 0.7, None, 0.65), config, duration_s=185.0)
    facts = dict(read_experiment(run, run.history).facts)
    assert (
        facts["loss function"] == "DPLossV2Norm, tau 0.5, tau_mode relative, rank weight 1, pair weight 0.3"
    )
    assert facts["encoder"] == "768 → 256 dimensions, hidden 300, 200"
    first, second = 769 * 300 + 301 * 200, 201 * 256 + 769 * 256
    assert facts["parameters"] == f"{first + second:,}"
    assert facts["best recall@5"] == "0.7000 in epoch 2"
    assert facts[""] == "better than PCA by 0.1000 (0.6000)"
    assert facts["final recall@5"] == "0.6500 in epoch 4"
    assert facts["total loss"] == "lowest 2.6000 in epoch 4, final 2.6000"
    assert facts["held-out total"] == "lowest 2.9500 in epoch 4, final 2.9500"
    assert facts["epochs"] == "4 of 100 in 3 min 5 s"
    assert facts["speed"] == "20,000 vectors per second"
    assert facts["measured on"] == "3,000 queries in a pool of 3,000, by l2"
    written = words(panel(drawn(tmp_path, run.history), "Performance"))
    assert "better than PCA by 0.1000 (0.6000)" in written
    worse = make_encoder_run(tmp_path, encoder_history(0.5), {"loss_function": "DPLossV1"})
    facts = dict(read_experiment(worse, worse.history).facts)
    assert facts[""] == "worse than PCA by 0.1000 (0.6000)"
    assert facts["loss function"] == "DPLossV1, rank weight 1, pair weight 0.3"  # it has no temperature


def test_parameters_are_those_of_the_encoder(tmp_path: Path) -> None:
    from pochi_cli.models.encoder import Encoder

    for hidden, init in (((), "random"), ((30, 20), "pca_residual")):
        run = make_encoder_run(tmp_path, None, {"hidden_dims": list(hidden), "init": init})
        encoder = Encoder(768, hidden, 256, with_projection=init == "pca_residual")
        assert parameter_count(run) == sum(parameter.numel() for parameter in encoder.parameters())
    run.layout.config_toml.write_text("newer = true")
    assert parameter_count(open_run(run.directory)) is None


def test_recalls_over_the_epochs_have_pca_in_the_same_colour(tmp_path: Path) -> None:
    figure = drawn(tmp_path, encoder_history(None, 0.5, None, 0.7), RecallLook(history=True))
    axes = panel(figure, "Recall@k over the epochs")
    for k, values in of_all((0.5, 0.7)).items():
        (line,) = [line for line in axes.get_lines() if line.get_label() == f"k = {k}"]
        assert list(line.get_xdata()) == [2, 4]  # type: ignore[arg-type]
        assert list(line.get_ydata()) == pytest.approx(values)  # type: ignore[arg-type]
        (pca,) = [
            other
            for other in axes.get_lines()
            if other.get_label() == "_pca" and other.get_color() == line.get_color()
        ]
        assert list(pca.get_ydata()) == pytest.approx([recall_of(0.6, k)] * 2)  # type: ignore[arg-type]
    assert legend(axes) == ["k = 1", "k = 5", "k = 10", "k = 50", "PCA"]


@pytest.mark.parametrize("history", [True, False])
def test_the_axis_of_the_recalls_can_be_logarithmic(tmp_path: Path, history: bool) -> None:
    figure = drawn(tmp_path, encoder_history(0.5, 0.0), RecallLook(history=history, log=True))
    axes = panel(figure, "Recall@k")
    assert axes.get_yscale() == "log"
    low, high = axes.get_ylim()
    assert 0 < low < recall_of(0.5, 1)
    assert high > recall_of(0.6, 50)


def test_without_recalls_five_panels_fill_the_figure(tmp_path: Path) -> None:
    figure = drawn(tmp_path, encoder_history(0.5), RecallLook(show=False))
    assert titles(figure)[3:] == ["All losses", "Performance summary"]
    render(figure)
    wide, single = (panel(figure, title).get_position().width for title in ("All losses", "Total loss"))
    assert wide > 1.9 * single


def test_where_nothing_is_held_out_the_panel_says_so(tmp_path: Path) -> None:
    for look in (RecallLook(), RecallLook(history=True)):
        figure = drawn(tmp_path, encoder_history(None, None, held_out=False), look, pca=None)
        assert words(panel(figure, "Recall@k")) == ["no rows are held out to measure it"]
        assert legend(panel(figure, "Total loss")) == ["training"]
    figure = drawn(tmp_path, encoder_history(None, None))
    assert words(panel(figure, "Recall@k")) == ["not measured yet"]


def test_losses_without_a_place_on_the_axis_are_told(tmp_path: Path) -> None:
    usual = encoder_history(0.5, 0.5, 0.5, 0.5)
    odd = [
        replace(usual.embedding[0], rank_loss=0.0, pairdist_loss=0.0, total_loss=math.nan),
        replace(usual.embedding[1], rank_loss=0.0, val_total_loss=math.inf),
        replace(usual.embedding[2], rank_loss=0.0, pairdist_loss=-1.0),
        replace(usual.embedding[3], rank_loss=0.0),
    ]
    figure = drawn(tmp_path, History(tuple(odd)))
    total, rank, pair = (panel(figure, name) for name in ("Total loss", "Rank loss", "Pair-distance"))
    assert rank.get_yscale() == "linear"
    assert curves(rank)["training"] == [0.0] * 4
    assert "linear: no value above 0" in legend(rank)
    assert pair.get_yscale() == "log"
    assert [math.isnan(value) for value in curves(pair)["training"]] == [True, False, True, False]
    assert "0 or below: 2 values at the bottom" in legend(pair)
    assert "not finite: 2 values at the top" in legend(total)
    assert math.isnan(curves(total)["training"][0])


@pytest.mark.parametrize("value", [math.nan, -math.inf, -1.0, 1e308])
def test_any_loss_and_recall_is_drawn(tmp_path: Path, value: float) -> None:
    usual = encoder_history(0.5, 0.6)
    recall = {k: value if abs(value) <= 1 else math.nan for k in KS}
    odd = [
        replace(
            epoch,
            total_loss=value,
            rank_loss=value,
            pairdist_loss=value,
            val_total_loss=value,
            recall=recall,
        )
        for epoch in usual.embedding
    ]
    looks = (RecallLook(), RecallLook(history=True, log=True), RecallLook(log=True))
    for epochs, look in zip((odd[:1], [usual.embedding[0], odd[1]], odd), looks, strict=True):
        render(drawn(tmp_path, History(tuple(epochs)), look))


def test_unknown_recalls_are_told(tmp_path: Path) -> None:
    figure = drawn(tmp_path, encoder_history(0.5, math.nan))
    assert words(panel(figure, "Recall@k")).count("unknown") == len(KS)
    run = make_encoder_run(tmp_path, encoder_history(0.5, math.nan))
    assert dict(read_experiment(run, run.history).facts)["final recall@5"] == "unknown in epoch 2"


@pytest.mark.parametrize(("epochs", "scale"), [(1, 1.0), (2, 1e-12), (40, 1e12), (1000, 1.0)])
def test_lengths_and_scales(tmp_path: Path, epochs: int, scale: float) -> None:
    recalls = [0.5 if epoch % 10 == 0 else None for epoch in range(1, epochs + 1)]
    figure = drawn(tmp_path, encoder_history(*recalls, scale=scale))
    render(figure)
    low, high = panel(figure, "Total loss").get_ylim()
    values = [value for values in curves(panel(figure, "Total loss")).values() for value in values]
    assert low < min(values) <= max(values) < high


@pytest.mark.parametrize("count", [1, 30])
def test_many_numbers_of_neighbours(tmp_path: Path, count: int) -> None:
    ks = tuple(range(1, count + 1))
    for look in (RecallLook(), RecallLook(history=True)):
        render(drawn(tmp_path, encoder_history(0.5, 0.6, ks=ks), look))


def test_text_lies_within_the_picture(tmp_path: Path) -> None:
    config = {
        "loss_function": "DPLossV2Norm",
        "tau_mode": "relative",
        "pair_norm": True,
        "exclude_self": True,
        "hidden_dims": [1024, 1024, 512, 512, 256, 256],
    }
    figure = drawn(tmp_path / "실험 $x$", encoder_history(0.5), config=config)
    figure.draw_without_rendering()
    for axes in figure.axes:
        for text in (*axes.texts, axes.yaxis.label):
            box = text.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1
            assert box.y0 >= 0


def test_one_picture_is_written_and_rates_have_another(tmp_path: Path) -> None:
    run = make_encoder_run(tmp_path / "実験", encoder_history(0.5))
    (path,) = write_metrics_figures(run)
    assert path == run.layout.metrics_figure("experiment")
    assert path.name == "training_metrics_20261120_123005_experiment.png"
    assert path.read_bytes().startswith(b"\x89PNG")
    rated = History(tuple(replace(epoch, layer_rates={"head": 0.1}) for epoch in run.history.embedding))
    run = make_encoder_run(tmp_path, rated)
    names = [path.stem.rpartition("123005_")[2] for path in write_metrics_figures(run, tmp_path / "else")]
    assert names == ["experiment", "layer_wise_lr"]
