"""The keys of hardware, reproducibility and recording."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Discriminator, Field, Tag

from pochi_cli.config.base import Items, Pair, PathText, PositiveInt, StrictModel, Word
from pochi_cli.config.colormaps import known_colormap


def _word_or_flag(value: Any) -> str:
    return "word" if isinstance(value, str) else "flag"


Precision = Literal["auto", "fp32", "bf16", "fp16"]
AutoFlag = Annotated[
    Annotated[Literal["auto"], Word] | Annotated[bool, Tag("flag")], Discriminator(_word_or_flag)
]


class HardwareConfig(StrictModel):
    """What the computation runs on, and how reproducibly."""

    device: Annotated[str, Field(pattern=r"^(cpu|mps|cuda(:[0-9]+)?)$")] | None = Field(
        None, description="`cpu`, `mps`, `cuda` or `cuda:N`; the best one at hand when omitted."
    )
    precision: Precision = Field(
        "auto",
        description="Arithmetic of the forward and backward pass. For images `auto` measures the start of a "
        "run that is long enough and takes the fastest that the hardware has, else half precision on a GPU "
        "and, for heavy models, on a CPU with bf16; for vectors and with `deterministic` it is `fp32`.",
    )
    compile: bool = Field(False, description="Compile the model with torch.compile.")
    threads: Annotated[int, Field(ge=1, le=1024)] | None = Field(
        None,
        description="Threads of the computation on the CPU, in all on a machine; chosen when omitted.",
    )
    seed: Annotated[int, Field(ge=0, lt=2**32)] = Field(0, description="Seed of all randomness.")
    deterministic: bool = Field(False, description="Only deterministic algorithms, at some cost in speed.")


class ImageHardwareConfig(HardwareConfig):
    """What of the hardware matters to convolutions only."""

    channels_last: AutoFlag = Field(
        "auto",
        description="Memory layout with the channels innermost; `auto` is measured together with "
        "`precision`, else it goes with half precision.",
    )
    cudnn_benchmark: bool = Field(
        False, description="Let cuDNN choose algorithms by measuring; for inputs of one size."
    )
    sync_batch_norm: bool = Field(
        False,
        description="Of several processes: normalise by the images of all of them, as one process would; "
        "else each by its own, which is faster, and then the number of processes matters.",
    )


AggregationMethod = Literal["median", "mean", "max", "rms"]


class GradientTrackingConfig(StrictModel):
    """Which gradients are recorded, how often, and how they are merged."""

    record_frequency: PositiveInt = Field(
        1, description="Epochs from one that is recorded to the next; the first and the last always are."
    )
    exclude_patterns: Items[str] = Field(
        (r"fc\.", r"\.bias"),
        description="Regular expressions; a parameter in whose name one is found is left out. The default "
        "leaves out the classifier's last layer, whatever it is called, and biases.",
    )
    group_by_block: bool = Field(
        True, description="Merge the parameters of a block, such as `layer1`; else each is recorded."
    )
    aggregation_method: AggregationMethod = Field(
        "median",
        description="How the norms of a block's parameters become one: `median`, `mean`, `max`, or `rms`, "
        "the root of their mean square.",
    )


class MonitorConfig(StrictModel):
    """What is measured at the steps of a training."""

    enabled: bool = Field(
        False, description="Record loss, gradient norm and speed of every step, and how far weights move."
    )
    update_ratio_every: PositiveInt = Field(
        10,
        description="Optimizer steps from one whose change of the weights is measured to the next, from the "
        "first of each epoch on; it takes a copy of the weights.",
    )


class TensorBoardConfig(StrictModel):
    """What is written for TensorBoard, and how often."""

    histogram_every_epochs: Annotated[int, Field(ge=0)] = Field(
        1, description="Epochs from one whose weights are drawn as histograms to the next; 0: none."
    )


ONLOOKERS = frozenset(
    {
        "log_every_steps",
        "enable_metrics_export",
        "enable_gradient_tracking",
        "monitor",
        "enable_tensorboard",
        "tensorboard",
        "confusion_matrix_config",
    }
)
"""Keys of what looks on or draws: nothing that is learnt depends on them."""

FontSize = Annotated[int, Field(ge=1, le=100)]
Inches = Annotated[float, Field(ge=1, le=50)]


class ConfusionMatrixConfig(StrictModel):
    """How the picture of a confusion matrix looks."""

    title: str = Field("Confusion Matrix", description="Title.")
    xlabel: str = Field("Predicted Label", description="Name of the horizontal axis.")
    ylabel: str = Field("True Label", description="Name of the vertical axis.")
    fontsize: FontSize = Field(
        14, description="Size of the numbers in the cells, in points; smaller where the cells are."
    )
    title_fontsize: FontSize = Field(16, description="Size of the title, in points.")
    label_fontsize: FontSize = Field(12, description="Size of the axes' names, in points.")
    figsize: Pair[Inches] = Field(
        (8.0, 6.0), description="[width, height] in inches; larger where many classes need it."
    )
    cmap: Annotated[str, AfterValidator(known_colormap)] = Field(
        "Blues",
        description="Colours: the name of one of matplotlib's colormaps, as it is or with `_r` behind it.",
    )


class RecordingConfig(StrictModel):
    """What a run leaves behind, and where."""

    work_dir: PathText = Field("work_dirs", description="Directory in which each run makes its own.")
    save_interval: PositiveInt = Field(10, description="Epochs between numbered checkpoints.")
    checkpoint_every_steps: PositiveInt | None = Field(
        None,
        description="Optimizer steps between further saves within an epoch, of what `--resume` needs; "
        "the end of an epoch and a signal to stop save in any case.",
    )
    log_every_steps: PositiveInt = Field(
        100, description="Steps between readings of the running loss from the device."
    )
    enable_metrics_export: bool = Field(True, description="Write the metrics as CSV and draw their graphs.")
    enable_tensorboard: bool = Field(
        False, description="Write event files for TensorBoard: scalars, histograms, pictures, curves."
    )
    tensorboard: TensorBoardConfig = Field(
        TensorBoardConfig(), description="What is written; used with `enable_tensorboard`."
    )
    enable_gradient_tracking: bool = Field(
        False, description="Record the norm of every gradient at every step, and judge them."
    )
    gradient_tracking_config: GradientTrackingConfig = Field(
        GradientTrackingConfig(), description="What is recorded; used with `enable_gradient_tracking`."
    )
    monitor: MonitorConfig = Field(MonitorConfig(), description="The training monitor.")


class PictureConfig(StrictModel):
    """What the pictures of a classifier look like."""

    confusion_matrix_config: ConfusionMatrixConfig = Field(
        ConfusionMatrixConfig(), description="The picture of the confusion matrix."
    )
