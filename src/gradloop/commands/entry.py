"""`gradloop train|evaluate|explain|compare|list …`, and `python -m gradloop …`: one name for all commands."""

import importlib.util
import sys

from gradloop.errors import ConfigError, did_you_mean

COMMANDS = {
    "train": "train a model, test it and record the run; -m sweeps",
    "evaluate": "the numbers of a run, once more from disk; predictions, export",
    "explain": "why a model answers as it does: maps, most wrong, reliability",
    "compare": "runs and sweeps side by side: table, differences, curves",
    "list": "the runs and sweeps there are",
}


def main() -> None:
    """Run the command that the first word names, as if it were called by its own name."""
    _, *words = sys.argv
    name = words[0] if words else "--help"
    if name not in COMMANDS:
        from gradloop.commands.command_line import code_of, show_traceback

        sys.exit(code_of(lambda: _say(name), show_traceback()))
    sys.argv = [f"gradloop-{name}", *words[1:]]
    sys.modules["__main__"].__spec__ = importlib.util.find_spec("gradloop.train")  # Lightning's further processes
    sys.exit(importlib.import_module(f"gradloop.commands.{name}").main())


def _say(name: str) -> None:
    """Answer a first word that is no command."""
    if name in ("--help", "-h"):
        print("gradloop <command> …   (each with --help)\n")
        print("\n".join(f"  {known:<10}{what}" for known, what in COMMANDS.items()))
    elif name == "--version":
        from gradloop import __version__

        print(f"gradloop {__version__}")
    else:
        hint = "; did you mean gradloop train …?" if "=" in name or name.startswith("-") else ""
        there_are = hint or did_you_mean(name, COMMANDS) or f"; there are {', '.join(COMMANDS)}"
        raise ConfigError(f"{name}: no command{there_are}")
