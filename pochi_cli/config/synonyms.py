"""What other trainers and libraries call a key, a step or a word, where its letters do not lead there."""

from __future__ import annotations

from collections.abc import Mapping


def _grouped(groups: Mapping[str, str]) -> dict[str, str]:
    """Turn `meant: names` around."""
    return {name: meant for meant, names in groups.items() for name in names.split()}


_SIZE = "the size is set by the transforms: Resize, CenterCrop or RandomResizedCrop"
_CHANNELS = "leave it out: every image becomes RGB"
_AUTOMATIC = "remove it: this is decided by what the device can do"


def _step(*names: str) -> str:
    return "it is a step of train_transform: " + " or ".join(f'{{ name = "{name}" }}' for name in names)


KEYS: Mapping[str, str] = _grouped(
    {
        "model_name": "model arch architecture backbone network net",
        "num_classes": "nc n_classes classes class_count n_class",
        "pretrained": "use_pretrained imagenet_pretrained",
        "weights": "checkpoint checkpoint_path initial_checkpoint init_weights weights_path load_from",
        "dataset": "dataset_name dataset_type",
        "train_data_root": "data data_dir data_path data_root train_dir train_path train_root train_data "
        "train_folder training_data",
        "val_data_root": "val_dir val_path val_root val_data val_folder validation_data validation_dir",
        "val_split": "val_ratio validation_split val_fraction val_size validation_ratio val_percent",
        "batch_size": "bs batch train_batch_size per_device_train_batch_size",
        "cache": "cache_images image_cache cache_dataset",
        "num_workers": "workers n_workers dataloader_num_workers",
        "train_transform": "transform transforms train_augmentation augmentation augmentations",
        "val_transform": "test_transform eval_transform validation_transform",
        "epochs": "max_epochs num_epochs n_epochs num_train_epochs total_epochs",
        "learning_rate": "lr lr0 base_lr init_lr initial_lr max_lr",
        "optimizer": "opt optim optimizer_name optimizer_type",
        "optimizer_params": "opt_params optimizer_args optimizer_kwargs",
        "optimizer_params.weight_decay": "wd decay l2",
        "scheduler": "sched lr_scheduler lr_scheduler_type scheduler_name scheduler_type lr_policy cos_lr",
        "scheduler_params": "sched_params scheduler_args scheduler_kwargs lr_scheduler_params",
        "scheduler_params.eta_min": "min_lr lr_min",
        "scheduler_params.gamma": "decay_rate lr_decay lr_gamma",
        "warmup_epochs": "warmup warmup_steps warmup_ratio warmup_iters num_warmup_steps",
        "sampler": "shuffle sampling class_balance",
        "label_smoothing": "smoothing",
        "mixup_alpha": "mixup",
        "cutmix_alpha": "cutmix",
        "clip_grad_norm": "grad_clip clip_grad gradient_clip_val gradient_clip max_grad_norm clip_norm",
        "accumulate_steps": "gradient_accumulation_steps grad_accum_steps grad_accum accumulate_grad_batches "
        "accumulation_steps accum_steps",
        "ema_decay": "ema use_ema model_ema model_ema_decay",
        "freeze": "freeze_layers frozen_layers freeze_backbone",
        "early_stopping.patience": "early_stopping_patience early_stop_patience",
        "early_stopping.min_delta": "early_stopping_min_delta",
        "device": "gpu gpus gpu_id gpu_ids cuda accelerator",
        "precision": "amp fp16 bf16 half use_amp mixed_precision use_fp16 autocast",
        "compile": "torchcompile torch_compile",
        "cudnn_benchmark": "benchmark",
        "sync_batch_norm": "sync_bn sync_batchnorm syncbn convert_sync_batchnorm",
        "seed": "random_seed manual_seed random_state",
        "work_dir": "output output_dir out_dir save_dir save_path log_dir default_root_dir",
        "save_interval": "save_period save_freq checkpoint_interval save_every",
        "checkpoint_every_steps": "checkpoint_steps save_steps checkpoint_every every_n_train_steps",
        "log_every_steps": "log_interval log_freq print_freq log_every_n_steps logging_steps",
    }
)
"""Unknown keys of the top level; what is meant may stand in a table."""

REMARKS: Mapping[str, str] = _grouped(
    {
        _SIZE: "image_size input_size img_size imgsz crop_size size image_shape resolution input_shape",
        _step("Resize"): "resize",
        _step("RandomErasing"): "reprob erasing random_erasing cutout",
        _step("RandomHorizontalFlip"): "hflip fliplr flip horizontal_flip",
        _step("RandomVerticalFlip"): "vflip flipud vertical_flip",
        _step("ColorJitter"): "color_jitter hsv_h hsv_s hsv_v",
        _step("AutoAugment", "RandAugment"): "aa auto_augment autoaugment randaugment rand_augment",
        _step("RandomRotation"): "degrees rotation",
        _CHANNELS: "channels in_channels in_chans num_channels image_channels",
        _AUTOMATIC: "train_pin_memory infer_pin_memory pin_memory gpu_non_blocking non_blocking",
    }
)
"""What to say of unknown keys of the top level that no other key stands for."""

INNER: Mapping[str, frozenset[str]] = {
    meant: frozenset(names.split())
    for meant, names in {
        "weight_decay": "wd decay l2",
        "betas": "beta1 beta2",
        "eps": "epsilon opt_eps",
        "step_size": "step steps step_epochs decay_epochs",
        "milestones": "steps epochs",
        "gamma": "factor decay_rate",
        "eta_min": "min_lr lr_min",
        "T_max": "epochs max_epochs",
        "total_iters": "epochs total_epochs",
        "monitor": "metric",
        "min_delta": "delta threshold",
        "num_ops": "n num_layers",
        "magnitude": "m",
        "p": "prob probability",
        "size": "height width crop_size img_size image_size",
        "degrees": "angle angles limit",
        "kernel_size": "kernel ksize blur_limit radius",
        "value": "fill",
        "fill": "value",
    }.items()
}
"""Unknown keys of tables and steps, by the key of theirs that is meant."""

STEP_NAMES = ("type", "transform", "step", "op", "kind", "class", "method", "_target_")
"""Keys that say elsewhere what `name` says of a step."""

_NO_SCHEDULER = "leave the key out for a constant rate"
_TO_TENSOR = "ToImage ToPILImage PILToTensor ToImagePIL ConvertImageDtype ToDtype ToTensorV2 ImageToTensor"
_ERASING = "CutOut RandomCutout CoarseDropout GridDropout RandomErase"

WORDS: Mapping[str, Mapping[str, str]] = {
    anchor: {name.lower(): meant for name, meant in _grouped(groups).items()}
    for anchor, groups in {
        "ToTensor": {
            "ToTensor": _TO_TENSOR,
            "RandomErasing": _ERASING,
            "RandomHorizontalFlip": "HorizontalFlip Flip HFlip RandomFlip",
            "RandomVerticalFlip": "VerticalFlip VFlip",
            "RandomRotation": "Rotate SafeRotate RandomRotate",
            "RandomAffine": "Affine ShiftScaleRotate",
            "RandomResizedCrop": "RandomResize RandomSizedCrop RandomScale ScaleJitter",
            "Resize": "Scale SmallestMaxSize LongestMaxSize",
            "Letterbox": "PadToSquare ResizePad SquarePad",
            "Pad": "PadIfNeeded",
            "GaussianBlur": "Blur RandomBlur RandomGaussianBlur MotionBlur MedianBlur",
            "ColorJitter": "RandomBrightnessContrast HueSaturationValue RandomBrightness RandomContrast "
            "RandomPhotometricDistort RandomColorJitter",
            "Grayscale": "ToGray Gray Greyscale",
            "RandomInvert": "InvertImg Invert",
            "RandomAdjustSharpness": "Sharpen Sharpness",
            "RandomAutocontrast": "CLAHE",
            "TrivialAugmentWide": "TrivialAugment",
            "RandomApply": "Sequential",
            "RandomChoice": "OneOf",
            "RandomOrder": "SomeOf",
            "set the key mixup_alpha: it is no step": "MixUp RandomMixup",
            "set the key cutmix_alpha: it is no step": "CutMix RandomCutmix",
            "leave it out: the array itself is the sequence": "Compose",
        },
        "StepLR": {
            'use "CosineAnnealingLR" with warmup_epochs': "OneCycleLR OneCycle CosineAnnealingWarmRestarts "
            "CosineWarmup cosine_with_warmup WarmupCosine",
            "CosineAnnealingLR": "cosine cos cosine_annealing CosineLR",
            "StepLR": "step",
            "MultiStepLR": "multistep multi_step",
            "ExponentialLR": "exp",
            "LinearLR": "PolynomialLR poly polynomial",
            _NO_SCHEDULER: "None null constant ConstantLR off",
            "": "ReduceLROnPlateau plateau CyclicLR LambdaLR",
        },
        # Each of these is an optimizer that Pochi does not have; no other one stands for it.
        "SGD": {
            "": "RMSprop Lion LAMB LARS Adamax NAdam RAdam Adagrad Adadelta Adafactor AdaBelief AdamP SGDW"
        },
        # Above class_weights' words, whose anchor it also allows.
        "NopPruner": {
            "none": "None off no false",
            "MedianPruner": "median",
            "HyperbandPruner": "ASHA ASHAPruner AsyncHyperBand",
        },
        "GridSampler": {
            "TPESampler": "bayes bayesian",
            "CmaEsSampler": "cma CMA-ES",
            "RandomSampler": "uniform",
        },
        "maximize": {"maximize": "max accuracy val_accuracy", "minimize": "min loss val_loss"},
        "none": {'leave it out for "balanced"': "None", "balanced": "auto inverse"},
        "shuffle": {"balanced": "weighted WeightedRandomSampler", "shuffle": "random RandomSampler"},
        "fp16": {
            "fp16": "float16 half 16 16-mixed f16",
            "bf16": "bfloat16 bf16-mixed",
            "fp32": "float32 full float 32 single tf32",
            "auto": "amp mixed",
        },
        "val_accuracy": {"val_accuracy": "acc val_acc val_top1 top1"},
        "skip": {"skip": "ignore", "error": "raise fail stop"},
        "folder": {"folder": "ImageFolder image_folder"},
    }.items()
}
"""Unknown words in lower case, by a word that only the key in question allows.

Given is the allowed word that is meant, or what to say; it is empty where no guess beats a wrong one.
"""
