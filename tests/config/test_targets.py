"""What a stranger's config may call: building blocks of training, and nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import yaml

from gradloop.config.compose import compose_config
from gradloop.config.targets import check_target_names, locate, parameters
from gradloop.data.digits import Digits
from gradloop.errors import ConfigError, GradloopError
from gradloop.training.build import Builder

REFUSED = [
    "os.system", "posix.system", "subprocess.run", "subprocess.Popen", "shutil.rmtree", "builtins.open",
    "builtins.exec", "builtins.eval", "builtins.__import__", "pathlib.Path.unlink", "pathlib.Path", "io.open",
    "pickle.load", "pickle.loads", "marshal.loads", "runpy.run_path", "ctypes.CDLL", "importlib.import_module",
    "code.interact", "timeit.timeit", "pydoc.pipepager", "webbrowser.open", "urllib.request.urlretrieve",
    "socket.socket", "sys.exit", "tempfile.mkdtemp", "functools.partial", "operator.methodcaller",
    "joblib.load", "numpy.load", "numpy.fromfile", "numpy.save", "cloudpickle.loads", "yaml.unsafe_load",
    "hydra.utils.instantiate", "hydra.utils.call", "omegaconf.OmegaConf.load", "antigravity",
    "distutils.spawn.spawn", "setuptools.setup", "torch.load", "torch.save", "torch.serialization.load",
    "torch.hub.load", "torch.hub.download_url_to_file", "torch.hub.load_state_dict_from_url", "torch.jit.load",
    "torch.jit.script", "torch.package.PackageImporter", "torch.os.system",
    "torch.nn.modules.module.torch.load", "torch.utils.data.dataset.Dataset",
    "torch.utils.data.dataset.random_split", "torch.utils.data.DataLoader", "torch.utils.cpp_extension.load",
    "torch.utils.model_zoo.load_url", "torch.from_file", "torch.classes.load_library", "torch.ops.load_library",
    "torch.compile", "torch.export.load", "torch.multiprocessing.spawn", "torch.distributed.nn.RemoteModule",
    "torch.nn.Module.load_state_dict", "torch.nn.functional.os", "torch.nn.functional.importlib.import_module",
    "torch.fx.GraphModule", "torch.jit.ScriptModule", "torch.cuda.memory._dump_snapshot",
    "torchvision.datasets.utils.extract_archive", "torchvision.datasets.folder.os.remove",
    "torchvision.io.read_file", "torchvision.io.write_file",
    "torchvision.models.utils.load_state_dict_from_url", "torchvision.datasets.FakeData",
    "torchvision.models.resnet.torch.load", "torchmetrics.utilities.data.torch.load",
    "lightning.pytorch.callbacks.LambdaCallback", "lightning.pytorch.core.saving.torch.load",
    "lightning.pytorch.LightningModule.load_from_checkpoint", "lightning.fabric.utilities.cloud_io._load",
    "lightning.fabric.utilities.cloud_io.get_filesystem", "gradloop.callbacks.checkpoints.shutil.rmtree",
    "gradloop.callbacks.checkpoints.keep_previous", "gradloop.callbacks.stop_on_signal.requeue",
    "gradloop.callbacks.stop_on_signal.subprocess.run",
    "gradloop.callbacks.tensorboard_logger.open_writer", "gradloop.callbacks.curves.write_atomically",
    "gradloop.runs.folder.write_atomically", "gradloop.runs.checkpoint_files.save_atomically",
    "gradloop.runs.checkpoint_files.read_checkpoint", "gradloop.runs.record.subprocess.run",
    "gradloop.commands.train.run", "gradloop.commands.evaluate.load", "gradloop.training.build.Builder",
    "gradloop.config.targets.importlib.import_module", "gradloop.config.targets.locate",
    "gradloop.data.digits.split_table", "gradloop.data.data_module.torch.load", "../evil", "a b",
    "gradloop.data.batches.Batches", "gradloop.data.augmentation.cutout.Cutout", "gradloop.networks.channels_of",
    "gradloop.networks.pictures_only.channels_of", "lightning.pytorch.demos.boring_classes.BoringDataModule",
    "torchvision.models.detection.roi_heads.paste_masks_in_image", "torch.nn.functional.handle_torch_function",
    "torch.nn.Linear()", "torch..load", "", ".", "3",
]  # fmt: skip
ALLOWED = [
    "torch.nn.Linear", "torch.nn.CrossEntropyLoss", "torch.nn.functional.cross_entropy", "torch.optim.Adam",
    "torch.optim.lr_scheduler.OneCycleLR", "torchvision.models.resnet18",
    "torchmetrics.classification.BinaryAccuracy", "torchmetrics.functional.classification.binary_accuracy",
    "torchmetrics.functional.mean_squared_error", "torchvision.models.segmentation.fcn_resnet50",
    "torchvision.models.get_model", "torch.nn.parallel.DistributedDataParallel", "gradloop.optimizers.muon.Muon",
    "lightning.pytorch.callbacks.EarlyStopping",
    "lightning.pytorch.loggers.CSVLogger", "lightning.pytorch.Trainer",
    "lightning.pytorch.profilers.SimpleProfiler", "gradloop.networks.simple_nn.SimpleNN",
    "gradloop.data.digits.Digits", "gradloop.callbacks.curves.Curves",
]  # fmt: skip


def check(target: object, allow: tuple[str, ...]) -> object:
    check_target_names({"model": {"_target_": target}}, allow)
    return locate("model._target_", str(target), allow)


@pytest.mark.parametrize("target", REFUSED)
@pytest.mark.parametrize("allow", [(), ("os", "torch", "gradloop")], ids=["", "careless"])
def test_refused(target, allow):
    with pytest.raises(ConfigError, match=r"^model\._target_="):
        check(target, allow)


@pytest.mark.parametrize("target", ALLOWED)
def test_allowed(target):
    assert callable(check(target, ()))


@pytest.mark.parametrize(
    "config",
    [
        {"model": {"layers": [[{"deep": {"_target_": "os.system"}}]]}},
        {"callbacks": {"x": {"_target_": "torch.nn.Linear", "hook": {"_target_": "numpy.load", "_partial_": True}}}},
        {"trainer": {"_target_": "lightning.pytorch.Trainer", "plugins": [{"_target_": "joblib.load"}]}},
    ],
)
def test_targets_deep_inside_are_refused(config):
    with pytest.raises(ConfigError, match="refused"):
        check_target_names(config, ())


def test_an_inner_alias_is_refused_before_the_outer_object_is_built(monkeypatch):
    import torch

    built = []
    monkeypatch.setattr(torch.nn.Linear, "__init__", lambda *args, **kwargs: built.append(args))
    config = {"_target_": "torch.nn.Linear", "bias": {"_target_": "torch.os.getcwd"}}
    check_target_names(config, ())  # the name alone looks like torch's own
    with pytest.raises(ConfigError, match=r"^x\.bias\._target_=torch\.os\.getcwd: refused"):
        Builder()("x", config)
    assert not built


def test_every_target_is_looked_at_before_anything_is_built(train, monkeypatch):
    from lightning.pytorch import Trainer

    monkeypatch.setattr(Trainer, "__init__", lambda *_, **__: pytest.fail("a Trainer was built"))
    with pytest.raises(ConfigError, match=r"^logger\.csv\.flush.*torch\.load: refused"):
        train("logger=csv", "+logger.csv.flush={_target_:torch.load}")


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """Put a package `evil` on the path that leaves a file when it is imported, and more when it is called."""
    (tmp_path / "evil.py").write_text(
        f"""
import os, torch
from torch import load
from os import system as Innocent
open({str(tmp_path / "imported")!r}, "w").close()
def call(*args, **kwargs):
    open({str(tmp_path / "called")!r}, "w").close()
"""
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return tmp_path


def strangers_config(folder: Path, **groups: object) -> list[str]:
    (folder / "conf" / "experiment").mkdir(parents=True)
    text = "# @package _global_\n" + yaml.safe_dump(groups)
    (folder / "conf" / "experiment" / "gift.yaml").write_text(text)
    return ["--config-dir", str(folder / "conf"), "experiment=gift"]


ATTACKS = {
    "model": {"model": {"_target_": "evil.call"}},
    "callback": {"callbacks": {"gift": {"_target_": "evil.call"}}},
    "nested": {"model": {"hidden_dims": [64, {"_target_": "evil.call"}]}},
    "logger": {"logger": {"gift": {"_target_": "evil.call"}}},
    "profiler": {"trainer": {"profiler": {"_target_": "evil.call"}}},
    "allows itself": {"allow": ["evil"], "loss": {"_target_": "evil.call"}},
    "hydra callback": {"hydra": {"callbacks": {"gift": {"_target_": "evil.call"}}}},
    "hydra launcher": {"hydra": {"launcher": {"_target_": "evil.call"}}},
    "hydra sweeper": {"hydra": {"sweeper": {"_target_": "evil.call"}}},
    "logging factory": {"hydra": {"job_logging": {"version": 1, "handlers": {"gift": {"()": "evil.call"}}}}},
    "logging class": {"hydra": {"hydra_logging": {"version": 1, "handlers": {"gift": {"class": "evil.call"}}}}},
    "interpolation": {"name": "run", "model": {"_target_": "${oc.decode:evil.call}"}},
    "sweep": {"sweep": {"gift": {"_target_": "evil.call"}}},
}


@pytest.mark.parametrize("how", [[], ["-m", "seed=1,2"], ["--cfg", "job"]], ids=["run", "sweep", "show"])
@pytest.mark.parametrize("attack", ATTACKS)
def test_a_strangers_config_calls_nothing(attack, how, canary, command):
    gift = strangers_config(canary, **ATTACKS[attack])
    ended = command(*gift, *how)
    if how[:1] != ["--cfg"]:
        assert ended.code == 2, ended.err
        assert ended.err.startswith("error: ")
        assert ended.err.count("\n") == 1, ended.err
    assert not (canary / "imported").exists()
    assert not (canary / "called").exists()
    assert list((canary / "here").iterdir()) == []


@pytest.mark.parametrize(
    "target", ["evil.Innocent", "evil.load", "evil.os.system", "evil.torch.load", "evil.torch.hub.load"]
)
def test_what_an_allowed_package_imports_is_not_allowed_with_it(target, canary):
    with pytest.raises(ConfigError, match="refused"):
        locate("model._target_", target, ("evil",))
    assert locate("model._target_", "evil.call", ("evil",)).__name__ == "call"


def test_an_alias_named_in_full_is_still_refused(canary):
    for target in ("evil.Innocent", "evil.load"):
        with pytest.raises(ConfigError, match="refused"):
            locate("model._target_", target, (target,))


def test_a_strangers_run_folder_allows_nothing(train, canary, monkeypatch):
    """Neither the recorded overrides nor the recorded config: only what is named on this command line."""
    import json

    import torch

    import gradloop

    run = train("trainer.max_epochs=1", "seed=0")
    folder = Path(run["folder"])
    for name in ("best", "last", "previous"):
        path = folder / "checkpoints" / f"{name}.ckpt"
        if path.exists():
            checkpoint = torch.load(path, weights_only=True)
            recipe = checkpoint["gradloop"]["recipe"]["config"]
            recipe["model"]["_target_"] = "evil.call"
            recipe["allow"] = ["evil"]
            torch.save(checkpoint, path)
    record = json.loads((folder / "summary.json").read_text())
    record["overrides"] += ["allow=[evil]", "model._target_=evil.call"]
    (folder / "summary.json").write_text(json.dumps(record))
    for attempt in (
        lambda: gradloop.load(folder),
        lambda: gradloop.train([f"resume={folder}"]),
        lambda: gradloop.train([f"resume={folder}", "trainer.max_epochs=5"]),
        lambda: gradloop.commands.evaluate.run([f"run={folder}"], None, "evaluate"),
    ):
        with pytest.raises(GradloopError, match=r"evil\.call"):
            attempt()
    assert not (canary / "imported").exists()


def test_a_checkpoint_that_would_run_code_does_not(train, tmp_path):
    import torch

    import gradloop

    class Bomb:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "boom",))

    run = train("trainer.max_epochs=1", "seed=0")
    torch.save({"state_dict": Bomb(), "gradloop": {}}, Path(run["folder"]) / "checkpoints" / "best.ckpt")
    with pytest.raises(GradloopError, match="refused"):
        gradloop.load(run["folder"])
    assert not (tmp_path / "boom").exists()


def test_the_projects_own_hydra_node_passes():
    config, _ = compose_config(["hydra.job.chdir=false"])
    assert config.hydra.launcher.n_jobs == 1


def test_a_subclass_of_our_data_has_parameters_of_its_own():
    class Mine(Digits):
        def __init__(self, *, extra: int, **knobs: object) -> None:
            super().__init__(**knobs)

    class Renamed(Digits):
        pass

    assert (list(parameters(Mine)[0]), parameters(Mine)[1]) == (["extra"], True)
    assert parameters(Renamed) == parameters(Digits)
