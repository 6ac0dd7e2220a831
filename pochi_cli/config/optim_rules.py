"""The rules on optimizer, warmup and arithmetic, which are the same for every task."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.root import TrainingConfig
from pochi_cli.config.rules import Rules
from pochi_cli.errors import Diagnostic, Note

OPTIM_RULES = Rules(TrainingConfig)  # type: ignore[type-abstract]  # nothing is made of it


@OPTIM_RULES.rule("optimizer", "optimizer_params.nesterov", "optimizer_params.momentum")
def _nesterov(config: TrainingConfig) -> Iterator[Diagnostic]:
    params = config.optimizer_params
    if getattr(params, "nesterov", False) and getattr(params, "momentum", 0) == 0:
        yield Diagnostic(
            "conflict",
            "nesterov = true needs a momentum above 0",
            ("optimizer_params", "nesterov"),
            help="set momentum = 0.9, or nesterov = false",
            notes=(Note("momentum is set here", ("optimizer_params", "momentum")),),
        )


@OPTIM_RULES.rule("warmup_epochs", "epochs")
def _warmup(config: TrainingConfig) -> Iterator[Diagnostic]:
    if config.warmup_epochs >= config.epochs:
        yield Diagnostic(
            "conflict",
            f"warmup_epochs is {config.warmup_epochs}, and epochs is {config.epochs}: warmup would never end",
            ("warmup_epochs",),
            help="warm up for fewer epochs than there are",
            notes=(Note("epochs is set here", ("epochs",)),),
        )


@OPTIM_RULES.rule("deterministic", "precision")
def _deterministic(config: TrainingConfig) -> Iterator[Diagnostic]:
    if config.deterministic and config.precision in ("bf16", "fp16"):
        yield Diagnostic(
            "conflict",
            f'precision = "{config.precision}" and deterministic = true are both given',
            ("precision",),
            help="deterministic = true computes in fp32",
            notes=(Note("deterministic is set here", ("deterministic",)),),
        )


@OPTIM_RULES.rule("device", "precision")
def _half_precision_on_cpu(config: TrainingConfig) -> Iterator[Diagnostic]:
    if config.device == "cpu" and config.precision == "fp16":
        yield Diagnostic(
            "conflict",
            'precision = "fp16" needs a GPU, but device is "cpu"',
            ("precision",),
            help='use precision = "bf16", or leave it out',
            notes=(Note("device is set here", ("device",)),),
        )
