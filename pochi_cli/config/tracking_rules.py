"""The rules on gradient tracing, on the training monitor and on TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.patterns import PatternError, check_pattern, finds, matches
from pochi_cli.config.recording import GradientTrackingConfig, MonitorConfig, TensorBoardConfig
from pochi_cli.config.root import TrainingConfig
from pochi_cli.config.rules import Rules
from pochi_cli.errors import Diagnostic, Note

TRACKING_RULES = Rules(TrainingConfig)  # type: ignore[type-abstract]  # nothing is made of it

_KEY = ("gradient_tracking_config", "exclude_patterns")


@TRACKING_RULES.rule("model_name", "hidden_dims", "freeze", "gradient_tracking_config.exclude_patterns")
def _excluded(config: TrainingConfig) -> Iterator[Diagnostic]:
    names = config.parameter_names
    is_sound = True
    for position, pattern in enumerate(config.gradient_tracking_config.exclude_patterns):
        try:
            check_pattern(pattern, names, finds)
        except PatternError as error:
            is_sound = False
            yield Diagnostic(
                "wrong-type",
                f"the pattern `{pattern}` of exclude_patterns {error}",
                (*_KEY, position),
                help=r"a part of a name such as `\\.bias` is a pattern, too",
            )
    try:
        for pattern in config.freeze:
            check_pattern(pattern, names)
    except PatternError:  # told by the rule on `freeze`
        return
    trained = [name for name in names if not any(matches(pattern, name) for pattern in config.freeze)]
    if not (is_sound and config.enable_gradient_tracking and trained):
        return
    if not any(all(not finds(pattern, name) for pattern in config.untraced) for name in trained):
        yield Diagnostic(
            "conflict",
            f"exclude_patterns leave out every trained parameter of {config.network}: nothing is recorded",
            _KEY,
            help="leave out fewer; with exclude_patterns = [] every trained parameter is recorded",
            notes=(Note(f"{config.model_key} is set here", (config.model_key,)),),
        )


@TRACKING_RULES.rule("enable_gradient_tracking", "gradient_tracking_config")
def _unused(config: TrainingConfig) -> Iterator[Diagnostic]:
    given = config.gradient_tracking_config != GradientTrackingConfig()  # a resolved config has all defaults
    if given and not config.enable_gradient_tracking:
        yield Diagnostic(
            "unused-key",
            "gradient_tracking_config is given, but enable_gradient_tracking is false: nothing is recorded",
            ("gradient_tracking_config",),
            severity="warning",
            at="key",
            help="set enable_gradient_tracking = true at the top level, or leave the table out",
        )


@TRACKING_RULES.rule("monitor.enabled", "monitor.update_ratio_every")
def _unmonitored(config: TrainingConfig) -> Iterator[Diagnostic]:
    monitor = config.monitor
    if not monitor.enabled and monitor != MonitorConfig():
        yield Diagnostic(
            "unused-key",
            "update_ratio_every is given, but the monitor is not enabled: nothing is recorded",
            ("monitor", "update_ratio_every"),
            severity="warning",
            at="key",
            help="set enabled = true in the table, or leave the table out",
        )


@TRACKING_RULES.rule("enable_tensorboard", "tensorboard.histogram_every_epochs")
def _unwritten(config: TrainingConfig) -> Iterator[Diagnostic]:
    if config.tensorboard != TensorBoardConfig() and not config.enable_tensorboard:
        yield Diagnostic(
            "unused-key",
            "tensorboard is given, but enable_tensorboard is false: nothing is written for it",
            ("tensorboard",),
            severity="warning",
            at="key",
            help="set enable_tensorboard = true at the top level, or leave the table out",
        )
