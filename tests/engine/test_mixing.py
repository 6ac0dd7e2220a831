"""MixUp and CutMix: images and labels are mixed alike, from the seed, epoch and batch alone."""

from __future__ import annotations

import pytest
import torch

from pochi_cli.engine.mixing import Mixing, NoMixing, create_mixing
from tests.engine.tiny import tiny_config


@pytest.fixture
def batch() -> tuple[torch.Tensor, torch.Tensor]:
    labels = torch.arange(8) % 4
    return labels.float().view(8, 1, 1, 1).expand(8, 3, 20, 12).clone(), labels


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_labels_are_the_shares_of_the_images(
    batch: tuple[torch.Tensor, torch.Tensor], mixup: float, cutmix: float
) -> None:
    mixing = Mixing(mixup, cutmix, num_classes=4, seed=3)
    for number in range(20):
        images, targets = mixing(*batch, epoch=1, batch=number)
        # Each image is filled with its label, so its mean is the expected label of its targets.
        torch.testing.assert_close(images.mean((1, 2, 3)), targets @ torch.arange(4.0), atol=1e-5, rtol=0)
        torch.testing.assert_close(targets.sum(1), torch.ones(8))


def test_both_are_used_when_both_are_on(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    mixing = Mixing(1.0, 1.0, num_classes=4, seed=0)
    pasted = [bool((mixing(*batch, epoch=1, batch=b)[0] % 1 == 0).all()) for b in range(40)]
    assert 5 < sum(pasted) < 35


def test_depends_on_seed_epoch_and_batch_only(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    def mixed(seed: int, epoch: int, number: int) -> torch.Tensor:
        return Mixing(0.4, 0.0, 4, seed)(*batch, epoch=epoch, batch=number)[0]

    torch.manual_seed(1)
    first = mixed(0, 1, 2)
    state = torch.get_rng_state()
    assert torch.equal(mixed(0, 1, 2), first)
    assert torch.equal(torch.get_rng_state(), state)
    for other in (mixed(1, 1, 2), mixed(0, 2, 2), mixed(0, 1, 3)):
        assert not torch.equal(other, first)


def test_off_by_default(batch: tuple[torch.Tensor, torch.Tensor]) -> None:
    mixing = create_mixing(tiny_config(), num_classes=4, seed=0)
    assert isinstance(mixing, NoMixing)
    images, labels = mixing(*batch, epoch=1, batch=0)
    assert images is batch[0]
    assert labels is batch[1]
