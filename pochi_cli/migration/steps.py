"""An old config's transforms as the steps of a pipeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pochi_cli.migration.transforms import PARAMETERS, known_steps
from pochi_cli.migration.values import Call, Place, Symbol, Unknown, Value, plain

_WITHOUT_EFFECT = {"inplace"}
_SIZES = ("size", "kernel_size", "padding")
_NESTING = ("RandomApply", "RandomChoice", "RandomOrder")
_ENUMERATIONS = ("InterpolationMode", "Image", "Resampling", "AutoAugmentPolicy")
_MOST_STEPS = 1000
_DEEPEST = 12
_CONVERTERS = ("ToDtype", "ConvertImageDtype")
# What Pochi does anyway: it reads every file as an RGB image, and its steps know images and tensors apart.
_NOT_NEEDED = {"ToImage", "ToImageTensor", "PILToTensor", "ToPureTensor", "ToPILImage", "RGB", "Identity"}
_PIL_INTERPOLATION = {0: "nearest", 1: "lanczos", 2: "bilinear", 3: "bicubic", 4: "box", 5: "hamming"}


@dataclass(frozen=True)
class Remark:
    """Something of a pipeline that is not carried over.

    Attributes:
        node: The call.
        message: What and why.
        argument: The call's argument that is left out; empty for the whole call.
        cause: Where the file makes it what cannot be read, if that is elsewhere.
    """

    node: Place
    message: str
    argument: str = ""
    cause: Place | None = None


@dataclass(frozen=True)
class StepLine:
    """A line of a pipeline: a step, or only remarks on what has none.

    Attributes:
        step: The step's table.
        remarks: What it lacks.
        node: The call that it stands for.
    """

    step: dict[str, object] | None
    remarks: tuple[Remark, ...]
    node: Place


class _NotCarriedError(Exception):
    def __init__(self, node: Place, why: str) -> None:
        self.remark = Remark(node, f"is not carried over: {why}")


def is_pipeline(value: Value) -> bool:
    """Tell whether a value is made of transforms."""
    return isinstance(value, Call) or (
        isinstance(value, list | tuple) and any(isinstance(item, Call) for item in value)
    )


def steps_of(value: Value, node: Place, normalization: Mapping[str, object]) -> list[StepLine]:
    """List the steps of a pipeline.

    Args:
        value: A transform, `Compose` or another, or a list of them.
        node: Where it is written.
        normalization: The config's `mean` and `std`, which its Normalize steps need not repeat.
    """
    pipeline = _Pipeline(normalization)
    lines = pipeline.lines(value, node)
    if pipeline.is_too_long:
        lines.append(
            StepLine(
                None,
                (Remark(node, f"is cut off: there are more than {_MOST_STEPS}"),),
                node,
            )
        )
    return lines


class _Pipeline:
    def __init__(self, normalization: Mapping[str, object]) -> None:
        self._normalization = normalization
        self._is_tensor = False
        self._left = _MOST_STEPS

    @property
    def is_too_long(self) -> bool:
        """Whether steps were left out because lists repeat one another too often, or hold themselves."""
        return self._left < 0

    def lines(self, value: Value, node: Place, depth: int = 0) -> list[StepLine]:
        """List the steps of a transform or a list of transforms."""
        self._left -= 1
        if self.is_too_long or depth > _DEEPEST:
            self._left = -1
            return []
        if isinstance(value, list | tuple):
            return [line for item in value for line in self.lines(item, node, depth + 1)]
        if not isinstance(value, Call):
            why = "is not carried over: only running the file would tell it"
            if not isinstance(value, Unknown):
                return [StepLine(None, (Remark(node, why),), node)]
            return [StepLine(None, (Remark(value.place, why, cause=value.origin),), value.place)]
        if value.name == "Compose":
            steps = next(iter((*value.arguments, *value.keywords.values())), ())
            return self.lines(steps, value.node, depth + 1)
        try:
            step, remarks = self._step(value, depth)
        except _NotCarriedError as error:
            return [StepLine(None, (error.remark,), value.node)]
        return [] if step is None else [StepLine(step, tuple(remarks), value.node)]

    def _step(self, call: Call, depth: int) -> tuple[dict[str, object] | None, list[Remark]]:
        if call.name in _NOT_NEEDED:
            return None, []
        if call.name in _CONVERTERS:
            return self._converted(call)
        model = known_steps().get(call.name)
        if model is None or call.name not in PARAMETERS:
            raise _NotCarriedError(call.node, f"Pochi has no {call.name}")
        step: dict[str, object] = {"name": call.name}
        remarks: list[Remark] = []
        for name, argument in self._arguments(call).items():
            if name in _WITHOUT_EFFECT or argument is None or _is_default(name, argument):
                continue
            if name == "transforms" and call.name in _NESTING:
                step[name] = self._nested(argument, call, depth)
                continue
            value = _argument(name, argument, call.node)
            if not isinstance(value, Unknown) and name in model.model_fields:
                step[name] = value
            elif name in model.model_fields and model.model_fields[name].is_required():
                raise _NotCarriedError(call.node, f"only running the file would tell its {name}")
            else:
                is_known = name in model.model_fields
                why = "only running the file would tell it" if is_known else f"Pochi's {call.name} has none"
                remarks.append(Remark(call.node, f"is carried over without its {name}: {why}", name))
        if call.name == "Normalize":
            self._shorten(step)
        self._is_tensor |= call.name == "ToTensor"
        return step, remarks

    def _arguments(self, call: Call) -> dict[str, Value]:
        names = PARAMETERS[call.name].split()
        if len(call.arguments) > len(names):
            raise _NotCarriedError(call.node, f"{call.name} takes {len(names)} arguments")
        return {**dict(zip(names, call.arguments, strict=False)), **call.keywords}

    def _converted(self, call: Call) -> tuple[dict[str, object] | None, list[Remark]]:
        """Make `ToTensor` of what turns an image into a float tensor with values from 0 to 1."""
        settings = {**dict(zip(("dtype", "scale"), call.arguments, strict=False)), **call.keywords}
        kind = settings.get("dtype", Symbol("torch.float32") if call.name == "ConvertImageDtype" else None)
        scales = call.name == "ConvertImageDtype" or settings.get("scale") is True
        name = kind.path if isinstance(kind, Symbol) else ""
        if name == "torch.uint8" and not self._is_tensor:
            return None, []
        if name in ("torch.float32", "torch.float") and self._is_tensor:
            return None, []
        if name in ("torch.float32", "torch.float") and scales:
            self._is_tensor = True
            return {"name": "ToTensor"}, []
        raise _NotCarriedError(
            call.node, f"Pochi has no {call.name}; ToTensor gives 32-bit values from 0 to 1"
        )

    def _nested(self, value: Value, call: Call, depth: int) -> list[dict[str, object]]:
        items = value if isinstance(value, list | tuple) else [value]
        steps: list[dict[str, object]] = []
        for item in items:
            lines = self.lines(item, call.node, depth + 1)
            remarks = [remark for line in lines for remark in line.remarks]
            if remarks:
                raise _NotCarriedError(call.node, f"a step within it {remarks[0].message}")
            inner = [line.step for line in lines if line.step is not None]
            if call.name == "RandomApply" or len(inner) == 1:
                steps.extend(inner)
            elif inner:  # a whole pipeline as one choice
                steps.append({"name": "RandomApply", "transforms": inner, "p": 1.0})
            else:
                raise _NotCarriedError(call.node, "a step within it does nothing here")
        return steps

    def _shorten(self, step: dict[str, object]) -> None:
        own = {name: step.get(name) for name in ("mean", "std")}
        if all(own.values()) and own == {name: self._normalization.get(name) for name in own}:
            for name in own:
                del step[name]
            return
        for name, value in own.items():
            if isinstance(value, int | float):
                step[name] = [value] * 3
            elif isinstance(value, list) and len(value) == 1:  # torchvision broadcasts it to the channels
                step[name] = value * 3


def _is_default(name: str, value: Value) -> bool:
    """Tell whether an argument that Pochi's step may lack asks for what is done anyway."""
    return name == "num_output_channels" and value == 3


def _argument(name: str, value: Value, node: Place) -> object:
    if isinstance(value, Symbol) and value.path.split(".")[-2] in _ENUMERATIONS:
        return value.path.rpartition(".")[2].lower().replace("_", "-")
    if name == "interpolation" and isinstance(value, int) and value in _PIL_INTERPOLATION:
        return _PIL_INTERPOLATION[value]
    found = plain(value, node).value
    if (
        name in ("fill", "value")
        and isinstance(found, list)
        and found
        and found.count(found[0]) == len(found)
    ):
        return found[0]  # one number for all channels
    if name in _SIZES and isinstance(found, list) and len(found) == 1:
        return found[0]  # torchvision takes it for the number
    return found
