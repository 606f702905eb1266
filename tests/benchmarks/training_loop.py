"""`fit` through gradloop against the loop that one would write by hand. `python tests/benchmarks/training_loop.py`"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
import time

import torch
from measuring import Ratio, paired, pairs_asked, report
from torch import nn

import gradloop

OFF = ["callbacks=none", "logger=none"]


def synthetic_classification() -> float:
    """Time the tutorial's loop: 100 epochs of 25 batches in order, the test accuracy after each."""
    from sklearn.datasets import make_classification
    from sklearn.model_selection import train_test_split
    from sklearn.preprocessing import StandardScaler

    x, y = make_classification(n_samples=1000, n_features=20, n_classes=2, random_state=42)
    x_train, x_test, y_train, y_test = train_test_split(x, y, test_size=0.2, random_state=42)
    scaler = StandardScaler().fit(x_train)
    x_train, x_test = (torch.from_numpy(scaler.transform(part)).float() for part in (x_train, x_test))
    y_train, y_test = torch.from_numpy(y_train), torch.from_numpy(y_test)

    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 2))
    criterion = nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses, accuracies = [], []
    started = time.perf_counter()
    for _ in range(100):
        model.train()
        total = 0.0
        for start in range(0, len(x_train), 32):
            inputs, labels = x_train[start : start + 32], y_train[start : start + 32]
            optimizer.zero_grad()
            loss = criterion(model(inputs), labels)
            loss.backward()
            optimizer.step()
            total += loss.item()
        losses.append(total / 25)
        model.eval()
        with torch.no_grad():
            accuracies.append((model(x_test).argmax(1) == y_test).float().mean().item())
    return time.perf_counter() - started


def linear_regression() -> float:
    """Time the tutorial's loop: 1001 epochs of one full batch."""
    torch.manual_seed(0)
    x = torch.arange(5.0).unsqueeze(1)
    y = 2 * x + torch.rand(5, 1)
    model = nn.Linear(1, 1)
    criterion = nn.MSELoss()
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    started = time.perf_counter()
    for _ in range(1001):
        optimizer.zero_grad()
        loss = criterion(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return time.perf_counter() - started


def fit(experiment: str, folder: str, threads: int, *overrides: str) -> float:
    """Return the seconds of `fit` in one run through gradloop."""
    quiet = io.StringIO()
    with contextlib.redirect_stdout(quiet), contextlib.redirect_stderr(quiet):
        run = gradloop.train([f"experiment={experiment}", f"output_dir={folder}", f"threads={threads}", *overrides])
    return run["durations"]["fit"]


def main() -> None:
    pairs = pairs_asked(__doc__, 7)
    rows: list[Ratio] = []
    with tempfile.TemporaryDirectory() as folder:
        for threads in sorted({1, os.cpu_count() or 1}):
            torch.set_num_threads(threads)
            mark = "" if threads == 1 else f"_{threads}_threads"
            for raw in (synthetic_classification, linear_regression):
                for kind, overrides in (("", []), ("_off", OFF)):
                    rows.append(
                        paired(
                            f"{raw.__name__}{kind}{mark}",
                            lambda raw=raw, o=overrides, t=threads: fit(raw.__name__, folder, t, *o),
                            raw,
                            pairs=pairs,
                        )
                    )
    report("fit through gradloop / a loop written by hand", rows)


if __name__ == "__main__":
    main()
