"""The rules on the embedding task's own keys."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.doubts import warning
from pochi_cli.config.embedding import DistanceLossConfig
from pochi_cli.config.recalls import is_recall, neighbors_in, recall_name
from pochi_cli.config.root import EmbeddingConfig
from pochi_cli.config.rules import Rules
from pochi_cli.errors import Diagnostic, Note

EMBEDDING_RULES = Rules(EmbeddingConfig)


@EMBEDDING_RULES.rule("loss_function", "lambda_rank", "lambda_pairdist")
def _nothing_to_learn(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    if config.lambda_pairdist > 0:
        return
    if not config.has_soft_ranks:
        yield Diagnostic(
            "conflict",
            f"lambda_pairdist is 0, and the hard ranks of {config.loss_function} have no gradient: nothing "
            "would be learnt",
            ("lambda_pairdist",),
            help='set lambda_pairdist = 0.3, or loss_function = "DPLossV2", whose soft ranks have one',
            notes=(Note("loss_function is set here", ("loss_function",)),),
        )
    elif config.lambda_rank == 0:
        yield Diagnostic(
            "conflict",
            "lambda_rank and lambda_pairdist are both 0: nothing would be learnt",
            ("lambda_pairdist",),
            help="set one of them above 0",
            notes=(Note("lambda_rank is set here", ("lambda_rank",)),),
        )


@EMBEDDING_RULES.rule("loss_function", "tau", "tau_mode")
def _unused_temperature(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    if config.has_soft_ranks:
        return
    for key in ("tau", "tau_mode"):
        if getattr(config, key) != DistanceLossConfig.model_fields[key].default:
            yield warning(
                "unused-key",
                f"{key} is given, but the hard ranks of {config.loss_function} have no temperature",
                (key,),
                'leave it out, or set loss_function = "DPLossV2"',
                Note("loss_function is set here", ("loss_function",)),
                at_key=True,
            )


@EMBEDDING_RULES.rule("k", "recall_ks", "recall_samples", "holdout")
def _enough_samples(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    most = config.measured_ks[-1]
    if config.has_validation and most >= config.recall_samples:
        key = "k" if most == config.k else "recall_ks"
        yield Diagnostic(
            "out-of-range",
            f"recall_samples is {config.recall_samples}, but {key} asks for {most} neighbours among them",
            ("recall_samples",),
            help=f"set recall_samples above {most}, or ask for fewer",
            notes=(Note(f"{key} is set here", (key,)),),
        )


@EMBEDDING_RULES.rule("k", "recall_ks", "early_stopping.monitor")
def _measured_monitor(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    monitor = config.early_stopping.monitor
    if monitor is None or not is_recall(monitor):
        return
    if neighbors_in(monitor) not in config.measured_ks:
        measured = ", ".join(map(recall_name, config.measured_ks))
        yield Diagnostic(
            "unknown-value",
            f'early_stopping.monitor is "{monitor}", which is not measured',
            ("early_stopping", "monitor"),
            help=f"add the number to recall_ks, or watch one of {measured}",
        )


@EMBEDDING_RULES.rule("holdout", "early_stopping.enabled", "early_stopping.monitor")
def _needs_held_out_rows(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    if config.early_stopping.enabled and not config.has_validation:
        yield Diagnostic(
            "conflict",
            "early_stopping.enabled is true, but no rows are held out: "
            f"{config.best_metric} will not be known",
            ("early_stopping", "enabled"),
            help="set holdout above 0, or enabled = false",
            notes=(Note("holdout is set here", ("holdout",)),),
        )


@EMBEDDING_RULES.rule(
    "early_stopping.enabled", "early_stopping.patience", "early_stopping.monitor", "recall_every_epochs"
)
def _short_patience(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    stopping, every = config.early_stopping, config.recall_every_epochs or config.save_interval
    if stopping.enabled and is_recall(config.best_metric) and stopping.patience < every:
        key = "recall_every_epochs" if config.recall_every_epochs else "save_interval"
        yield warning(
            "short-patience",
            f"patience is {stopping.patience}, but {config.best_metric} is measured every {every} epochs: "
            "the first that is no better ends the training",
            ("early_stopping", "patience"),
            f"set recall_every_epochs = 1, or a patience of some times {every}",
            Note(f"{key} is set here", (key,)),
        )


@EMBEDDING_RULES.rule("optuna.search_space", "early_stopping.monitor")
def _comparable_trials(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    search = {} if config.optuna is None else config.optuna.search_space
    by_loss = not is_recall(config.best_metric)
    for name in search:
        if name == "seed":
            reason = "it decides which rows are held out, and trials could not be compared"
        elif by_loss and name in {*DistanceLossConfig.model_fields, "batch_size"} - {"k"}:
            reason = "losses of other kinds do not compare; watch a recall instead"
        else:
            continue
        yield Diagnostic(
            "conflict",
            f"{name} cannot be searched: {reason}",
            ("optuna", "search_space", name),
            at="key",
            help="leave it out"
            if name == "seed"
            else f'set early_stopping.monitor = "{recall_name(config.k)}"',
        )


@EMBEDDING_RULES.rule("optuna.direction", "early_stopping.monitor")
def _direction_of_monitor(config: EmbeddingConfig) -> Iterator[Diagnostic]:
    if config.optuna is None:
        return
    wanted = "maximize" if is_recall(config.best_metric) else "minimize"
    if config.optuna.direction != wanted:
        yield Diagnostic(
            "conflict",
            f'optuna.direction is "{config.optuna.direction}", but trials are compared by '
            f"{config.best_metric}",
            ("optuna", "direction") if "direction" in config.optuna.model_fields_set else ("optuna",),
            at="value" if "direction" in config.optuna.model_fields_set else "key",
            help=f'set direction = "{wanted}", or early_stopping.monitor = '
            + (f'"{recall_name(config.k)}"' if wanted == "minimize" else '"val_total_loss"'),
        )
