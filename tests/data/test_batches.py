"""An epoch is a pure function of (seed, epoch)."""

from __future__ import annotations

import pytest
import torch

from gradloop.data.batches import Batches, Split, epoch_order
from gradloop.seeds import stream_seed

SPLIT = Split(torch.arange(23.0).unsqueeze(1), torch.arange(23))


def rows(batches: Batches, epoch: int = 0) -> list[int]:
    return [int(target) for _, targets in batches.rest(epoch, 0) for target in targets]


def make(**changes) -> Batches:
    return Batches(SPLIT, **{"batch_size": 5, "seed": 3, "shuffle": True, **changes})


@pytest.mark.parametrize("shuffle", [True, False])
def test_an_epoch_visits_every_sample_once_with_its_target(shuffle):
    batches = make(shuffle=shuffle)
    assert len(batches) == len(list(batches)) == 5
    assert sorted(rows(batches)) == list(range(23))
    assert all(torch.equal(inputs.squeeze(1).long(), targets) for inputs, targets in batches)
    assert (rows(batches) == list(range(23))) is not shuffle


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("world_size", [1, 2])
def test_the_smaller_last_batch_can_be_left_out(shuffle, world_size):
    batches = make(shuffle=shuffle, world_size=world_size, drop_last=True)
    assert [len(targets) for _, targets in batches] == [5] * len(batches) == [5] * (4 // world_size)
    whole = make(shuffle=shuffle, world_size=world_size)
    assert rows(batches) == rows(whole)[: 5 * len(batches)]
    assert len(make(batch_size=23, drop_last=True)) == 1


def test_the_order_depends_on_seed_and_epoch_alone():
    assert rows(make()) == rows(make())
    torch.manual_seed(99)  # what else is drawn in between changes nothing
    torch.rand(10)
    assert rows(make(batch_size=7)) == rows(make()) == epoch_order(23, seed=3, epoch=0, shuffle=True).tolist()
    assert rows(make(), epoch=1) != rows(make())
    assert rows(make(seed=4)) != rows(make())
    assert rows(make(seed=4)) != rows(make(), epoch=1)


def test_drawing_an_order_leaves_the_global_generator_alone():
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    rows(make())
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.parametrize("shuffle", [True, False])
@pytest.mark.parametrize("first", range(5))
def test_it_starts_at_any_batch_as_if_it_had_never_stopped(first, shuffle):
    whole = [t.tolist() for _, t in make(shuffle=shuffle).rest(2, 0)]
    rest = [t.tolist() for _, t in make(shuffle=shuffle).rest(2, first)]
    assert rest == whole[first:]


@pytest.mark.parametrize("world_size", [2, 3, 4])
def test_processes_share_an_epoch_evenly_and_leave_nothing_out(world_size):
    shares = [rows(make(rank=rank, world_size=world_size)) for rank in range(world_size)]
    assert len({len(share) for share in shares}) == 1
    assert {row for share in shares for row in share} == set(range(23))
    # process r holds the samples r, r + world_size, … of the order
    assert [row for group in zip(*shares, strict=True) for row in group][:23] == rows(make())


def test_a_transform_is_told_the_places_in_the_order():
    class Recorder:
        def __init__(self):
            self.seen = []

        def __call__(self, inputs, targets, *, epoch, positions):
            self.seen.append((epoch, positions.tolist()))
            return inputs + 100, targets

    recorder = Recorder()
    batches = make(transform=recorder).rest(4, 3)
    assert all(torch.equal(inputs.squeeze(1).long() - 100, targets) for inputs, targets in batches)
    assert recorder.seen == [(4, [15, 16, 17, 18, 19]), (4, [20, 21, 22])]


def test_streams_are_apart():
    parts = [(seed, name, epoch) for seed in range(20) for name in ("order", "step") for epoch in range(20)]
    seeds = {stream_seed(*part) for part in parts}
    assert len(seeds) == len(parts)
    assert all(0 <= seed < 2**63 for seed in seeds)


@pytest.mark.parametrize("samples", [1, 2, 5])
def test_a_part_smaller_than_the_processes_gives_each_as_many(samples):
    split = Split(torch.arange(float(samples)).unsqueeze(1), torch.arange(samples))
    shares = [rows(Batches(split, batch_size=2, rank=rank, world_size=3)) for rank in range(3)]
    assert {len(share) for share in shares} == {-(-samples // 3)}
    assert {row for share in shares for row in share} == set(range(samples))
