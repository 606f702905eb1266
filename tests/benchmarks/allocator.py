"""Training steps whose memory is kept, against glibc's default. `python tests/benchmarks/allocator.py`

fast_resnet in channels_last, forward and backward on 512 pictures, all cores; each measurement in a fresh process.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time

from measuring import Ratio, paired, pairs_asked, report
from run_all import FOLDER

CONFIG = FOLDER.parents[1] / "conf" / "model" / "fast_resnet.yaml"


def steps(size: int, keep: bool, number: int = 8) -> None:
    """Print the seconds of some steps and the process's largest size, in MB."""
    import torch
    from hydra.utils import instantiate
    from omegaconf import OmegaConf
    from torch.nn import functional

    from gradloop.training.machine import keep_freed_pages

    if keep:
        assert keep_freed_pages()
    config = OmegaConf.load(CONFIG)
    network = instantiate(config, input_shape=(3, size, size), num_outputs=10).to(memory_format=torch.channels_last)
    pictures = torch.randn(512, 3, size, size).to(memory_format=torch.channels_last)
    labels = torch.randint(10, (512,))
    started = 0.0
    for step in range(number + 2):
        if step == 2:  # the first two choose kernels and fetch the memory
            started = time.perf_counter()
        network.zero_grad()
        functional.cross_entropy(network(pictures), labels).backward()
    seconds = time.perf_counter() - started
    print(json.dumps([seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000]))


def main() -> None:
    pairs = pairs_asked(__doc__, 5)
    rows: list[Ratio] = []
    peaks: dict[bool, float] = {}

    def fresh(size: int, keep: bool) -> float:
        code = f"from allocator import steps; steps({size}, {keep})"
        done = subprocess.run([sys.executable, "-c", code], cwd=sys.path[0], stdout=subprocess.PIPE, check=True)
        seconds, peaks[keep] = json.loads(done.stdout)
        return seconds

    for size in (24, 32):
        name = f"default_{size}_pixels"
        rows.append(paired(name, lambda s=size: fresh(s, False), lambda s=size: fresh(s, True), pairs=pairs))
    print(f"Largest size of the process at 32 pixels: {peaks[False]:.0f} MB by default, {peaks[True]:.0f} MB kept.")
    report("training steps, glibc's default / memory kept", rows)


if __name__ == "__main__":
    main()
