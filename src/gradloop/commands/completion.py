"""Shell completion: Hydra's, with the lessons that it does not look for, without what nobody types."""

from __future__ import annotations

from pathlib import Path

from gradloop.config.conf_folder import choices_in, conf_folder

# parts that other files are made of, what the commands need of Hydra, and a launcher that gradloop does not take
INTERNAL = ("sweep=default", "hydra=", "hydra/launcher=basic")


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
