import pytest
import torch
from scipy.stats import binomtest, chisquare
from torch.nn import functional

from gradloop.data.augmentation.geometry import HorizontalFlip, RandomCrop, crop
from gradloop.data.pictures.layout import inside, pad
from gradloop.errors import ConfigError
from pictures_for_tests import augmentation, epoch_of, pictures


@pytest.mark.parametrize(
    ("mode", "torch_mode"), [("reflect", "reflect"), ("edge", "replicate"), ("zero", "constant")]
)
@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_margins_are_those_of_torch(mode, torch_mode, channels_last, channels):
    data = pictures(channels=channels, channels_last=channels_last)
    expected = functional.pad(data.float(), (3, 3, 3, 3), mode=torch_mode)
    padded = pad(data, 3, mode)
    assert torch.equal(padded.float(), expected)
    assert torch.equal(inside(padded, 3), data)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("size", [(12, 16), (5, 5), (13, 2)])
def test_crops_are_slices_of_the_padded_pictures(channels_last, channels, size):
    padded = pad(pictures(channels=channels, channels_last=channels_last), 2, "reflect")
    generator = torch.Generator().manual_seed(0)
    rows = torch.randint(24, (300,), generator=generator)
    top = torch.randint(16 - size[0] + 1, (300,), generator=generator)
    left = torch.randint(20 - size[1] + 1, (300,), generator=generator)
    rows[0], top[0], left[0] = 23, 16 - size[0], 20 - size[1]  # the very last bytes
    crops = crop(padded, rows, top, left, size)
    assert crops.shape == (300, channels, *size)
    for index, (row, down, right) in enumerate(zip(rows, top, left, strict=True)):
        expected = padded[row, :, down : down + size[0], right : right + size[1]]
        assert torch.equal(crops[index], expected)


def test_every_crop_is_possible_and_equally_likely():
    knobs = {"padding": 2, "mode": "reflect", "size": 10, "size_epochs": None}
    places = RandomCrop(**knobs).plan(torch.rand(20_000, 2, generator=torch.Generator().manual_seed(0)), 12, 16, 0)
    rows, columns = 12 + 4 - 10 + 1, 16 + 4 - 10 + 1
    counts = torch.bincount(places.top * columns + places.left, minlength=rows * columns)
    assert len(counts) == rows * columns
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_small_crops_end_after_their_epochs():
    data = pictures()
    transform = augmentation(data, random_crop={"padding": 2, "size": 8, "size_epochs": 2})
    assert [tuple(epoch_of(transform, data, epoch=e)[0].shape[2:]) for e in range(4)] == [
        (8, 8),
        (8, 8),
        (12, 16),
        (12, 16),
    ]


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("width", [16, 15])  # 15: rows of bytes that are no whole words
def test_flip_mirrors_exactly_the_chosen(channels_last, width):
    data = pictures(width=width, height=11, channels_last=channels_last)
    chosen = torch.rand(24, generator=torch.Generator().manual_seed(0)) < 0.5
    flipped = HorizontalFlip.apply(data.clone(), chosen)
    assert torch.equal(flipped[chosen], data[chosen].flip(3))
    assert torch.equal(flipped[~chosen], data[~chosen])
    assert torch.equal(HorizontalFlip.apply(data.clone(), torch.zeros(24, dtype=torch.bool)), data)


def test_flipped_share_matches_the_probability():
    uniform = torch.rand(10_000, 1, generator=torch.Generator().manual_seed(0))
    share = HorizontalFlip(probability=0.3, alternating=False).plan(uniform, epoch=0)
    assert binomtest(int(share.sum()), 10_000, 0.3).pvalue > 1e-3


def test_alternating_flips_show_every_picture_from_both_sides_in_turn():
    data = pictures(40)
    transform = augmentation(data, horizontal_flip={"alternating": True})
    generator = torch.Generator().manual_seed(0)
    seen = []
    for epoch in range(3):
        rows = torch.randperm(40, generator=generator)  # another order in every epoch
        views, _ = transform.gather(data, rows, rows, epoch=epoch, positions=torch.arange(40))
        seen.append(views[rows.argsort()])
    assert torch.equal(seen[0], seen[1].flip(3))
    assert torch.equal(seen[0], seen[2])
    plain, _ = epoch_of(augmentation(data), data)
    mirrored = (seen[0] != plain).flatten(1).any(1).sum()
    assert 5 < mirrored < 35


@pytest.mark.parametrize(
    ("knobs", "line"),
    [
        ({"padding": -1}, r"random_crop\.padding=-1: expected 0 or more"),
        ({"padding": 12}, r"random_crop\.padding=12: reflecting needs less than the picture's 12 pixels"),
        ({"size": 15, "padding": 1}, r"random_crop\.size=15: larger than the padded picture \(14 pixels\)"),
        (
            {"mode": "reflekt"},
            r"random_crop\.mode=reflekt: expected one of reflect, edge, zero; did you mean 'reflect'",
        ),
        ({"sise": 3}, r"random_crop: got an unexpected keyword argument 'sise'"),
    ],
)
def test_crops_that_cannot_be_are_refused(knobs, line):
    with pytest.raises(ConfigError, match=line):
        augmentation(pictures(), random_crop=knobs)
