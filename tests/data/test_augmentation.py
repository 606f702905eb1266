import pytest
import torch

from gradloop.data.augmentation.normalize import Normalize
from gradloop.data.pictures.layout import inside, pad
from pictures_for_tests import MEAN, STD, augmentation, epoch_of, pictures

EVERYTHING = {
    "random_crop": {"padding": 2},
    "horizontal_flip": {"probability": 0.5},
    "rotation": {"degrees": 20.0},
    "color_jitter": {"brightness": 0.2, "contrast": 0.2, "saturation": 0.2, "hue": 0.1},
    "cutout": {"probability": 0.5, "count": 2, "placement": "clipped"},
    "mixup": {"alpha": 0.4},
    "cutmix": {"alpha": 1.0},
}
GEOMETRY = {name: EVERYTHING[name] for name in ("random_crop", "horizontal_flip", "cutout")}


@pytest.mark.parametrize("changes", [GEOMETRY, EVERYTHING], ids=["fast path", "everything"])
def test_batch_size_changes_nothing(changes):
    data = pictures(24)
    small, small_targets = epoch_of(augmentation(data, **changes), data, batch_size=2)
    for batch_size in (4, 8, 24):
        large, targets = epoch_of(augmentation(data, **changes), data, batch_size=batch_size)
        assert torch.equal(small, large)
        assert torch.equal(small_targets, targets)


def test_a_batch_depends_on_seed_epoch_and_position_and_on_nothing_before_it():
    data, targets = pictures(24), torch.arange(24) % 10
    rows, positions = torch.tensor([5, 3, 20, 7]), torch.arange(8, 12)
    fresh = augmentation(data, **EVERYTHING).gather(data, rows, targets[rows], epoch=3, positions=positions)
    used = augmentation(data, **EVERYTHING)
    epoch_of(used, data, epoch=0)
    torch.rand(7)
    again = used.gather(data, rows, targets[rows], epoch=3, positions=positions)
    assert torch.equal(fresh[0], again[0])
    assert torch.equal(fresh[1], again[1])
    other_epoch = used.gather(data, rows, targets[rows], epoch=4, positions=positions)
    other_seed = augmentation(data, seed=1, **EVERYTHING).gather(
        data, rows, targets[rows], epoch=3, positions=positions
    )
    other_place = used.gather(data, rows, targets[rows], epoch=3, positions=positions + 4)
    for other in (other_epoch, other_seed, other_place):
        assert not torch.equal(fresh[0], other[0])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("channels", [1, 3])
def test_every_path_makes_the_same_pictures(channels_last, channels):
    data = pictures(channels=channels, channels_last=channels_last)
    targets = torch.arange(24) % 10
    padded = pad(data, 2, "reflect")
    rows = torch.arange(23, 3, -1)
    positions = torch.arange(20)
    call = {"epoch": 1, "positions": positions}
    plain = augmentation(data, **GEOMETRY)
    quick = augmentation(data, padded=padded, **GEOMETRY)
    by_call, _ = plain(data[rows], targets[rows], **call)
    by_gather, _ = plain.gather(data, rows, targets[rows], **call)
    by_margin, _ = quick.gather(inside(padded, 2), rows, targets[rows], **call)
    assert torch.equal(by_call, by_gather)
    assert torch.equal(by_call, by_margin)
    if channels > 1:
        assert by_margin.is_contiguous(memory_format=torch.channels_last) == channels_last


def test_inputs_are_never_written_to():
    data = pictures()
    before = data.clone()
    for changes in (GEOMETRY, {"horizontal_flip": {"probability": 1.0}}, {"cutout": {"probability": 1.0}}):
        transform = augmentation(data, **changes)
        epoch_of(transform, data)
        transform(data, torch.zeros(24), epoch=0, positions=torch.arange(24))
        assert torch.equal(data, before)


def test_switching_one_transform_on_leaves_the_others_draws_alone():
    data = pictures()
    without, _ = epoch_of(augmentation(data, random_crop={"padding": 2}, horizontal_flip={"probability": 0.5}), data)
    with_cutout, _ = epoch_of(augmentation(data, **{**GEOMETRY, "cutout": {"probability": 1.0, "fill": -50.0}}), data)
    blank = with_cutout == -50
    assert blank.any()
    assert torch.equal(with_cutout[~blank], without[~blank])


@pytest.mark.parametrize("name", list(EVERYTHING))
def test_every_transform_draws_for_each_picture(name):
    data = pictures(1).expand(32, -1, -1, -1).contiguous()  # 32 times the same picture
    if "mix" in name:  # mixing a picture with itself changes nothing: mix two kinds
        data = torch.where((torch.arange(32) % 2 == 0)[:, None, None, None], data, 255 - data)
        step = 2
    else:
        step = 1
    changes = {name: EVERYTHING[name]}
    views, _ = epoch_of(augmentation(data, **changes), data, batch_size=32)
    different = {views[index].numpy().tobytes() for index in range(0, 32, step)}
    assert len(different) == 2 if name == "horizontal_flip" else len(different) > 8


def test_all_off_is_normalisation_alone():
    data = pictures()
    views, _ = epoch_of(augmentation(data), data)
    mean, std = (torch.tensor(values)[:, None, None] for values in (MEAN, STD))
    assert torch.allclose(views, (data / 255 - mean) / std, atol=1e-5)
    normalize = Normalize(mean=MEAN, std=STD)
    assert torch.allclose(normalize.of_bytes(data), views)
    assert torch.allclose(normalize.of_unit_range(data / 255), views, atol=1e-5)
    assert torch.allclose(normalize.undo(views), data / 255, atol=1e-5)


def test_an_epoch_is_drawn_once():
    data = pictures()
    transform = augmentation(data, **GEOMETRY)
    assert transform.plan(0) is transform.plan(0)
    assert transform.plan(1) is not transform.plan(0)
