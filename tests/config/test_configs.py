"""Every YAML file under conf/: it composes, and where its data is at hand, it runs a step."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from PIL import Image

from gradloop.config.check import check_config, draw_seed
from gradloop.config.compose import compose_config
from gradloop.config.conf_folder import conf_folder
from gradloop.errors import ConfigError
from gradloop.training.build import Builder, facts_of

CONF = conf_folder()
OFFLINE = ("synthetic_classification", "linear_regression", "digits", "image_folder")
ONE_STEP = (
    "trainer.max_epochs=1", "trainer.limit_train_batches=1", "trainer.limit_val_batches=1",
    "trainer.limit_test_batches=1", "callbacks=none", "logger=none",
)  # fmt: skip
TOO_SMALL = [("fast_resnet", "digits")]  # nothing is left of 8 x 8 pixels after its last stage
# what these need besides
NEEDS = {
    "augmentation/alternating_flip_crop": ["model=resnet9", "model.width=4"],  # takes pictures of two sizes
    "data/linear_regression": ["data.batch_size=5"],
    "loss/bce_with_logits": ["data.task=binary"],
    "loss/mse": ["data=linear_regression"],
    "loss/l1": ["data=linear_regression"],
    "loss/huber": ["data=linear_regression"],
}
GPU_ONLY = ("accelerator/gpu", "accelerator/ddp", "accelerator/mps")


def choices(*groups: str) -> list[str]:
    return [f"{group}/{path.stem}" for group in groups for path in sorted((CONF / group).glob("*.yaml"))]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 2 x 24 pictures of 32 x 32 pixels."""
    root = tmp_path_factory.mktemp("pictures")
    generator = torch.Generator().manual_seed(0)
    for name in ("cats", "dogs"):
        (root / name).mkdir()
        for number in range(24):
            pixels = torch.randint(256, (32, 32, 3), generator=generator, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(root / name / f"{number}.png")
    return root


@pytest.fixture
def needs(pictures, tmp_path):
    """Return a function: choice of a group -> the overrides that it needs besides."""

    def of(choice: str, *others: str) -> list[str]:
        extra = [f"data.root={pictures}", f"data.cache_dir={tmp_path}", "data.batch_size=8", "data.num_workers=0"]
        folder = choice in ("data/image_folder", "experiment/image_folder") or "data=image_folder" in others
        if choice == "data/csv":
            (tmp_path / "table.csv").write_text("x,y\n" + "".join(f"{k % 7},{k % 2}\n" for k in range(60)))
            return [f"data.file={tmp_path / 'table.csv'}", "data.target=y", "data.batch_size=8"]
        return [*NEEDS.get(choice, []), *(extra if folder else [])]

    return of


def composed(*overrides: str):
    values = check_config(*compose_config(overrides))
    draw_seed(values)
    return values


GROUPS = sorted(path.name for path in CONF.iterdir() if path.is_dir() and path.name not in ("hydra", "sweep"))


TRACKERS = [f"logger/{name}" for name in ("comet", "mlflow", "trackio", "wandb")]
# a download, several processes, another machine; packages and servers (training/test_loggers.py)
NOT_RUN = ["data/cifar10", "accelerator/ddp_cpu", *GPU_ONLY, *TRACKERS]


@pytest.mark.parametrize("choice", [*NOT_RUN, *choices("experiment")])
def test_what_is_not_run_below_composes_and_passes_the_checks(choice, needs):
    group, name = choice.split("/")
    values = composed(f"{group}={name}", *needs(choice))
    assert values["trainer"]["_target_"] == "lightning.pytorch.Trainer"


def test_every_group_is_tested_here():
    run = {choice.split("/")[0] for choice in [*RUN, *NOT_RUN]}
    assert set(GROUPS) == run | {"model", "module", "debug", "callbacks", "experiment", "trainer"}


def test_every_choice_says_what_it_is():
    """--help shows a file's first comment line."""
    for choice in choices(*GROUPS, "sweep", "hydra"):
        text = (CONF / f"{choice}.yaml").read_text()
        assert re.match(r"(# @package \S+\n)?# \S+", text), f"conf/{choice}.yaml needs a comment on top"


RUN = [
    choice
    for choice in choices("data", "loss", "optimizer", "scheduler", "accelerator", "logger", "augmentation")
    if choice not in NOT_RUN
]


@pytest.mark.parametrize("choice", RUN)
def test_every_choice_runs_a_step(choice, needs, train):
    group, name = choice.split("/")
    data = ["data=image_folder"] if group == "augmentation" else []
    arguments = [f"{group}={name}", *data, *needs(choice, *data)]
    taken = [line.split("=")[0] for line in arguments]
    run = train(*arguments, *(line for line in ONE_STEP if line.split("=")[0] not in taken))
    assert run["status"] == "completed"
    assert all(value == value for value in run["metrics"].values())


HEAVY = ("callbacks/batch_size_finder", "callbacks/lr_finder", "callbacks/gradients")  # tested by themselves


@pytest.mark.parametrize(
    "choice",
    [pytest.param(c, marks=[pytest.mark.slow] if c in HEAVY else []) for c in choices("debug", "callbacks")],
)
def test_every_addition_runs(choice, train):
    group, name = choice.split("/")
    batch = [] if choice == "callbacks/batch_size_finder" else ["data.batch_size=64"]  # which it finds
    run = train("data.samples=200", *batch, f"{group}={name}", "++trainer.max_epochs=1", "seed=0")
    assert run["status"] == "completed"


@pytest.mark.parametrize("choice", GPU_ONLY)
def test_a_device_that_is_not_there_is_refused_with_what_to_use(choice, train):
    if torch.cuda.is_available() or torch.backends.mps.is_available():
        pytest.skip("this machine has one")
    with pytest.raises(ConfigError, match=r"use accelerator=(ddp_)?cpu"):
        train(choice.replace("/", "="))


PAIRS = [(path.stem, data) for path in sorted((CONF / "model").glob("*.yaml")) for data in OFFLINE]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "data"), PAIRS)
def test_any_model_with_any_data(model, data, needs, train):
    extra = needs(f"data/{data}")
    arguments = [f"data={data}", f"model={model}", *extra, *ONE_STEP]
    table = data in ("synthetic_classification", "linear_regression") and model not in ("linear", "simple_nn")
    if table or (model, data) in TOO_SMALL:
        with pytest.raises(ConfigError, match=r"^model\b"):  # one line that says so
            train(*arguments)
        return
    if "batch_size" not in " ".join(extra):
        arguments.append("data.batch_size=8")
    run = train(*arguments)
    assert run["status"] == "completed"


@pytest.mark.parametrize("choice", choices("data"))
def test_data_declares_its_facts_before_loading_and_keeps_them(choice, needs):
    data = Builder()("data", composed(choice.replace("/", "="), *needs(choice))["data"])
    before = facts_of(data)
    assert before["task"] in ("regression", "binary", "multiclass")
    assert before["num_outputs"] >= 1
    assert all(isinstance(size, int) and size > 0 for size in before["input_shape"])
    assert not data.splits, "declaring must not load"
    if choice == "data/cifar10":
        return
    data.check()
    data.setup("fit")
    assert facts_of(data) == before
    for loader in (data.train_dataloader(), data.val_dataloader(), data.test_dataloader()):
        inputs, targets = next(iter(loader))
        assert list(inputs.shape[1:]) == before["input_shape"]
        assert inputs.dtype == torch.float32
        if before["task"] == "multiclass":
            assert targets.dtype == torch.int64
            assert targets.max() < before["num_outputs"]
        else:
            assert targets.shape == (len(inputs), before["num_outputs"])


def test_no_knob_of_a_data_module_has_a_default_in_the_code():
    """Defaults live in YAML alone, where everybody sees them."""
    import inspect

    from gradloop.config.targets import locate

    for choice in choices("data", "model"):
        given = {"data/image_folder": ["data.root=x"], "data/csv": ["data.file=x", "data.target=y"]}.get(choice, [])
        values = composed(choice.replace("/", "="), *given)
        group = choice.split("/")[0]
        target = locate("x", values[group]["_target_"])
        for name, parameter in inspect.signature(target.__init__).parameters.items():
            if name not in ("self",) and parameter.kind == parameter.KEYWORD_ONLY:
                assert parameter.default is parameter.empty, f"{target.__name__}({name}=…)"
