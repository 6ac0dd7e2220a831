"""The graphs of the metrics: their data and labels, and that they are drawn whatever the data."""

from __future__ import annotations

import math
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from pochi_cli.errors import RunError, StorageError
from pochi_cli.plots.metrics import (
    draw_accuracy,
    draw_layer_rates,
    draw_loss,
    draw_metrics,
    write_metrics_figures,
)
from pochi_cli.runs.atomic import write_json
from pochi_cli.runs.epochs import ClassificationEpoch
from pochi_cli.runs.history import History
from pochi_cli.runs.index import open_run
from pochi_cli.runs.layout import create_run_directory
from pochi_cli.runs.records import RunFiles
from tests.runs.fake import make_run
from tests.runs.test_records import record

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def history(epochs: int, *, validation: bool = True, bad: float | None = None, layers: int = 0) -> History:
    return History(
        tuple(
            ClassificationEpoch(
                epoch=epoch,
                learning_rate=0.1 / epoch,
                train_loss=bad if bad is not None and epoch % 3 == 1 else 2 / epoch,
                train_accuracy=100 - 50 / epoch,
                val_loss=2.5 / epoch if validation else None,
                val_accuracy=90 - 50 / epoch if validation else None,
                layer_rates={f"layer{n}_$x": 0.1 / (epoch + n) for n in range(layers)},
            )
            for epoch in range(1, epochs + 1)
        )
    )


def render(figure: Figure) -> bytes:
    buffer = BytesIO()
    figure.savefig(buffer, format="png")
    return buffer.getvalue()


def curves(figure: Figure, axes: int = 0) -> dict[str, list[float]]:
    return {str(line.get_label()): list(line.get_ydata()) for line in figure.axes[axes].get_lines()}  # type: ignore[arg-type]


def test_loss_has_both_curves_and_units() -> None:
    figure = draw_loss(history(5))
    drawn = curves(figure)
    assert drawn["training"] == [2 / epoch for epoch in range(1, 6)]
    assert drawn["validation"] == [2.5 / epoch for epoch in range(1, 6)]
    assert figure.axes[0].get_xlabel() == "Epoch"
    assert figure.axes[0].get_ylabel() == "Loss"


def test_accuracy_shows_the_rate_on_a_second_axis_only_when_asked() -> None:
    figure = draw_accuracy(history(5), show_learning_rate=True)
    assert figure.axes[0].get_ylabel() == "Accuracy (%)"
    assert figure.axes[1].get_ylabel() == "Learning rate"
    assert curves(figure, 1)["learning rate"] == [0.1 / epoch for epoch in range(1, 6)]
    assert len(draw_accuracy(history(5), show_learning_rate=False).axes) == 1


@pytest.mark.parametrize("use_log_scale", [True, False])
def test_layer_rates_have_one_curve_per_pattern(use_log_scale: bool) -> None:
    figure = draw_layer_rates(history(4, layers=3), use_log_scale=use_log_scale)
    assert len(figure.axes[0].get_lines()) == 3
    assert figure.axes[0].get_yscale() == ("log" if use_log_scale else "linear")


@pytest.mark.parametrize("epochs", [0, 1, 2, 1000])
@pytest.mark.parametrize(("validation", "bad"), [(True, None), (False, math.nan), (True, math.inf)])
def test_everything_is_drawn(epochs: int, validation: bool, bad: float | None) -> None:
    data = history(epochs, validation=validation, bad=bad)
    assert len(render(draw_loss(data))) > 5_000
    assert len(render(draw_accuracy(data, show_learning_rate=True))) > 5_000


def test_labels_lie_within_the_picture() -> None:
    for figure in (
        draw_loss(history(40)),
        draw_accuracy(history(5), show_learning_rate=True),
        draw_layer_rates(history(3, layers=200), use_log_scale=True),
    ):
        render(figure)
        for axes in figure.axes:
            box = axes.yaxis.label.get_window_extent()
            assert box.x0 >= 0
            assert box.x1 <= figure.bbox.x1


@pytest.mark.parametrize("layers", [0, 1, 12, 13, 200])
def test_many_layers_are_drawn(layers: int) -> None:
    assert len(render(draw_layer_rates(history(3, layers=layers), use_log_scale=True))) > 5_000


def test_figures_go_to_the_run_or_elsewhere(tmp_path: Path) -> None:
    layout = create_run_directory(tmp_path, datetime(2026, 11, 20))
    files = RunFiles(layout, record(layout.directory), export_metrics=True)
    write_json(layout.config_json, {"layer_wise_lr_config": {"graph_config": {"use_log_scale": True}}})
    with pytest.raises(RunError, match="no finished epoch"):
        write_metrics_figures(open_run(layout.directory))
    files.write_history(history(3))
    written = write_metrics_figures(open_run(layout.directory))
    assert [path.name.rpartition("_")[2] for path in written] == ["loss.png", "accuracy.png"]
    files.write_history(history(3, layers=2))
    elsewhere = write_metrics_figures(open_run(layout.directory), tmp_path / "else")
    assert len(elsewhere) == 3
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in elsewhere)
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError):
        write_metrics_figures(open_run(layout.directory), tmp_path / "file" / "below")
    layout.visualization.rename(tmp_path / "outside")
    layout.visualization.symlink_to(tmp_path / "outside")
    with pytest.raises(StorageError, match="is a symbolic link"):
        write_metrics_figures(open_run(layout.directory))


@pytest.mark.parametrize("layers", [0, 2, 40])
def test_all_metrics_of_a_classifier_in_one_picture(tmp_path: Path, layers: int) -> None:
    run = make_run(tmp_path, history(5, layers=layers))
    figure = draw_metrics(run, run.history)
    render(figure)
    shown = [axes.get_title(loc="left") for axes in figure.axes]
    expected = ["Loss", "Accuracy", "Layer-wise learning rates"][: 3 if layers else 2]
    assert [title for title in shown if title] == expected
    assert curves(figure)["training"] == [2 / epoch for epoch in range(1, 6)]
    assert curves(figure, 1)["validation"] == [90 - 50 / epoch for epoch in range(1, 6)]
