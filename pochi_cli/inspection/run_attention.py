"""The attention of a trained model to images, and what is important in them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from pochi_cli.data.datasets import ImageDataset
from pochi_cli.engine.examples import load_examples, spread
from pochi_cli.engine.memory import explaining_batches
from pochi_cli.engine.runtime import configured, random_state, restore_random_state
from pochi_cli.errors import DataError, ModelError
from pochi_cli.inference.images import validation_images
from pochi_cli.inference.model import LoadedModel
from pochi_cli.inference.predict import prepare_image, require_size
from pochi_cli.inspection.attended import attended_input
from pochi_cli.inspection.attention import AttentionMaps, NoAttentionError, capture_attention
from pochi_cli.inspection.attention_record import AttendedInput, SaliencyMap
from pochi_cli.inspection.attention_report import AttentionReport, SeenImage, survey_heads
from pochi_cli.inspection.attention_text import prediction_text
from pochi_cli.inspection.class_activation import NoFeatureMapError, class_activation_maps
from pochi_cli.inspection.faithfulness import images_asked_about, measure_faithfulness
from pochi_cli.inspection.rollout import attention_maps

GRAD_CAM = "Grad-CAM"
LAYER_CAM = "LayerCAM"

_EXAMPLES = 4
"""Validation images that are looked at where none are named."""

Tell = Callable[[int, int], None]


def inspect_attention(
    loaded: LoadedModel,
    images: Sequence[str | Path] = (),
    shown: str | None = None,
    layer: str | None = None,
    head: int | None = None,
    tell: Tell = lambda *_: None,
) -> AttentionReport:
    """Look at a model's attention to images; for one without attention, at where it finds its classes.

    Each map is held against random ones: whether the model needs what the map calls important.

    Args:
        loaded: The model.
        images: Files; by default some of the validation images.
        shown: The class that maps are of; by default the predicted one of each image.
        layer: The layer that is shown, by its name, or one that attends by its number, from 1; maps are of
            it, or of the layers up to it. By default the last, or that which Grad-CAM takes.
        head: The head that is shown, from 1; by default the mean of all.
        tell: Told how many images the model was asked about, and of how many.

    Raises:
        DataError: An image cannot be used, or there is none.
        ModelError: The model has no such class or layer, or gives no finite numbers.
        MemoryExhaustedError: The device has too little memory.
    """
    if shown is not None and shown not in loaded.class_names:
        raise ModelError(f"there is no class {shown}", f"the classes are {', '.join(loaded.class_names)}")
    before = random_state()
    try:
        with (
            configured(loaded.config, loaded.runtime),
            explaining_batches(loaded.runtime.device, loaded.config.images_per_batch),
        ):
            return _inspect(loaded, images, shown, layer, head, tell)
    finally:
        restore_random_state(before)


def _inspect(
    loaded: LoadedModel,
    images: Sequence[str | Path],
    shown: str | None,
    layer: str | None,
    head: int | None,
    tell: Tell,
) -> AttentionReport:
    names, pixels = _named_images(loaded, images) if images else _examples(loaded)
    height, width = pixels.shape[-2:]
    require_size(loaded, (height, width))
    runtime = loaded.runtime
    batch = pixels.to(runtime.device, memory_format=runtime.memory_format)
    probabilities = _probabilities(loaded, batch)
    if not bool(probabilities.isfinite().all()):
        raise ModelError(
            f"{loaded.checkpoint} gives no finite numbers for these images",
            "the training may have diverged: see pochi inspect model, or use another checkpoint",
        )
    guesses = probabilities.argmax(1)
    wanted = guesses if shown is None else torch.full_like(guesses, loaded.class_names.index(shown))
    attention = _attention(loaded, batch)
    chosen = None if attention is None else _choose(loaded, attention, layer)
    _require_head(loaded, attention, chosen, head)
    seen = []
    for at, picture in enumerate(loaded.transform.pictures(pixels)):
        predicted, probability = loaded.class_names[int(guesses[at])], float(probabilities[at, guesses[at]])
        told = loaded.class_names[int(wanted[at])]
        text = prediction_text(predicted, probability, told)
        one = (
            AttendedInput(names[at], (), picture, text)
            if attention is None
            else attended_input(attention, at, names[at], image=picture, prediction=text)
        )
        maps = [] if chosen is None else attention_maps(one.layers[: chosen + 1])
        seen.append(SeenImage(names[at], predicted, probability, told, one, tuple(maps)))
    if not any(one.maps for one in seen):
        named = layer if _is_for_class_activation(loaded, attention, layer) else None
        seen = _with_class_activation(loaded, batch, wanted, seen, named)
    seen = _checked(loaded, batch, wanted, seen, tell)
    return AttentionReport(
        model=str(loaded.checkpoint) if loaded.run is None else loaded.run.layout.name,
        model_name=loaded.config.model_name,
        checkpoint=loaded.checkpoint,
        device=str(runtime.device),
        layers=survey_heads([one.attended for one in seen]),
        images=tuple(seen),
        chosen_layer=chosen,
        chosen_head=None if head is None else head - 1,
        asked_class=shown,
        messages=loaded.messages,
    )


def _attention(loaded: LoadedModel, batch: Tensor) -> AttentionMaps | None:
    try:
        with loaded.runtime.autocast():
            return capture_attention(loaded.model, batch)
    except NoAttentionError:
        return None


def _choose(loaded: LoadedModel, attention: AttentionMaps, layer: str | None) -> int:
    """Find the position of a layer by its name or its number."""
    names = list(attention.weights)
    if layer is None or _is_for_class_activation(loaded, attention, layer):
        return len(names) - 1
    if layer in names:
        return names.index(layer)
    if layer.isdecimal() and 1 <= int(layer) <= len(names):
        return int(layer) - 1
    raise ModelError(
        f"no layer {layer} attends", f"give a number from 1 to {len(names)}, or a name such as {names[-1]}"
    )


def _is_for_class_activation(loaded: LoadedModel, attention: AttentionMaps | None, layer: str | None) -> bool:
    """Tell whether a layer that was asked for is one whose map Grad-CAM can show."""
    if layer is None or attention is None:
        return layer is not None
    modules = {name for name, _ in loaded.model.named_modules()}
    return bool(attention.windows) and layer not in attention.weights and layer in modules


def _require_head(
    loaded: LoadedModel, attention: AttentionMaps | None, chosen: int | None, head: int | None
) -> None:
    if head is None:
        return
    if attention is None or chosen is None:
        raise ModelError(f"{loaded.config.model_name} has no attention, so no head", "leave --head out")
    name, weights = list(attention.weights.items())[chosen]
    if not 1 <= head <= weights.shape[1]:
        raise ModelError(f"{name} has no head {head}", f"its heads are 1 to {weights.shape[1]}")


def _with_class_activation(
    loaded: LoadedModel, batch: Tensor, wanted: Tensor, seen: list[SeenImage], layer: str | None
) -> list[SeenImage]:
    """Add Grad-CAM and LayerCAM, where attention gives no map of the whole image."""
    try:
        with loaded.runtime.autocast():
            found = class_activation_maps(loaded.model, batch, wanted, layer)
    except NoFeatureMapError:
        if layer is None and seen[0].attended.layers:
            return seen
        raise
    methods = {GRAD_CAM: found.grad_cam, LAYER_CAM: found.layer_cam}
    return [
        replace(
            one,
            maps=tuple(
                SaliencyMap(method, found.layer, maps[at].double().cpu().numpy())
                for method, maps in methods.items()
            ),
        )
        for at, one in enumerate(seen)
    ]


def _checked(
    loaded: LoadedModel, batch: Tensor, wanted: Tensor, seen: list[SeenImage], tell: Tell
) -> list[SeenImage]:
    """Hold each map against random ones."""
    total = sum(images_asked_about(len(one.maps)) for one in seen if one.maps)
    done = 0

    def count(images: int) -> None:
        nonlocal done
        done += images
        tell(done, total)

    checked = []
    for at, one in enumerate(seen):
        if not one.maps:
            checked.append(one)
            continue
        measured = measure_faithfulness(
            _probability_of(loaded, int(wanted[at])),
            batch[at],
            [each.values for each in one.maps],
            loaded.config.seed,
            loaded.config.images_per_batch,
            count,
        )
        maps = (
            replace(each, faithfulness=faithfulness)
            for each, faithfulness in zip(one.maps, measured, strict=True)
        )
        checked.append(replace(one, maps=tuple(maps)))
    return checked


def _probability_of(loaded: LoadedModel, target: int) -> Callable[[Tensor], Tensor]:
    return lambda images: _probabilities(loaded, images)[:, target]


@torch.inference_mode()
def _probabilities(loaded: LoadedModel, images: Tensor) -> Tensor:
    with loaded.runtime.autocast():
        logits: Tensor = loaded.model(images)
    return logits.float().softmax(1)


def _named_images(loaded: LoadedModel, images: Iterable[str | Path]) -> tuple[list[str], Tensor]:
    names = [str(image) for image in images]
    tensors = [prepare_image(loaded, name, at) for at, name in enumerate(names)]
    other = next((at for at, tensor in enumerate(tensors) if tensor.shape != tensors[0].shape), None)
    if other is not None:
        sizes = " and ".join(f"{t.shape[1]} x {t.shape[2]}" for t in (tensors[0], tensors[other]))
        raise DataError(
            f"the transform gives {names[0]} and {names[other]} different sizes (height x width): {sizes}",
            "look at images of one size together",
        )
    return [Path(name).name for name in names], torch.stack(tensors)


def _examples(loaded: LoadedModel) -> tuple[list[str], Tensor]:
    record = None if loaded.run is None else loaded.run.record
    source = validation_images(loaded.config, loaded.class_names, record)
    index = source.index
    dataset = ImageDataset(index, loaded.transform, loaded.config.seed)
    samples = load_examples(dataset, spread(len(index), _EXAMPLES))
    if not samples:
        raise DataError(f"none of the first images of {source.name} can be used", "name images: --image FILE")
    return [index.file(one.index).name for one in samples], torch.stack([one.image for one in samples])
