"""Runs and sweeps by name: a folder, or the last of all."""

from collections.abc import Iterator, Sequence
from pathlib import Path

from gradloop.errors import CheckpointError, did_you_mean
from gradloop.runs.record import Record, read_record

SWEEP_FILE = "sweep.json"  # what makes a folder of runs a sweep's


def run_folder(key: str, name: str) -> Path:
    """Return the folder of a run; raise CheckpointError for what is none, a checkpoint in one, say."""
    folder = Path(name)
    if name and folder.suffix == ".ckpt":
        inside = next((above for above in folder.parents if (above / "summary.json").is_file()), None)
        which = f": {key}={inside}" if inside else ""
        raise CheckpointError(f"{key}={name}: a checkpoint; {key} takes the folder of its run{which}")
    if not name or not folder.is_dir():
        around = [path.name for path in folder.parent.iterdir()] if name and folder.parent.is_dir() else []
        raise CheckpointError(f"{key}={name}: no such run folder{did_you_mean(folder.name, around)}")
    return folder


def runs_below(root: Path) -> Iterator[tuple[Path, Record]]:
    """Yield the runs that lie in a folder, with their records; what can't be read is left out."""
    for file in sorted(root.glob("*/summary.json")):
        try:
            yield file.parent, read_record(file.parent)
        except CheckpointError:
            continue


def last_of(key: str, roots: Sequence[Path]) -> Path:
    """Return the run, in any of the folders, that was started last."""
    runs = [(record.get("started") or "", run) for root in roots for run, record in runs_below(root)]
    if not runs:
        raise CheckpointError(f"{key}=last: no run in {', '.join(map(str, roots))}")
    return max(runs)[1]


def sweeps_below(root: Path) -> list[Path]:
    """Return the sweeps that lie in a folder, the newest last."""
    found = [file.parent for file in root.glob(f"*/{SWEEP_FILE}")]
    return sorted(found, key=lambda sweep: (sweep / SWEEP_FILE).stat().st_mtime)


def last_sweep(key: str, root: Path) -> Path:
    """Return the sweep in a folder that was worked on last: begun, or gone on with."""
    if not (sweeps := sweeps_below(root)):
        raise CheckpointError(f"{key}=last: no sweep in {root}")
    return sweeps[-1]
