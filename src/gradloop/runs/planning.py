"""Which config a run has, which folder, and what it goes on from."""

from collections.abc import Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

from gradloop.config.check import allowed_by_name, check_recorded, checked, draw_seed, plain
from gradloop.config.compose import compose_config
from gradloop.config.overrides import parse_overrides, refuse_sweep
from gradloop.config.signature import changed_keys, flatten, unlike
from gradloop.config.trackers import check_trackers
from gradloop.errors import CheckpointError, ConfigError
from gradloop.process import is_second, told
from gradloop.runs.finding import last_of, run_folder
from gradloop.runs.folder import check_own, check_own_place, check_writable, claim_folder
from gradloop.runs.foreign_text import printable
from gradloop.runs.record import COMPLETED, Record, read_config, read_record
from gradloop.runs.slurm import requeued_run

LENGTHS = ("trainer.max_epochs", "trainer.max_steps", "trainer.max_time")
SWA = "gradloop.callbacks.averaging.SWA"


@dataclass(frozen=True)
class Config:
    """What a run is to do: checked, and not begun yet."""

    values: dict[str, Any]
    overrides: list[str]
    place: Path  # where it is to lie
    new: bool = False  # that place is nobody's yet: if another run takes it meanwhile, this one lies beside
    checkpoint: dict[str, Any] | None = None  # to go on from
    known: Record = field(default_factory=Record)  # what the record says of how it was composed
    allow: tuple[str, ...] = ()  # what the command line itself names: a YAML file or run folder allows nothing
    prunes: bool = False  # a sweep looks at every epoch, and may end the run

    def folder(self, place: Path | None = None) -> Path:
        """Return its place, or another; a new run's is made."""
        return claim_folder(place or self.place) if self.new else place or self.place


def plan(overrides: list[str], config_dir: str | None, config_name: str, *, of_sweep: bool = False) -> Config:
    """Return what a command line asks for; raise ConfigError or CheckpointError.

    of_sweep: it is a sweep's, whose other runs may take what this one does not.
    """
    parsed = parse_overrides(overrides)
    refuse_sweep(parsed)
    allow = allowed_by_name(parsed)  # a run folder may come from a stranger: it allows nothing
    resume = next((o.value() for o in parsed if o.key_or_group == "resume"), None)
    if isinstance(resume, dict | list | bool):
        raise ConfigError(f"resume={resume}: expected a run folder, or last")
    if resume is not None:
        return _plan_resume(str(resume), overrides, config_dir, config_name, allow)
    config, values = checked(overrides, config_dir, config_name, allow, idle=not of_sweep)
    draw_seed(values)
    folder = _folder(str(config.hydra.run.dir))
    if (requeued := requeued_run(folder.parent, overrides)) is not None:
        print(f"this SLURM job was requeued: going on with {requeued}")
        return _plan_resume(str(requeued), [], config_dir, config_name, allow)
    if is_second() and "folder" in told():  # the run's first process claimed it
        return Config(values, overrides, Path(told()["folder"]), allow=allow)
    known: Record = {"experiment": config.hydra.runtime.choices.get("experiment")}
    known |= {"config_dir": str(Path(config_dir).absolute())} if config_dir is not None else {}
    known |= {"config_name": config_name} if config_name != "train" else {}
    return Config(values, overrides, folder.absolute(), new=True, known=known, allow=allow)


def _folder(path: str) -> Path:
    """Return where the run will live; refuse a place where it can't, before anything is created."""
    folder = Path(path)
    check_own_place("hydra.run.dir", path, "run")
    check_writable(folder.absolute())
    return folder


def _plan_resume(
    resume: str, overrides: list[str], config_dir: str | None, config_name: str, allow: tuple[str, ...]
) -> Config:
    from gradloop.runs.checkpoint_files import RESUMABLE, newest_intact

    rest = [line for line in overrides if not line.startswith("resume=")]
    if resume == "last":
        config, _ = compose_config(rest, config_name=config_name, config_dir=config_dir)
        folder = last_of("resume", [Path(config.hydra.run.dir).parent])
    else:
        folder = run_folder("resume", resume)
    check_own(folder)
    record = read_record(folder)
    checkpoint: dict[str, Any] | None = None
    if any((folder / "checkpoints" / name).exists() for name in RESUMABLE):
        path, checkpoint, problems = newest_intact(folder / "checkpoints")
        if problems:
            print(printable(f"resuming from {path.name}: {'; '.join(problems)}"))
        before = checkpoint["gradloop"]["recipe"]["config"]
    elif record["status"] == COMPLETED:
        raise CheckpointError(f"{folder}: no checkpoint to resume from, and the run is finished")
    else:
        print(f"{folder} was stopped before its first checkpoint: starting over")
        path, before = folder / ".hydra" / "config.yaml", read_config(folder)
    recorded = list(record.get("overrides") or [])
    known = Record()
    for key in ("experiment", "config_dir", "config_name", "init_from", "population"):
        if key in record:
            known[key] = record[key]
    config_dir = config_dir or known.get("config_dir")  # as the run was started
    config_name = known.get("config_name", config_name)
    check_recorded(path, before, allow)
    values, kept = before, recorded
    if rest:
        again = {o.key_or_group for o in parse_overrides(rest)}
        try:
            kept = [str(o.input_line) for o in parse_overrides(recorded) if o.key_or_group not in again]
            old, _ = compose_config(recorded, config_name=config_name, config_dir=config_dir)
        except ConfigError as error:
            raise CheckpointError(f"{folder / 'summary.json'}: its overrides can't be repeated: {error}") from error
        _, now = checked(kept + rest, config_dir, config_name, allow, asked=parse_overrides(rest))
        was, wanted = flatten(plain(old)), flatten(now)
        delta = {key: value for key, value in wanted.items() if unlike(key, was.get(key, ...), value)}
        values = _merged(before, delta, [key for key in was if key not in wanted])
        changes = changed_keys(before, values)
        if changes:
            told = ", ".join(f"{key}: {a} -> {b}" for key, (a, b) in changes.items())
            raise ConfigError(f"resume={resume}: the run was started otherwise ({told}); start a new run for that")
    # a longer run may have been asked for before, and stopped before its first save
    asked = {o.key_or_group: o.value() for o in parse_overrides([*kept, *rest]) if o.key_or_group in LENGTHS}
    values = _merged(values, {k: v for k, v in asked.items() if not str(v).startswith("${")}, ())
    _check_schedule(resume, before, values)
    epochs = values["trainer"]["max_epochs"]
    stands = (checkpoint or {}).get("epoch")
    into = ((checkpoint or {}).get("gradloop", {}).get("position") or {}).get("batch", 0)  # the next epoch
    if isinstance(stands, int) and (epochs < stands or (epochs == stands and into)):
        part = " and a part of the next" if into else ""
        raise ConfigError(
            f"resume={resume}: trainer.max_epochs={epochs}: the run has trained for {stands}{part} already"
        )
    steps, had = (each["trainer"].get("max_steps") or -1 for each in (values, before))
    stood = (checkpoint or {}).get("global_step")
    if isinstance(stood, int) and 0 < steps < stood:
        raise ConfigError(f"resume={resume}: trainer.max_steps={steps}: the run has trained for {stood} already")
    more = epochs > before["trainer"]["max_epochs"] or (had > 0 and not 0 < steps <= had)
    time, limit = (each["trainer"].get("max_time") for each in (values, before))
    more = more or (limit is not None and time != limit and isinstance(stands, int) and stands < epochs)
    spent = _seconds_of(checkpoint)
    if record["status"] == COMPLETED and isinstance(stood, int) and 0 < steps <= stood:
        raise ConfigError(
            f"resume={resume}: trainer.max_steps={steps}: it has taken {stood}; give more, or -1 for no limit"
        )
    if record["status"] == COMPLETED and time is not None and spent >= _seconds(time):
        raise ConfigError(
            f"resume={resume}: trainer.max_time={time}: the run has trained for {spent:.0f} s; give more"
        )
    if record["status"] == COMPLETED and not more:
        raise ConfigError(
            f"resume={resume}: this run is finished; for more epochs add trainer.max_epochs=… (above {epochs})"
        )
    check_trackers(values)
    given = kept + rest if rest else recorded
    return Config(values, given, folder.absolute(), checkpoint=checkpoint, known=known, allow=allow)


def _seconds_of(checkpoint: Mapping[str, Any] | None) -> float:
    """Return how long a run had trained at a checkpoint, as the Timer of its `trainer.max_time` says."""
    callbacks = (checkpoint or {}).get("callbacks") or {}
    timers = (state for name, state in callbacks.items() if name.startswith("Timer"))
    return next((float(state["time_elapsed"]["train"]) for state in timers), 0.0)


def _seconds(limit: str | dict[str, float]) -> float:
    """Return the seconds of a `trainer.max_time`: days, hours, minutes and seconds, as in 00:01:30:00, or by name."""
    if isinstance(limit, dict):
        return timedelta(**limit).total_seconds()
    days, hours, minutes, seconds = map(int, limit.split(":"))
    return timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds).total_seconds()


def _check_schedule(resume: str, before: dict[str, Any], values: dict[str, Any]) -> None:
    """Refuse another length under a schedule that was planned for the run's own: its rate has its end there."""
    schedule = dict(values["scheduler"])
    by_class = {"CosineAnnealingLR": "T_max", "OneCycleLR": "total_steps"}  # filled in where a config leaves them out
    if (length := by_class.get(str(schedule.get("_target_")).rpartition(".")[2])) is not None:
        schedule.setdefault(length, None)
    planned = [
        f"scheduler.{name}" for name in ("T_max", "total_steps", "total_iters") if schedule.get(name, ...) is None
    ]
    averaged = [each for each in (values.get("callbacks") or {}).values() if each and each["_target_"] == SWA]
    planned += ["callbacks.swa.start"] if averaged else []
    for key in ("max_epochs", "max_steps") if planned else ():
        if (now := values["trainer"].get(key)) != (then := before["trainer"].get(key)):
            raise ConfigError(
                f"resume={resume}: trainer.{key}: {then} -> {now}, and {planned[0]}, the whole run's, was planned "
                f"for {then}; start a new run, with init_from=… from this one's weights"
            )


def _merged(values: dict[str, Any], delta: dict[str, Any], gone: Iterable[str]) -> dict[str, Any]:
    """Return the values with some changed, and without those that are gone: entries of callbacks and loggers."""
    merged = deepcopy(values)
    for key in gone:
        group, _, entry = key.partition(".")
        if group in ("callbacks", "logger") and (entry := entry.partition(".")[0]) not in {
            other.split(".")[1] for other in delta if other.startswith(f"{group}.")
        }:
            (merged.get(group) or {}).pop(entry, None)
    for key, value in delta.items():
        node = merged
        *parents, name = key.split(".")
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = value
    return merged
