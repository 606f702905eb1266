"""What a run tells its sweep while it trains, and what the sweep answers: a small file each in the run's folder."""

import contextlib
from pathlib import Path

REPORTS, ANSWER, PLACE = ".reports", ".answer", ".place"


def report(folder: Path, epoch: int, value: float) -> None:
    """Append how an epoch went: the monitored metric."""
    with open(folder / REPORTS, "a", encoding="utf-8") as file:
        file.write(f"{epoch} {value!r}\n")


def reports(folder: Path) -> list[tuple[int, float]]:
    """Return (epoch, value) in the order in which they were told."""
    found = []
    for line in _lines(folder / REPORTS):
        with contextlib.suppress(ValueError):
            epoch, value = line.split()
            found.append((int(epoch), float(value)))
    return found


def answer(folder: Path, epoch: int, reason: str | None) -> None:
    """Tell a run that its sweep has seen an epoch. reason: why it is to end there; None: it goes on."""
    (folder / ANSWER).write_text(f"{epoch} {reason or ''}\n", encoding="utf-8")


def answered(folder: Path) -> tuple[int, str | None]:
    """Return the epoch that was seen last, and why the run is to end."""
    for line in _lines(folder / ANSWER):
        epoch, _, reason = line.partition(" ")
        if epoch.isdigit():
            return int(epoch), reason or None
    return -1, None


def tell_place(folder: Path, epoch: int, epochs: int) -> None:
    """Say how many epochs are done, of how many."""
    with contextlib.suppress(OSError):  # a full disk shows elsewhere
        (folder / PLACE).write_text(f"{epoch} {epochs}\n", encoding="utf-8")


def place(folder: Path) -> tuple[int, int] | None:
    """Return how many epochs are done, of how many, if that was told."""
    for line in _lines(folder / PLACE):
        done, _, epochs = line.partition(" ")
        if done.isdigit() and epochs.isdigit():
            return int(done), int(epochs)
    return None


def forget(folder: Path) -> None:
    for name in (REPORTS, ANSWER, PLACE):
        (folder / name).unlink(missing_ok=True)


def _lines(path: Path) -> list[str]:
    """Return the lines that are whole: another process is writing."""
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return []
    return text[: text.rfind("\n") + 1].splitlines()
