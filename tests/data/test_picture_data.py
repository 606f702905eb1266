import logging

import pytest
import torch

from gradloop.data.augmentation.normalize import channel_statistics
from gradloop.data.batches import Batches, LoadedBatches
from gradloop.data.pictures import picture_data, picture_store
from gradloop.data.pictures.picture_data import PictureData
from gradloop.data.pictures.picture_store import Part
from gradloop.data.splitting import hold_out
from gradloop.errors import ConfigError
from pictures_for_tests import knobs, pictures

KNOBS = {
    "image_size": None,
    "subset": 1.0,
    "mean": None,
    "std": None,
    "in_memory": "auto",
    "device": "cpu",
    "num_workers": 0,
    "channels_last": True,
    "split_seed": 0,
    "batch_size": 8,
    "shuffle": True,
    "drop_last": False,
    "seed": 0,
}
AUGMENTATION = knobs(random_crop={"padding": 2}, horizontal_flip={"probability": 0.5}, cutout={"probability": 0.5})


class Source:
    """Random pictures that come in chunks of seven."""

    def __init__(self, data):
        self.data = data
        self.shape = tuple(data.shape[1:])
        self.targets = torch.arange(len(data)) % 10
        self.names = [str(row) for row in range(len(data))]

    def chunks(self):
        yield from self.data.split(7)

    def __getitem__(self, rows):
        return self.data[rows]


class RandomPictures(PictureData):
    input_shape = (3, 12, 16)
    num_outputs = 10

    def __init__(self, *, count=120, **knobs):
        super().__init__(**{"augmentation": AUGMENTATION, **KNOBS, **knobs})
        self.source = Source(pictures(count))

    def parts(self):
        rows, test = hold_out(self.source.targets, torch.arange(120), 0.25, seed=0, stream="test")
        train, val = hold_out(self.source.targets, rows, 0.25, seed=0, stream="val")
        return {name: Part(self.source, part) for name, part in (("train", train), ("val", val), ("test", test))}


def ready(**changes):
    data = RandomPictures(**changes)
    data.setup()
    return data


def epoch(loader):
    batches = list(loader)
    return torch.cat([inputs for inputs, _ in batches]), torch.cat([targets for _, targets in batches])


@pytest.mark.parametrize("channels_last", [True, False])
@pytest.mark.parametrize("padding", [0, 1, 11])  # 11: too costly to keep, padded batch by batch
def test_every_picture_reaches_its_part_unchanged(channels_last, padding):
    data = ready(channels_last=channels_last, augmentation=knobs(random_crop={"padding": padding}))
    for name, part in data.parts().items():
        assert torch.equal(data.splits[name].inputs, data.source.data[part.rows])
        assert torch.equal(data.splits[name].targets, part.rows % 10)
        assert data.splits[name].names == [str(row) for row in part.rows.tolist()]
    inputs, _ = next(iter(data.train_dataloader()))
    assert inputs.is_contiguous(memory_format=torch.channels_last) == channels_last
    assert inputs.shape == (8, 3, 12, 16)


def test_training_pictures_are_normalised_by_their_own_statistics():
    data = ready(augmentation=knobs())
    inputs, _ = epoch(data.train_dataloader())
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3), atol=1e-5)
    assert torch.allclose(inputs.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-5)
    facts = data.preprocessing()
    train = data.splits["train"].inputs / 255
    assert torch.allclose(torch.tensor(facts["mean"]), train.mean((0, 2, 3)), atol=1e-6)
    assert torch.allclose(torch.tensor(facts["std"]), train.std((0, 2, 3), correction=0), atol=1e-6)


def test_given_statistics_are_used():
    data = ready(augmentation=knobs(), mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.25])
    inputs, _ = next(iter(data.val_dataloader()))
    assert torch.allclose(inputs, (data.splits["val"].inputs[:8] / 255 - 0.5) / 0.25, atol=1e-5)


def test_a_constant_channel_is_no_division_by_zero():
    data = pictures()
    data[:, 1] = 7
    mean, std = channel_statistics([data[:3], data[3:]], 3)
    assert mean[1] == pytest.approx(7 / 255)
    assert std[1] == 1


def test_validation_and_test_are_never_augmented():
    everything = knobs(
        random_crop={"padding": 2},
        horizontal_flip={"probability": 1.0},
        rotation={"degrees": 90.0},
        color_jitter={"brightness": 0.5},
        cutout={"probability": 1.0},
        mixup={"alpha": 1.0},
    )
    augmented, plain = ready(augmentation=everything), ready(augmentation=knobs())
    for loader in ("val_dataloader", "test_dataloader"):
        first, first_targets = epoch(getattr(augmented, loader)())
        second, second_targets = epoch(getattr(plain, loader)())
        assert torch.equal(first, second)
        assert torch.equal(first_targets, second_targets)
    assert not torch.equal(epoch(augmented.train_dataloader())[0], epoch(plain.train_dataloader())[0])


@pytest.mark.parametrize("num_workers", [0, 2])
def test_on_disk_and_in_memory_give_the_same_batches(num_workers):
    statistics = {"mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    memory, disk = ready(**statistics), ready(in_memory=False, num_workers=num_workers, **statistics)
    here, there = memory.train_dataloader(), disk.train_dataloader()
    assert isinstance(here, Batches)
    assert isinstance(there, LoadedBatches if num_workers else Batches)
    assert len(here) == len(there)
    for position in ((0, 0), (1, 0), (1, 3)):  # epochs, and a start in the middle of one
        expected, found = epoch(here.rest(*position)), epoch(there.rest(*position))
        assert torch.equal(expected[0], found[0])
        assert torch.equal(expected[1], found[1])
    assert torch.equal(epoch(memory.val_dataloader())[0], epoch(disk.val_dataloader())[0])


@pytest.mark.parametrize("most", [4096, 20])
def test_mean_and_deviation_are_the_same_on_disk_and_in_memory(most, monkeypatch):
    monkeypatch.setattr(picture_data, "SAMPLE", most)
    memory, disk = ready(), ready(in_memory=False)
    assert (memory.mean, memory.std) == (disk.mean, disk.std)


@pytest.mark.parametrize("wrong", [[0.2, 0.2], [0.2]])
def test_each_channel_has_a_deviation(wrong):
    with pytest.raises(ConfigError, match=r"data\.std=.*: expected 3 numbers, one a channel"):
        ready(mean=[0.5, 0.5, 0.5], std=wrong)


def test_workers_make_batches_of_the_size_that_a_run_has_found():
    data = ready(in_memory=False, num_workers=1)
    assert next(len(targets) for _, targets in data.train_dataloader().rest(0, 0)) == 8
    data.batch_size = 30
    assert next(len(targets) for _, targets in data.train_dataloader().rest(0, 0)) == 30


def test_the_choice_between_memory_and_disk_follows_the_sizes_and_is_said(monkeypatch, caplog):
    size = 120 * 3 * 12 * 16
    for free, tensor in ((2 * size + 1, True), (2 * size - 1, False)):
        monkeypatch.setattr(picture_store, "free_memory", lambda free=free: free)
        with caplog.at_level(logging.INFO):
            data = ready()
        assert isinstance(data.splits["train"].inputs, torch.Tensor) == tensor
        assert ("kept in memory" if tensor else "kept on disk") in caplog.records[-1].getMessage()
    assert isinstance(ready(in_memory=True).splits["train"].inputs, torch.Tensor)


def test_statistics_of_pictures_on_disk_come_from_a_sample():
    assert ready(in_memory=False).mean == pytest.approx(ready().mean, abs=1e-6)


def test_a_subset_has_every_class_in_every_part():
    data = ready(subset=0.1, batch_size=4)
    for split in data.splits.values():
        assert set(split.targets.tolist()) == set(range(10))
        assert len(split) == 10


def test_the_fingerprint_is_that_of_the_content():
    first = ready().fingerprint()
    assert first == ready(channels_last=False, augmentation=knobs()).fingerprint()
    other = RandomPictures()
    other.source.data[5, 0, 0, 0] += 1
    other.setup()
    assert other.fingerprint() != first


def test_a_missing_gpu_is_one_line():
    if torch.cuda.is_available():
        pytest.skip("there is one")
    with pytest.raises(ConfigError, match=r"data\.device=cuda: torch sees no GPU here"):
        RandomPictures(device="cuda").check()


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"subset": 0.0}, r"data\.subset=0\.0: expected above 0 and up to 1"),
        ({"subset": 2}, r"data\.subset=2: expected above 0 and up to 1"),
        ({"image_size": 0}, r"data\.image_size=0: expected one number of 1 or more"),
        (
            {"image_size": [1, 2, 3]},
            r"data\.image_size=\[1, 2, 3\]: expected one number of 1 or more, or \[height,width\]",
        ),
        ({"mean": [0.5, 0.5, 0.5]}, r"data\.mean and data\.std: give both"),
        ({"mean": [128.0], "std": [1.0]}, r"data\.mean\[0\]=128\.0: expected 0 to 1"),
        ({"in_memory": "yes"}, r"data\.in_memory=yes: expected auto, true or false"),
        ({"device": "gpu"}, r"data\.device=gpu: expected one of auto, cpu, cuda"),
        ({"augmentation": {"cutout": {}}}, r"augmentation: missing .*random_crop"),
    ],
)
def test_mistakes_are_one_line(changes, line):
    with pytest.raises(ConfigError, match=line):
        RandomPictures(**changes).check()


def test_a_wrong_number_of_statistics_is_refused():
    with pytest.raises(ConfigError, match=r"data\.mean=\[0\.5\]: expected 3 numbers, one a channel"):
        ready(mean=[0.5], std=[0.5])
