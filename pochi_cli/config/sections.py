"""The sections of the configuration reference: which keys each describes, in which order, with an example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Section:
    """A section of the reference.

    Attributes:
        title: Heading.
        keys: The keys of the file that it describes.
        intro: What to know beforehand.
        example: Lines of a config; with the required keys beside them they are valid.
    """

    title: str
    keys: tuple[str, ...]
    intro: str
    example: str


SECTIONS = (
    Section(
        "Model",
        ("task", "model_name", "num_classes", "stem", "pretrained", "weights"),
        "Which network is trained, and with which weights it starts.",
        """\
model_name = "resnet50"
num_classes = 4
pretrained = true
""",
    ),
    Section(
        "Data",
        (
            "dataset",
            "train_data_root",
            "val_data_root",
            "val_split",
            "batch_size",
            "num_workers",
            "cache",
            "on_bad_image",
        ),
        "Where the images are and how they are loaded. Paths are relative to the working directory. "
        "Validation images come from `val_data_root` or from `val_split`, never from both. The named data "
        "sets bring their own, which `val_split` leaves unused: `digits` a share of them, the others their "
        "official test part. `cifar10`, `cifar100`, `mnist` and `fashion_mnist` are read by torchvision from "
        "`train_data_root`, and are downloaded into it when they are missing; gray images become RGB.",
        """\
train_data_root = "data/train"
val_split = 0.2
batch_size = 16
""",
    ),
    Section(
        "Training",
        (
            "epochs",
            "learning_rate",
            "optimizer",
            "optimizer_params",
            "accumulate_steps",
            "clip_grad_norm",
            "ema_decay",
            "mixup_alpha",
            "cutmix_alpha",
            "freeze",
        ),
        "How long and how the weights are trained.",
        """\
epochs = 50
learning_rate = 0.001
optimizer = "AdamW"
optimizer_params = { weight_decay = 0.05 }
""",
    ),
    Section(
        "Metrics and recording",
        ("enable_metrics_export", "work_dir", "save_interval", "checkpoint_every_steps", "log_every_steps"),
        "What a run leaves behind, and where.",
        """\
work_dir = "work_dirs"
save_interval = 5
checkpoint_every_steps = 500
""",
    ),
    Section(
        "Gradient tracing",
        ("enable_gradient_tracking", "gradient_tracking_config"),
        "Every optimizer step's gradient norms, before clipping, block by block, with verdicts; "
        "`pochi plot gradients` draws them.",
        """\
enable_gradient_tracking = true

[gradient_tracking_config]
record_frequency = 5
aggregation_method = "rms"
""",
    ),
    Section(
        "Training monitor",
        ("monitor",),
        "Every optimizer step's loss and total gradient norm, before clipping, and every few steps the "
        "update ratio of each block: the norm of the weights' change over that of the weights. `pochi "
        "inspect monitor` draws and judges them.",
        """\
[monitor]
enabled = true
update_ratio_every = 20
""",
    ),
    Section(
        "TensorBoard",
        ("enable_tensorboard", "tensorboard"),
        "Event files in the run's own directory; `tensorboard --logdir work_dirs` shows all runs side by "
        "side, live. The [guide](tensorboard.md) lists what is written, and when.",
        """\
enable_tensorboard = true

[tensorboard]
histogram_every_epochs = 5
""",
    ),
    Section(
        "Confusion matrix",
        ("confusion_matrix_config",),
        "The picture that `pochi infer` and `pochi plot confusion` draw. Text in any script is drawn where "
        "the system has a font for it; cells that are too small for numbers have none.",
        """\
[confusion_matrix_config]
title = "混同行列"
xlabel = "予測ラベル"
ylabel = "実際ラベル"
cmap = "viridis"
""",
    ),
    Section(
        "Hardware and reproducibility",
        (
            "device",
            "precision",
            "channels_last",
            "compile",
            "cudnn_benchmark",
            "sync_batch_norm",
            "threads",
            "seed",
            "deterministic",
        ),
        "What the computation runs on. What is chosen automatically is printed and recorded.",
        """\
device = "cuda:0"
precision = "bf16"
cudnn_benchmark = true
""",
    ),
    Section(
        "Scheduler",
        ("scheduler", "scheduler_params", "warmup_epochs"),
        "How the learning rate changes from epoch to epoch. Without `scheduler` it stays as it is.",
        """\
epochs = 50
scheduler = "CosineAnnealingLR"
scheduler_params = { T_max = 47 }
warmup_epochs = 3
""",
    ),
    Section(
        "Layer-wise learning rates",
        ("enable_layer_wise_lr", "layer_wise_lr_config"),
        "Patterns are tried in the order of the file: write the more specific ones first. A pattern with a "
        "dot needs quotes. Parameters that none matches use `learning_rate`; the scheduler scales every "
        "rate.",
        """\
enable_layer_wise_lr = true

[layer_wise_lr_config.layer_rates]
conv1 = 0.0001
"layer1\\\\.0" = 0.0002
layer1 = 0.0003
fc = 0.01

[layer_wise_lr_config.graph_config]
use_log_scale = true
""",
    ),
    Section(
        "Early stopping",
        ("early_stopping",),
        "Needs validation data. With `val_loss`, `min_delta` must be given: its default is meant in "
        "percentage points of accuracy.",
        """\
[early_stopping]
enabled = true
patience = 10
min_delta = 0.001
monitor = "val_loss"
""",
    ),
    Section(
        "Loss and class weights",
        ("class_weights", "sampler", "label_smoothing"),
        "An array of weights has one per class, in the alphabetical order of the class folders; a larger "
        "weight lets a class count more.",
        """\
num_classes = 4
class_weights = [1.0, 2.0, 1.5, 0.8]
""",
    ),
    Section(
        "Transforms",
        ("train_transform", "val_transform"),
        "A pipeline is an array of steps, each a table with its `name` and arguments, which are "
        "torchvision's. `ToTensor` is required; `Normalize` and `RandomErasing` stand after it.",
        """\
train_transform = [
  { name = "RandomResizedCrop", size = 224 },
  { name = "RandomHorizontalFlip", p = 0.5 },
  { name = "RandomApply", p = 0.3, transforms = [{ name = "GaussianBlur", kernel_size = 5 }] },
  { name = "ToTensor" },
  { name = "Normalize" },
]
val_transform = [
  { name = "Resize", size = 256 },
  { name = "CenterCrop", size = 224 },
  { name = "ToTensor" },
  { name = "Normalize" },
]
""",
    ),
    Section(
        "Hyper-parameter search",
        ("optuna",),
        "What `pochi optimize` searches; `pochi train` leaves it alone. The [guide](optimize.md) tells what "
        "can be searched, and what a search leaves behind.",
        """\
optimizer = "AdamW"
train_transform = [{ name = "RandomRotation", degrees = 10 }, { name = "ToTensor" }]

[optuna]
n_trials = 30
optuna_epochs = 5
storage = "sqlite:///optuna_study.db"
pruner = "HyperbandPruner"

[optuna.search_space]
learning_rate = { type = "float", low = 1e-5, high = 1e-1, log = true }
batch_size = { type = "categorical", choices = [16, 32] }
optimizer_weight_decay = { type = "float", low = 0.0, high = 0.1 }
"train_transform[0].degrees" = { type = "int", low = 0, high = 30 }
""",
    ),
    Section(
        "Normalisation",
        ("mean", "std"),
        "Every image becomes RGB, so there are always three channels. The defaults are ImageNet's; the "
        "example suits images without colour.",
        """\
mean = [0.5, 0.5, 0.5]
std = [0.25, 0.25, 0.25]
""",
    ),
)

EMBEDDING_SECTIONS = (
    Section(
        "Vectors and encoder",
        (
            "task",
            "train_vectors",
            "vector_column",
            "holdout",
            "batch_size",
            "latent_dim",
            "hidden_dims",
            "init",
        ),
        "Which vectors are encoded, and by what.",
        """\
task = "embedding"
train_vectors = "embeddings.npy"
latent_dim = 128
hidden_dims = [512]
""",
    ),
    Section(
        "Distance-preserving loss",
        (
            "loss_function",
            "tau",
            "tau_mode",
            "lambda_rank",
            "lambda_pairdist",
            "pair_norm",
            "exclude_self",
            "k",
        ),
        "What is minimised: the differences between the distances within a batch before and after encoding, "
        "and between their ranks. The [guide](embedding.md) gives the formulas.",
        """\
task = "embedding"
train_vectors = "embeddings.npy"
loss_function = "DPLossV2Norm"
tau = 0.5
tau_mode = "relative"
pair_norm = true
""",
    ),
    Section(
        "Training an encoder",
        ("epochs", "learning_rate", "optimizer", "early_stopping"),
        "As for images, with defaults of their own.",
        """\
task = "embedding"
train_vectors = "embeddings.npy"
epochs = 50
learning_rate = 0.0005
optimizer = "AdamW"
""",
    ),
    Section(
        "Recall",
        ("recall_ks", "recall_every_epochs", "recall_samples", "metric"),
        "How the encoder is judged: which share of the nearest neighbours of each held-out vector stays "
        "among the nearest after encoding, beside principal components, a random projection and truncation.",
        """\
task = "embedding"
train_vectors = "embeddings.npy"
recall_ks = [1, 10, 100]
metric = "cosine"
""",
    ),
)

SCHEDULER_EXAMPLES: Mapping[str, str] = {
    "StepLR": "{ step_size = 30, gamma = 0.1 }",
    "MultiStepLR": "{ milestones = [30, 60, 90], gamma = 0.1 }",
    "CosineAnnealingLR": "{ T_max = 50 }",
    "ExponentialLR": "{ gamma = 0.95 }",
    "LinearLR": "{ start_factor = 1.0, end_factor = 0.1, total_iters = 100 }",
}

STEP_GROUPS: Mapping[str, str] = {
    "sizes": "Resizing, cropping, padding",
    "geometry": "Mirroring, turning, distorting",
    "color": "Colour, blur, contrast",
    "policies": "Published collections of operations",
    "tensors": "Tensors",
    "nested": "Steps that hold others",
}
"""Headings of the steps, by the module that they are written in."""
