import pytest
import torch

from gradloop.data.splitting import class_balanced, hold_out


def labels_with(counts):
    labels = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return labels[torch.randperm(len(labels), generator=torch.Generator().manual_seed(0))]


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.5])
def test_every_class_is_held_out_in_its_share(fraction):
    labels = labels_with([100, 37, 8, 55])
    kept, held = hold_out(labels, torch.arange(200), fraction, seed=0, stream="val")
    assert len(held) == round(200 * fraction)
    assert torch.equal(torch.cat([kept, held]).sort().values, torch.arange(200))
    assert torch.equal(held, held.sort().values)
    counts = torch.bincount(labels[held], minlength=4)
    assert ((counts - torch.tensor([100, 37, 8, 55]) * fraction).abs() <= 1).all()


def test_a_class_of_one_picture_stays_in_training():
    labels = labels_with([1, 1, 50])
    kept, held = hold_out(labels, torch.arange(52), 0.5, seed=0, stream="val")
    assert set(labels[kept].tolist()) == {0, 1, 2}
    assert set(labels[held].tolist()) == {2}


def test_the_draw_depends_on_seed_and_stream_only():
    labels, rows = labels_with([50, 50]), torch.arange(100)
    held = [
        hold_out(labels, rows, 0.2, seed=seed, stream=stream)[1].tolist()
        for seed, stream in [(0, "val"), (0, "val"), (1, "val"), (0, "test")]
    ]
    assert held[0] == held[1]
    assert held[0] != held[2]
    assert held[0] != held[3]


def test_a_subset_keeps_every_class():
    labels = labels_with([200, 100, 3])
    rows = class_balanced(labels, torch.arange(303), 0.1, seed=0)
    counts = torch.bincount(labels[rows], minlength=3)
    assert counts.min() >= 1
    assert ((counts - torch.tensor([20, 10, 1])).abs() <= 1).all()
