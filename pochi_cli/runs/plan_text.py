"""A plan in words."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.values import show
from pochi_cli.runs.plan import Plan, RateGroup
from pochi_cli.sparklines import sparkline


def describe_plan(plan: Plan) -> list[tuple[str, str]]:
    """Describe a plan without its learning rates.

    Returns:
        Pairs of a name and a text, which may have several lines.
    """
    rows = [("model", _model(plan)), ("weights", _weights(plan)), ("train data", plan.train_data)]
    rows.append(("val data", plan.val_data or "none"))
    rows.append(("train transform", _pipeline(plan.train_transform, plan.input_size)))
    if plan.val_transform is not None:
        rows.append(("val transform", _pipeline(plan.val_transform, plan.val_input_size)))
    rows.append(("epoch", _epoch(plan)))
    rows.append(
        ("epochs", f"{plan.epochs:,}" + (f", {_counted(plan.steps.steps, 'step')}" if plan.steps else ""))
    )
    rows.append(("loss", f"cross-entropy, class_weights {_value(plan.class_weights)}"))
    rows += [(key, _value(value)) for key, value in plan.extras.items()]
    rows.append(("optimizer", f"{plan.optimizer}: {_arguments(plan.optimizer_params)}"))
    if plan.scheduler is not None and plan.scheduler_params is not None:
        rows.append(("scheduler", f"{plan.scheduler}: {_arguments(plan.scheduler_params)}"))
    if plan.warmup_epochs:
        rows.append(("warmup", _counted(plan.warmup_epochs, "epoch")))
    rows.append(
        ("device", f"{plan.device}, precision {plan.precision}, channels_last {_value(plan.channels_last)}")
    )
    rows += [("workers", str(plan.num_workers)), ("seed", str(plan.seed)), ("writes", _writes(plan))]
    if plan.search is not None:
        rows.append(("pochi optimize", _search(plan.search)))
    return rows


def describe_rates(plan: Plan, width: int) -> list[tuple[str, str, str, str]]:
    """Describe the learning rate of each group over the epochs.

    Args:
        plan: The plan.
        width: Characters of the sparklines, each scaled to its group's largest rate.

    Returns:
        Name, number of parameters, sparkline, and the first and last rates of each group.
    """
    return [
        (_group(plan, group), _count(group), _course(group, width), _ends(plan, group))
        for group in plan.groups
    ]


def _model(plan: Plan) -> str:
    text = plan.model_name
    if plan.stem is not None:
        text += (
            f" with the {plan.stem} stem" if plan.stem != "auto" else ", the stem as the images' size asks"
        )
    if plan.num_classes is None:
        if plan.backbone_parameters is not None:
            text += f", {plan.backbone_parameters:,} parameters and a head"
        return f"{text}, as many classes as the data have"
    text += f", {plan.num_classes:,} classes"
    if plan.parameters is None:
        return text
    text += f", {plan.parameters:,} parameters"
    return text + (f", {plan.frozen_parameters:,} of them frozen" if plan.frozen_parameters else "")


def _weights(plan: Plan) -> str:
    if plan.weights == "torchvision":
        return "torchvision's, trained on ImageNet"
    return "random at the start" if plan.weights == "random" else plan.weights


def _pipeline(steps: tuple[dict[str, Any], ...], size: tuple[int, int] | None) -> str:
    lines = [f"{step['name']} {_arguments(_beyond_defaults(step))}".rstrip() for step in steps]
    return "\n".join([*lines, f"{size[0]} x {size[1]} px" if size else "size depends on the images"])


def _beyond_defaults(step: dict[str, Any]) -> dict[str, Any]:
    """Keep a step's arguments that differ from their defaults."""
    fields = STEPS[step["name"]].model_fields
    return {
        name: value
        for name, value in step.items()
        if name != "name" and _value(fields[name].default) != _value(value)
    }


def _arguments(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} = {_value(value)}" for name, value in values.items())


def _value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list | tuple):
        if value and isinstance(value[0], dict):
            return ", ".join(str(step["name"]) for step in value)
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dict):
        return _arguments(value)
    return value if isinstance(value, str) else show(value)


def _epoch(plan: Plan) -> str:
    if plan.batch_size == "auto":
        batch = f"batches as large as fit, {plan.images_per_step} images per step"
    else:
        effective = f" x {plan.accumulate_steps} = {plan.images_per_step} per step"
        batch = f"batches of {plan.batch_size}" + (effective if plan.accumulate_steps > 1 else "")
    if plan.steps is None:
        return f"{batch}; how many, --data tells"
    steps = plan.steps
    left_out = f" ({steps.left_out:,} left out)" if steps.left_out else ""
    val = f"; {_counted(steps.val_images, 'image')} to validate" if steps.val_images else ""
    train = f"{_counted(steps.train_images, 'image')}{left_out}"
    return f"{train} in {batch}: {_counted(steps.steps_per_epoch, 'step')}{val}"


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"


def _search(search: dict[str, Any]) -> str:
    aim = "largest validation accuracy" if search["direction"] == "maximize" else "smallest validation loss"
    trials = _counted(search["n_trials"], "trial")
    side_by_side = f", {search['n_jobs']} at a time" if search["n_jobs"] > 1 else ""
    lines = [
        f"{trials} of {_counted(search['optuna_epochs'], 'epoch')}{side_by_side} for the {aim}",
        f"{search['sampler']}, {search['pruner'] if search['pruner'] != 'none' else 'no pruner'}",
    ]
    for name, space in search["search_space"].items():
        if space["type"] == "categorical":
            lines.append(f"{name}: {' | '.join(map(_value, space['choices']))}")
        else:
            scale = ", log" if space["log"] else ""
            step = f" in steps of {_value(space['step'])}" if space.get("step") not in (None, 1) else ""
            lines.append(f"{name}: {_value(space['low'])} to {_value(space['high'])}{step}{scale}")
    return "\n".join(lines)


def _writes(plan: Plan) -> str:
    directory = Path(plan.writes[0]).parent
    by_place: dict[str, list[str]] = {}
    for path in map(Path, plan.writes):
        by_place.setdefault(f"{path.parent}/", []).append(path.name)
    lines = [
        f"{place.removeprefix(f'{directory}/')}: {', '.join(names)}" for place, names in by_place.items()
    ]
    return "\n".join([f"{directory}{lines[0]}", *lines[1:]])


def _group(plan: Plan, group: RateGroup) -> str:
    if group.pattern is not None:
        return group.pattern
    return "the others" if len(plan.groups) > 1 else "all"


def _count(group: RateGroup) -> str:
    return "" if group.parameters is None else f"{group.parameters:,}"


def _ends(plan: Plan, group: RateGroup) -> str:
    lowest, highest = min(group.rates), max(group.rates)
    if lowest == highest:
        return f"{highest:.3g}"
    text = f"{group.rates[0]:.3g} to {group.rates[-1]:.3g}"
    if highest > group.rates[0]:
        text += f", at most {highest:.3g} in epoch {plan.rate_epochs[group.rates.index(highest)]}"
    return text


def _course(group: RateGroup, width: int) -> str:
    highest = max(group.rates)
    return sparkline([rate / highest for rate in group.rates], width)
