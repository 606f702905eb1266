import pytest
import torch
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional

from gradloop.data.augmentation.geometry import Rotation
from gradloop.errors import ConfigError


def smooth(height, width, count):
    rows, columns = torch.linspace(0, 6, height)[:, None], torch.linspace(0, 5, width)
    return ((rows.sin() + columns.cos()) / 4 + 0.5).expand(count, 3, -1, -1).clone()


@pytest.mark.parametrize(("height", "width"), [(32, 32), (30, 44)])
def test_each_picture_turns_by_its_angle_as_torchvision_turns_it(height, width):
    degrees = torch.tensor([-90.0, -30, 0, 12, 45, 90])
    before = smooth(height, width, 6)
    after = Rotation.apply(before, degrees * torch.pi / 180)
    rows = (torch.arange(height) - (height - 1) / 2)[:, None]
    columns = torch.arange(width) - (width - 1) / 2
    disc = (rows**2 + columns**2).sqrt() < min(height, width) / 2 - 2  # nothing from outside gets here
    for picture, original, angle in zip(after, before, degrees, strict=True):
        expected = functional.rotate(original, float(angle), InterpolationMode.BILINEAR)
        assert torch.allclose(picture[:, disc], expected[:, disc], atol=2e-3)


def test_no_corner_is_black():
    assert Rotation.apply(torch.ones(5, 3, 16, 16), torch.linspace(-3, 3, 5)).min() > 0.99


def test_angles_fill_their_range():
    angles = Rotation(degrees=15.0).plan(torch.rand(5000, 1)) * 180 / torch.pi
    assert -15 <= angles.min() < -14.9
    assert 14.9 < angles.max() <= 15


def test_out_of_range_is_refused():
    with pytest.raises(ConfigError, match=r"augmentation\.rotation\.degrees=270: expected 0 to 180"):
        Rotation(degrees=270)
