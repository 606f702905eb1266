import pytest
import torch
from torchvision import models

from gradloop.config.check import plain
from gradloop.config.compose import compose_config
from gradloop.errors import ConfigError, DataError
from gradloop.networks import torchvision_classifier
from gradloop.networks.torchvision_classifier import TorchvisionClassifier
from gradloop.training.saved_run import SavedRun


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("resnet18", (3, 32, 32)),
        ("mobilenet_v3_small", (1, 32, 32)),
        ("squeezenet1_1", (3, 32, 32)),
        ("shufflenet_v2_x0_5", (2, 32, 32)),
        ("googlenet", (3, 32, 32)),
    ],
)
@pytest.mark.parametrize("training", [True, False])
def test_the_head_fits_the_data(name, shape, training):
    network = TorchvisionClassifier(input_shape=shape, num_outputs=5, name=name, weights=None).train(training)
    assert network(torch.randn(2, *shape)).shape == (2, 5)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v3_small", "squeezenet1_1", "shufflenet_v2_x0_5"])
def test_trained_weights_get_a_new_head_and_keep_the_rest(name, monkeypatch):
    trained = models.get_model(name, weights=None)
    before = {key: value.clone() for key, value in trained.state_dict().items()}
    monkeypatch.setattr(torchvision_classifier.models, "get_model", lambda *_, **__: trained)
    network = TorchvisionClassifier(input_shape=(3, 32, 32), num_outputs=5, name=name, weights="DEFAULT")
    assert network(torch.randn(2, 3, 32, 32)).shape == (2, 5)
    changed = [key for key, value in trained.state_dict().items() if value.shape != before[key].shape]
    assert len(changed) == 2  # weight and bias of the last layer
    assert all(torch.equal(v, before[k]) for k, v in trained.state_dict().items() if "running" not in k and
               "num_batches" not in k and k not in changed)  # fmt: skip


def test_grey_pictures_give_a_trained_stem_what_grey_colours_gave(monkeypatch):
    trained = models.get_model("resnet18", weights=None)
    colour = trained.conv1(torch.full((1, 3, 8, 8), 0.5))
    monkeypatch.setattr(torchvision_classifier.models, "get_model", lambda *_, **__: trained)
    network = TorchvisionClassifier(input_shape=(1, 32, 32), num_outputs=5, name="resnet18", weights="DEFAULT")
    assert torch.allclose(network.network.conv1(torch.full((1, 1, 8, 8), 0.5)), colour, atol=1e-5)


def test_an_unknown_name_is_one_line():
    with pytest.raises(ConfigError, match=r"model\.name=resnet19: .*; did you mean 'resnet1"):
        TorchvisionClassifier(input_shape=(3, 32, 32), num_outputs=5, name="resnet19", weights=None)


def test_unknown_weights_are_one_line():
    with pytest.raises(ConfigError, match=r"model\.weights=best: resnet18 has DEFAULT, IMAGENET1K_V1"):
        TorchvisionClassifier(input_shape=(3, 32, 32), num_outputs=5, name="resnet18", weights="best")


def test_no_network_says_which_file_to_put_where(monkeypatch, tmp_path):
    def fail(*_, **__):
        raise OSError("no route to host")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(DataError, match=r"no route to host.*put resnet18-\w+\.pth into .*/checkpoints"):
        TorchvisionClassifier(input_shape=(3, 32, 32), num_outputs=5, name="resnet18", weights="DEFAULT")


@pytest.mark.filterwarnings("ignore:The default weight initialization")
@pytest.mark.parametrize("name", ["resnet18", "googlenet"])
def test_a_run_s_own_weights_need_no_download(name, monkeypatch, tmp_path):
    trained = models.get_model(name, weights=None, **({"transform_input": True} if name == "googlenet" else {}))
    with monkeypatch.context() as patched:
        patched.setattr(torchvision_classifier.models, "get_model", lambda *_, **__: trained)
        network = TorchvisionClassifier(input_shape=(3, 32, 32), num_outputs=5, name=name, weights="DEFAULT")
    monkeypatch.setattr(torch.hub, "load_state_dict_from_url", lambda *_, **__: pytest.fail("a download"))
    model = {"_target_": "gradloop.networks.torchvision_classifier.TorchvisionClassifier", "name": name}
    config = plain(compose_config(["seed=0"])[0]) | {"model": model | {"weights": "DEFAULT"}}
    facts = {"input_shape": [3, 32, 32], "num_outputs": 5, "task": "multiclass", "class_names": None}
    again = SavedRun(tmp_path, {}, {"config": config, "facts": facts, "preprocessing": {}}, {}).untrained().network
    again.load_state_dict(network.state_dict())
    pictures = torch.randn(2, 3, 32, 32)
    assert torch.equal(again.eval()(pictures), network.eval()(pictures))
