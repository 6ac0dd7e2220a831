"""The keys of optimisation: rates, optimizer, scheduler, loss, regularisation, early stopping."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, ValidatorFunctionWrapHandler, field_validator
from pydantic_core import PydanticCustomError

from pochi_cli.config.base import (
    ByShape,
    Fraction,
    Items,
    List,
    NonNegative,
    Pair,
    PositiveFloat,
    PositiveInt,
    StrictModel,
    Word,
)
from pochi_cli.config.values import show

OptimizerName = Literal["SGD", "Adam", "AdamW"]
SchedulerName = Literal["StepLR", "MultiStepLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR"]
Monitor = Literal["val_accuracy", "val_loss"]

LearningRate = Annotated[float, Field(gt=0, le=1)]
Decay = Annotated[float, Field(gt=0, lt=1)]
Factor = Annotated[float, Field(gt=0, le=1)]
Betas = Pair[Annotated[float, Field(ge=0, lt=1)]]
ClassWeights = Annotated[
    Annotated[Literal["balanced", "none"], Word] | Annotated[Items[PositiveFloat], Field(min_length=1), List],
    ByShape,
]

_BETAS = "Decays of the running means of the gradient and of its square."
_EPS = "Added to the denominator against division by zero."
_AMSGRAD = "Divide by the largest running mean so far (Reddi et al., 2018)."
_DECAY_IN_GRADIENT = "Share of each weight that is added to its gradient (L2 regularisation)."
_GAMMA = "Factor of each reduction."


class SGDParams(StrictModel):
    """Stochastic gradient descent; dampening is 0."""

    momentum: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.9, description="Share of the last update that goes on in the next; 0 is off."
    )
    weight_decay: NonNegative = Field(1e-4, description=_DECAY_IN_GRADIENT)
    nesterov: bool = Field(False, description="Nesterov's form of momentum; needs a momentum above 0.")


class AdamParams(StrictModel):
    """Adam (Kingma and Ba, 2015); weight decay is added to the gradient."""

    betas: Betas = Field((0.9, 0.999), description=_BETAS)
    eps: PositiveFloat = Field(1e-8, description=_EPS)
    weight_decay: NonNegative = Field(0.0, description=_DECAY_IN_GRADIENT)
    amsgrad: bool = Field(False, description=_AMSGRAD)


class AdamWParams(StrictModel):
    """AdamW (Loshchilov and Hutter, 2019); weight decay is decoupled from the gradient."""

    betas: Betas = Field((0.9, 0.999), description=_BETAS)
    eps: PositiveFloat = Field(1e-8, description=_EPS)
    weight_decay: NonNegative = Field(1e-2, description="Share of each weight lost per step, times the rate.")
    amsgrad: bool = Field(False, description=_AMSGRAD)


class StepLRParams(StrictModel):
    """Multiply the rate by `gamma` every `step_size` epochs."""

    step_size: PositiveInt = Field(description="Epochs between two reductions.")
    gamma: Factor = Field(0.1, description=_GAMMA)


class MultiStepLRParams(StrictModel):
    """Multiply the rate by `gamma` after each milestone."""

    milestones: Annotated[Items[PositiveInt], Field(min_length=1)] = Field(
        description="Epochs after which the rate is reduced, in increasing order."
    )
    gamma: Factor = Field(0.1, description=_GAMMA)

    @field_validator("milestones")
    @classmethod
    def _increasing(cls, milestones: tuple[int, ...]) -> tuple[int, ...]:
        if any(later <= earlier for earlier, later in pairwise(milestones)):
            raise ValueError(f"must increase, not {show(milestones)}")
        return milestones


class CosineAnnealingLRParams(StrictModel):
    """Follow half a cosine from the rate to `eta_min` over `T_max` epochs (Loshchilov and Hutter, 2017)."""

    T_max: PositiveInt = Field(description="Epochs from the rate to `eta_min`: half of the cosine's period.")
    eta_min: Annotated[float, Field(ge=0, lt=1)] = Field(0.0, description="Lowest learning rate.")


class ExponentialLRParams(StrictModel):
    """Multiply the rate by `gamma` every epoch."""

    gamma: Decay = Field(description="Factor of every epoch: 0.95 leaves 95 % of the rate.")


class LinearLRParams(StrictModel):
    """Go from `start_factor` to `end_factor` times the rate over `total_iters` epochs."""

    start_factor: Factor = Field(1.0, description="Factor of the rate in the first epoch.")
    end_factor: Fraction = Field(0.1, description="Factor of the rate from the last of these epochs on.")
    total_iters: PositiveInt = Field(description="Epochs over which the factor changes.")


OptimizerParams = SGDParams | AdamParams | AdamWParams
SchedulerParams = (
    StepLRParams | MultiStepLRParams | CosineAnnealingLRParams | ExponentialLRParams | LinearLRParams
)

OPTIMIZER_PARAMS: dict[str, type[OptimizerParams]] = {
    "SGD": SGDParams,
    "Adam": AdamParams,
    "AdamW": AdamWParams,
}
SCHEDULER_PARAMS: dict[str, type[SchedulerParams]] = {
    "StepLR": StepLRParams,
    "MultiStepLR": MultiStepLRParams,
    "CosineAnnealingLR": CosineAnnealingLRParams,
    "ExponentialLR": ExponentialLRParams,
    "LinearLR": LinearLRParams,
}


class LayerRatesGraphConfig(StrictModel):
    """How the graph of the layer-wise rates is drawn."""

    use_log_scale: bool = Field(False, description="Draw the layer-wise rates on a logarithmic axis.")


class LayerWiseLrConfig(StrictModel):
    """A learning rate per layer."""

    layer_rates: dict[str, LearningRate] = Field(
        default_factory=dict,
        description="Pattern = rate, in order; a pattern is a regular expression that matches the start of "
        "a parameter's name up to a dot; the first match wins.",
    )
    graph_config: LayerRatesGraphConfig = Field(
        LayerRatesGraphConfig(), description="How the graph of the layer-wise rates is drawn."
    )


class StoppingConfig(StrictModel):
    """When to stop before the last epoch."""

    enabled: bool = Field(False, description="Stop when the monitored metric no longer improves.")
    patience: PositiveInt = Field(30, description="Epochs without improvement that are allowed.")
    min_delta: NonNegative = Field(
        3.0, description="Smallest change that counts as improvement, in the monitored metric's own unit."
    )


class EarlyStoppingConfig(StoppingConfig):
    """When to stop before the last epoch, and which metric chooses the best model."""

    monitor: Monitor = Field(
        "val_accuracy", description="Metric that is watched; it also chooses the best model."
    )


def _default_optimizer_params(known: dict[str, Any]) -> OptimizerParams:
    return OPTIMIZER_PARAMS[known.get("optimizer", "SGD")]()


def _default_class_weights(known: dict[str, Any]) -> Literal["balanced", "none"]:
    return "none" if known.get("sampler") == "balanced" else "balanced"


class OptimConfig(StrictModel):
    """How the weights are learnt, whatever the task."""

    epochs: PositiveInt = Field(description="Passes over the training data.")
    learning_rate: LearningRate = Field(description="Learning rate, before the scheduler changes it.")
    optimizer: OptimizerName = Field("SGD", description="Algorithm that updates the weights.")
    optimizer_params: OptimizerParams = Field(
        default_factory=_default_optimizer_params, description="Arguments of the optimizer."
    )
    scheduler: SchedulerName | None = Field(None, description="Learning-rate scheduler, stepped per epoch.")
    scheduler_params: SchedulerParams | None = Field(
        None, validate_default=True, description="Arguments of the scheduler."
    )
    warmup_epochs: Annotated[int, Field(ge=0)] = Field(
        0, description="Epochs over which the rate rises linearly before the scheduler's course begins."
    )
    clip_grad_norm: PositiveFloat | None = Field(
        None, description="Largest L2 norm of the whole gradient; larger ones are scaled down to it."
    )
    accumulate_steps: PositiveInt = Field(1, description="Batches whose gradients make one optimizer step.")
    ema_decay: Decay | None = Field(
        None, description="Decay of the exponential moving average of the weights, which is then what counts."
    )
    freeze: Items[str] = Field(
        (), description="Patterns of parameters that are not trained, as in `layer_rates`."
    )
    enable_layer_wise_lr: bool = Field(False, description="Use the rates of `layer_wise_lr_config`.")
    layer_wise_lr_config: LayerWiseLrConfig = Field(
        LayerWiseLrConfig(), description="A learning rate per layer; used with `enable_layer_wise_lr`."
    )
    early_stopping: StoppingConfig = Field(
        StoppingConfig(),
        description="When to stop before the last epoch, and which metric chooses the best model.",
    )

    @field_validator("optimizer_params", mode="wrap")
    @classmethod
    def _optimizer_params(
        cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> OptimizerParams:
        model = OPTIMIZER_PARAMS.get(info.data.get("optimizer", ""))
        # An invalid optimizer is reported by its own key; nothing can be said of its arguments then.
        return model.model_validate(value) if model else SGDParams()

    @field_validator("scheduler_params", mode="wrap")
    @classmethod
    def _scheduler_params(
        cls, value: Any, _: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> SchedulerParams | None:
        if "scheduler" not in info.data:  # invalid, and reported by its own key
            return None
        if (scheduler := info.data["scheduler"]) is not None:
            return SCHEDULER_PARAMS[scheduler].model_validate({} if value is None else value)
        if value is not None:
            raise PydanticCustomError("conflict", "scheduler_params is given, but no scheduler")
        return None

    @property
    def layer_rates(self) -> dict[str, float]:
        """The layer-wise rates in force: empty when they are switched off."""
        return self.layer_wise_lr_config.layer_rates if self.enable_layer_wise_lr else {}


class LossConfig(StrictModel):
    """What the loss of a classifier is made of, and in which order images are drawn."""

    sampler: Literal["shuffle", "balanced"] = Field(
        "shuffle", description="`balanced` draws every class equally often, with replacement."
    )
    class_weights: ClassWeights = Field(
        default_factory=_default_class_weights,
        description="Weights in the loss: `balanced` (N / (K n) for n of N images in one of K classes), "
        "`none` (the default with the balanced sampler), or one per class.",
    )
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0, description="Share of each label that is spread over all classes in training."
    )
    mixup_alpha: NonNegative = Field(0.0, description="MixUp's Beta parameter; 0 is off.")
    cutmix_alpha: NonNegative = Field(0.0, description="CutMix's Beta parameter; 0 is off.")
