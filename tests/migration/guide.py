"""The examples of the old program's configuration guide, put together as whole Python files."""

from __future__ import annotations

from typing import Any, NamedTuple

IMPORTS = "from torchvision import transforms\n"

MODEL = """
# モデル設定
model_name = "resnet18"
num_classes = 4  # クラス数
pretrained = True
"""

DATA = """
train_data_root = "data/train"
val_data_root = "data/val"
batch_size = 16
num_workers = 0
"""

TRAINING = """
epochs = 50
learning_rate = 0.001
optimizer = "SGD"
"""

OTHERS = """
enable_metrics_export = True
work_dir = "work_dirs"
device = None
cudnn_benchmark = False
"""

NO_SCHEDULER = """
scheduler = None
scheduler_params = None
"""

NORMALIZATION = """
mean = [0.485, 0.456, 0.406]  # ImageNet標準値
std = [0.229, 0.224, 0.225]   # ImageNet標準値
"""

TRAIN_MINIMAL = """
train_transform = transforms.Compose([
    transforms.ToTensor(),  # 必須: PIL Image → PyTorchテンソルに変換
    transforms.Normalize(mean=mean, std=std),  # 推奨: 正規化
])
"""

TRAIN_AUGMENTED = """
train_transform = transforms.Compose([
    transforms.RandomResizedCrop(224),
    transforms.RandomHorizontalFlip(p=0.5),
    transforms.ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1),
    transforms.ToTensor(),
    transforms.Normalize(mean=mean, std=std),
])
"""

TRAIN_HEAVY = """
train_transform = transforms.Compose([
    transforms.RandomResizedCrop(224),
    transforms.RandomHorizontalFlip(p=0.5),
    transforms.ColorJitter(brightness=0.3, contrast=0.3, saturation=0.3, hue=0.1),
    transforms.RandomRotation(15),
    transforms.ToTensor(),
    transforms.Normalize(mean=mean, std=std),
])
"""

VAL_RESIZED = """
val_transform = transforms.Compose([
    transforms.Resize(256),
    transforms.CenterCrop(224),
    transforms.ToTensor(),
    transforms.Normalize(mean=mean, std=std),
])
"""

VAL_MINIMAL = """
val_transform = transforms.Compose([
    transforms.ToTensor(),  # 必須: PIL Image → PyTorchテンソルに変換
    transforms.Normalize(mean=mean, std=std),  # 推奨: 正規化
])
"""

EARLY_STOPPING = """
early_stopping = {
    "enabled": False,       # Early Stoppingを有効化
    "patience": 30,         # 改善なしの許容エポック数
    "min_delta": 3.0,       # この値以上の変化がないと改善と見なさない
    "monitor": "val_accuracy",  # 監視メトリクス
}
"""

GRADIENTS = """
enable_gradient_tracking = True  # デフォルトOFF (計算コスト考慮)
gradient_tracking_config = {
    "record_frequency": 1,                     # 記録頻度 (1 = 毎エポック)
    "exclude_patterns": ["fc\\\\.", "\\\\.bias"],   # 除外する層名パターン (正規表現)
    "group_by_block": True,                     # ResNetブロック単位で集約
    "aggregation_method": "median",             # 集約方法
}
"""

CONFUSION = """
confusion_matrix_config = {
    "title": "混同行列",
    "xlabel": "予測ラベル",
    "ylabel": "実際ラベル",
    "fontsize": 14,
    "title_fontsize": 16,
    "label_fontsize": 12,
    "figsize": (8, 6),
    "cmap": "Blues",
}
"""

OPTUNA = """
optuna = {
    "study_name": "pochitrain_optimization",
    "direction": "maximize",  # "maximize"(精度最大化) or "minimize"(損失最小化)
    "n_trials": 20,
    "n_jobs": 1,
    "optuna_epochs": 10,  # 本格訓練より短く設定して探索を高速化
}
optuna["sampler"] = "TPESampler"
optuna["pruner"] = "MedianPruner"
optuna["storage"] = None  # メモリ内のみ
# optuna["storage"] = "sqlite:///optuna_study.db"  # SQLiteに保存
optuna["search_space"] = {
    # 学習率 (対数スケール)
    "learning_rate": {
        "type": "float",
        "low": 1e-5,
        "high": 1e-1,
        "log": True,
    },
    "batch_size": {
        "type": "categorical",
        "choices": [16, 32],
    },
    "optimizer": {
        "type": "categorical",
        "choices": ["SGD", "Adam", "AdamW"],
    },
}
"""

OPTUNA_SCHEDULER = (
    OPTUNA
    + """
optuna["search_space"] = {
    "learning_rate": {"type": "float", "low": 1e-5, "high": 1e-1, "log": True},
    "scheduler_gamma": {"type": "float", "low": 0.85, "high": 0.99},
    "scheduler_step_size": {"type": "int", "low": 5, "high": 30},
}
"""
)

HARDWARE = """
train_pin_memory = True
infer_pin_memory = True
gpu_non_blocking = True
device = "cuda"
"""


def layer_wise(rates: str, *, log_scale: bool) -> str:
    return f"""
enable_layer_wise_lr = True
layer_wise_lr_config = {{
    "layer_rates": {{{rates}}},
    "graph_config": {{
        "use_log_scale": {log_scale},  # True で対数スケール
    }},
}}
"""


def scheduler(name: str, parameters: str) -> str:
    return f'\nscheduler = "{name}"  # スケジューラー名\nscheduler_params = {parameters}  # パラメータ\n'


def file(*examples: str, val: str = VAL_RESIZED, norm: str = NORMALIZATION) -> str:
    """The keys that every file of the old program had, with these examples behind them."""
    base = (IMPORTS, MODEL, DATA, TRAINING, OTHERS, NO_SCHEDULER, norm, TRAIN_AUGMENTED, val)
    return "".join((*base, *examples))


class Example(NamedTuple):
    """A file and what it must become.

    Attributes:
        text: The old file.
        expected: Keys of the new file with their values; `None` for one that it must not have. Those that
            this version does not know stand in it as comments.
        comments: What else stands in it as comments.
        codes: Codes of the warnings, those of unknown keys aside.
    """

    text: str
    expected: dict[str, Any]
    comments: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()


TO_TENSOR = {"name": "ToTensor"}
NORMALIZE = {"name": "Normalize"}
AUGMENTED = [
    {"name": "RandomResizedCrop", "size": 224},
    {"name": "RandomHorizontalFlip", "p": 0.5},
    {"name": "ColorJitter", "brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    TO_TENSOR,
    NORMALIZE,
]
HEAVY = [
    {"name": "RandomResizedCrop", "size": 224},
    {"name": "RandomHorizontalFlip", "p": 0.5},
    {"name": "ColorJitter", "brightness": 0.3, "contrast": 0.3, "saturation": 0.3, "hue": 0.1},
    {"name": "RandomRotation", "degrees": 15},
    TO_TENSOR,
    NORMALIZE,
]
BASE: dict[str, Any] = {
    "model_name": "resnet18",
    "num_classes": 4,
    "pretrained": True,
    "train_data_root": "data/train",
    "val_data_root": "data/val",
    "batch_size": 16,
    "num_workers": 0,
    "epochs": 50,
    "learning_rate": 0.001,
    "optimizer": "SGD",
    "enable_metrics_export": True,
    "work_dir": "work_dirs",
    "cudnn_benchmark": False,
    "mean": [0.485, 0.456, 0.406],
    "std": [0.229, 0.224, 0.225],
    "train_transform": AUGMENTED,
    "val_transform": [
        {"name": "Resize", "size": 256},
        {"name": "CenterCrop", "size": 224},
        TO_TENSOR,
        NORMALIZE,
    ],
}

_RATES = (
    '"conv1": 0.0001, "bn1": 0.0001, "layer1": 0.0002, "layer2": 0.0005, "layer3": 0.001, "layer4": 0.002, '
    '"fc": 0.01,'
)
_RATES_READ = {
    "conv1": 0.0001,
    "bn1": 0.0001,
    "layer1": 0.0002,
    "layer2": 0.0005,
    "layer3": 0.001,
    "layer4": 0.002,
    "fc": 0.01,
}
_STEEP = '"conv1": 0.0001, "layer1": 0.0003, "layer2": 0.0005, "layer3": 0.001, "layer4": 0.003, "fc": 0.01,'
_STEEP_READ = {
    "conv1": 0.0001,
    "layer1": 0.0003,
    "layer2": 0.0005,
    "layer3": 0.001,
    "layer4": 0.003,
    "fc": 0.01,
}
_LINEAR = '{\n    "start_factor": 1.0,\n    "end_factor": 0.1,\n    "total_iters": 50,\n}'
_LINEAR_READ = {"start_factor": 1.0, "end_factor": 0.1, "total_iters": 50}

STUDY = {
    "study_name": "pochitrain_optimization",
    "direction": "maximize",
    "n_trials": 20,
    "n_jobs": 1,
    "optuna_epochs": 10,
    "sampler": "TPESampler",
    "pruner": "MedianPruner",
}
RATE = {"type": "float", "low": 1e-5, "high": 1e-1, "log": True}
CHOICES = {
    "batch_size": {"type": "categorical", "choices": [16, 32]},
    "optimizer": {"type": "categorical", "choices": ["SGD", "Adam", "AdamW"]},
}

EXAMPLES: dict[str, Example] = {
    "base": Example(file(), {"device": None, "scheduler": None, "scheduler_params": None}),
    "step": Example(
        file(scheduler("StepLR", '{"step_size": 30, "gamma": 0.1}')),
        {"scheduler": "StepLR", "scheduler_params": {"step_size": 30, "gamma": 0.1}},
    ),
    "multi-step": Example(
        file(scheduler("MultiStepLR", '{"milestones": [30, 60, 90], "gamma": 0.1}')),
        {"scheduler": "MultiStepLR", "scheduler_params": {"milestones": [30, 60, 90], "gamma": 0.1}},
    ),
    "cosine": Example(
        file(scheduler("CosineAnnealingLR", '{"T_max": 50}')),
        {"scheduler": "CosineAnnealingLR", "scheduler_params": {"T_max": 50}},
    ),
    "exponential": Example(
        file(scheduler("ExponentialLR", '{"gamma": 0.95}')),
        {"scheduler": "ExponentialLR", "scheduler_params": {"gamma": 0.95}},
    ),
    "linear": Example(
        file(scheduler("LinearLR", _LINEAR)), {"scheduler": "LinearLR", "scheduler_params": _LINEAR_READ}
    ),
    "balanced weights": Example(file("class_weights = None  # 自動\n"), {"class_weights": None}),
    "weights": Example(
        file("class_weights = [1.0, 2.0, 1.5, 0.8]  # 4クラスの例\n"), {"class_weights": [1.0, 2.0, 1.5, 0.8]}
    ),
    "layer-wise": Example(
        file(layer_wise(_RATES, log_scale=False)),
        {
            "enable_layer_wise_lr": True,
            "layer_wise_lr_config": {
                "layer_rates": _RATES_READ,
                "graph_config": {"use_log_scale": False},
            },
        },
    ),
    "layer-wise exponential": Example(
        file(layer_wise(_STEEP, log_scale=True), scheduler("ExponentialLR", '{"gamma": 0.95}')),
        {
            "enable_layer_wise_lr": True,
            "layer_wise_lr_config": {"layer_rates": _STEEP_READ, "graph_config": {"use_log_scale": True}},
            "scheduler": "ExponentialLR",
            "scheduler_params": {"gamma": 0.95},
        },
    ),
    "layer-wise linear": Example(
        file(layer_wise(_STEEP, log_scale=False), scheduler("LinearLR", _LINEAR)),
        {
            "enable_layer_wise_lr": True,
            "layer_wise_lr_config": {"layer_rates": _STEEP_READ, "graph_config": {"use_log_scale": False}},
            "scheduler": "LinearLR",
            "scheduler_params": _LINEAR_READ,
        },
    ),
    "layer-wise by expression": Example(
        file(layer_wise('"layer2\\\\.0": 0.1, "layer2": 0.2', log_scale=False)),
        {
            "enable_layer_wise_lr": True,
            "layer_wise_lr_config": {
                "layer_rates": {"layer2\\.0": 0.1, "layer2": 0.2},
                "graph_config": {"use_log_scale": False},
            },
        },
    ),
    "early stopping": Example(
        file(EARLY_STOPPING),
        {
            "early_stopping": {
                "enabled": False,
                "patience": 30,
                "min_delta": 3.0,
                "monitor": "val_accuracy",
            }
        },
    ),
    "gradients": Example(
        file(GRADIENTS),
        {
            "enable_gradient_tracking": True,
            "gradient_tracking_config": {
                "record_frequency": 1,
                "exclude_patterns": ["fc\\.", "\\.bias"],
                "group_by_block": True,
                "aggregation_method": "median",
            },
        },
    ),
    "confusion matrix": Example(
        file(CONFUSION),
        {
            "confusion_matrix_config": {
                "title": "混同行列",
                "xlabel": "予測ラベル",
                "ylabel": "実際ラベル",
                "fontsize": 14,
                "title_fontsize": 16,
                "label_fontsize": 12,
                "figsize": [8, 6],
                "cmap": "Blues",
            }
        },
    ),
    "optuna": Example(file(OPTUNA), {"optuna": STUDY | {"search_space": {"learning_rate": RATE, **CHOICES}}}),
    "optuna scheduler": Example(
        file(scheduler("StepLR", '{"step_size": 30, "gamma": 0.1}'), OPTUNA_SCHEDULER),
        {
            "scheduler": "StepLR",
            "scheduler_params": {"step_size": 30, "gamma": 0.1},
            "optuna": STUDY
            | {
                "search_space": {
                    "learning_rate": RATE,
                    "scheduler_gamma": {"type": "float", "low": 0.85, "high": 0.99},
                    "scheduler_step_size": {"type": "int", "low": 5, "high": 30},
                }
            },
        },
    ),
    "minimal transforms": Example(
        file(TRAIN_MINIMAL, val=VAL_MINIMAL),
        {"train_transform": [TO_TENSOR, NORMALIZE], "val_transform": [TO_TENSOR, NORMALIZE]},
    ),
    "no validation": Example(file("val_data_root = None\n"), {"val_data_root": None}),
    "greyish": Example(
        file(norm="mean = [0.5, 0.5, 0.5]\nstd = [0.25, 0.25, 0.25]\n"),
        {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]},
    ),
    "medical": Example(
        file(norm="mean = [0.485, 0.485, 0.485]\nstd = [0.229, 0.229, 0.229]\n"),
        {"mean": [0.485, 0.485, 0.485], "std": [0.229, 0.229, 0.229]},
    ),
    "hardware": Example(
        file(HARDWARE),
        {"device": "cuda"},
        ("train_pin_memory: dropped", "infer_pin_memory: dropped", "gpu_non_blocking: dropped"),
        ("dropped-key", "dropped-key", "dropped-key", "fixed-device"),
    ),
    "fast": Example(
        file(
            'model_name = "resnet18"\nbatch_size = 32\nepochs = 20\nlearning_rate = 0.01\n',
            'optimizer = "SGD"\n',
            scheduler("StepLR", '{"step_size": 10, "gamma": 0.1}'),
            TRAIN_MINIMAL,
        ),
        {
            "batch_size": 32,
            "epochs": 20,
            "learning_rate": 0.01,
            "scheduler": "StepLR",
            "scheduler_params": {"step_size": 10, "gamma": 0.1},
            "train_transform": [TO_TENSOR, NORMALIZE],
        },
    ),
    "accurate": Example(
        file(
            'model_name = "resnet50"\nbatch_size = 16\nepochs = 100\nlearning_rate = 0.001\n',
            'optimizer = "Adam"\n',
            scheduler("MultiStepLR", '{"milestones": [30, 60, 90], "gamma": 0.1}'),
            TRAIN_HEAVY,
        ),
        {
            "model_name": "resnet50",
            "epochs": 100,
            "optimizer": "Adam",
            "scheduler": "MultiStepLR",
            "scheduler_params": {"milestones": [30, 60, 90], "gamma": 0.1},
            "train_transform": HEAVY,
        },
    ),
    "imbalanced": Example(
        file(
            "# クラス重みで少数クラスを重視\nclass_weights = [0.5, 2.0, 1.5, 1.0]  # クラス1を最重視\n",
            scheduler("CosineAnnealingLR", '{"T_max": 50}'),
        ),
        {
            "class_weights": [0.5, 2.0, 1.5, 1.0],
            "scheduler": "CosineAnnealingLR",
            "scheduler_params": {"T_max": 50},
        },
        ("クラス重みで少数クラスを重視",),
    ),
}
EVERYTHING = file(
    EARLY_STOPPING,
    GRADIENTS,
    CONFUSION,
    OPTUNA_SCHEDULER,
    HARDWARE,
    layer_wise(_RATES, log_scale=True),
    scheduler("LinearLR", _LINEAR),
    TRAIN_HEAVY,
)
