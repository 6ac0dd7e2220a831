"""What a user reads: their own keys and values, a likely fix, and nothing of the machinery."""

from __future__ import annotations

import datetime
import re
from typing import Any

import pytest

from pochi_cli.config.catalogue import CATALOGUE
from pochi_cli.config.likeness import closest
from pochi_cli.config.load import check
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.config.suggestions import meant_key, meant_word, misspelt_name
from pochi_cli.config.synonyms import INNER, KEYS, REMARKS, WORDS
from pochi_cli.config.values import show
from pochi_cli.errors import format_key
from tests.config.raw import TO_TENSOR, folder, found, mistakes
from tests.config.test_load import DEFAULTS
from tests.config.test_rules import BROKEN

JARGON = re.compile(
    r"input should be|pydantic|field required|extra inputs|valid (integer|number|string|tuple|dictionary)"
    r"|\b(dict|str|int|bool|tuple|list|NoneType|None|True|False|float|Literal|type=|ctx|datetime)\b"
    r"|\((\d, )+\d\)",
    re.IGNORECASE,
)
# TOML's own true and false, and `nothing is left` are fine: only Python's spelling is not.
PYTHON_CASE = {"true", "false", "none"}


def jargon(text: str) -> list[str]:
    return [m.group() for m in JARGON.finditer(text) if m.group() not in PYTHON_CASE]


WILD: list[Any] = [
    3,
    -1,
    0.5,
    float("nan"),
    float("inf"),
    True,
    "word",
    "",
    [],
    [1],
    ["a", 2.0, [True]],
    [[1], {"a": 1}],
    {},
    {"a": 1},
    {"name": "Resize"},
    [{"name": "Resize", "size": [1, 2, 3]}],
    [{"name": "resize"}],
    [{"size": 3}],
    [{"name": 3}, {"name": ["a"]}, {"name": {}}],
    datetime.date(2026, 1, 2),
]


@pytest.mark.parametrize("value", WILD, ids=repr)
@pytest.mark.parametrize("key", DEFAULTS)
def test_no_machinery_shows(key: str, value: Any) -> None:
    raw = folder(**{key: value})
    if key == "scheduler_params":
        raw["scheduler"] = "LinearLR"
    try:
        diagnostics = mistakes(raw)
    except pytest.fail.Exception:
        return  # a valid value
    for diagnostic in diagnostics:
        text = " ".join(
            [diagnostic.message, diagnostic.help or "", *(note.message for note in diagnostic.notes)]
        )
        assert jargon(text) == [], text
        assert "\n" not in text
        assert diagnostic.key
        names = [part for part in diagnostic.key if isinstance(part, str)]
        assert names[-1] in text


@pytest.mark.parametrize("name", BROKEN)
def test_rules_name_their_key(name: str) -> None:
    (diagnostic,) = mistakes(BROKEN[name][0])
    assert jargon(f"{diagnostic.message} {diagnostic.help}") == []
    last = next(str(part) for part in reversed(diagnostic.key) if isinstance(part, str))
    assert last in diagnostic.message


@pytest.mark.parametrize(
    ("keys", "where", "meant"),
    [
        ({"batchsize": 3}, "batchsize", "batch_size"),
        ({"BATCH_SIZE": 3}, "BATCH_SIZE", "batch_size"),
        ({"batch-size": 3}, "batch-size", "batch_size"),
        ({"early_stoping": {}}, "early_stoping", "early_stopping"),
        ({"early_stopping": {"patiense": 3}}, "early_stopping.patiense", "patience"),
        ({"optimizer_params": {"weight_deca": 0}}, "optimizer_params.weight_deca", "weight_decay"),
        ({"optimizer": "Adam", "optimizer_params": {"beta": 0}}, "optimizer_params.beta", "betas"),
        ({"layer_wise_lr_config": {"layer_rate": {}}}, "layer_wise_lr_config.layer_rate", "layer_rates"),
        (
            {"layer_wise_lr_config": {"graph_config": {"log_scale": True}}},
            "layer_wise_lr_config.graph_config.log_scale",
            "use_log_scale",
        ),
        (
            {"train_transform": [{"name": "Resize", "size": 3, "interpolatoin": "nearest"}, TO_TENSOR]},
            "train_transform[0].interpolatoin",
            "interpolation",
        ),
    ],
)
def test_did_you_mean_key(keys: dict[str, Any], where: str, meant: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.code, format_key(diagnostic.key)) == ("unknown-key", where)
    assert diagnostic.help == f"did you mean `{meant}`?"


def test_no_far_fetched_suggestion() -> None:
    (diagnostic,) = mistakes(folder(zzz=1))
    assert diagnostic.help == "`pochi schema --format markdown` lists all keys"
    (diagnostic,) = mistakes(folder(optimizer_params={"zzz": 1}))
    assert diagnostic.help == "known here: momentum, nesterov, weight_decay"


@pytest.mark.parametrize(
    ("keys", "meant"),
    [
        ({"model_name": "resnet81"}, "resnet18"),
        ({"model_name": "ResNet18"}, "resnet18"),
        ({"optimizer": "adam"}, "Adam"),
        ({"optimizer": "sgd"}, "SGD"),
        ({"scheduler": "StepLr", "scheduler_params": {"step_size": 3}}, "StepLR"),
        ({"precision": "fp61"}, "fp16"),
        ({"class_weights": "balance"}, "balanced"),
        ({"train_transform": [{"name": "toTensor"}]}, "ToTensor"),
        ({"early_stopping": {"monitor": "val_acc"}}, "val_accuracy"),
    ],
)
def test_did_you_mean_value(keys: dict[str, Any], meant: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert diagnostic.code == "unknown-value"
    assert diagnostic.help is not None
    assert diagnostic.help.startswith(f'did you mean "{meant}"?')
    assert diagnostic.help.endswith('"?') == (len(diagnostic.help) < 40)  # long lists are left out


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("epoch", "epochs"),
        ("learning_rat", "learning_rate"),
        ("Learning_Rate", "learning_rate"),
        ("train_transforms", "train_transform"),
        ("train_data_dir", "train_data_root"),  # required by a rule
        ("lr", "learning_rate"),
        ("data", "train_data_root"),
    ],
)
def test_missing_and_misspelt_are_one_mistake(wrong: str, right: str) -> None:
    raw = folder()
    raw[wrong] = raw.pop(right)
    (diagnostic,) = mistakes(raw)
    assert (diagnostic.code, diagnostic.key) == ("unknown-key", (wrong,))
    assert diagnostic.help == f"did you mean `{right}`? (required, and missing)"


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"scheduler": "StepLR", "scheduler_params": {"step_sise": 3}}, "scheduler_params.step_sise"),
        ({"train_transform": [{"name": "Resize", "sise": 3}, TO_TENSOR]}, "train_transform[0].sise"),
        ({"val_data_root": "a", "val_transfrom": [TO_TENSOR]}, "val_transfrom"),
    ],
)
def test_folding_inside_tables_and_for_rules(keys: dict[str, Any], where: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.code, format_key(diagnostic.key)) == ("unknown-key", where)
    assert "(required, and missing)" in (diagnostic.help or "")


def test_one_missing_key_folds_with_one_unknown_key() -> None:
    raw = folder(epoch=3, epohcs=3)
    del raw["epochs"]
    helps = sorted(str(diagnostic.help) for diagnostic in mistakes(raw))
    assert helps == ["did you mean `epochs`?", "did you mean `epochs`? (required, and missing)"]


def test_no_folding_across_tables() -> None:
    raw = folder(early_stopping={"epoch": 3})
    del raw["epochs"]
    assert found(raw) == {("missing-key", "epochs"), ("unknown-key", "early_stopping.epoch")}


@pytest.mark.parametrize(
    ("keys", "message", "remedy"),
    [
        ({"epochs": "3"}, 'epochs is "3" (a string), but must be a whole number', "write 3 without quotes"),
        ({"epochs": True}, "epochs is true, but must be a whole number", None),
        ({"epochs": 1.5}, "epochs is 1.5 (a number), but must be a whole number", None),
        ({"learning_rate": 2}, "learning_rate is 2, but must be at most 1.0", None),
        ({"learning_rate": float("nan")}, "learning_rate is nan, but must be a finite number", None),
        ({"mean": [0.5]}, "mean has 1 entry, but needs 3: [0.5]", None),
        ({"mean": [1, 2, 3, 4]}, "mean has 4 entries, but needs 3: [1, 2, 3, 4]", None),
        ({"work_dir": ""}, "work_dir is empty", "name it, or leave the key out"),
        ({"num_workers": "four"}, 'num_workers is "four"', 'allowed: "auto", a number'),
        ({"batch_size": "big"}, 'batch_size is "big"', 'allowed: "auto", a number'),
        ({"batch_size": 0}, "batch_size is 0, but must be at least 1", None),
        ({"batch_size": True}, 'batch_size is true, but must be a whole number or "auto"', None),
        ({"channels_last": "yes"}, 'channels_last is "yes"', 'allowed: "auto", true or false'),
        (
            {"layer_wise_lr_config": {"layer_rates": {"layer2": {"0": 0.5}}}},
            "layer_wise_lr_config.layer_rates.layer2 is a table, but must be a number",
            r'a pattern with a dot needs quotes: "layer2\\.0" = 0.5',
        ),
        (
            {"train_transform": ["ToTensor"]},
            'train_transform[0] is "ToTensor" (a string), but must be a table',
            'write { name = "ToTensor" }',
        ),
        ({"scheduler": "StepLR"}, "`scheduler_params.step_size` is missing", 'scheduler = "StepLR" needs it'),
        (
            {"freeze": ["layer5"]},
            "the pattern `layer5` of freeze matches no parameter of resnet18",
            "the closest layers are `layer4`, `layer3`, `layer2`",
        ),
    ],
)
def test_wording(keys: dict[str, Any], message: str, remedy: str | None) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.message, diagnostic.help) == (message, remedy)


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (True, "true"),
        (1e-05, "1e-05"),
        ('a"b\n', r'"a\"b\n"'),
        ("花", '"花"'),
        ([1, "a", [True]], '[1, "a", [true]]'),
        ((1, 2), "[1, 2]"),
        ({}, "{}"),
        ({"a": 1, "b": {"c": []}}, "{ a = 1, b = { c = [] } }"),
        (datetime.date(2026, 1, 2), "2026-01-02"),
        ("x" * 1_000_000, '"' + "x" * 56 + "..."),
        ([0] * 1_000_000, "[" + "0, " * 18 + "0,..."),
    ],
)
def test_show(value: Any, shown: str) -> None:
    assert show(value) == shown
    assert len(show(value)) <= 60


@pytest.mark.parametrize(
    ("keys", "message", "remedy"),
    [
        ({"epochs": 3.0}, "epochs is 3.0 (a number), but must be a whole number", "write 3"),
        ({"epochs": "３"}, 'epochs is "３" (a string), but must be a whole number', None),
        (
            {"clip_grad_norm": "1"},
            'clip_grad_norm is "1" (a string), but must be a number',
            "write 1 without quotes",
        ),
        ({"pretrained": "True"}, 'pretrained is "True" (a string), but must be true or false', "write true"),
        ({"pretrained": 1}, "pretrained is 1 (a whole number), but must be true or false", "write true"),
        (
            {"ema_decay": ".9"},
            'ema_decay is ".9" (a string), but must be a number',
            "write 0.9 without quotes",
        ),
        ({"seed": True}, "seed is true, but must be a whole number", None),
        ({"work_dir": 3}, "work_dir is 3 (a whole number), but must be a string in quotes", 'write "3"'),
        ({"freeze": "fc"}, 'freeze is "fc" (a string), but must be an array [...]', 'write ["fc"]'),
        ({"mean": 0.5}, "mean is 0.5 (a number), but must be an array [...]", "write [0.5, 0.5, 0.5]"),
        (
            {"early_stopping": True},
            "early_stopping is true, but must be a table",
            "write { enabled = true }",
        ),
        ({"num_workers": "4"}, 'num_workers is "4" (a string)', "write 4 without quotes"),
        ({"batch_size": "16"}, 'batch_size is "16" (a string)', "write 16 without quotes"),
        ({"train_transform": []}, "train_transform is empty, but needs at least 1 entry", None),
        ({"num_classes": 1}, "num_classes is 1, but must be at least 2", None),
        (
            {"channels_last": 1},
            'channels_last is 1 (a whole number), but must be true, false or "auto"',
            None,
        ),
    ],
)
def test_values_of_the_wrong_type(keys: dict[str, Any], message: str, remedy: str | None) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert (diagnostic.message, diagnostic.help) == (message, remedy)


def test_a_path_with_an_escape_in_it() -> None:
    (diagnostic,) = mistakes(folder(train_data_root="D:\train\new"))
    assert diagnostic.code == "out-of-range"
    assert "U+0009" in diagnostic.message
    assert "single quotes" in diagnostic.message


KEY_NAMES = list(ClassificationConfig.model_fields)
STEP_NAMES = list(STEPS)
MODELS: list[str] = list(CATALOGUE)
SCHEDULERS = ["StepLR", "MultiStepLR", "CosineAnnealingLR", "ExponentialLR", "LinearLR"]
INNER_NAMES = [
    "momentum",
    "weight_decay",
    "nesterov",
    "patience",
    "min_delta",
    "enabled",
    "monitor",
    "step_size",
]

TYPOS: list[tuple[list[str], str]] = [
    (
        KEY_NAMES,
        "epohcs=epochs epocs=epochs epoch=epochs epchs=epochs Epochs=epochs batchsize=batch_size "
        "batch_sise=batch_size btach_size=batch_size bacth_size=batch_size leraning_rate=learning_rate "
        "learnig_rate=learning_rate learningrate=learning_rate LearningRate=learning_rate "
        "optimiser=optimizer optimzer=optimizer shceduler=scheduler sheduler=scheduler "
        "schedular=scheduler scheduler_parms=scheduler_params optimizer_param=optimizer_params "
        "model_nane=model_name modelname=model_name num_clases=num_classes nun_classes=num_classes "
        "train_data_rot=train_data_root train_transfrom=train_transform train-transforms=train_transform "
        "val_tranform=val_transform val_splt=val_split num_worker=num_workers early_stoping=early_stopping "
        "earlystopping=early_stopping lable_smoothing=label_smoothing label_smothing=label_smoothing "
        "class_wieghts=class_weights class_weight=class_weights mixup_aplha=mixup_alpha "
        "warmup_epoch=warmup_epochs enable_layerwise_lr=enable_layer_wise_lr "
        "layerwise_lr_config=layer_wise_lr_config precison=precision devcie=device sead=seed sed=seed "
        "determinstic=deterministic save_intervall=save_interval pre_trained=pretrained "
        "pretraind=pretrained workdir=work_dir wrok_dir=work_dir clip_gradnorm=clip_grad_norm",
    ),
    (
        INNER_NAMES,
        "momentun=momentum momemtum=momentum weight_deca=weight_decay weigth_decay=weight_decay "
        "nestrov=nesterov patiense=patience patince=patience mindelta=min_delta enable=enabled "
        "moniter=monitor stepsize=step_size",
    ),
    (
        STEP_NAMES,
        "ToTensr=ToTensor totensor=ToTensor to_tensor=ToTensor Resise=Resize resize=Resize "
        "CentreCrop=CenterCrop Normalise=Normalize RandomHorizontalFLip=RandomHorizontalFlip "
        "RandomHorizonalFlip=RandomHorizontalFlip RandomRotatoin=RandomRotation ColourJitter=ColorJitter "
        "RandomResizeCrop=RandomResizedCrop GausianBlur=GaussianBlur RandomErase=RandomErasing "
        "RandAugmnet=RandAugment",
    ),
    (
        MODELS,
        "resnet81=resnet18 resent50=resnet50 ResNet18=resnet18 resnet-34=resnet34 vgg16bn=vgg16_bn "
        "vit_b16=vit_b_16 convnext_tny=convnext_tiny densnet121=densenet121 efficentnet_b0=efficientnet_b0",
    ),
    (SCHEDULERS, "StepLr=StepLR steplr=StepLR CosineAnealingLR=CosineAnnealingLR Exponential=ExponentialLR"),
]


@pytest.mark.parametrize(
    ("known", "typo", "meant"),
    [(known, *pair.split("=")) for known, pairs in TYPOS for pair in pairs.split()],
)
def test_typos_are_understood(known: list[str], typo: str, meant: str) -> None:
    if typo != "RandomErase":  # no slip: it stands in the list of synonyms
        assert closest(typo, known) == meant
    if known is not INNER_NAMES:
        said = meant_key((typo,), {typo: 1}) if known is KEY_NAMES else meant_word(typo, known, [])
        assert str(said).startswith("did you mean ")
        assert meant in str(said)


@pytest.mark.parametrize(
    ("known", "word"),
    [
        (known, word)
        for known, words in [
            (
                KEY_NAMES,
                "resize rotate step steps test model_ema dropout drop_path loss criterion metric metrics "
                "image images size height width lr wd momentum gamma trainer callbacks logger verbose "
                "debug resume fold folds profile gpu gpus fp16 half hflip path paths root name label labels "
                "note version project tags author wandb x",
            ),
            (STEP_NAMES, "Compose MixUp CutMix Lambda Crop Random Mosaic Solarise3D Flip Blur"),
            (MODELS, "resnet resnet20 resnet99 alexnet inception_v3 vgg vgg12 densenet169 yolov8 b0"),
            (SCHEDULERS, "OneCycleLR ReduceLROnPlateau CyclicLR poly None LR cosine_restarts"),
            (["SGD", "Adam", "AdamW"], "RMSprop Lion NAdam RAdam LAMB Adagrad Adafactor"),
        ]
        for word in words.split()
    ],
)
def test_no_guess_is_better_than_a_silly_one(known: list[str], word: str) -> None:
    assert closest(word, known) is None


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ({"image_size": 224}, "the size is set by the transforms"),
        ({"imgsz": 224}, "the size is set by the transforms"),
        ({"channels": 3}, "every image becomes RGB"),
        ({"optim": "SGD"}, "did you mean `optimizer`?"),
        ({"resize": 224}, 'a step of train_transform: { name = "Resize" }'),
        ({"reprob": 0.2}, '{ name = "RandomErasing" }'),
        ({"shuffle": True}, "did you mean `sampler`?"),
        ({"val_ratio": 0.2}, "did you mean `val_split`?"),
        ({"model_ema": True}, "did you mean `ema_decay`?"),
        ({"transforms": []}, "`train_transform` is probably meant, and is set already"),
        ({"epoch": 3}, "`epochs` is probably meant, and is set already: leave this one out"),
        ({"model": "resnet50"}, "did you mean `model_name`?"),
        ({"wd": 0.1}, "did you mean `optimizer_params.weight_decay`?"),
        ({"min_lr": 0.1}, "did you mean `scheduler_params.eta_min`?"),
        ({"gpu": 0}, "did you mean `device`?"),
        ({"use_amp": True}, "did you mean `precision`?"),
        ({"manual-seed": 1}, "did you mean `seed`?"),
        ({"val_data": "a"}, "did you mean `val_data_root`?"),
        ({"patience": 3}, "it belongs to `early_stopping`: early_stopping.patience = ..."),
        ({"optimizer_params": {"lr": 0.1}}, "did you mean `learning_rate` of the top level?"),
        ({"optimizer_params": {"wd": 0.1}}, "did you mean `weight_decay`?"),
        ({"early_stopping": {"metric": "val_loss"}}, "did you mean `monitor`?"),
        ({"train_transform": [{"name": "RandAugment", "n": 2}, TO_TENSOR]}, "did you mean `num_ops`?"),
        ({"train_transform": [{"name": "RandAugment", "m": 2}, TO_TENSOR]}, "did you mean `magnitude`?"),
        ({"scheduler": "StepLR", "scheduler_params": {"step_size": 3, "min_lr": 0}}, "known here: gamma"),
        ({"train": {"epochs": 3}}, "keys of the top level stand above all tables; there is no [train]"),
        ({"model": {"name": "resnet18"}}, "there is no [model]"),
        ({"data": {"batch_size": 3}}, "there is no [data]"),
        ({"early_stoping": {"patience": 3}}, "did you mean `early_stopping`?"),
        ({"graph_config": {}}, "it belongs to `layer_wise_lr_config`"),
        ({"monitor": {"port": 1}}, "known here: enabled, update_ratio_every"),
        ({"cache_images": True}, "did you mean `cache`?"),
        ({"test_data_root": "a"}, "`pochi schema --format markdown` lists all keys"),
        ({"dropout": 0.1}, "`pochi schema --format markdown` lists all keys"),
        ({"pin_memory": True}, "remove it: this is decided by what the device can do"),
    ],
)
def test_names_from_elsewhere(keys: dict[str, Any], remedy: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert diagnostic.code == "unknown-key"
    assert remedy in str(diagnostic.help)


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ({"train_transform": [{"name": "transforms.Resize"}]}, 'did you mean "Resize"?'),
        ({"train_transform": [{"name": "T.CenterCrop(224)"}]}, 'did you mean "CenterCrop"?'),
        ({"train_transform": [{"name": "torchvision.transforms.v2.ToImage"}]}, 'did you mean "ToTensor"?'),
        ({"train_transform": [{"name": "Compose"}]}, "leave it out: the array itself is the sequence"),
        ({"train_transform": [{"name": "CoarseDropout"}]}, 'did you mean "RandomErasing"?'),
        ({"train_transform": [{"name": "MixUp"}]}, "set the key mixup_alpha: it is no step"),
        ({"train_transform": [{"name": "A.HorizontalFlip"}]}, 'did you mean "RandomHorizontalFlip"?'),
        ({"train_transform": [{"name": "Rotate"}]}, 'did you mean "RandomRotation"?'),
        ({"train_transform": [{"name": "Lambda"}]}, 'allowed: "Resize", "CenterCrop"'),
        ({"scheduler": "None"}, "leave the key out for a constant rate"),
        ({"scheduler": "OneCycleLR"}, 'use "CosineAnnealingLR" with warmup_epochs'),
        ({"scheduler": "cosine"}, 'did you mean "CosineAnnealingLR"?'),
        ({"scheduler": "ReduceLROnPlateau"}, 'allowed: "StepLR"'),
        ({"optimizer": "NAdam"}, 'allowed: "SGD", "Adam", "AdamW"'),
        ({"optimizer": "torch.optim.adamw"}, 'did you mean "AdamW"?'),
        ({"class_weights": "None"}, 'leave it out for "balanced"'),
        ({"precision": "float16"}, 'did you mean "fp16"?'),
        ({"sampler": "WeightedRandomSampler"}, 'did you mean "balanced"?'),
    ],
)
def test_words_from_elsewhere(keys: dict[str, Any], remedy: str) -> None:
    (diagnostic,) = mistakes(folder(**keys))
    assert diagnostic.code == "unknown-value"
    assert str(diagnostic.help).startswith(remedy)


def test_synonyms_lead_to_what_there_is() -> None:
    for name, meant in KEYS.items():
        assert name not in KEY_NAMES
        assert meant.split(".")[0] in KEY_NAMES
        assert name not in REMARKS
    inner = {name for step in STEPS.values() for name in step.model_fields}
    for meant in INNER:
        home = str(meant_key((meant,), {meant: 1}))
        assert meant in inner or f".{meant} = ..." in home
    for anchor, words in WORDS.items():
        for meant in words.values():
            assert (
                " " in meant
                or not meant
                or any(meant in known for known in (STEP_NAMES, SCHEDULERS))
                or (anchor not in ("ToTensor", "StepLR"))
            )


@pytest.mark.parametrize(
    ("keys", "where"),
    [
        ({"scheduler": "StepLR", "scheduler_params": {"step": 3}}, ["scheduler_params.step"]),
        ({"scheduler": "StepLR", "scheduler_parms": {"step_size": 3}}, ["scheduler_parms"]),
        ({"shceduler": "StepLR", "scheduler_params": {"step_size": 3}}, ["shceduler"]),
        ({"optimiser": "Adam", "optimizer_params": {"betas": [0.9, 0.99]}}, ["optimiser"]),
        (
            {"enable_layer_wise_lr": True, "layerwise_lr_config": {"layer_rates": {"fc": 0.1}}},
            ["layerwise_lr_config"],
        ),
        (
            {"enable_layer_wise_lr": True, "layer_wise_lr_config": {"layer_rate": {"fc": 0.1}}},
            ["layer_wise_lr_config.layer_rate"],
        ),
        ({"enable_layer_wise_lr": True, "layer_rates": {"fc": 0.1}}, ["layer_rates"]),
        (
            {"enable_layer_wise_lr": True, "layer_wise_lr_config": {"conv1": 0.1, "fc": 1}},
            ["layer_wise_lr_config.conv1", "layer_wise_lr_config.fc"],
        ),
        (
            {"enable_layerwise_lr": True, "layer_wise_lr_config": {"layer_rates": {"fc": 0.1}}},
            ["enable_layerwise_lr"],
        ),
        ({"validation_split": 0.2, "val_transform": [TO_TENSOR]}, ["validation_split"]),
        ({"val_data_rot": "a", "val_transform": [TO_TENSOR]}, ["val_data_rot"]),
        ({"validation_split": 0.2, "early_stopping": {"enabled": True, "patience": 3}}, ["validation_split"]),
    ],
)
def test_what_a_misspelt_key_leads_to_is_not_told(keys: dict[str, Any], where: list[str]) -> None:
    told = [d for d in check(folder(pretrained=False, **keys)).diagnostics if "ormaliz" not in d.message]
    assert [(d.code, format_key(d.key)) for d in told] == [("unknown-key", name) for name in where]
    assert "did you mean" in str(told[0].help) or "belong" in str(told[0].help)


def test_what_a_misspelt_key_does_not_lead_to_is_told() -> None:
    assert found(folder(scheduler="StepLR", optimizer_parms={"step_size": 3})) == {
        ("missing-key", "scheduler_params.step_size"),
        ("unknown-key", "optimizer_parms"),
    }
    assert found(folder(enable_layer_wise_lr=True, shceduler="StepLR")) == {
        ("missing-layer-rates", "enable_layer_wise_lr"),
        ("unknown-key", "shceduler"),
    }
    raw = folder(epochz=3, scheduler_params={"step_size": 3})
    assert found(raw) == {("conflict", "scheduler_params"), ("unknown-key", "epochz")}


def test_patterns_in_the_wrong_table() -> None:
    (diagnostic,) = mistakes(folder(layer_wise_lr_config={"layer1": 0.1}))
    assert diagnostic.help == "patterns belong in [layer_wise_lr_config.layer_rates]"
    (diagnostic,) = mistakes(folder(layer_wise_lr_config={"layer1": "fast"}))
    assert diagnostic.help == "known here: graph_config, layer_rates"


@pytest.mark.parametrize(
    ("step", "name"),
    [
        ({"nam": "ToTensor"}, "nam"),
        ({"size": 3, "Name": "Resize"}, "Name"),
        ({"nmae": "ToTensor", "type": "a"}, "nmae"),
        ({"type": "Resize", "size": 3}, "type"),
        ({"nam": 3}, None),
        ({"size": 3}, None),
        ({"interpolation": "nearest"}, None),
        ({}, None),
    ],
)
def test_misspelt_name_of_a_step(step: dict[str, Any], name: str | None) -> None:
    assert misspelt_name(step) == name


def test_a_step_whose_name_is_misspelt() -> None:
    (diagnostic,) = mistakes(folder(train_transform=[{"nam": "ToTensor"}]))
    assert (diagnostic.code, format_key(diagnostic.key)) == ("unknown-key", "train_transform[0].nam")
    assert diagnostic.help == "did you mean `name`? (required, and missing)"


def test_a_key_of_the_top_level_in_a_table() -> None:
    (diagnostic,) = mistakes(folder(early_stopping={"seed": 3}))
    assert diagnostic.help == "`seed` belongs to the top level: write it above the first [table]"
    raw = folder(early_stopping={"epochs": 3})
    del raw["epochs"]
    (diagnostic,) = mistakes(raw)
    assert diagnostic.key == ("early_stopping", "epochs")
    assert str(diagnostic.help).startswith("`epochs` belongs to the top level")
    assert "(required, and missing" in str(diagnostic.help)


@pytest.mark.parametrize("value", [True, "0.5"])
def test_no_array_is_made_of_what_is_no_number(value: Any) -> None:
    (diagnostic,) = mistakes(folder(mean=value))
    assert diagnostic.help is None
