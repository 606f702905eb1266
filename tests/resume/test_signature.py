"""Equal signatures: equal results."""

from __future__ import annotations

import pytest

from gradloop.config.check import plain
from gradloop.config.compose import compose_config
from gradloop.config.signature import changed_keys, flatten, signature


def of(*overrides: str) -> dict:
    return plain(compose_config(["seed=1", *overrides])[0])


REFERENCE = of()


@pytest.mark.parametrize(
    "override",
    [
        "name=other", "logger=none", "output_dir=elsewhere", "threads=2", "callbacks.progress.every_seconds=1.0",
        "callbacks.checkpoints.every_seconds=1.0", "callbacks.curves=null", "'allow=[mine]'",
    ],
)  # fmt: skip
def test_what_cannot_change_the_result_does_not_count(override):
    assert signature(of(override.strip("'"))) == signature(REFERENCE)


@pytest.mark.parametrize(
    "override",
    [
        "seed=2", "data=digits", "model=linear", "optimizer=sgd", "optimizer.lr=0.01", "loss=cross_entropy",
        "scheduler=cosine", "trainer.max_epochs=3", "data.batch_size=16", "data.shuffle=false", "model.dropout=0.1",
        "trainer.precision=bf16-mixed", "monitor=val/loss",
    ],
)  # fmt: skip
def test_what_changes_the_result_counts(override):
    overrides = [override] if not override.startswith("seed") else []
    config = of(*overrides) if overrides else plain(compose_config([override])[0])
    assert signature(config) != signature(REFERENCE)
    assert bool(changed_keys(REFERENCE, config)) is (override != "trainer.max_epochs=3")


def test_the_order_of_keys_does_not_count():
    turned = {key: REFERENCE[key] for key in reversed(REFERENCE)}
    assert signature(turned) == signature(REFERENCE)


def test_changes_are_named_with_old_and_new_value():
    assert changed_keys(REFERENCE, of("optimizer.lr=0.5")) == {"optimizer.lr": (0.001, 0.5)}
    assert changed_keys(REFERENCE, of("trainer.max_epochs=99")) == {}


def test_flatten_keeps_lists_and_empty_groups():
    assert flatten({"a": {"b": [1, {"c": 2}], "d": {}}, "e": None}) == {"a.b": [1, {"c": 2}], "a.d": {}, "e": None}
