"""`pochi plot`: pictures from recorded files, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pochi_cli.commands.options import Overrides, RunName, WorkDir

app = typer.Typer(help="Draw pictures from recorded files.", no_args_is_help=True)

_BesideCsv = Annotated[
    Path | None, typer.Option("--output-dir", help="Default: the directory of the CSV.", show_default=False)
]


@app.callback()
def _group() -> None:
    pass


@app.command("metrics")
def metrics(
    run: RunName = "latest",
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Default: the run's own directory.", show_default=False),
    ] = None,
    work_dir: WorkDir = Path("work_dirs"),
) -> None:
    """Draw loss, accuracy and layer-wise learning rates of a run."""
    from pochi_cli.console import show
    from pochi_cli.plots.metrics import write_metrics_figures
    from pochi_cli.runs.index import find_run

    for path in write_metrics_figures(find_run(run, work_dir), output_dir):
        show(str(path))


@app.command("gradients")
def gradients(
    trace: Annotated[
        str,
        typer.Argument(
            metavar="CSV|RUN", help="A CSV `epoch,<name>,...`, or run directory, name, UUID, or `latest`."
        ),
    ] = "latest",
    output_dir: _BesideCsv = None,
    work_dir: WorkDir = Path("work_dirs"),
) -> None:
    """Draw the ten pictures of a gradient trace: each layer's norm over the epochs."""
    from pochi_cli.console import show
    from pochi_cli.display import counting
    from pochi_cli.plots.gradients import write_gradient_figures
    from pochi_cli.runs.gradient_trace import find_gradient_trace

    found = find_gradient_trace(trace, work_dir)
    with counting("drawing pictures") as progress:
        written = write_gradient_figures(found, output_dir, progress)
    for path in written:
        show(str(path))


@app.command("confusion")
def confusion(
    matrix: Annotated[
        str,
        typer.Argument(
            metavar="CSV|RUN",
            help="A CSV of counts; or run directory, name, UUID, or `latest`: of its newest inference.",
        ),
    ] = "latest",
    overrides: Overrides = None,
    output_dir: _BesideCsv = None,
    work_dir: WorkDir = Path("work_dirs"),
) -> None:
    """Draw a confusion matrix as `confusion_matrix_config` says; --set changes that of a run."""
    from pochi_cli.config.load import load_config
    from pochi_cli.config.recording import ConfusionMatrixConfig
    from pochi_cli.console import note, show
    from pochi_cli.inference.confusion import find_confusion_matrix, read_confusion_matrix
    from pochi_cli.plots.inference import missing_fonts, write_confusion_figure
    from pochi_cli.runs.inference_layout import confusion_figure

    found = find_confusion_matrix(matrix, work_dir)
    if found.run is None and overrides:
        raise typer.BadParameter("goes with a run, whose config it changes", param_hint="--set")
    look = ConfusionMatrixConfig()
    if found.run is not None:
        changed = load_config(found.run.layout.config_toml, overrides or ())
        look = changed.confusion_matrix_config
        if changed != found.run.config.model_copy(update={"confusion_matrix_config": look}):
            raise typer.BadParameter("only confusion_matrix_config is drawn by", param_hint="--set")
    content = read_confusion_matrix(found.path)
    path = confusion_figure(output_dir or found.path.parent)
    write_confusion_figure(content, path, look)
    if advice := missing_fonts(content.class_names, look):
        note(f"warning: {advice}")
    show(str(path))


@app.command("study")
def study(
    source: Annotated[
        Path,
        typer.Argument(
            metavar="DIR|CONFIG",
            help="Directory of a search's results, or a config whose table `optuna` names a storage.",
        ),
    ] = Path("work_dirs/optuna_results"),
    overrides: Overrides = None,
    output_dir: Annotated[
        Path | None,
        typer.Option(
            "--output-dir",
            help="Default: the directory of the results; for a CONFIG the current one.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Draw a search: its trials in their order, what matters, and the parameters two by two.

    Each as PNG and as an interactive page.
    """
    from pochi_cli.console import show
    from pochi_cli.plots.study import write_study_figures
    from pochi_cli.runs.search_layout import SearchLayout
    from pochi_cli.search.records import read_study
    from pochi_cli.web.study import write_study_pages

    if source.suffix == ".toml":
        from pochi_cli.config.load import load_config
        from pochi_cli.search.stored import stored_study

        found = stored_study(load_config(source, overrides or ()))
        target = output_dir or Path()
    elif overrides:
        raise typer.BadParameter("goes with a CONFIG", param_hint="--set")
    else:
        found = read_study(SearchLayout(source))
        target = output_dir or source
    for path in (*write_study_figures(target, found), *write_study_pages(target, found)):
        show(str(path))
