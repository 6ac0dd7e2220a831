"""`pochi plot`: pictures from recorded files, without torch."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pochi_cli.commands.options import Overrides, WorkDir

if TYPE_CHECKING:
    from pochi_cli.plots.experiment import RecallLook
    from pochi_cli.runs.history import History
    from pochi_cli.runs.index import Run

app = typer.Typer(help="Draw pictures from recorded files.", no_args_is_help=True)

_BesideCsv = Annotated[
    Path | None, typer.Option("--output-dir", help="Default: the directory of the CSV.", show_default=False)
]
_Save = Annotated[
    Path | None,
    typer.Option(
        "--save", metavar="FILE.png", help="Draw all in one picture, into this file.", show_default=False
    ),
]
_NoRecall = Annotated[bool, typer.Option("--no-recall", help="Of encoders: leave the recalls out.")]
_RecallHistory = Annotated[
    bool, typer.Option("--recall-history", help="Of encoders: draw the recalls over the epochs.")
]
_LogRecall = Annotated[
    bool, typer.Option("--log-recall", help="Of encoders: make the axis of the recalls logarithmic.")
]


@app.callback()
def _group() -> None:
    pass


@app.command("metrics")
def metrics(
    run: Annotated[
        str | None,
        typer.Argument(help="Run directory, name, UUID, or `latest`, the default.", show_default=False),
    ] = None,
    experiment_id: Annotated[
        str | None,
        typer.Option("--experiment-id", metavar="UUID", help="The same as RUN.", show_default=False),
    ] = None,
    pick: Annotated[bool, typer.Option("--pick", help="List the runs, and ask which.")] = False,
    output_dir: Annotated[
        Path | None,
        typer.Option("--output-dir", help="Default: the run's own directory.", show_default=False),
    ] = None,
    save: _Save = None,
    no_recall: _NoRecall = False,
    recall_history: _RecallHistory = False,
    log_recall: _LogRecall = False,
    work_dir: WorkDir = Path("work_dirs"),
) -> None:
    """Draw what a training came to, epoch by epoch.

    Of a classifier: loss, accuracy and layer-wise learning rates, a picture each; with --save all in one.

    Of an encoder: one picture of its losses, its recalls beside those of PCA and others, and a summary.

    Where rows are held out and no recall was measured yet, that of the latest model is computed.
    """
    if sum(given is not None for given in (run, experiment_id)) + pick > 1:
        raise typer.BadParameter("give one of RUN, --experiment-id and --pick", param_hint="RUN")
    if save is not None and output_dir is not None:
        raise typer.BadParameter("give one of --save and --output-dir", param_hint="--save")
    look = _look(no_recall, recall_history, log_recall)
    target = _target(save)
    from pochi_cli.commands.picking import pick_run
    from pochi_cli.console import show
    from pochi_cli.plots.files import save_figure
    from pochi_cli.plots.metrics import draw_metrics, finished_epochs, write_metrics_figures
    from pochi_cli.runs.index import find_run

    found = pick_run(work_dir) if pick else find_run(run or experiment_id or "latest", work_dir)
    _refuse_recalls(found.record.task, no_recall, recall_history, log_recall)
    history = finished_epochs(found)
    if look.show:
        history = _with_recall(found, history)
    if target is None:
        written = write_metrics_figures(found, output_dir, history=history, look=look)
    else:
        save_figure(draw_metrics(found, history, look), target)
        written = [target]
    for path in written:
        show(str(path))


def _look(no_recall: bool, recall_history: bool, log_recall: bool) -> RecallLook:
    """Take the options on recalls together.

    Raises:
        typer.BadParameter: They contradict each other.
    """
    if no_recall and (recall_history or log_recall):
        other = "--recall-history" if recall_history else "--log-recall"
        raise typer.BadParameter(f"leaves out what {other} is about", param_hint="--no-recall")
    from pochi_cli.plots.experiment import RecallLook

    return RecallLook(show=not no_recall, history=recall_history, log=log_recall)


def _refuse_recalls(task: str, no_recall: bool, recall_history: bool, log_recall: bool) -> None:
    """Refuse options on recalls for runs that have none.

    Raises:
        typer.BadParameter: One is given.
    """
    given = {"--no-recall": no_recall, "--recall-history": recall_history, "--log-recall": log_recall}
    for name, is_given in given.items():
        if is_given and task != "embedding":
            raise typer.BadParameter(
                f"goes with runs of the task embedding; one of {task} has no recall", param_hint=name
            )


def _target(save: Path | None) -> Path | None:
    """Find the file that a picture goes to.

    Raises:
        typer.BadParameter: It is not called as a picture is.
        StorageError: Its links lead nowhere.
    """
    if save is None:
        return None
    if save.suffix.lower() != ".png":
        raise typer.BadParameter(f"{save} does not end in .png, the only format", param_hint="--save")
    from pochi_cli.runs.atomic import followed

    return followed(save)


def _with_recall(run: Run, history: History) -> History:
    """Compute the final recall where rows are held out and none was measured; else import no torch."""
    from pochi_cli.console import note
    from pochi_cli.errors import PochiError
    from pochi_cli.runs.experiment import held_out_rows
    from pochi_cli.runs.history import History

    epochs = history.embedding
    if not epochs or any(epoch.has_recall for epoch in epochs) or not held_out_rows(run.record):
        return history
    from pochi_cli.inference.encoder_evaluation import final_recall

    note("computing the recall of the latest model")
    try:
        last = final_recall(run)
    except PochiError as error:
        note(f"warning: drawn without recall: {error.message}")
        return history
    return History(tuple(last if epoch.epoch == last.epoch else epoch for epoch in epochs))


@app.command("compare")
def compare(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[RUN...]",
            help="Run directories, names, UUIDs, or `latest`. Default: all of the latest run's task that "
            "have a finished epoch.",
            show_default=False,
        ),
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(
            "--save",
            metavar="FILE.png",
            help="Default: comparison.png in the directory that the runs are in.",
            show_default=False,
        ),
    ] = None,
    no_recall: _NoRecall = False,
    recall_history: _RecallHistory = False,
    log_recall: _LogRecall = False,
    work_dir: WorkDir = Path("work_dirs"),
) -> None:
    """Draw runs of one task beside each other: every loss, recalls or accuracies, and a table.

    Runs that differ in their seeds alone share a colour; of them mean and spread are told.
    """
    look = _look(no_recall, recall_history, log_recall)
    target = _target(save)
    from pochi_cli.console import note, show
    from pochi_cli.plots.comparison import write_comparison_figure
    from pochi_cli.runs.candidates import choose_runs
    from pochi_cli.runs.comparison import compare_runs
    from pochi_cli.runs.layout import comparison_figure

    chosen, notes = choose_runs(runs or (), work_dir)
    for text in notes:
        note(text)
    comparison = compare_runs(chosen)
    _refuse_recalls(comparison.task, no_recall, recall_history, log_recall)
    places = {run.directory.parent for run in chosen}
    path = target or comparison_figure(places.pop() if len(places) == 1 else work_dir)
    write_comparison_figure(comparison, path, look)
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
    from pochi_cli.config.root import ClassificationConfig
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
        assert isinstance(changed, ClassificationConfig)  # only such a run has a matrix
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
