"""Build torchvision pipelines from the config's steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import takewhile
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812 - the customary name

from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.color import Grayscale
from pochi_cli.config.steps.geometry import RandomHorizontalFlip, RandomVerticalFlip
from pochi_cli.config.steps.nested import AnyStep, Pipeline, RandomApply, RandomChoice, RandomOrder
from pochi_cli.config.steps.sizes import CenterCrop, Letterbox, Pad, RandomCrop, RandomResizedCrop, Resize
from pochi_cli.config.steps.tensors import Normalize, ToTensor
from pochi_cli.errors import DataError

Triple = tuple[float, float, float]
ImageLike = Image.Image | torch.Tensor
"""An image, or its pixels: uint8 (3, height, width), or floating point behind ToTensor."""
Transform = Callable[[Any], Any]
"""A torchvision transform, or one of ours."""

Form = Literal["image", "pixels", "either"]
"""What a step works on: Pillow's images, uint8 tensors, or whichever it is given."""


class StepError(Exception):
    """A step cannot take an image."""


class BuiltStep(NamedTuple):
    """A step of a pipeline.

    Attributes:
        name: As in the config.
        transform: What does it.
        form: What it works on.
        is_random: Whether its result is drawn anew each time.
    """

    name: str
    transform: Transform
    form: Form
    is_random: bool

    def __call__(self, image: ImageLike) -> ImageLike:
        """Apply it.

        Raises:
            StepError: It cannot take the image, mostly because that is too small.
        """
        if self.form == "pixels":
            image = to_pixels(image)
        elif self.form == "image" and isinstance(image, torch.Tensor):
            image = F.to_pil_image(image)
        try:
            result: ImageLike = self.transform(image)
        except (ValueError, RuntimeError, IndexError) as error:  # whichever the library raises
            raise StepError(f"{self.name}: {error}") from error
        return result


def to_pixels(image: ImageLike) -> torch.Tensor:
    """Turn an RGB image into uint8 (3, height, width), the channels innermost in memory; a tensor stays.

    torch resizes pixels that lie so several times as fast as others, and as Pillow.
    """
    if isinstance(image, torch.Tensor):
        return image
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def fixed_steps(steps: Pipeline) -> Pipeline:
    """Take the leading steps on images that are the same each time; what they give can be kept."""
    return steps[: _count_fixed(steps)]


def is_finished_in_batches(steps: Sequence[BuiltStep] | Pipeline) -> bool:
    """Tell whether images stay uint8 until they are batches: only what treats all alike can wait for that."""
    names = [step.name for step in steps]
    return all(name == "Normalize" for name in names[names.index("ToTensor") + 1 :])


def _count_fixed(steps: Sequence[BuiltStep] | Pipeline) -> int:
    return len(list(takewhile(lambda step: not step.is_random and step.name != "ToTensor", steps)))


class ImagePipeline:
    """A built pipeline; it can be pickled.

    It has three parts, one after the other: what is the same each time and can be kept (`prepare`), the
    rest that is done image by image (`vary`), and what is done with whole batches (`finish`).

    Args:
        steps: All of them, in their order.

    Attributes:
        steps: The same.
        varied: Those that `vary` applies.
        is_random: Whether two passes over the same image may differ.
    """

    def __init__(self, steps: Sequence[BuiltStep]) -> None:
        self.steps = tuple(steps)
        self.is_random = any(step.is_random for step in steps)
        to_tensor = next(i for i, step in enumerate(steps) if step.name == "ToTensor")
        fixed = _count_fixed(steps)
        last = to_tensor if is_finished_in_batches(steps) else len(steps)
        self._fixed = self.steps[:fixed]
        self.varied = self.steps[fixed:last]
        self._finishing = self.steps[last:]

    @property
    def prepares(self) -> bool:
        """Whether there is anything that `prepare` does."""
        return bool(self._fixed)

    @property
    def finishes_batches(self) -> bool:
        """Whether there is anything left for `finish`."""
        return bool(self._finishing)

    def prepare(self, image: ImageLike) -> ImageLike:
        """Apply the leading steps that are the same each time to an RGB image.

        Raises:
            StepError: A step cannot take the image.
        """
        for step in self._fixed:
            image = step(image)
        return image

    def vary(self, image: ImageLike) -> torch.Tensor:
        """Apply the steps behind to what `prepare` gave.

        Returns:
            (3, height, width), uint8, or float32 where there is nothing left to `finish`.

        Raises:
            StepError: A step cannot take the image.
        """
        for step in self.varied:
            image = step(image)
        return to_pixels(image)

    def finish(self, images: torch.Tensor) -> torch.Tensor:
        """Turn what `vary` gave, (..., 3, height, width) on any device, into float32 of the same layout."""
        for step in self._finishing:
            images = step.transform(images)
        return images

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn an RGB image into a contiguous float32 tensor (3, height, width).

        Raises:
            StepError: A step cannot take the image.
        """
        return self.finish(self.vary(self.prepare(image))).contiguous()

    def pictures(self, images: torch.Tensor) -> NDArray[np.uint8]:
        """Turn what the pipeline gives back into pictures, its last Normalize undone.

        Args:
            images: float (N, 3, height, width), on any device.

        Returns:
            uint8 (N, height, width, 3); what is darker than black or lighter than white is cut off.
        """
        values = images.detach().float().cpu()
        for step in self.steps[::-1]:
            done = step.transform
            if isinstance(done, v2.Normalize):
                mean, std = (torch.tensor(of)[:, None, None] for of in (done.mean, done.std))
                values = values * std + mean
                break
        pixels: NDArray[np.uint8] = (values.clamp(0, 1) * 255).round().byte().permute(0, 2, 3, 1).numpy()
        return pixels


class LetterboxTransform(nn.Module):
    """Fit the whole image into the size, keeping its aspect ratio, centred on a plain background.

    Args:
        size: Height and width of the result.
        interpolation: How values between pixels are found.
        fill: Background: 0 to 255 for images, 0 to 1 for float tensors.
    """

    def __init__(self, size: Size, interpolation: v2.InterpolationMode, fill: float) -> None:
        super().__init__()
        self.size = size
        self.interpolation = interpolation
        self.fill = fill

    def forward(self, image: ImageLike) -> ImageLike:
        """Resize and pad an image, or a tensor (..., height, width); an odd rest goes right and below."""
        height, width = F.get_size(image)
        scale = min(self.size[0] / height, self.size[1] / width)
        fitted = [max(1, round(height * scale)), max(1, round(width * scale))]
        image = F.resize(image, fitted, interpolation=self.interpolation, antialias=True)
        below, right = self.size[0] - fitted[0], self.size[1] - fitted[1]
        padding = [right // 2, below // 2, right - right // 2, below - below // 2]
        padded: ImageLike = F.pad(image, padding, fill=self.fill)
        return padded


class NormalizeTransform(v2.Normalize):  # type: ignore[misc]
    """Torchvision's Normalize, whose numbers stay on the device.

    Its own copies them there for each batch, for which a GPU has to be done with all its work.

    Args:
        mean, std: Of each channel.
    """

    def __init__(self, mean: Triple, std: Triple) -> None:
        super().__init__(list(mean), list(std))

    def transform(self, inpt: Any, params: dict[str, Any]) -> Any:  # noqa: ARG002
        """Subtract the mean of each channel, and divide by the standard deviation."""
        mean, std = (_on_device(tuple(of), inpt.dtype, inpt.device) for of in (self.mean, self.std))
        return F.normalize(inpt, mean, std)


@lru_cache(maxsize=64)
def _on_device(values: tuple[float, ...], dtype: torch.dtype, device: torch.device) -> torch.Tensor:
    with torch.inference_mode(False):  # a step that needs a gradient may come later
        return torch.tensor(values, dtype=dtype, device=device)


def build_pipeline(steps: Sequence[AnyStep], mean: Triple, std: Triple) -> ImagePipeline:
    """Build a pipeline.

    Pixel values in the steps (`fill`, `threshold`) count from 0 to 255 wherever the step stands: behind
    ToTensor they are divided by 255.

    Args:
        steps: The typed steps; ToTensor must be one of them, not nested.
        mean: Channel means for Normalize steps that give none.
        std: Channel standard deviations, likewise.

    Raises:
        DataError: If ToTensor is missing, or nested in another step.
    """
    builder = _Builder(mean, std)
    built = [builder.build(step) for step in steps]
    if not builder.on_tensors:
        raise DataError("the transform has no ToTensor step", 'add { name = "ToTensor" } before Normalize')
    return ImagePipeline(built)


class _Builder:
    """Builds steps in their order; knows whether ToTensor has passed."""

    def __init__(self, mean: Triple, std: Triple) -> None:
        self.mean = mean
        self.std = std
        self.on_tensors = False

    def build(self, step: AnyStep) -> BuiltStep:
        is_behind = self.on_tensors or isinstance(step, ToTensor)
        form = "either" if is_behind else _form(step)
        return BuiltStep(step.name, self._transform(step, on_pixels=form == "pixels"), form, step.is_random)

    def _transform(self, step: AnyStep, *, on_pixels: bool) -> Transform:
        transform: Transform
        match step:
            case ToTensor():
                self.on_tensors = True
                to_float = v2.ToDtype(torch.float32, scale=True)
                transform = v2.Compose([v2.ToImage(), to_float, v2.ToPureTensor()])
            case Normalize():
                transform = NormalizeTransform(step.mean or self.mean, step.std or self.std)
            case Grayscale():
                transform = v2.Grayscale(num_output_channels=3)
            case Letterbox():
                size = (step.size, step.size) if isinstance(step.size, int) else step.size
                transform = LetterboxTransform(size, **self._arguments(step, leave_out={"size"}))
            case RandomApply() | RandomChoice() | RandomOrder():
                nested = [self._build_nested(inner) for inner in step.transforms]
                transform = self._by_name(step, on_pixels=True, transforms=nested)
            case _:
                transform = self._by_name(step, on_pixels=on_pixels)
        return transform

    def _build_nested(self, step: AnyStep) -> Transform:
        if isinstance(step, ToTensor):
            raise DataError("ToTensor must be a step of its own, not one of a Random... step")
        return self._transform(step, on_pixels=self.on_tensors)

    def _by_name(self, step: AnyStep, *, on_pixels: bool, **given: Any) -> Transform:
        transform: Transform = getattr(v2, step.name)(**given, **self._arguments(step, leave_out=set(given)))
        if getattr(step, "antialias", True) or on_pixels:
            return transform
        # Pillow always smooths when it shrinks; on tensors it can be left out.
        unsmoothed: Transform = v2.Compose([v2.ToImage(), transform])
        return unsmoothed

    def _arguments(self, step: AnyStep, leave_out: set[str]) -> dict[str, Any]:
        names = type(step).model_fields.keys() - leave_out - {"name"}
        return {name: self._argument(name, getattr(step, name)) for name in sorted(names)}

    def _argument(self, name: str, value: Any) -> Any:
        if name == "interpolation":
            return v2.InterpolationMode(value)
        if name == "policy":
            return v2.AutoAugmentPolicy(value)
        if name in ("fill", "threshold") and self.on_tensors:
            return value / 255
        return value


def _form(step: AnyStep) -> Form:
    """Decide what a step before ToTensor works on.

    torch resizes smoothly several times as fast as Pillow, to the same values but for 1 of 255 in a few of a
    hundred. That is right where the part is drawn at random. Resize and Letterbox are Pillow's, which
    whoever uses an exported model has as well; what they give is kept. Pillow is also the faster at colours
    and rotations. Cutting and mirroring are the same for both.
    """
    match step:
        case RandomResizedCrop():
            return "image" if step.antialias and step.interpolation == "nearest" else "pixels"
        case Resize():
            return "image" if step.antialias else "pixels"
        case CenterCrop() | RandomHorizontalFlip() | RandomVerticalFlip():
            return "either"
        case RandomCrop() | Pad():  # Pillow's images can also be mirrored by more than they are long
            return "either" if step.padding_mode == "constant" else "image"
        case _:
            return "image"
