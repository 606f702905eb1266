"""How often checkpoints are saved: by the clock, and so that saving takes a twentieth of the time at most."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from gradloop.callbacks.checkpoints import Checkpoints


@pytest.mark.parametrize(("takes", "next_after"), [(0.1, 5.0), (1.0, 20.0)])
def test_saving_takes_a_twentieth_of_the_time_at_most(takes, next_after, tmp_path, monkeypatch):
    now = [100.0]
    monkeypatch.setattr("gradloop.callbacks.checkpoints.time", SimpleNamespace(monotonic=lambda: now[0]))

    def save_checkpoint(path, weights_only):
        path.write_bytes(b"weights")
        now[0] += takes

    checkpoints = Checkpoints(every_seconds=5.0, save_top_k=1)
    checkpoints.run = SimpleNamespace(checkpoints=tmp_path, best=[])
    checkpoints.loop = SimpleNamespace(savable=True, announces=False)
    trainer = SimpleNamespace(save_checkpoint=save_checkpoint, is_global_zero=True, world_size=1, should_stop=False)
    checkpoints.save(trainer)
    saved = now[0]
    for later, count in ((next_after - 0.01, 1), (next_after, 2)):
        now[0] = saved + later
        checkpoints.on_train_batch_end(trainer, None)
        assert len(list(tmp_path.iterdir())) == count  # last.ckpt, then previous.ckpt as well
