"""Looking inside any network from Python. What needs torch is imported when it is first used."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pochi_cli.inspection.activation_verdicts import judge_activations as judge_activations
    from pochi_cli.inspection.activations import survey_activations as survey_activations
    from pochi_cli.inspection.attended import attended_input as attended_input
    from pochi_cli.inspection.attention import AttentionMaps as AttentionMaps
    from pochi_cli.inspection.attention import NoAttentionError as NoAttentionError
    from pochi_cli.inspection.attention import capture_attention as capture_attention
    from pochi_cli.inspection.class_activation import class_activation_maps as class_activation_maps
    from pochi_cli.inspection.faithfulness import measure_faithfulness as measure_faithfulness
    from pochi_cli.inspection.findings import Finding as Finding
    from pochi_cli.inspection.gradient_flow import judge_flow as judge_flow
    from pochi_cli.inspection.gradients import measure_gradient_flow as measure_gradient_flow
    from pochi_cli.inspection.head_similarity import compare_heads as compare_heads
    from pochi_cli.inspection.head_similarity import describe_heads as describe_heads
    from pochi_cli.inspection.model_memory import measure_training_memory as measure_training_memory
    from pochi_cli.inspection.model_operations import describe_structure as describe_structure
    from pochi_cli.inspection.model_speed import measure_speed as measure_speed
    from pochi_cli.inspection.model_statistics import weight_statistics as weight_statistics
    from pochi_cli.inspection.model_weights import judge_weights as judge_weights
    from pochi_cli.inspection.rollout import attention_maps as attention_maps

_PLACES = {
    "AttentionMaps": "attention",
    "Finding": "findings",
    "NoAttentionError": "attention",
    "attended_input": "attended",
    "attention_maps": "rollout",
    "capture_attention": "attention",
    "class_activation_maps": "class_activation",
    "compare_heads": "head_similarity",
    "describe_heads": "head_similarity",
    "describe_structure": "model_operations",
    "judge_activations": "activation_verdicts",
    "judge_flow": "gradient_flow",
    "judge_weights": "model_weights",
    "measure_faithfulness": "faithfulness",
    "measure_gradient_flow": "gradients",
    "measure_speed": "model_speed",
    "measure_training_memory": "model_memory",
    "survey_activations": "activations",
    "weight_statistics": "model_statistics",
}
"""The module of each name."""

__all__ = [
    "AttentionMaps",
    "Finding",
    "NoAttentionError",
    "attended_input",
    "attention_maps",
    "capture_attention",
    "class_activation_maps",
    "compare_heads",
    "describe_heads",
    "describe_structure",
    "judge_activations",
    "judge_flow",
    "judge_weights",
    "measure_faithfulness",
    "measure_gradient_flow",
    "measure_speed",
    "measure_training_memory",
    "survey_activations",
    "weight_statistics",
]


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *_PLACES})
