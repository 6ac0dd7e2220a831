"""Networks to look into."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

WORDS = ("The", "cat", "sat", "on", "the", "mat")


class WordNetwork(nn.Module):
    """A Transformer over words, as torch builds it.

    Args:
        norm_first: Whether it normalises before attention, not after.
        layers: How many.
    """

    def __init__(self, *, norm_first: bool = False, layers: int = 2) -> None:
        super().__init__()
        self.embedding = nn.Embedding(20, 32)
        layer = nn.TransformerEncoderLayer(
            32, 4, dim_feedforward=64, dropout=0.3, batch_first=True, norm_first=norm_first
        )
        self.transformer = nn.TransformerEncoder(layer, layers, enable_nested_tensor=not norm_first)
        self.head = nn.Linear(32, 3)

    def forward(self, tokens: Tensor, padding: Tensor | None = None) -> Tensor:
        """Classify sentences, (batch, words); True in `padding` is no word."""
        encoded = self.transformer(self.embedding(tokens), src_key_padding_mask=padding)
        logits: Tensor = self.head(encoded.mean(1))
        return logits


class OwnAttention(nn.Module):
    """Attention written out, or by torch's function.

    Args:
        kind: How: `softmax`, `function`, `causal` or `masked`.
    """

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.qkv = nn.Linear(16, 48)

    def parts(self, tokens: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values, (batch, 2 heads, tokens, 8)."""
        batch, count, _ = tokens.shape
        query, key, value = self.qkv(tokens).reshape(batch, count, 3, 2, 8).permute(2, 0, 3, 1, 4)
        return query, key, value

    def forward(self, tokens: Tensor) -> Tensor:
        """Attend, (batch, tokens, 16)."""
        query, key, value = self.parts(tokens)
        match self.kind:
            case "softmax":
                mixed = (query @ key.transpose(-2, -1) / 8**0.5).softmax(dim=-1) @ value
            case "function":
                mixed = F.scaled_dot_product_attention(query, key, value)
            case "causal":
                mixed = F.scaled_dot_product_attention(query, key, value, is_causal=True)
            case _:
                mask = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool)
                mask[:, 1] = False
                mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, scale=0.5)
        return mixed.transpose(1, 2).flatten(2)


def state_of(model: nn.Module) -> dict[str, Any]:
    """All that an inspection must leave as it was."""
    modules = dict(model.named_modules())
    return {
        "values": {name: value.clone() for name, value in model.state_dict().items()},
        "identities": [id(value) for value in (*model.parameters(), *model.buffers())],
        "gradients": [None if p.grad is None else p.grad.clone() for p in model.parameters()],
        "training": {name: module.training for name, module in modules.items()},
        "hooks": {
            name: [
                list(getattr(module, kind))
                for kind in ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
            ]
            for name, module in modules.items()
        },
        "random": torch.get_rng_state(),
        "fused": torch.backends.mha.get_fastpath_enabled(),
    }


def assert_unchanged(model: nn.Module, before: dict[str, Any]) -> None:
    """Hold a model against what it was."""
    after = state_of(model)
    for name, value in before["values"].items():
        assert torch.equal(value, after["values"][name]), name
    assert torch.equal(before["random"], after["random"])
    for old, new in zip(before["gradients"], after["gradients"], strict=True):
        assert (old is None) == (new is None)
        assert old is None or torch.equal(old, new)
    for key in ("identities", "training", "hooks", "fused"):
        assert before[key] == after[key], key
