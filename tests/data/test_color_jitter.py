import pytest
import torch
from torchvision.transforms.v2 import functional

from gradloop.data.augmentation.color_jitter import ColorJitter, Factors, shift_hue
from gradloop.errors import ConfigError


def colours(count=40):
    drawn = torch.rand(count, 3, 6, 7, generator=torch.Generator().manual_seed(0))
    drawn[0] = 0.5  # grey has no hue
    drawn[1] = drawn[1].round()  # pure colours, black and white
    return drawn


def only(name, amount):
    return ColorJitter(**{**dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0), name: amount})


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "hue"])
def test_each_picture_changes_as_torchvision_changes_it(name):
    transform = only(name, 0.5)
    before = colours()
    factors = transform.plan(torch.rand(40, 4, generator=torch.Generator().manual_seed(1)))
    after = transform.apply(before.clone(), factors)
    adjust = getattr(functional, f"adjust_{name}")
    for picture, original, factor in zip(after, before, getattr(factors, name), strict=True):
        assert torch.allclose(picture, adjust(original, float(factor)), atol=2e-5)


def test_factors_lie_in_their_ranges():
    transform = ColorJitter(brightness=0.2, contrast=1.5, saturation=0.2, hue=0.1)
    factors = transform.plan(torch.rand(5000, 4, generator=torch.Generator().manual_seed(1)))
    for values, low, high in zip(factors, (0.8, 0.0, 0.8, -0.1), (1.2, 2.5, 1.2, 0.1), strict=True):
        assert low <= values.min() < low + 0.01
        assert high - 0.01 < values.max() <= high


def test_a_whole_turn_of_hue_changes_nothing():
    before = colours()
    assert torch.allclose(shift_hue(before, torch.ones(40)), before, atol=1e-5)


def test_grey_pictures_keep_their_one_channel():
    transform = ColorJitter(brightness=0.2, contrast=0.2, saturation=0.2, hue=0.1)
    factors = Factors(*(torch.full((4,), value) for value in (1.1, 0.9, 1.2, 0.05)))
    after = transform.apply(torch.rand(4, 1, 5, 5), factors)
    assert after.shape == (4, 1, 5, 5)


def test_values_stay_between_0_and_1():
    transform = ColorJitter(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)
    after = transform.apply(colours(), transform.plan(torch.rand(40, 4)))
    assert after.min() >= 0
    assert after.max() <= 1


def test_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"augmentation\.color_jitter\.hue=0\.6: expected 0 to 0\.5"):
        only("hue", 0.6)
