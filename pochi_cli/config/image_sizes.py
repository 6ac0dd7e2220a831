"""The rules on the sizes of images, as far as they are known without their files."""

from __future__ import annotations

from collections.abc import Iterator

from pochi_cli.config.catalogue import CATALOGUE, ModelName
from pochi_cli.config.named_datasets import NAMED_DATASETS
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.rules import Rules
from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.nested import Pipeline, final_size
from pochi_cli.config.steps.refusals import find_refusals
from pochi_cli.errors import Diagnostic, Note

SIZE_RULES = Rules(
    ClassificationConfig, needs_all=True
)  # a step that is left out changes what comes after it
TOO_SMALL_HELP = "resize the images before this step, or let it ask for less"


def check_sizes(steps: Pipeline, key: str, size: Size | None = None) -> Iterator[Diagnostic]:
    """Find the steps that cannot take their input.

    Args:
        steps: The pipeline.
        key: Its key.
        size: Height and width of all images, where they are known.
    """
    for refusal in find_refusals(steps, size):
        yield Diagnostic(
            "image-too-small",
            f"{refusal.name} in {key} {refusal.reason}",
            (key, refusal.position),
            help=TOO_SMALL_HELP,
        )


@SIZE_RULES.rule("dataset", "train_transform")
def _train_sizes(config: ClassificationConfig) -> Iterator[Diagnostic]:
    yield from check_sizes(config.train_transform, "train_transform", _image_size(config))


@SIZE_RULES.rule("dataset", "val_transform")
def _val_sizes(config: ClassificationConfig) -> Iterator[Diagnostic]:
    if config.val_transform is not None and config.has_validation:
        yield from check_sizes(config.val_transform, "val_transform", _image_size(config))


@SIZE_RULES.rule("dataset", "model_name", "train_transform", "val_transform")
def _size_of_patches(config: ClassificationConfig) -> Iterator[Diagnostic]:
    """A model with patches has an embedding for each place: one size, known when it is built."""
    image_size = _image_size(config)
    size = final_size(config.train_transform, image_size)
    if size is None or CATALOGUE[config.model_name].patch_size is None:
        return
    model = Note("model_name is set here", ("model_name",))
    if mistake := misfit(config.model_name, size):
        message, remedy = mistake
        yield Diagnostic("conflict", message, ("train_transform",), help=remedy, notes=(model,))
    val_size = final_size(config.val_transform, image_size) if config.val_transform else None
    if config.has_validation and val_size is not None and val_size != size:
        yield Diagnostic(
            "conflict",
            f"val_transform makes images of {_text(val_size)}, train_transform of {_text(size)}: "
            f"{config.model_name} takes one size only",
            ("val_transform",),
            help="end both in the same size",
            notes=(Note("train_transform is set here", ("train_transform",)), model),
        )


def misfit(model_name: ModelName, size: Size) -> tuple[str, str] | None:
    """Say why a model cannot take images of a size, and what to do.

    Args:
        model_name: The model.
        size: Height and width.

    Returns:
        The mistake and its remedy; `None` where the model can take them, or does not work on patches.
    """
    patch_size = CATALOGUE[model_name].patch_size
    height, width = size
    if patch_size is None or (height == width >= patch_size and height % patch_size == 0):
        return None
    below = max(patch_size, max(size) // patch_size * patch_size)
    larger = below + patch_size
    return (
        f"{model_name} cannot take images of {_text(size)} (height x width): it needs square ones "
        f"whose edge is a multiple of its patches' {patch_size} px",
        f"resize or crop them to {below}x{below} or {larger}x{larger}",
    )


def _image_size(config: ClassificationConfig) -> Size | None:
    named = NAMED_DATASETS.get(config.dataset)
    return None if named is None else named.image_size


def _text(size: Size) -> str:
    return f"{size[0]}x{size[1]}"
