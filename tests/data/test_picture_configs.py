"""Every picture config composes, and every choice of augmentation runs."""

import pytest
import torch
import yaml
from PIL import Image

from gradloop.commands.train import train
from gradloop.config.check import check_config
from gradloop.config.compose import compose_config
from gradloop.config.conf_folder import conf_folder
from gradloop.data.batches import epoch_order
from gradloop.errors import ConfigError
from gradloop.training.build import Builder
from pictures_for_tests import OFF, augmentation, epoch_of, pictures

CHOICES = sorted(path.stem for path in (conf_folder() / "augmentation").glob("*.yaml"))


def composed(*overrides):
    return check_config(*compose_config(["seed=0", *overrides]))


def key_set(values, prefix=""):
    found = set()
    for name, value in values.items():
        found |= key_set(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}"}
    return found


def test_none_is_every_knob_and_all_off():
    none = yaml.safe_load((conf_folder() / "augmentation" / "none.yaml").read_text())
    assert none == OFF
    data = pictures()
    assert augmentation(data, **none).plan(0) == {}


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_has_every_knob_and_runs(choice):
    values = composed("data=digits", f"augmentation={choice}")["augmentation"]
    assert key_set(values) == key_set(OFF)
    values["random_crop"]["size"] = values["random_crop"]["size"] and 8  # these pictures are small
    data = pictures()
    views, _ = epoch_of(augmentation(data, **values), data)
    plain, _ = epoch_of(augmentation(data), data)
    assert torch.isfinite(views).all()
    assert torch.equal(views, plain) == (choice == "none")


def test_choices_are_combined_without_a_plus():
    values = composed("augmentation=flip_crop", "augmentation.cutout.probability=0.5", "data=cifar10")
    used = values["data"]["augmentation"]
    assert used["cutout"]["probability"] == 0.5
    assert used["random_crop"]["padding"] == 4
    assert used["horizontal_flip"]["probability"] == 0.5


def test_a_wrong_knob_is_named():
    with pytest.raises(
        ConfigError, match=r"augmentation\.cutout\.probabilty.*did you mean 'augmentation\.cutout\.prob"
    ):
        composed("augmentation.cutout.probabilty=0.5")
    with pytest.raises(ConfigError, match=r"'data\.root' has no value"):
        composed("data=image_folder")


def test_the_cifar10_experiment_composes():
    values = composed("experiment=cifar10_fast")
    assert values["data"]["augmentation"] == values["augmentation"]


@pytest.mark.parametrize("model", ["fast_resnet", "resnet9 model.width=4", "torchvision model.name=squeezenet1_1"])
def test_every_picture_network_trains_on_a_folder(tmp_path, monkeypatch, model):
    monkeypatch.chdir(tmp_path)
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(8):
            Image.new("RGB", (20, 20), colour).save(tmp_path / "pictures" / name / f"{index}.png")
    record = train(
        [
            "data=image_folder", "data.root=pictures", "data.cache=false", "data.batch_size=5", "seed=0",
            "augmentation=flip_crop_cutout", f"model={model.split()[0]}", *model.split()[1:], "accelerator=cpu",
            "trainer.max_epochs=1", "callbacks=none", "logger=none",
        ]
    )  # fmt: skip
    assert record["status"] == "completed"
    assert record["metrics"]["test/accuracy"] >= 0


def test_alternating_flips_show_every_digit_from_both_sides():
    data = Builder()("data", composed("data=digits", "augmentation.horizontal_flip.alternating=true")["data"])
    data.setup()
    sides = []
    for epoch in (0, 1):
        order = epoch_order(len(data.splits["train"]), seed=0, epoch=epoch, shuffle=True)
        views = torch.cat([inputs for inputs, _ in data.train_dataloader().rest(epoch, 0)])
        sides.append(views[order.argsort()])
    assert torch.allclose(sides[0], sides[1].flip(3))


@pytest.mark.parametrize("knob", ["test_time_flip=true", "test_time_shift=1", "channels_last=true"])
def test_what_is_done_to_pictures_is_refused_for_tables(knob, command):
    ended = command(knob)
    assert ended.code == 2
    assert "is for pictures, not for data of shape (20,)" in ended.err
