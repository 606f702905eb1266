"""CIFAR-10's archive in miniature, and a server that has it."""

import hashlib
import http.server
import pickle
import tarfile
import threading
from functools import partial

import numpy as np
import pytest
from torchvision.datasets import CIFAR10

from gradloop.data.cifar10 import Cifar10

NAMES = ["data_batch_1", "data_batch_2", "data_batch_3", "data_batch_4", "data_batch_5", "test_batch"]


def md5(path):
    return hashlib.md5(path.read_bytes()).hexdigest()


@pytest.fixture(scope="session", name="archive")
def miniature(tmp_path_factory):
    """A miniature archive in the real format, 20 pictures a batch, and torchvision's class with its checksums."""
    place = tmp_path_factory.mktemp("archive")
    folder = place / CIFAR10.base_folder
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number, name in enumerate(NAMES):
        labels = [int(label) for label in np.arange(20) % 10]
        data = rng.integers(0, 256, (20, 3072), dtype=np.uint8)
        data[:, 0] = number  # the first byte tells the file, the second the row
        data[:, 1] = np.arange(20)
        (folder / name).write_bytes(pickle.dumps({"data": data, "labels": labels}, protocol=2))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": list(Cifar10.class_names)}, protocol=2))
    packed = place / CIFAR10.filename
    with tarfile.open(packed, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)

    class Miniature(CIFAR10):
        url = "http://127.0.0.1:9/" + CIFAR10.filename  # nobody answers there
        tgz_md5 = md5(packed)
        train_list = [[name, md5(folder / name)] for name in NAMES[:5]]  # noqa: RUF012
        test_list = [["test_batch", md5(folder / "test_batch")]]  # noqa: RUF012
        meta = {**CIFAR10.meta, "md5": md5(folder / "batches.meta")}  # noqa: RUF012

    Miniature.packed, Miniature.folder = packed, folder
    return Miniature


@pytest.fixture(name="served")
def on_a_server(archive):
    """The archive behind a server on this machine, which counts what it is asked for."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(archive.packed.parent)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    url = f"http://127.0.0.1:{server.server_address[1]}/{archive.filename}"
    yield type("Miniature", (archive,), {"url": url, "asked": asked})
    server.shutdown()
    server.server_close()
    thread.join()
