import pytest
import torch
from scipy.stats import beta, kstest

from gradloop.data.augmentation.mix import Mix
from gradloop.errors import ConfigError
from pictures_for_tests import augmentation, epoch_of, pictures

KINDS = [
    {"mixup": {"alpha": 0.4}},
    {"cutmix": {"alpha": 1.0}},
    {"mixup": {"alpha": 0.4}, "cutmix": {"alpha": 1.0}},
]


@pytest.mark.parametrize("changes", KINDS)
def test_labels_become_probabilities(changes):
    data = pictures(25)
    _, probabilities = epoch_of(augmentation(data, **changes), data, batch_size=8)
    assert probabilities.shape == (25, 10)
    assert probabilities.dtype == torch.float32
    assert (probabilities >= 0).all()
    assert torch.allclose(probabilities.sum(1), torch.ones(25))
    assert probabilities[24, 24 % 10] == 1  # no neighbour: unmixed
    own = probabilities[torch.arange(24), torch.arange(24) % 10]
    other = probabilities[torch.arange(24), (torch.arange(24) ^ 1) % 10]
    assert torch.allclose(own + other, torch.ones(24))


def test_mixup_blends_picture_and_label_by_the_same_share():
    data = pictures(16)
    plain, _ = epoch_of(augmentation(data), data)
    mixed, probabilities = epoch_of(augmentation(data, mixup={"alpha": 0.4}), data)
    rows = torch.arange(16)
    share = probabilities[rows, rows % 10][:, None, None, None]
    assert torch.allclose(mixed, share * plain + (1 - share) * plain[rows ^ 1], atol=1e-5)
    assert torch.allclose(share[0::2], share[1::2])


def test_cutmix_replaces_a_box_and_the_label_is_its_area():
    data = pictures(64)
    plain, _ = epoch_of(augmentation(data), data)
    mixed, probabilities = epoch_of(augmentation(data, cutmix={"alpha": 1.0}), data, batch_size=64)
    rows = torch.arange(64)
    foreign = (mixed == plain[rows ^ 1]).all(1) & (mixed != plain).any(1)
    own = (mixed == plain).all(1)
    assert (own | foreign).all()
    share = own.float().mean(dim=(1, 2))
    assert torch.allclose(probabilities[rows, rows % 10], share, atol=0.02)
    for box in foreign[:20]:
        if box.any():
            down, right = box.any(1).nonzero()[:, 0], box.any(0).nonzero()[:, 0]
            area = (down[-1] - down[0] + 1) * (right[-1] - right[0] + 1)
            assert box.sum() >= 0.95 * area  # one box (a pixel may be equal by chance)


def test_shares_follow_the_beta_distribution():
    uniform = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))
    shares = Mix(mixup_alpha=0.4, cutmix_alpha=0.0).plan(uniform).share[0::2]
    assert kstest(shares.numpy(), beta(0.4, 0.4).cdf).pvalue > 1e-3


def test_both_kinds_share_the_pairs():
    uniform = torch.rand(4000, 4, generator=torch.Generator().manual_seed(0))
    cut = Mix(mixup_alpha=0.4, cutmix_alpha=1.0).plan(uniform).cut
    assert 0.45 < cut.float().mean() < 0.55
    assert torch.equal(cut[0::2], cut[1::2])


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_negative_alpha_is_refused(name):
    with pytest.raises(ConfigError, match=rf"augmentation\.{name}\.alpha=-1: expected 0 or more"):
        augmentation(pictures(), **{name: {"alpha": -1}})
