"""A plan in words."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.values import show
from pochi_cli.runs.plan import ImagePlan, Plan, RateGroup, VectorPlan
from pochi_cli.sparklines import sparkline


def describe_plan(plan: Plan) -> list[tuple[str, str]]:
    """Describe a plan without its learning rates.

    Returns:
        Pairs of a name and a text, which may have several lines.
    """
    match plan:
        case ImagePlan():
            rows = list(_image_rows(plan))
        case VectorPlan():
            rows = list(_vector_rows(plan))
        case _:
            raise AssertionError(plan)
    rows += [(key, _value(value)) for key, value in plan.extras.items()]
    rows.append(("optimizer", f"{plan.optimizer}: {_arguments(plan.optimizer_params)}"))
    if plan.scheduler is not None and plan.scheduler_params is not None:
        rows.append(("scheduler", f"{plan.scheduler}: {_arguments(plan.scheduler_params)}"))
    if plan.warmup_epochs:
        rows.append(("warmup", _counted(plan.warmup_epochs, "epoch")))
    layout = f", channels_last {_value(plan.channels_last)}" if isinstance(plan, ImagePlan) else ""
    rows.append(("device", f"{plan.device}, precision {plan.precision}{layout}"))
    rows += [("workers", str(plan.num_workers))] if isinstance(plan, ImagePlan) else []
    rows += [("seed", str(plan.seed)), ("writes", _writes(plan))]
    if plan.search is not None:
        rows.append(("pochi optimize", _search(plan, plan.search)))
    return rows


def _image_rows(plan: ImagePlan) -> Iterator[tuple[str, str]]:
    yield from (("model", _model(plan)), ("weights", _weights(plan)), ("train data", plan.train_data))
    yield "val data", plan.val_data or "none"
    yield "train transform", _pipeline(plan.train_transform, plan.input_size)
    if plan.val_transform is not None:
        yield "val transform", _pipeline(plan.val_transform, plan.val_input_size)
    yield "epoch", _epoch(plan)
    yield "epochs", _epochs(plan)
    yield "loss", f"cross-entropy, class_weights {_value(plan.class_weights)}"


def _vector_rows(plan: VectorPlan) -> Iterator[tuple[str, str]]:
    dim = "the vectors' dimensions" if plan.dim is None else f"{plan.dim:,} dimensions"
    hidden = "".join(f" > {width:,}" for width in plan.hidden_dims)
    count = "" if plan.parameters is None else f"; {plan.parameters:,} parameters"
    if plan.frozen_parameters:
        count += f", {plan.frozen_parameters:,} of them frozen"
    yield "encoder", f"{dim}{hidden} > {plan.latent_dim:,}{count}"
    starts = "as the principal components, plus the layers" if plan.init == "pca_residual" else "at random"
    yield "start", starts
    yield "vectors", plan.train_vectors
    yield "held out", f"{100 * plan.holdout:g} % of the rows" if plan.holdout else "nothing"
    batch = f"batches of {plan.batch_size}"
    if plan.steps is None:
        yield "epoch", f"{batch}; how many, --data tells"
    else:
        held = f"; {_counted(plan.steps.val_images, 'vector')} held out" if plan.steps.val_images else ""
        steps = _counted(plan.steps.steps_per_epoch, "step")
        yield "epoch", f"{_counted(plan.steps.train_images, 'vector')} in {batch}: {steps}{held}"
    yield "epochs", _epochs(plan)
    arguments = {key: value for key, value in plan.loss.items() if key != "loss_function"}
    yield "loss", f"{plan.loss['loss_function']} {_arguments(arguments)}".rstrip()
    if plan.holdout:
        ks = ", ".join(map(str, plan.recall_ks))
        yield "recall", f"at {ks} by {plan.metric}, every {_counted(plan.recall_every_epochs, 'epoch')}"


def _epochs(plan: Plan) -> str:
    return f"{plan.epochs:,}" + (f", {_counted(plan.steps.steps, 'step')}" if plan.steps else "")


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


def _model(plan: ImagePlan) -> str:
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


def _weights(plan: ImagePlan) -> str:
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


def _epoch(plan: ImagePlan) -> str:
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


def _search(plan: Plan, search: dict[str, Any]) -> str:
    aim = "largest validation accuracy" if search["direction"] == "maximize" else "smallest validation loss"
    if not isinstance(plan, ImagePlan):
        aim = "largest recall" if search["direction"] == "maximize" else "smallest held-out loss"
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
