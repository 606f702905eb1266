from pathlib import Path

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from gradloop.callbacks.augmented_grid import draw_augmented
from gradloop.commands.train import train
from gradloop.data.image_folder import ImageFolder

OFF = {"padding": 0, "mode": "reflect", "size": None, "size_epochs": None}


@pytest.fixture
def root(tmp_path):
    for name, colour in (("red", (200, 0, 0)), ("blue", (0, 0, 200))):
        (tmp_path / "pictures" / name).mkdir(parents=True)
        for index in range(10):
            Image.new("RGB", (8, 8), colour).save(tmp_path / "pictures" / name / f"{index}.png")
    return tmp_path / "pictures"


def data_of(root, mixup):
    data = ImageFolder(
        root=str(root), image_size=None, fit="crop", channels=3, test_fraction=0.2, val_fraction=0.2, split_seed=0,
        subset=1.0, mean=None, std=None, broken="refuse", cache=False, cache_dir="", in_memory="auto", device="cpu",
        num_workers=0, channels_last=False, batch_size=4, shuffle=True, drop_last=False, seed=0,
        augmentation={
            "random_crop": OFF,
            "horizontal_flip": {"probability": 0.0, "alternating": False},
            "rotation": {"degrees": 0.0},
            "color_jitter": dict.fromkeys(("brightness", "contrast", "saturation", "hue"), 0.0),
            "cutout": {
                "probability": 1.0, "side": 4, "fraction": 0.25, "count": 1, "fill": 0.0, "placement": "inside",
            },
            "mixup": {"alpha": mixup},
            "cutmix": {"alpha": 0.0},
        },
    )  # fmt: skip
    data.setup()
    return data


def test_every_picture_has_its_label_below(root):
    data = data_of(root, mixup=0.0)
    figure = draw_augmented(data, count=6)
    left, right = figure.axes
    assert left.get_title() == "before"
    assert right.get_title() == "after (epoch 1)"
    labels = [text.get_text() for text in left.texts]
    assert labels == [text.get_text() for text in right.texts]
    assert len(labels) == 6
    grid = left.images[0].get_array()
    for text in left.texts:
        column, row = text.get_position()
        colour = grid[int(row) - 4, int(column)]  # inside the picture above the label
        assert ("red" if colour[0] > colour[2] else "blue") == text.get_text()


def test_mixed_labels_show_both_names(root):
    right = draw_augmented(data_of(root, mixup=5.0), count=12).axes[1]
    texts = [text.get_text() for text in right.texts]
    assert any("%" in text and "+" in text for text in texts)


def test_it_is_written_to_tensorboard_in_the_first_epoch_alone(root, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    record = train(
        [
            "data=image_folder", f"data.root={root}", "data.cache=false", "data.batch_size=4", "seed=0",
            "augmentation=flip_crop", "trainer.max_epochs=2", "accelerator=cpu", "augmentation.random_crop.padding=2",
            "callbacks.pictures.count=9",
        ]
    )  # fmt: skip
    assert record["status"] == "completed"
    folder = next(Path(record["folder"]).rglob("events*")).parent
    events = EventAccumulator(str(folder), size_guidance={"images": 0})
    events.Reload()
    assert [event.step for event in events.Images("augmentation")] == [0]
