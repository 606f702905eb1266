"""Telling what ended Lightning's work from what fails while it tears down."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import lightning.pytorch as pl


class _Noted(pl.Callback):
    error: BaseException | None = None

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        self.error = exception


@contextlib.contextmanager
def first_error(trainer: pl.Trainer) -> Iterator[None]:
    """Raise what ended `trainer.fit` or `trainer.test` inside, whatever its tearing down has raised since.

    Lightning asks a loader for its length while it tears down. Of one whose `__iter__` was left by a signal or an
    error, that fails in turn, and would be all that anybody heard of.
    """
    noted = _Noted()
    trainer.callbacks.append(noted)
    try:
        yield
    except Exception as error:
        if noted.error is None or noted.error is error:
            raise
        raise noted.error from None
    finally:
        trainer.callbacks.remove(noted)
