import pytest
import torch
from scipy.stats import binomtest, chisquare

from gradloop.data.augmentation.cutout import Cutout
from gradloop.errors import ConfigError
from pictures_for_tests import augmentation, epoch_of, pictures


def cutout(**changes):
    knobs = {
        "probability": 1.0,
        "side": None,
        "fraction": 0.25,
        "count": 1,
        "fill": 0.0,
        "placement": "inside",
    }
    return Cutout(**{**knobs, **changes})


def draw(transform, count, height, width, seed=0):
    uniform = torch.rand(count, transform.draws, generator=torch.Generator().manual_seed(seed))
    return transform.plan(uniform, height, width)


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("fill", [0.0, -2.5])
def test_blanks_exactly_its_square(fill, channels_last):
    transform = cutout(side=5, fill=fill)
    squares = draw(transform, 50, 12, 16)
    before = torch.rand(50, 3, 12, 16) + 1
    if channels_last:
        before = before.contiguous(memory_format=torch.channels_last)
    after = transform.apply(before.clone(), squares)
    for picture, original, top, left in zip(after, before, squares.top[:, 0], squares.left[:, 0], strict=True):
        expected = original.clone()
        expected[:, top : top + 5, left : left + 5] = fill
        assert torch.equal(picture, expected)
        assert int((picture == fill).sum()) == 3 * 5 * 5


@pytest.mark.parametrize(("height", "width"), [(9, 11), (11, 9)])
def test_every_place_inside_is_possible_and_equally_likely(height, width):
    transform = cutout(side=4)
    squares = draw(transform, 20_000, height, width)
    places = (height - 3) * (width - 3)
    cell = squares.top[:, 0] * (width - 3) + squares.left[:, 0]
    counts = torch.bincount(cell, minlength=places)
    assert len(counts) == places
    assert counts.min() > 0
    assert chisquare(counts.numpy()).pvalue > 1e-3


def test_rows_and_columns_are_drawn_independently():
    squares = draw(cutout(side=4), 20_000, 12, 12)
    table = torch.zeros(9, 9)
    table.index_put_((squares.top[:, 0], squares.left[:, 0]), torch.ones(20_000), accumulate=True)
    from scipy.stats import chi2_contingency

    assert chi2_contingency(table.numpy()).pvalue > 1e-3


@pytest.mark.parametrize("probability", [0.0, 0.3, 0.5, 1.0])
def test_applied_share_matches_the_probability(probability):
    squares = draw(cutout(probability=probability), 10_000, 32, 32)
    applied = int(squares.chosen.sum())
    if probability in (0, 1):
        assert applied == probability * 10_000
    else:
        assert binomtest(applied, 10_000, probability).pvalue > 1e-3


def test_clipped_squares_have_their_centre_anywhere_and_lose_what_is_outside():
    transform = cutout(side=6, placement="clipped")
    squares = draw(transform, 3_000, 10, 10)
    after = transform.apply(torch.ones(3_000, 1, 10, 10), squares)
    for picture, top, left in zip(after[:300], squares.top[:, 0], squares.left[:, 0], strict=False):
        expected = torch.ones(1, 10, 10)
        expected[:, max(top, 0) : top + 6, max(left, 0) : left + 6] = 0
        assert torch.equal(picture, expected)
    blank = (after == 0).sum(dim=(1, 2, 3))
    assert blank.min() == 3 * 3  # centre in a corner: rows -3 … 2
    assert blank.max() == 6 * 6
    centres = (squares.top[:, 0] + 3) * 10 + squares.left[:, 0] + 3
    assert chisquare(torch.bincount(centres, minlength=100).numpy()).pvalue > 1e-3


def test_several_squares():
    transform = cutout(side=2, count=3)
    squares = draw(transform, 200, 16, 16)
    blank = (transform.apply(torch.ones(200, 1, 16, 16), squares) == 0).sum(dim=(1, 2, 3))
    assert blank.max() == 3 * 4
    assert blank.min() >= 4


def test_side_is_a_share_of_the_shorter_edge():
    assert cutout().side_for(32, 48) == 8
    assert cutout(fraction=0.01).side_for(32, 32) == 1
    assert cutout(side=7).side_for(32, 32) == 7


def test_labels_are_untouched_and_unchosen_pictures_too():
    data = pictures(40)
    plain, labels = epoch_of(augmentation(data), data)
    cut, cut_labels = epoch_of(augmentation(data, cutout={"probability": 0.5}), data)
    assert torch.equal(labels, cut_labels)
    changed = (plain != cut).flatten(1).any(1)
    chosen = augmentation(data, cutout={"probability": 0.5}).plan(0)["cutout"].chosen
    assert torch.equal(changed, chosen)


@pytest.mark.parametrize(
    ("knob", "value"),
    [
        ("probability", 1.5),
        ("probability", -0.1),
        ("fraction", 2),
        ("count", 0),
        ("side", 0),
        ("placement", "insid"),
    ],
)
def test_knobs_out_of_range_are_named(knob, value):
    with pytest.raises(ConfigError, match=rf"augmentation\.cutout\.{knob}={value}: expected "):
        cutout(**{knob: value})


def test_a_square_larger_than_the_picture_is_refused_unless_clipped():
    data = pictures()
    with pytest.raises(ConfigError, match=r"cutout\.side=13: .* from 1 to 12"):
        augmentation(data, cutout={"probability": 1.0, "side": 13})
    augmentation(data, cutout={"probability": 1.0, "side": 13, "placement": "clipped"})


def test_a_square_fits_into_the_pictures_of_every_epoch():
    crop = {"size": 20, "padding": 4, "size_epochs": 1}  # of 16 pixels: larger ones first
    with pytest.raises(ConfigError, match=r"augmentation.cutout.side=18: expected a whole number from 1 to 16"):
        augmentation(pictures(4, 3, 16, 16), random_crop=crop, cutout={"side": 18, "probability": 1.0})
