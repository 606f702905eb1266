import logging
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from folders_for_tests import draw, folder_data
from gradloop.errors import ConfigError, DataError


def test_facts_are_known_before_loading_and_parts_are_stratified(root):
    data = folder_data(root)
    data.check()
    assert (data.task, data.num_outputs, data.class_names) == ("multiclass", 2, ("blue", "red"))
    assert data.input_shape == (3, 8, 10)
    assert data.splits == {}
    data.setup()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 13, "val": 3, "test": 4}
    assert sorted(data.splits["test"].targets.tolist()) == [0, 0, 1, 1]
    seen = [name for split in data.splits.values() for name in split.names]
    assert len(set(seen)) == 20
    for split in data.splits.values():
        for picture, label, name in zip(split.inputs, split.targets, split.names, strict=True):
            colour, index = name.split("/")
            assert colour == data.class_names[label]
            assert picture[0 if colour == "red" else 2, 3, 3] == 200 + int(index.split(".")[0])


def test_without_a_test_share_the_validation_part_is_the_test_part(root):
    data = folder_data(root, test_fraction=0.0)
    data.setup()
    assert data.splits["test"].names == data.splits["val"].names
    assert data.splits["test"].inputs.data_ptr() == data.splits["val"].inputs.data_ptr()


def test_modes_and_sizes(tmp_path):
    place = tmp_path / "m" / "a"
    draw(place / "grey.png", 100, mode="L")
    draw(place / "one_bit.png", 1, mode="1")
    draw(place / "grey_alpha.png", (100, 0), mode="LA")
    draw(place / "alpha.png", (9, 9, 9, 0), mode="RGBA", size=(30, 20))
    draw(place / "cmyk.jpg", (0, 255, 255, 0), mode="CMYK", size=(64, 64))
    palette = Image.new("P", (5, 5), 0)
    palette.putpalette([10, 20, 30] + [0] * 765)
    palette.save(place / "palette.gif")
    Image.fromarray(np.full((6, 6), 40000, np.uint16)).save(place / "sixteen.png")
    for index in range(3):
        draw(tmp_path / "m" / "b" / f"{index}.bmp")
    data = folder_data(tmp_path / "m", image_size=[6, 8], test_fraction=0.0, val_fraction=0.5, broken="refuse")
    data.setup()
    pictures = {}
    for part in ("train", "val"):
        split = data.splits[part]
        pictures |= dict(zip(split.names, split.inputs, strict=True))

    def middle(name):
        return pictures[f"a/{name}"][:, 3, 4].tolist()

    assert all(picture.shape == (3, 6, 8) for picture in pictures.values())
    assert middle("grey.png") == [100, 100, 100]
    assert middle("one_bit.png") == [255, 255, 255]
    assert middle("grey_alpha.png") == [255, 255, 255]
    assert middle("alpha.png") == [255, 255, 255]
    assert middle("palette.gif") == [10, 20, 30]
    assert middle("sixteen.png") == [156, 156, 156]
    red = middle("cmyk.jpg")
    assert red[0] > 230
    assert red[1] < 30


def test_orientation_of_the_camera(tmp_path):
    half = Image.new("RGB", (40, 40))
    half.paste((255, 255, 255), (0, 0, 40, 20))  # upper half white
    exif = half.getexif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise: the upper half becomes the right half
    for name in ("a", "b"):
        (tmp_path / "r" / name).mkdir(parents=True)
        for index in range(3):
            half.save(tmp_path / "r" / name / f"{index}.png", exif=exif)
    data = folder_data(tmp_path / "r", test_fraction=0.0, val_fraction=0.34)
    data.setup()
    picture = data.splits["train"].inputs[0, 0]
    assert picture[:, 25:].min() == 255
    assert picture[:, :15].max() == 0


def test_crop_keeps_the_middle_and_squash_keeps_everything(tmp_path):
    wide = Image.new("RGB", (40, 10))
    wide.paste((255, 255, 255), (15, 0, 25, 10))
    for name in ("a", "b"):
        (tmp_path / "w" / name).mkdir(parents=True)
        for index in range(3):
            wide.save(tmp_path / "w" / name / f"{index}.png")
    shown = {}
    for fit in ("crop", "squash"):
        data = folder_data(tmp_path / "w", image_size=10, fit=fit, test_fraction=0.0, val_fraction=0.34)
        data.setup()
        shown[fit] = data.splits["train"].inputs[0, 0, 5]
    assert shown["crop"].min() == 255
    assert shown["squash"][0] == 0
    assert shown["squash"][5] > 240


def test_different_sizes_need_an_image_size(root):
    draw(root / "red" / "wide.png", size=(20, 8))
    with pytest.raises(
        DataError, match=r"red/wide\.png is 20 x 8 pixels and others are 10 x 8; set data\.image_size"
    ):
        folder_data(root).setup()
    data = folder_data(root, image_size=16, channels=1)
    data.setup()
    assert data.input_shape == (1, 16, 16)
    assert data.splits["train"].inputs.shape[1:] == (1, 16, 16)


@pytest.fixture
def damaged(root):
    """A cut-off JPEG, an empty file, a text file named .jpg, a link that leads nowhere; a text file that is one."""
    draw(root / "red" / "cut.jpg", size=(300, 300))
    whole = (root / "red" / "cut.jpg").read_bytes()
    (root / "red" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (root / "red" / "empty.png").write_bytes(b"")
    (root / "blue" / "text.jpg").write_text("hello")
    (root / "blue" / "gone.png").symlink_to(root / "nowhere.png")
    (root / "blue" / "notes.txt").write_text("no picture")
    return root


def test_broken_files_are_named_and_counted(damaged):
    with pytest.raises(DataError) as error:
        folder_data(damaged).setup()
    line = str(error.value)
    assert line.startswith("data.root: 4 of 24 pictures can't be used: ")
    assert "blue/gone.png is a link that leads nowhere" in line
    assert "blue/text.jpg is no picture" in line
    assert "red/cut.jpg" in line
    assert "data.broken=skip" in line
    assert "\n" not in line


def test_broken_files_are_left_out_if_asked(damaged, caplog, tmp_path):
    data = folder_data(damaged, image_size=8, broken="skip", cache=True, cache_dir=str(tmp_path / "cache"))
    with caplog.at_level(logging.WARNING):
        data.setup()
    assert sum(len(split) for split in data.splits.values()) == 20
    assert not {name for split in data.splits.values() for name in split.names} & {
        "red/cut.jpg",
        "red/empty.png",
    }
    assert "4 broken pictures are left out" in caplog.text
    with pytest.raises(DataError, match="4 of 24 pictures can't be used"):  # also from the cache
        folder_data(damaged, image_size=8, cache=True, cache_dir=str(tmp_path / "cache")).setup()


def test_empty_classes_are_refused_or_left_out(root):
    (root / "green").mkdir()
    (root / "green" / "readme.md").write_text("none yet")
    with pytest.raises(DataError, match=r"1 class folders without a picture: green \(data\.broken=skip"):
        folder_data(root).check()
    data = folder_data(root, broken="skip")
    data.check()
    assert data.class_names == ("blue", "red")
    data.setup()
    assert set(data.splits["train"].targets.tolist()) == {0, 1}


def test_one_picture_in_a_class_is_trained_on(root):
    draw(root / "green" / "only.png", (0, 255, 0))
    data = folder_data(root)
    data.setup()
    assert "green/only.png" in data.splits["train"].names


def test_hidden_files_nested_folders_and_links(root, tmp_path):
    (root / "red" / ".hidden.png").write_text("no")
    (root / ".cache").mkdir()
    draw(root / "red" / "more" / "deep.PNG")
    draw(tmp_path / "elsewhere" / "linked.png")
    (root / "blue" / "linked.png").symlink_to(tmp_path / "elsewhere" / "linked.png")
    (root / "blue" / "folder").symlink_to(tmp_path / "elsewhere")
    (root / "blue" / "loop").symlink_to(root / "blue")
    names = [file.name for file in folder_data(root).found.files]
    assert len(names) == 23
    assert {"red/more/deep.PNG", "blue/linked.png", "blue/folder/linked.png"} <= set(names)


def test_files_of_a_kind_that_is_not_read_are_told(root, capsys):
    for name in ("a.HEIC", "b.heic", "c.txt", "LICENSE"):
        (root / "red" / name).write_bytes(b"something")
    assert len(folder_data(root).found.files) == 20
    line = "4 files are no pictures that can be read: 2 .heic, 1 without a suffix, 1 .txt"
    assert capsys.readouterr().err == f"warning: data.root={root}: {line}\n"


@pytest.mark.parametrize(
    ("make", "found"),
    [
        (lambda path: None, "no such folder"),
        (lambda path: path.write_text("x"), "is a file"),
        (lambda path: path.mkdir(), "is empty"),
        (lambda path: draw(path / "loose.png"), "holds 1 pictures but no class folders"),
        (lambda path: draw(path / "one" / "a.png"), r"one class only \(one\)"),
        (lambda path: (path / "cat").mkdir(parents=True), r"1 folders \(cat\) without a picture"),
    ],
)
def test_a_wrong_root_is_one_line(tmp_path, make, found):
    place = tmp_path / "place"
    make(place)
    with pytest.raises(DataError, match=rf"^data\.root={place}: {found}.*expected a folder .*$"):
        folder_data(place).check()


def test_a_full_disk_is_one_line(root, monkeypatch, tmp_path):
    monkeypatch.setattr("gradloop.data.pictures.decoded.shutil.disk_usage", lambda _: SimpleNamespace(free=0))
    with pytest.raises(DataError, match=r"20 decoded pictures take 0 MB and 0 MB are free; .*data\.cache=false"):
        folder_data(root, cache=True, cache_dir=str(tmp_path / "cache")).setup()


@pytest.mark.parametrize(
    ("knob", "value"),
    [("channels", 4), ("fit", "cut"), ("broken", "ignore"), ("val_fraction", 1.0), ("test_fraction", -0.1)],
)
def test_knobs_out_of_range_are_named(tmp_path, knob, value):
    with pytest.raises(ConfigError, match=rf"^data\.{knob}={value}: expected "):
        folder_data(tmp_path, **{knob: value})


def test_a_subset_is_class_balanced(root):
    data = folder_data(root, subset=0.5)
    data.setup()
    counts = torch.bincount(data.splits["train"].targets)
    assert 2 <= counts.min() <= counts.max() <= 4


def test_normalisation_is_that_of_the_run_wherever_the_pictures_lie(root):
    data = folder_data(root)
    learned = {"mean": [0.5] * 3, "std": [0.25] * 3}
    data.take_over(learned)
    data.setup()
    assert learned.items() <= data.preprocessing().items()


def test_parts_without_one_for_training_are_no_classes(tmp_path):
    for part in ("val", "test"):
        for name in ("cat", "dog"):
            draw(tmp_path / part / name / "1.png")
    with pytest.raises(DataError, match=r"test, val are parts, and there is none for training \(train\)"):
        folder_data(tmp_path).setup()
