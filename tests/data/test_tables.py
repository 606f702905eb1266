"""The tables: what they hold, how they are split, what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.datasets import make_classification
from sklearn.model_selection import train_test_split

from gradloop.config.compose import compose_config
from gradloop.data.batches import Split
from gradloop.data.data_module import DataModule
from gradloop.data.splitting import split_table
from gradloop.errors import ConfigError, DataError
from gradloop.training.build import Builder


def make(name: str, **changes) -> DataModule:
    config, _ = compose_config([f"data={name}", "seed=0"])
    values = dict(config.data.items()) | changes
    values = {key: list(value) if hasattr(value, "append") else value for key, value in values.items()}
    return Builder()("data", values)


def loaded(name: str, **changes) -> DataModule:
    data = make(name, **changes)
    data.setup()
    return data


def test_synthetic_classification_is_the_tutorials_table():
    data = loaded("synthetic_classification")
    assert (data.input_shape, data.num_outputs, data.task) == ((20,), 2, "multiclass")
    assert {name: len(split) for name, split in data.splits.items()} == {"train": 640, "test": 200, "val": 160}
    inputs, labels = make_classification(n_samples=1000, n_features=20, n_classes=2, random_state=42)
    _, x_test, _, y_test = train_test_split(inputs, labels, test_size=0.2, random_state=42)
    assert data.splits["test"].targets.tolist() == y_test.tolist()
    # the test part is scaled by what the training part says, not by its own mean
    train = data.splits["train"].inputs
    torch.testing.assert_close(train.mean(0), torch.zeros(20), atol=1e-5, rtol=0)
    torch.testing.assert_close(train.std(0, correction=0), torch.ones(20), atol=1e-5, rtol=0)
    scaled = data.splits["test"].inputs.numpy()
    slope, shift = np.polyfit(x_test[:, 0], scaled[:, 0], 1)
    np.testing.assert_allclose(slope * x_test[:, 0] + shift, scaled[:, 0], atol=1e-5)
    assert abs(scaled[:, 0].mean()) > 1e-3


def test_parts_share_no_row():
    data = loaded("synthetic_classification", samples=300)
    rows = [tuple(row.tolist()) for split in data.splits.values() for row in split.inputs]
    assert len(set(rows)) == len(rows) == 300


def test_the_tutorials_way_validates_on_the_test_part():
    data = loaded("synthetic_classification", validate_on_test=True)
    assert len(data.splits["train"]) == 800
    assert torch.equal(data.splits["val"].inputs, data.splits["test"].inputs)


@pytest.mark.parametrize("classes", [2, 4])
def test_classes_features_and_noise_are_knobs(classes):
    data = loaded("synthetic_classification", classes=classes, features=8, informative=4, samples=400)
    assert (data.input_shape, data.num_outputs) == ((8,), classes)
    assert set(data.splits["train"].targets.tolist()) == set(range(classes))
    calm, noisy = (
        loaded("synthetic_classification", label_noise=noise).splits["test"].targets for noise in (0.0, 0.9)
    )
    assert (calm != noisy).float().mean() > 0.2


def test_binary_targets_are_a_column_of_floats():
    data = loaded("synthetic_classification", task="binary")
    targets = data.splits["train"].targets
    assert (data.num_outputs, targets.dtype, tuple(targets.shape)) == (1, torch.float32, (640, 1))
    assert set(targets.flatten().tolist()) == {0.0, 1.0}


def test_the_line_and_its_noise():
    data = loaded("linear_regression")
    train = data.splits["train"]
    assert train.inputs.flatten().tolist() == [0, 1, 2, 3, 4]
    noise = train.targets - 2 * train.inputs
    assert bool(((noise >= 0) & (noise < 1)).all())
    assert len(set(noise.flatten().tolist())) == 5
    assert data.batch_size == 5
    other = loaded("linear_regression", slope=-3.0, intercept=7.0, noise=0.0, points=11, x_max=1.0).splits["val"]
    torch.testing.assert_close(other.targets, -3 * other.inputs + 7)


def test_digits_are_pictures_from_0_to_1_with_every_class_in_every_part():
    data = loaded("digits")
    assert sum(len(split) for split in data.splits.values()) == 1797
    for split in data.splits.values():
        assert tuple(split.inputs.shape[1:]) == (1, 8, 8)
        assert float(split.inputs.min()) == 0
        assert float(split.inputs.max()) == 1
        shares = torch.bincount(split.targets, minlength=10) / len(split)
        assert float(shares.min()) > 0.08
        assert split.names is not None
        assert len(split.names) == len(split)


@pytest.mark.parametrize("name", ["synthetic_classification", "linear_regression", "digits"])
def test_the_data_does_not_depend_on_the_runs_seed(name):
    assert loaded(name, seed=0).fingerprint() == loaded(name, seed=1).fingerprint()
    assert loaded(name).fingerprint() != loaded(name, random_state=43).fingerprint()


def test_setup_loads_once():
    data = loaded("digits")
    splits = data.splits
    data.setup("test")
    assert data.splits is splits


def test_split_table_draws_as_scikit_learn_does():
    parts = split_table(50, test_fraction=0.2, val_fraction=0.0, random_state=1)
    train, test = train_test_split(np.arange(50), test_size=0.2, random_state=1)
    assert parts["train"].tolist() == train.tolist()
    assert parts["test"].tolist() == test.tolist()
    with pytest.raises(ConfigError, match=r"data\.test_fraction=0\.999"):
        split_table(10, test_fraction=0.999, val_fraction=0.2, random_state=1)


class Given(DataModule):
    """Holds what a test gives it."""

    def __init__(self, inputs, targets, task, num_outputs):
        super().__init__(batch_size=2, seed=0)
        self.input_shape, self.num_outputs, self.task = (3,), num_outputs, task
        self.given = Split(inputs, targets)

    def load(self):
        return dict.fromkeys(("train", "val", "test"), self.given)


@pytest.mark.parametrize(
    ("targets", "task", "num_outputs", "words"),
    [
        (torch.tensor([0, 1, 0, 3]), "multiclass", 3, "from 0 to 3; expected classes 0 to 2"),
        (torch.tensor([0, 1, -1, 1]), "multiclass", 3, "from -1 to 1"),
        (torch.tensor([1, 1, 1, 1]), "multiclass", 3, "one class only"),
        (torch.tensor([[0.0], [1.0], [2.0], [1.0]]), "binary", 1, "from 0 to 2"),
        (torch.tensor([0.0, 1.0, 0.0, 1.0]), "binary", 1, r"float32 \[N, 1\]"),
        (torch.tensor([[0.5], [float("inf")], [1.0], [1.0]]), "regression", 1, "infinite targets"),
        (torch.zeros(4, 2), "regression", 1, r"float32 \[N, 1\]"),
    ],
)
def test_targets_that_are_not_what_the_module_declares(targets, task, num_outputs, words):
    with pytest.raises(DataError, match=words):
        Given(torch.rand(4, 3), targets, task, num_outputs).setup()


def test_constant_regression_targets_are_fine():
    Given(torch.rand(4, 3), torch.ones(4, 1), "regression", 1).setup()


@pytest.mark.parametrize(
    ("inputs", "targets", "facts", "words"),
    [
        (torch.zeros(4, 3), [[0, 1], [1, 1], [0, 0], [1, 0]], {"task": "multilabel"}, None),
        (torch.zeros(4, 3), [[0, 1], [1, 0.5], [0, 0], [1, 0]], {"task": "multilabel"}, "between 0 and 1"),
        (torch.zeros(4, 3), [[0, 1], [1, 2], [0, 0], [1, 0]], {"task": "multilabel"}, "from 0 to 2"),
        (torch.zeros(4, 3), [[0, 1]] * 4, {"task": "multilabel", "class_names": ("a",)}, "1 class_names; expected 2"),
        (torch.zeros(4, 3), [[0, 1]] * 4, {"task": "multilabel", "num_outputs": 1}, "or task='binary'"),
        (torch.zeros(4, 3), torch.zeros(4, 2, 5, 5), {"task": "regression", "target_shape": (2, 5, 5)}, None),
        (torch.zeros(4, 3), torch.zeros(4, 7, 2), {"task": "regression", "target_shape": (7, 2)}, None),
        (
            torch.zeros(4, 3),
            torch.zeros(4, 2, 5),
            {"task": "regression", "target_shape": (2, 5, 5)},
            r"\[N, 2, 5, 5\]",
        ),
        (torch.zeros(4, 3), torch.zeros(4, 2), {"task": "regression", "target_shape": (3, 5)}, "first or last"),
        (torch.zeros(4, 3), torch.zeros(4, 2), {"task": "multilabel", "target_shape": (2, 5)}, r"needs \(2,\)"),
        (torch.zeros(4, 3).long(), torch.zeros(4, 2), {"task": "regression", "input_dtype": "int64"}, None),
        (torch.zeros(4, 3), torch.zeros(4, 2), {"task": "regression", "input_dtype": "int64"}, r"int64, .*long\(\)"),
        (torch.zeros(4, 3), torch.zeros(4, 2), {"task": "regression", "input_dtype": "int32"}, "float32 or int64"),
        (torch.zeros(4, 3).long(), torch.zeros(4, 2), {"task": "regression"}, 'input_dtype = "int64" for tokens'),
    ],
)
def test_several_labels_dense_targets_and_tokens(inputs, targets, facts, words):
    data = Given(inputs, torch.as_tensor(targets, dtype=torch.float32), "regression", 2)
    for name, fact in facts.items():
        setattr(data, name, fact)
    if words is None:
        data.setup()
        assert data.class_counts == ([2, 2] if facts["task"] == "multilabel" else None)
        return
    with pytest.raises(DataError, match=words):
        data.setup()


def test_class_counts_are_the_training_parts():
    assert sum(loaded("digits").class_counts) == len(loaded("digits").splits["train"])
    assert len(loaded("synthetic_classification", task="binary").class_counts) == 2


@pytest.mark.parametrize(
    ("line", "words"),
    [("data.group=y", "data.group=y: is data.target, too"), ("data.columns=[a,a]", "names a twice")],
)
def test_roles_that_can_not_be_are_refused(line, words, tmp_path, command):
    (tmp_path / "here" / "t.csv").write_text("a,b,y\n" + "1,2,0\n3,4,1\n" * 40)
    ended = command("data=csv", "data.file=t.csv", "data.target=y", line)
    assert (ended.code, ended.err.count("\n")) == (2, 1)
    assert words in ended.err


def test_classes_that_are_fractions_are_called_as_they_are_written(tmp_path, command):
    (tmp_path / "here" / "t.csv").write_text("a,y\n" + "1,0.1\n2,0.2\n3,0.3\n" * 60)
    asked = "data=csv", "data.file=t.csv", "data.target=y", "data.task=multiclass", "trainer.max_epochs=1"
    assert command(*asked, "data.batch_size=16", "logger=none").code == 0
    assert command("run=last", "predictions=true", "bootstrap=0", program="evaluate").code == 0
    (written,) = (tmp_path / "here").glob("outputs/train/*/predictions*.csv")
    assert "p_0.1,p_0.2,p_0.3" in written.read_text().splitlines()[0].replace('"', "")
    assert command("run=last", "inputs=t.csv", "bootstrap=0", program="evaluate").code == 0
