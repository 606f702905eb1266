"""What Hydra and OmegaConf have to say, in one line that names the key and the nearest right name."""

import contextlib
import glob
import re
from collections.abc import Iterator, Sequence

from hydra.errors import HydraException, MissingConfigException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from gradloop.config.conf_folder import choices_in, conf_folder
from gradloop.config.signature import flatten
from gradloop.errors import ConfigError, did_you_mean

# what other projects call something -> what it is called here
ELSEWHERE = {
    "epochs": "did you mean 'trainer.max_epochs'?",
    "ckpt_path": "resume=<run folder> goes on with a run, gradloop-evaluate run=<run folder> tests one",
    "train": "test=false leaves the test out; a run always trains",
    "task_name": "name=… names a run's folder, and tags=[…] mark it",
    "paths": "output_dir=… is where runs land, and data.root=… where data lies",
}


OURS = {  # what Lightning's Trainer takes and a run gives it
    "enable_progress_bar": "callbacks.progress=null takes the bar away",
    "enable_model_summary": "summary=true prints the layers",
    "enable_checkpointing": "callbacks.checkpoints=null saves none",
    "logger": "choose one with logger=…",
    "callbacks": "add yours with callbacks=… or +callbacks.mine._target_=…",
    "plugins": "trainer.strategy and trainer.precision choose them",
    "num_sanity_val_steps": "every part is tried before the run begins",
    "log_every_n_steps": "every epoch is logged",
    "limit_predict_batches": "evaluate … predictions=true predicts all",
    "use_distributed_sampler": "the data shares its samples out among processes",
    "barebones": "callbacks=none callbacks/core@callbacks=none logger=none is the least",
}
GONE = {  # choices that others have and gradloop can't
    ("logger", "neptune"): "Neptune has ended its service, and Lightning its logger",
}
SERVERS = {  # keys that are the environment's alone
    "tracking_uri": "the server's address is MLFLOW_TRACKING_URI=… in the environment, never a config's",
    "api_key": "a key is the environment's (WANDB_API_KEY, COMET_API_KEY), never a config's: that is saved",
}


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Raise ConfigError for what Hydra and OmegaConf say of a config."""
    try:
        yield
    except (HydraException, OmegaConfBaseException) as error:
        raise ConfigError(explain(error)) from error


def explain(error: Exception) -> str:
    """Return one line for an error of Hydra or OmegaConf."""
    text = str(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, choice = str(error.missing_cfg_file).rpartition("/")
        if group and error.options:
            return no_such_choice(group, choice, list(error.options))
        if not group:
            names = [path.stem for path in conf_folder().glob("*.yaml")]
            return f"--config-name={choice}: no such config{did_you_mean(choice, names)}"
    if match := re.search(r"Multiple values for (\S+)\.", text):
        return f"+{match[1]}=…: there is one already; change it with {match[1]}=…"
    if match := re.search(r"Could not override '(.+?)'", text):
        return f"'{match[1]}': no such group"
    if match := re.search(r"Could not delete\. No match for '(.+?)'", text):
        return f"'{match[1]}': there is nothing to delete"
    if match := re.search(r"environment variable '(.+?)' not found", text, re.I):
        key = re.search(r"full_key: (\S+)", text)
        where = f"'{key[1]}': " if key else ""
        return f"{where}the environment variable {match[1]} is not set"
    first = next((line.strip() for line in text.splitlines() if line.strip()), type(error).__name__)
    if cause := re.search(r"full_key: (\S+)", text):
        return f"'{cause[1]}': {first}"
    return first


def no_such_choice(group: str, choice: str, options: Sequence[str]) -> str:
    """Return one line for a choice that a group does not have, with the nearest, or the group that has it."""
    if group.startswith("experiment/"):  # Hydra takes `experiment=lesson/x` for a group of its own
        group, choice = "experiment", f"{group.removeprefix('experiment/')}/{choice}"
    options = list(dict.fromkeys([*options, *choices_in(conf_folder() / group)]))
    others = [path.parent.name for path in sorted(conf_folder().glob(f"*/{glob.escape(choice)}.yaml"))]
    near = did_you_mean(choice, options) or (f"; did you mean '{others[0]}={choice}'?" if others else "")
    if (group, choice) in GONE:
        near = f"; {GONE[group, choice]}"
    return f"{group}={choice}: no such choice; there are {', '.join(options)}{near}"


def no_such_key(key: str, reference: DictConfig) -> str:
    """Say what else there is: the key under another choice of its group, the nearest name, or all names.

    reference: what the YAML files say.
    """
    if key.partition(".")[0] in ELSEWHERE:
        return f"no such key; {ELSEWHERE[key.partition('.')[0]]}"
    parent, _, name = key.rpartition(".")
    if parent == "trainer" and name in OURS:
        return f"gradloop sets this itself; {OURS[name]}"
    if parent.startswith("logger") and name in SERVERS:
        return f"no such key; {SERVERS[name]}"
    node = OmegaConf.select(reference, parent) if parent else reference
    while not isinstance(node, DictConfig) and parent:  # the mistake may be further up
        parent, _, name = parent.rpartition(".")
        node = OmegaConf.select(reference, parent) if parent else reference
    its_line = re.compile(rf"^{re.escape(name)}:", re.M)
    if name in list(node):
        return "nothing to delete, it is null"
    files = sorted((conf_folder() / parent).glob("*.yaml")) if parent else []
    elsewhere = [path.stem for path in files if its_line.search(path.read_text(encoding="utf-8"))]
    if elsewhere:
        choice = reference.hydra.runtime.choices.get(parent)
        others = " and ".join(f"{parent}={c}" for c in elsewhere)
        return f"{parent}={choice} has no such key; {others} {'has' if len(elsewhere) == 1 else 'have'}"
    known = [str(k) for k in node if not str(k).startswith("_") and k != "hydra"]
    if near := did_you_mean(name, known):
        return "no such key" + (near.replace("did you mean '", f"did you mean '{parent}.") if parent else near)
    every = [name for name in flatten(OmegaConf.to_container(reference)) if not name.startswith("hydra.")]
    parts = key.split(".")
    for ending in (".".join(parts[start:]) for start in range(len(parts))):  # the whole key, under another parent
        if found := [name for name in every if name == ending or name.endswith(f".{ending}")]:
            return f"no such key; did you mean '{found[0]}'?"
    if not parent:
        inner = {name.rpartition(".")[2]: name for name in reversed(every)}
        if near := did_you_mean(key, inner):
            return f"no such key; did you mean '{inner[near.split(chr(39))[1]]}'?"
        return f"no such key or group; there are {', '.join(known)}"
    there_are = f"there are {', '.join(known)}" if known else "it has none"
    hint = "" if parent.startswith("hydra") else f"; if its target takes it, write +{key}=…"
    return f"no such key in {parent}, {there_are}{hint}"
