"""The picture of several runs: what it draws and tells, whatever the runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pochi_cli.errors import RunError
from pochi_cli.plots.comparison import draw_comparison, write_comparison_figure
from pochi_cli.plots.experiment import USUAL_LOOK, RecallLook
from pochi_cli.runs.comparison import compare_runs
from pochi_cli.runs.index import Run
from tests.runs.fake import KS, encoder_history, history, make_encoder_run, make_run, recall_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def drawn(runs: Sequence[Run], look: RecallLook = USUAL_LOOK) -> Figure:
    return draw_comparison(compare_runs(runs), look)


def render(figure: Figure) -> None:
    figure.savefig(BytesIO(), format="png", dpi=30)


def panel(figure: Figure, title: str) -> Axes:
    return next(axes for axes in figure.axes if axes.get_title(loc="left") == title)


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in figure.axes]


def legend(axes: Axes) -> list[str]:
    found = axes.get_legend()
    return [] if found is None else [text.get_text() for text in found.get_texts()]


def names(figure: Figure) -> list[str]:
    (found,) = figure.legends
    return [text.get_text() for text in found.get_texts()]


def table(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[-1].texts]


def heights(axes: Axes) -> list[list[float]]:
    return [[patch.get_y() + patch.get_height() for patch in bars.patches] for bars in axes.containers]  # type: ignore[attr-defined]


def encoders(place: Path, recalls: Sequence[float], **changes: Any) -> list[Run]:
    return [
        make_encoder_run(
            place, encoder_history(0.9 * recall, recall), {"learning_rate": 0.001 * at}, **changes
        )
        for at, recall in enumerate(recalls, start=1)
    ]


def test_every_loss_has_a_panel_and_every_run_a_colour(tmp_path: Path) -> None:
    runs = encoders(tmp_path, (0.5, 0.7))
    figure = drawn(runs)
    assert titles(figure) == [
        "Total loss",
        "Rank loss",
        "Pair-distance loss",
        "Held-out total loss",
        "Best recall@k",
        "",
    ]
    for title, metric in (("Total loss", "total_loss"), ("Held-out total loss", "val_total_loss")):
        axes = panel(figure, title)
        assert axes.get_yscale() == "log"
        for line, run in zip(axes.get_lines(), runs, strict=True):
            assert list(line.get_ydata()) == [epoch.metrics[metric] for epoch in run.history.epochs]  # type: ignore[arg-type]
    colors = [line.get_color() for line in panel(figure, "Total loss").get_lines()]
    assert len(set(map(str, colors))) == 2
    assert names(figure) == ["20261120_001: learning_rate 0.001", "20261120_002: learning_rate 0.002"]
    first, second = heights(panel(figure, "Best recall@k"))
    assert first == pytest.approx([recall_of(0.5, k) for k in KS])
    assert second == pytest.approx([recall_of(0.7, k) for k in KS])
    told = table(figure)
    for text in ("768 → 256", "984,320", "2/100", "0.7000", "+0.1000", "1 min 5 s", "20,000"):
        assert text in told
    assert told[-1] == "best: 20261120_002, recall@5 0.7000 in epoch 2, better than PCA by 0.1000"


def references(axes: Axes) -> list[float]:
    lines = (line for line in axes.get_lines() if line.get_label() == "_pca")
    return [float(next(iter(line.get_ydata()))) for line in lines]  # type: ignore[arg-type]


def test_pca_is_one_line_for_all_or_a_mark_for_each(tmp_path: Path) -> None:
    axes = panel(drawn(encoders(tmp_path, (0.5, 0.7))), "Best recall@k")
    assert references(axes) == pytest.approx([recall_of(0.6, k) for k in KS])
    smaller = make_encoder_run(tmp_path, encoder_history(0.4), {"latent_dim": 8}, pca=0.3)
    axes = panel(drawn([*encoders(tmp_path, (0.5,)), smaller]), "Best recall@k")
    expected = [recall_of(pca, k) for pca in (0.6, 0.3) for k in KS]
    assert references(axes) == pytest.approx(expected)
    assert legend(axes) == ["PCA"]


def test_recalls_over_the_epochs_have_a_panel_for_each_k(tmp_path: Path) -> None:
    figure = drawn(encoders(tmp_path, (0.5, 0.7)), RecallLook(history=True))
    assert titles(figure)[4:-1] == ["Recall@1", "Recall@5", "Recall@10", "Recall@50"]
    axes = panel(figure, "Recall@10")
    assert references(axes) == pytest.approx([recall_of(0.6, 10)])
    curves = [list(line.get_ydata()) for line in axes.get_lines() if line.get_label() == "_"]  # type: ignore[arg-type]
    assert curves[1] == pytest.approx([recall_of(0.63, 10), recall_of(0.7, 10)])
    other = make_encoder_run(tmp_path, encoder_history(0.4), {"latent_dim": 8}, pca=0.3)
    figure = drawn([*encoders(tmp_path, (0.5,)), other], RecallLook(history=True, log=True))
    axes = panel(figure, "Recall@10")
    assert axes.get_yscale() == "log"
    assert references(axes) == pytest.approx([recall_of(0.6, 10), recall_of(0.3, 10)])
    many = [make_encoder_run(tmp_path, encoder_history(0.5, ks=tuple(range(1, 41)))) for _ in range(2)]
    shown = [title for title in titles(drawn(many, RecallLook(history=True))) if title.startswith("Recall")]
    assert len(shown) <= 7
    assert "Recall@5" in shown


def test_recalls_can_be_left_out(tmp_path: Path) -> None:
    figure = drawn(encoders(tmp_path, (0.5, 0.7)), RecallLook(show=False))
    assert not any("ecall" in title for title in titles(figure))
    logarithmic = drawn(encoders(tmp_path, (0.5, 0.7)), RecallLook(log=True))
    assert panel(logarithmic, "Best recall@k").get_yscale() == "log"
    blind = [make_encoder_run(tmp_path, encoder_history(None, held_out=False), pca=None) for _ in range(2)]
    figure = drawn(blind)
    assert titles(figure) == ["Total loss", "Rank loss", "Pair-distance loss", ""]
    assert any("no number of neighbours" in text for text in table(figure))
    render(figure)


def test_what_does_not_compare_is_told(tmp_path: Path) -> None:
    one = make_encoder_run(tmp_path, encoder_history(0.5))
    other = make_encoder_run(
        tmp_path, encoder_history(0.6), {"loss_function": "DPLossV1", "tau": 2.0}, settings={"n_pool": 9}
    )
    figure = drawn([one, other])
    assert legend(panel(figure, "Rank loss")) == ["do not compare: other loss_function, tau"]
    assert "do not compare: other n_pool" in legend(panel(figure, "Best recall@k"))
    assert table(figure)[-3:] == [
        "the recalls do not compare: n_pool differs",
        "the losses do not compare: loss_function and tau differ",
        "best: no telling, these recalls do not compare",
    ]
    assert not any(text.get_fontweight() == "bold" for text in figure.axes[-1].texts[11:])


def test_seeds_share_a_colour_and_have_their_mean_drawn(tmp_path: Path) -> None:
    runs = [
        make_encoder_run(tmp_path, encoder_history(value), {"seed": seed, "loss_function": loss})
        for loss, values in (("DPLossV1", (0.5, 0.6)), ("DPLossV2", (0.7, 0.8)))
        for seed, value in enumerate(values)
    ]
    figure = drawn(runs)
    lines = panel(figure, "Total loss").get_lines()
    assert len(lines) == 4
    assert len({str(line.get_color()) for line in lines}) == 2
    axes = panel(figure, "Best recall@k")
    assert [values[1] for values in heights(axes)] == pytest.approx([0.55, 0.75])
    spreads = [list(line.get_ydata()) for line in axes.get_lines() if line.get_label() == "_spread"]  # type: ignore[arg-type]
    deviation = math.sqrt(0.005)
    assert spreads[1] == pytest.approx([0.55 - deviation, 0.55 + deviation])
    assert names(figure) == ["DPLossV1 (2 seeds)", "DPLossV2 (2 seeds)"]
    assert "0.7500 ± 0.0707" in table(figure)
    assert figure.legends[0].get_title().get_text() == "4 runs of 2 configs, seeds apart"


def test_classifiers_have_losses_and_accuracies(tmp_path: Path) -> None:
    runs = [make_run(tmp_path, history(80.0, best), best_value=best, best_epoch=2) for best in (90.0, 95.0)]
    figure = drawn(runs)
    assert titles(figure)[:-1] == [
        "Training loss",
        "Validation loss",
        "Training accuracy (%)",
        "Validation accuracy (%)",
    ]
    assert [list(line.get_ydata()) for line in panel(figure, "Validation accuracy (%)").get_lines()] == [  # type: ignore[arg-type]
        [80.0, 90.0],
        [80.0, 95.0],
    ]
    assert {"resnet18", "95.0000 %", "0.0500"} <= set(table(figure))
    blind = [make_run(tmp_path, history(None, None)) for _ in range(2)]
    figure = drawn(blind)
    assert titles(figure)[:-1] == ["Training loss", "Training accuracy (%)"]
    render(figure)


@pytest.mark.parametrize("count", [1, 2, 12, 20, 60])
def test_few_and_many_runs(tmp_path: Path, count: int) -> None:
    runs = encoders(tmp_path / "실험 $x$", [0.3 + 0.01 * at for at in range(count)])
    figure = drawn(runs)
    figure.draw_without_rendering()
    assert len(names(figure)) <= 12
    assert names(figure)[0].startswith("20261120_001")
    title = figure.legends[0].get_title().get_text()
    assert ("is named here" in title) == (count > 12)
    told = table(figure)
    assert ("and 12 more" in told) == (count == 60)
    assert sum(text.startswith("20261120_") for text in told) == min(count, 48)
    for text in figure.axes[-1].texts:
        box = text.get_window_extent()
        assert 0 <= box.x0 <= box.x1 <= figure.bbox.x1
        assert box.y0 >= 0


def test_directories_of_any_script_are_named_shortly(tmp_path: Path) -> None:
    places = [tmp_path / "실험 모음", tmp_path / "実験"]
    figure = drawn([make_encoder_run(place, encoder_history(0.5)) for place in places])
    assert [name.split("/")[-1] for name in names(figure)] == ["20261120_001", "20261120_001"]
    assert len({name.split("/")[0] for name in names(figure)}) == 2


@pytest.mark.parametrize("value", [math.nan, -1.0])
def test_odd_numbers_are_drawn(tmp_path: Path, value: float) -> None:
    runs = [
        make_encoder_run(tmp_path, encoder_history(0.5, 0.6)),
        make_encoder_run(tmp_path, encoder_history(math.nan, scale=value)),
        make_encoder_run(tmp_path, encoder_history(0.5, scale=1e9)),
        make_encoder_run(tmp_path, encoder_history(None, held_out=False), pca=None),
        make_encoder_run(tmp_path),
    ]
    render(drawn(runs))
    render(drawn(runs, RecallLook(history=True, log=True)))
    render(drawn(runs[1:2]))


def test_without_an_epoch_there_is_nothing_to_draw(tmp_path: Path) -> None:
    comparison = compare_runs([make_encoder_run(tmp_path), make_encoder_run(tmp_path)])
    with pytest.raises(RunError, match="none of the runs has a finished epoch"):
        write_comparison_figure(comparison, tmp_path / "x.png", USUAL_LOOK)
    assert not (tmp_path / "x.png").exists()
