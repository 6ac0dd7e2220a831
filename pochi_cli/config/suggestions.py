"""What the user probably meant: by a key, by a word, by a value of the wrong type."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Any

from pydantic import BaseModel

from pochi_cli.config.optim import OPTIMIZER_PARAMS, SCHEDULER_PARAMS
from pochi_cli.config.root import ClassificationConfig
from pochi_cli.config.steps.nested import STEPS
from pochi_cli.errors import Diagnostic, KeyPath, format_key

_PARAMS: Mapping[str, Mapping[str, type[BaseModel]]] = {
    "optimizer_params": OPTIMIZER_PARAMS,
    "scheduler_params": SCHEDULER_PARAMS,
}

# What other trainers call a key, where its letters do not lead there.
_SYNONYMS: Mapping[str, str] = {
    "lr": "learning_rate",
    "lr0": "learning_rate",
    "base_lr": "learning_rate",
    "arch": "model_name",
    "backbone": "model_name",
    "network": "model_name",
    "max_epochs": "epochs",
    "num_epochs": "epochs",
    "n_epochs": "epochs",
    "workers": "num_workers",
    "data": "train_data_root",
    "data_dir": "train_data_root",
    "train_dir": "train_data_root",
    "val_dir": "val_data_root",
    "output_dir": "work_dir",
    "save_dir": "work_dir",
    "checkpoint": "weights",
    "amp": "precision",
    "grad_clip": "clip_grad_norm",
    "transform": "train_transform",
    "smoothing": "label_smoothing",
    "mixup": "mixup_alpha",
    "cutmix": "cutmix_alpha",
    "ema": "ema_decay",
    "lr_scheduler": "scheduler",
    "dataset_name": "dataset",
    "random_seed": "seed",
}
# What the guide's Python configs had, and is now decided without the user.
_AUTOMATIC = frozenset({"train_pin_memory", "infer_pin_memory", "pin_memory", "gpu_non_blocking"})

_MOST_LISTED = 12


def closest(word: str, candidates: Iterable[str], cutoff: float) -> str | None:
    """Find the candidate that looks most like a word, whatever their case."""
    by_lower = {candidate.lower(): candidate for candidate in candidates}
    close = difflib.get_close_matches(word.lower()[:100], by_lower, n=1, cutoff=cutoff)
    return by_lower[close[0]] if close else None


def known_keys(table: KeyPath, raw: Mapping[str, Any]) -> list[str]:
    """List the keys that a table of a config may have; none for one whose keys are the user's."""
    if not table:
        return list(ClassificationConfig.model_fields)
    if table[0] in _PARAMS and len(table) == 1:
        chosen = raw.get(str(table[0]).removesuffix("_params"), "SGD")
        return _fields(_PARAMS[str(table[0])].get(str(chosen)))
    if isinstance(table[-1], int):
        node: Any = raw
        for part in table:
            node = node[part]
        return _fields(STEPS.get(str(node.get("name")))) if isinstance(node, dict) else []
    model: Any = ClassificationConfig
    for part in table:
        fields = getattr(model, "model_fields", {})
        model = fields[part].annotation if part in fields else None
    return _fields(model)


def _fields(model: Any) -> list[str]:
    return list(getattr(model, "model_fields", {}))


@cache
def _homes() -> Mapping[str, tuple[KeyPath, ...]]:
    """The tables that have a key of this name; the top level is the empty path."""
    homes: dict[str, list[KeyPath]] = {}
    for home, name in _tables((), ClassificationConfig):
        homes.setdefault(name, []).append(home)
    return {name: tuple(dict.fromkeys(found)) for name, found in homes.items()}


def _tables(home: KeyPath, model: Any) -> Iterator[tuple[KeyPath, str]]:
    for name, field in model.model_fields.items():
        yield home, name
        if name in _PARAMS and not home:
            for params in _PARAMS[name].values():
                yield from _tables((name,), params)
        elif hasattr(field.annotation, "model_fields"):
            yield from _tables((*home, name), field.annotation)


@cache
def _meant(table: KeyPath, key: str, known: tuple[str, ...]) -> str | None:
    homes = [home for home in _homes().get(key, ()) if home != table]
    if homes and not homes[0]:
        return f"`{key}` belongs to the top level: write it above the first [table]"
    if not table and key in _AUTOMATIC:
        return "remove it: this is decided by what the device can do"
    if homes:
        return f"it belongs to `{format_key(homes[0])}`: {format_key((*homes[0], key))} = ..."
    if not table and (synonym := _SYNONYMS.get(key.lower())):
        return f"did you mean `{synonym}`?"
    if close := closest(key, known, cutoff=0.6):
        return f"did you mean `{close}`?"
    return f"known here: {', '.join(sorted(known))}" if 0 < len(known) <= _MOST_LISTED else None


def meant_key(path: KeyPath, raw: Mapping[str, Any]) -> str | None:
    """Say which key was probably meant by an unknown one, or where it belongs."""
    return _meant(path[:-1], str(path[-1])[:100], tuple(known_keys(path[:-1], raw)))


def meant_word(word: str, choices: list[str], others: list[str]) -> str:
    """Say which word was probably meant, and which are allowed.

    Args:
        word: The unknown word.
        choices: The words that are allowed.
        others: What is allowed beside words, such as `a number`.
    """
    listed = "allowed: " + ", ".join([*(f'"{choice}"' for choice in choices), *others])
    close = closest(word, choices, cutoff=0.5)
    if close is None:
        return listed
    return f'did you mean "{close}"?' + ("" if len(choices) > _MOST_LISTED else f" {listed}")


def fold_misspelt(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Make one diagnostic of a missing key and an unknown one that resembles it, or is it elsewhere."""
    missing = [diagnostic for diagnostic in diagnostics if diagnostic.code == "missing-key"]
    folded: list[Diagnostic] = []
    for diagnostic in diagnostics:
        if diagnostic.code == "unknown-key" and (meant := _missing_one(diagnostic.key, missing)):
            missing.remove(meant)
            remedy = f"did you mean `{meant.key[-1]}`? (required, and missing)"
            if meant.key[:-1] != diagnostic.key[:-1]:
                remedy = f"{diagnostic.help} (required, and missing there)"
            diagnostic = dataclasses.replace(diagnostic, help=remedy)
        folded.append(diagnostic)
    kept = {id(diagnostic) for diagnostic in missing}
    return [d for d in folded if d.code != "missing-key" or id(d) in kept]


def _missing_one(key: KeyPath, missing: list[Diagnostic]) -> Diagnostic | None:
    """Find the missing key that an unknown one stands for."""
    name = str(key[-1])
    siblings = {str(other.key[-1]): other for other in missing if other.key[:-1] == key[:-1]}
    if synonym := siblings.get(_SYNONYMS.get(name.lower(), "")):
        return synonym
    if close := closest(name, siblings, cutoff=0.7):
        return siblings[close]
    return next((other for other in missing if other.key[-1] == name and len(other.key) == 1), None)
