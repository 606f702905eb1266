"""gradloop trains, compares and explains PyTorch models from the command line.

>>> import gradloop
>>> run = gradloop.train(["data=digits", "trainer.max_epochs=5"])
>>> module = gradloop.load(run["folder"])
>>> rows, folder = gradloop.sweep(["optimizer.lr=1e-3,1e-2", "seed=range(3)"])
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["load", "sweep", "train"]

if TYPE_CHECKING:
    from gradloop.commands.evaluate import load
    from gradloop.commands.train import sweep, train


def __getattr__(name: str) -> Any:
    # torch and Lightning take seconds to import: only who asks for them pays
    if name in __all__:
        return vars(import_module(f"gradloop.commands.{'evaluate' if name == 'load' else 'train'}"))[name]
    raise AttributeError(f"module 'gradloop' has no attribute {name!r}")
