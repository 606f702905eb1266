"""`--help`: examples, then groups, choices and knobs, in the YAML files' words; and what the shell completes."""

import re
import shutil
import textwrap
from pathlib import Path

from gradloop.config.conf_folder import choices_in, conf_folder

# parts that other files are made of, what the commands need of Hydra, and a launcher that gradloop does not take
INTERNAL = ("sweep=default", "hydra=", "hydra/launcher=basic")
GROUPS = {
    "data": "what to learn from",
    "augmentation": "how training pictures are varied",
    "model": "the network; any nn.Module of yours by model._target_=…",
    "module": "a LightningModule of yours, with its own steps, by module._target_=…",
    "loss": "what training makes small",
    "optimizer": "how weights are changed",
    "scheduler": "how the learning rate changes over the run",
    "trainer": "how long and how precisely to train",
    "accelerator": "what to train on",
    "callbacks": "what happens around the training",
    "logger": "where curves go",
    "experiment": "a whole run by name; what you add after it still counts",
    "debug": "a run that finds mistakes",
    "sweep": "how -m searches",
    "hydra/launcher": "where the runs of -m run",
}
KNOBS = {
    "data.batch_size": "samples a step",
    "model.hidden_dims=[64,32]": "units of each hidden layer (simple_nn)",
    "optimizer.lr=3e-4": "learning rate",
    "trainer.max_epochs=50": "passes over the training part",
    "trainer.precision=bf16-mixed": "32-true, bf16-mixed, 16-mixed, 64-true, auto",
    "seed=0": "equal seeds give equal weights; without one, a drawn one is recorded",
    "monitor=val/loss": 'what "best" means; null follows the task',
    "name=my_run": "becomes part of the run folder's name",
    "output_dir=outputs": "where run folders go",
    "resume=<run folder>": "go on where a run stopped; resume=last for the newest",
    "'allow=[my_models]'": "your own packages that configs may call",
}
TRAIN = {
    "gradloop-train": "the default run: offline, a few seconds",
    "gradloop-train data=digits optimizer.lr=0.01": "other data, another learning rate",
    "gradloop-train experiment=linear_regression": "a ready experiment",
    "gradloop-train -m seed=1,2,3 optimizer=adam,sgd": "a sweep: 6 runs and a comparison",
    "gradloop-train experiment=lesson/1_autograd lang=ko": "a lesson, in Korean (there are six)",
    "gradloop-train resume=last": "go on with the newest run",
    "gradloop-train data=digits --cfg job": "print the composed config, run nothing",
}
EXAMPLES = {
    "train": TRAIN,
    "evaluate": {
        "gradloop-evaluate run=last": "the run that was started last: its numbers with confidence intervals",
        "gradloop-evaluate run=outputs/train/<run> predictions=true": "a table of what it answers, too",
        "gradloop-evaluate sweep=last export=onnx": "the best run of the last sweep, as an ONNX file",
    },
    "explain": {
        "gradloop-explain run=last": "the run that was started last",
        "gradloop-explain sweep=last": "the best run of the last sweep",
        "gradloop-explain run=outputs/train/<run> explain.inputs=my_pictures": "pictures of your own",
    },
    "compare": {
        "gradloop-compare run=last sweep=last": "the last run beside the last sweep",
        "gradloop-compare 'outputs/train/*_digits'": "all runs of a name",
        "gradloop-compare A B --metric test/f1": "sorted by another metric",
    },
    "list": {
        "gradloop list": "the 20 newest runs and sweeps",
        "gradloop list tags=[paper] status=completed": "those with a tag, as in gradloop-train tags=[paper] …",
    },
}
COMPARED = {
    "A B …": "run folders, sweep folders, patterns in quotes, run=last or sweep=last",
    "--metric NAME": "sort by this metric instead of the monitored one",
    "--out DIR": "where the files go; outputs/compare/<date>_<time> if you say nothing",
}
SWEEP = {"-m": "run every combination of the values given, as in seed=1,2"}
OPTIONS = {
    "--cfg job": "print the composed config and stop (hydra, all; -p optimizer: one part; --resolve: no ${…})",
    "--config-dir DIR": "look for your own YAML files in DIR as well",
    "-sc install=bash": 'print shell completion: eval "$(gradloop-train -sc install=bash)" (zsh, fish too)',
    "--version": "print the version",
    "--hydra-help": "Hydra's own options",
}
EXIT_CODES = {
    "0": "done",
    "1": "an error of your own code, or a sweep of which runs failed",
    "2": "a mistake on the command line or in a YAML file",
    "3": "data missing, unreadable or unfit",
    "4": "a checkpoint, run folder or disk that can't be used",
    "5": "training diverged, or its gradients are wrong (debug=gradcheck)",
    "129, 130, 138, 143": "stopped by a closed terminal, Ctrl-C, SIGUSR1 or SIGTERM, state saved",
}


def help_text(config_name: str, config_dir: str | None = None) -> str:
    """Return the help of a command, examples first; that of the main job lists groups and knobs.

    config_dir: a folder whose choices stand beside gradloop's.
    """
    sections = {"EXAMPLES": _table(EXAMPLES.get(config_name, TRAIN))}
    options = OPTIONS
    if config_name == "compare":
        usage = "gradloop-compare A B … [option …]"
        about = "Runs and sweeps side by side: a table, what differs in their configs, and their curves."
        sections["WHAT TO COMPARE"] = _table(COMPARED)
        options = {"--help": "this text"}
    elif config_name in EXAMPLES and config_name != "train":
        name = "gradloop list" if config_name == "list" else f"gradloop-{config_name}"
        usage = f"{name} [key=value …] [option …]"
        text = (conf_folder() / f"{config_name}.yaml").read_text(encoding="utf-8")
        said = " ".join(line.lstrip("# ") for line in text.splitlines() if line.startswith("#"))
        about = said.partition(": ")[2]
        about = about[:1].upper() + about[1:]
        sections["KNOBS"] = _table(_described(text))
    else:
        usage = "gradloop-train [group=choice …] [key=value …] [option …]"
        about = "Trains a model, tests it and records the run."
        sections["GROUPS, each a folder of YAML files; * is taken if you say nothing"] = _groups(config_dir)
        sections["KNOBS that are turned most (all of them: --cfg job)"] = _table(KNOBS)
        options = SWEEP | OPTIONS
    sections |= {"OPTIONS": _table(options), "EXIT CODES": _table(EXIT_CODES)}
    lines = [usage, *_wrapped("", about)]
    for title, rows in sections.items():
        lines += ["", *_wrapped("", title), *rows]
    return "\n".join(lines)


def _groups(config_dir: str | None) -> list[str]:
    main, hydras = conf_folder() / "train.yaml", conf_folder() / "hydra" / "default.yaml"
    defaults = dict(re.findall(r"^  - (\w+): (\w+)", main.read_text(encoding="utf-8"), re.M))
    launcher = re.search(r"override launcher: (\w+)", hydras.read_text(encoding="utf-8"))
    defaults["hydra/launcher"] = launcher[1] if launcher else ""
    own = Path(config_dir) if config_dir is not None else None
    lines = []
    for group in sorted(_folders(), key=lambda name: [*GROUPS, name].index(name)):
        lines += _wrapped(f"  {group + '=…':<15} ", GROUPS.get(group, ""))
        ours = choices_in(conf_folder() / group)
        theirs = {name: path for name, path in choices_in(own / group).items() if name not in ours} if own else {}
        for name, path in (ours | theirs).items():
            star = "*" if defaults.get(group) == name else "+" if name in theirs else " "
            if name != "default" or star != " ":  # what other choices of the group are made of
                lines += _wrapped(f"    {star} {name:<24} ", _first_sentence(path))
    if own:
        lines += _wrapped("  ", f"+ from {own}")
    return lines


def _folders() -> list[str]:
    names = [path.name for path in conf_folder().iterdir() if path.is_dir() and any(path.glob("*.yaml"))]
    return ["hydra/launcher" if name == "hydra" else name for name in names]


def _first_sentence(path: Path) -> str:
    """Return what a YAML file says of itself: the sentences that its first comment line holds, whole."""
    lines: list[str] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("# @package"):
            continue
        if not line.startswith("#") or not line.strip("# "):
            break
        lines.append(line.lstrip("# ").strip())
    if len(lines) < 2 or lines[0].endswith((".", ":", ";")):
        return lines[0].rstrip(":;") if lines else ""
    if (ends := list(re.finditer(r"\.(?= )", lines[0]))) and ends[-1].end() > 20:
        return lines[0][: ends[-1].end()]
    return re.split(r"(?<=[.:;])(?= |$)", " ".join(lines), maxsplit=1)[0].rstrip(":;")


def _described(text: str) -> dict[str, str]:
    """Return a YAML file's keys with the comments beside them; one level of nesting."""
    rows, group = {}, ""
    for nested, key, value, what in re.findall(r"^(  )?(\w+): *([^#\n]*?) *(?:# (.*))?$", text, re.M):
        if not nested:
            group = f"{key}."
        if what:
            rows[f"{group if nested else ''}{key}={'…' if value == '???' else value}"] = what
    return rows


def _table(rows: dict[str, str]) -> list[str]:
    widest = max(map(len, rows))
    width = min(widest, 46 if _columns() >= 100 else 26)
    lines = []
    for name, what in rows.items():
        if len(name) > width:  # a line of its own
            lines += [f"  {name}", *_wrapped(" " * (width + 4), what)]
        else:
            lines += _wrapped(f"  {name:<{width}}  ", what)
    return lines


def _columns() -> int:
    """Return how wide the text may be: as the terminal, and not so wide that a line is hard to follow."""
    return max(60, min(shutil.get_terminal_size((108, 24)).columns, 120))


def _wrapped(start: str, text: str) -> list[str]:
    wrapped = textwrap.wrap(text, _columns() - len(start), break_long_words=False, break_on_hyphens=False) or [""]
    return [(start + wrapped[0]).rstrip(), *(" " * len(start) + line for line in wrapped[1:])]


def completed(said: str, line: str, config_dir: str | None) -> str:
    """Return Hydra's words with ours among them.

    said: what it prints. line: the command line so far. config_dir: a folder whose experiments are known as well.
    """
    words = [word for word in said.split() if not word.startswith(INTERNAL)]
    last = "" if line[-1:].isspace() else line.rpartition(" ")[2]
    if last.startswith("experiment="):
        folders = [conf_folder(), *([Path(config_dir)] if config_dir else [])]
        names = {f"experiment={name}" for folder in folders for name in choices_in(folder / "experiment")}
        words += sorted(name for name in names - {*words} if name.startswith(last))
    return ("\n" if "\n" in said.strip() else " ").join(words)
