import hashlib
import threading

import numpy as np
import pytest
import torch

from cifar10_archive import NAMES, md5, miniature, on_a_server  # noqa: F401 - fixtures
from gradloop.data.cifar10 import Cifar10, ensure_files
from gradloop.errors import DataError
from pictures_for_tests import knobs

KNOBS = {
    "download": True,
    "val_fraction": 0.2,
    "image_size": None,
    "split_seed": 0,
    "subset": 1.0,
    "mean": None,
    "std": None,
    "in_memory": "auto",
    "device": "cpu",
    "num_workers": 0,
    "channels_last": False,
    "augmentation": knobs(),
    "batch_size": 4,
    "shuffle": True,
    "drop_last": False,
    "seed": 0,
}


def cifar(root, archive, **changes):
    class Small(Cifar10):
        pass

    Small.archive = archive
    return Small(**{**KNOBS, "root": str(root), **changes})


def put(root, archive):
    """Lay the unpacked files into root."""
    target = root / archive.base_folder
    target.mkdir(parents=True)
    for path in archive.folder.iterdir():
        (target / path.name).write_bytes(path.read_bytes())
    return target


def test_facts_are_known_before_anything_is_there(tmp_path, archive):
    data = cifar(tmp_path, archive)
    assert (data.input_shape, data.num_outputs, data.task) == ((3, 32, 32), 10, "multiclass")
    assert data.class_names[3] == "cat"
    data.check()
    assert not list(tmp_path.iterdir())
    assert cifar(tmp_path, archive, image_size=16).input_shape == (3, 16, 16)


def test_validation_is_held_out_of_training_and_the_test_part_is_whole(tmp_path, archive):
    put(tmp_path, archive)
    data = cifar(tmp_path, archive)
    data.setup()
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 80, "val": 20, "test": 20}
    assert torch.bincount(data.splits["val"].targets).tolist() == [2] * 10
    seen = {}
    for part, split in data.splits.items():
        seen[part] = {(int(file), int(row)) for file, row in split.inputs[:, 0, 0, :2]}
        assert all(
            label == row % 10 for label, (_, row) in zip(split.targets, split.inputs[:, 0, 0, :2], strict=True)
        )
    assert seen["test"] == {(5, row) for row in range(20)}
    assert seen["train"] | seen["val"] == {(file, row) for file in range(5) for row in range(20)}
    assert not seen["train"] & seen["val"]
    expected = archive(str(tmp_path), train=False)
    assert np.array_equal(data.splits["test"].inputs.permute(0, 2, 3, 1).numpy(), expected.data)
    again = cifar(tmp_path, archive, seed=5)
    again.setup()
    assert again.splits["val"].names == data.splits["val"].names  # the run's seed does not move the held-out part


@pytest.mark.parametrize("in_memory", [True, False])
def test_resizing(tmp_path, archive, in_memory):
    put(tmp_path, archive)
    data = cifar(tmp_path, archive, image_size=16, in_memory=in_memory)
    data.setup()
    inputs, _ = next(iter(data.val_dataloader()))
    assert inputs.shape == (4, 3, 16, 16)


def test_it_is_downloaded_once_even_by_two_at_a_time(tmp_path, served):
    errors = []

    def start():
        try:
            ensure_files(served, tmp_path, download=True)
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=start) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert (
        len([path for path in served.asked if path.endswith(served.filename)]) <= 2
    )  # torchvision asks for redirects
    assert sorted(path.name for path in tmp_path.iterdir()) == [".cifar10.lock", served.base_folder]
    data = cifar(tmp_path, served, download=False)
    data.setup()
    assert len(data.splits["train"]) == 80


def test_an_archive_put_there_by_hand_is_unpacked(tmp_path, archive):
    (tmp_path / archive.filename).write_bytes(archive.packed.read_bytes())
    ensure_files(archive, tmp_path, download=False)
    assert sorted(path.name for path in (tmp_path / archive.base_folder).iterdir()) == sorted(
        [*NAMES, "batches.meta"]
    )
    assert (tmp_path / archive.filename).exists()


def line_of(archive, root, **options):
    with pytest.raises(DataError) as error:
        ensure_files(archive, root, **{"download": True, **options})
    line = str(error.value)
    assert "\n" not in line
    assert str(root) in line
    assert archive.filename in line
    assert archive.tgz_md5 in line
    assert not [path for path in root.glob(".*") if path.is_dir()]  # nothing half done stays
    return line


def test_no_network_says_where_to_put_what(tmp_path, archive):
    line = line_of(archive, tmp_path)
    assert "downloading CIFAR-10 failed (" in line
    assert "refused" in line
    assert archive.url in line


def test_nothing_there_and_no_download(tmp_path, archive):
    with pytest.raises(DataError, match=r"nothing of CIFAR-10 found and data\.download=false"):
        cifar(tmp_path, archive, download=False).check()


def test_half_an_archive(tmp_path, archive):
    half = archive.packed.read_bytes()[:1000]
    (tmp_path / archive.filename).write_bytes(half)
    line = line_of(archive, tmp_path)
    assert f"is damaged: 1,000 bytes with md5 {hashlib.md5(half).hexdigest()}" in line
    assert (tmp_path / archive.filename).read_bytes() == half


def test_a_web_page_in_place_of_the_archive(tmp_path, archive):
    (tmp_path / archive.filename).write_text("<!DOCTYPE html><html>Please log in</html>")
    assert "a web page, 41 bytes" in line_of(archive, tmp_path)


def test_a_web_page_is_downloaded(tmp_path, served, archive):
    page = archive.packed.parent / "page.html"
    page.write_text("<html>Please log in</html>")
    portal = type("Portal", (served,), {"url": served.url.replace(served.filename, "page.html")})
    line = line_of(portal, tmp_path)
    assert "a web page, 26 bytes" in line
    assert [path.name for path in tmp_path.iterdir()] == [".cifar10.lock"]


def test_a_truncated_batch(tmp_path, archive):
    target = put(tmp_path, archive)
    whole = (target / "data_batch_3").read_bytes()
    (target / "data_batch_3").write_bytes(whole[:5000])
    line = line_of(archive, tmp_path)
    assert "data_batch_3 is damaged: 5,000 bytes" in line
    assert f"expected md5 {archive.train_list[2][1]}" in line
    (target / "data_batch_3").unlink()
    assert "data_batch_3 is missing" in line_of(archive, tmp_path)
    # the remedy that the line names helps, and replaces nothing that is good
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    (tmp_path / archive.filename).write_bytes(archive.packed.read_bytes())
    ensure_files(archive, tmp_path, download=False)
    assert (target / "data_batch_3").read_bytes() == whole
    assert {name: (target / name).stat().st_mtime_ns for name in before} == before


def test_a_good_copy_is_never_touched(tmp_path, archive):
    target = put(tmp_path, archive)
    (tmp_path / archive.filename).write_bytes(b"an old download that broke off")
    before = {path: path.stat().st_mtime_ns for path in target.iterdir()}
    ensure_files(archive, tmp_path, download=True)
    assert {path: path.stat().st_mtime_ns for path in target.iterdir()} == before
    assert not (tmp_path / ".cifar10.lock").exists()  # a folder that can't be written to is good enough


def test_each_training_picture_is_tested_on_in_one_fold(tmp_path, archive):
    put(tmp_path, archive)
    tested = []
    for fold in range(5):
        data = cifar(tmp_path, archive, folds=5, fold=fold)
        data.setup()
        assert {name: len(split) for name, split in data.splits.items()} == {"train": 64, "val": 16, "test": 20}
        assert torch.bincount(data.splits["test"].targets).tolist() == [2] * 10
        seen = {
            part: {(int(file), int(row)) for file, row in split.inputs[:, 0, 0, :2]}
            for part, split in data.splits.items()
        }
        assert not seen["test"] & (seen["train"] | seen["val"])
        tested += seen["test"]
    assert sorted(tested) == [(file, row) for file in range(5) for row in range(20)]
