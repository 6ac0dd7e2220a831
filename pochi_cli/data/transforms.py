"""Build torchvision pipelines from the config's steps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F  # noqa: N812 - the customary name

from pochi_cli.config.steps.arguments import Size
from pochi_cli.config.steps.color import Grayscale
from pochi_cli.config.steps.nested import AnyStep, RandomApply, RandomChoice, RandomOrder
from pochi_cli.config.steps.sizes import Letterbox
from pochi_cli.config.steps.tensors import Normalize, ToTensor
from pochi_cli.errors import DataError

Triple = tuple[float, float, float]
ImageLike = Image.Image | torch.Tensor
Transform = Callable[[Any], Any]
"""A torchvision transform, or one of ours."""


class StepError(Exception):
    """A step cannot take an image."""


class ImagePipeline:
    """A built pipeline; it can be pickled.

    Attributes:
        steps: Name and transform of each step.
        is_random: Whether two passes over the same image may differ.
    """

    def __init__(self, steps: Sequence[tuple[str, Transform]], *, is_random: bool) -> None:
        self.steps = tuple(steps)
        self.is_random = is_random

    def __call__(self, image: Image.Image) -> torch.Tensor:
        """Turn an RGB image into a contiguous float32 tensor (3, height, width).

        Raises:
            StepError: A step cannot take the image, mostly because it is too small.
        """
        result: Any = image
        for name, step in self.steps:
            try:
                result = step(result)
            except (ValueError, RuntimeError, IndexError) as error:  # whichever the library raises
                raise StepError(f"{name}: {error}") from error
        tensor: torch.Tensor = result
        return tensor.contiguous()

    def pictures(self, images: torch.Tensor) -> NDArray[np.uint8]:
        """Turn what the pipeline gives back into pictures, its last Normalize undone.

        Args:
            images: float (N, 3, height, width), on any device.

        Returns:
            uint8 (N, height, width, 3); what is darker than black or lighter than white is cut off.
        """
        values = images.detach().float().cpu()
        for _, step in self.steps[::-1]:
            if isinstance(step, v2.Normalize):
                mean, std = (torch.tensor(of)[:, None, None] for of in (step.mean, step.std))
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
    built = [(step.name, builder.build(step)) for step in steps]
    if not builder.on_tensors:
        raise DataError("the transform has no ToTensor step", 'add { name = "ToTensor" } before Normalize')
    return ImagePipeline(built, is_random=any(step.is_random for step in steps))


class _Builder:
    """Builds steps in their order; knows whether ToTensor has passed."""

    def __init__(self, mean: Triple, std: Triple) -> None:
        self.mean = mean
        self.std = std
        self.on_tensors = False

    def build(self, step: AnyStep) -> Transform:
        transform: Transform
        match step:
            case ToTensor():
                self.on_tensors = True
                to_float = v2.ToDtype(torch.float32, scale=True)
                transform = v2.Compose([v2.ToImage(), to_float, v2.ToPureTensor()])
            case Normalize():
                transform = v2.Normalize(mean=list(step.mean or self.mean), std=list(step.std or self.std))
            case Grayscale():
                transform = v2.Grayscale(num_output_channels=3)
            case Letterbox():
                size = (step.size, step.size) if isinstance(step.size, int) else step.size
                transform = LetterboxTransform(size, **self._arguments(step, leave_out={"size"}))
            case RandomApply() | RandomChoice() | RandomOrder():
                nested = [self._build_nested(inner) for inner in step.transforms]
                transform = self._by_name(step, transforms=nested)
            case _:
                transform = self._by_name(step)
        return transform

    def _build_nested(self, step: AnyStep) -> Transform:
        if isinstance(step, ToTensor):
            raise DataError("ToTensor must be a step of its own, not one of a Random... step")
        return self.build(step)

    def _by_name(self, step: AnyStep, **given: Any) -> Transform:
        transform: Transform = getattr(v2, step.name)(**given, **self._arguments(step, leave_out=set(given)))
        if getattr(step, "antialias", True) or self.on_tensors:
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
