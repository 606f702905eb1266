"""Which precision `trainer.precision=auto` stands for."""

from __future__ import annotations

import pytest
import torch

from gradloop.training.machine import resolve_precision


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx2": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx2": True, "avx512_bf16": True, "amx_bf16": False}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({}, "32-true"),
    ],
)
def test_auto_follows_the_processor(monkeypatch, capabilities, expected):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities)
    assert resolve_precision({"precision": "auto", "accelerator": "cpu"}) == expected
    assert resolve_precision({"precision": "64-true", "accelerator": "cpu"}) == "64-true"


@pytest.mark.parametrize(("supported", "expected"), [(True, "bf16-mixed"), (False, "32-true")])
def test_auto_follows_the_gpu(monkeypatch, supported, expected):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: supported)
    assert resolve_precision({"precision": "auto", "accelerator": "auto"}) == expected


def test_the_record_says_what_was_taken(train, monkeypatch):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"amx_bf16": True})
    run = train("data=digits", "trainer.precision=auto", "accelerator=cpu", "seed=0", "trainer.max_epochs=3")
    assert run["devices"]["precision"] == "bf16-mixed"
    assert run["metrics"]["test/accuracy"] > 0.5
