"""The order of the rooms under src/gradloop, and what no room does. Read from the sources: nothing is imported."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

SOURCES = Path(__file__).parents[2] / "src"
LEVELS = (  # from the top: a room imports from the levels below its own, and from itself
    {"__init__", "__main__", "train"},
    {"commands"},
    {"sweeps", "reports"},
    {"training"},
    {"callbacks", "networks", "optimizers"},
    {"drawing", "data"},
    {"runs"},
    {"config"},
    {"errors", "seeds", "process", "streams"},
)
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms}
LIGHT = {"commands", "sweeps", "drawing", "runs", "config"} | LEVELS[0] | LEVELS[-1]
HEAVY = {"torch", "lightning", "torchmetrics", "torchvision"}  # seconds to import: a mistake is answered before
BY_NAME = ("getattr", "setattr", "hasattr", "delattr")
IN_TEXT = re.compile(r"\b[a-z]\w*(?:\.\w+)*\._[a-z]\w*\b(?<!_)")  # "hydra._internal.utils"
DOCUMENTED = {"_exit", "_asdict", "_replace", "_fields"}  # underscores that Python's own documentation explains

# What is not so yet, one a line: "file: finding" -> why. A line that is not needed any more fails, too.
UPWARDS = {
    "gradloop/callbacks/lessons/functions.py: gradloop.networks.simple_nn": "the lesson lists its activations",
    "gradloop/callbacks/lessons/round_trip.py: gradloop": "the lesson shows gradloop.load",
}
TOO_HEAVY = {
    "gradloop/sweeps/engines/preload.py: gradloop.training.fit": "imported by a sweep's processes only",
    "gradloop/sweeps/engines/preload.py: gradloop.callbacks.tensorboard_logger": "imported by its processes only",
    "gradloop/sweeps/engines/preload.py: torch.utils.tensorboard": "imported by its processes only",
}
PRIVATE = {
    "gradloop/training/lightning_internals.py: trainer.fit_loop.epoch_loop._results": "Lightning saves no sums",
}


@dataclass(frozen=True)
class Import:
    file: str
    line: int
    module: str  # as far as it is a module: gradloop.config.check, torch.nn
    names: tuple[str, ...]
    nested: bool  # in a function, or under `if __name__ == …`: does not run when the file is imported
    typing: bool  # under `if TYPE_CHECKING`: never runs


FILES = {str(path.relative_to(SOURCES)): ast.parse(path.read_text()) for path in sorted(SOURCES.rglob("*.py"))}
MODULES = {file.removesuffix(".py").replace("/", ".").removesuffix(".__init__"): file for file in FILES}


def imports(file: str) -> Iterator[Import]:
    def walk(node: ast.AST, nested: bool, typing: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file, node.lineno, alias.name, (), nested, typing)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: a relative import"
            for alias in node.names:  # the name may be a module itself
                inner = f"{node.module}.{alias.name}"
                module = inner if inner in MODULES else str(node.module)
                yield Import(file, node.lineno, module, (alias.name,), nested, typing)
        elif isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "__name__ == '__main__'"):
            for child in node.body:
                yield from walk(child, True, "TYPE" in ast.unparse(node.test))
            for child in node.orelse:
                yield from walk(child, nested, typing)
        else:
            inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
            for child in ast.iter_child_nodes(node):
                yield from walk(child, nested or inside, typing)

    return walk(FILES[file], False, False)


def room(module: str) -> str:
    return [*module.split("."), "__init__"][1]


def own(file: str) -> bool:
    return file.startswith("gradloop/")


def at_import(file: str) -> list[str]:
    """Return the modules of gradloop and of others that importing a file imports."""
    return [found.module for found in imports(file) if not found.nested and not found.typing]


def checked(found: list[str], known: dict[str, str]) -> None:
    new, gone = sorted(set(found) - known.keys()), sorted(known.keys() - set(found))
    assert not new, "\n".join(["not allowed:", *new])
    assert not gone, "\n".join(["mended, so remove their lines in this test:", *gone])


def test_every_module_is_in_a_room_that_has_a_level() -> None:
    assert {room(module) for module in MODULES if module.startswith("gradloop")} <= LEVEL.keys()


def test_imports_run_downwards_only() -> None:
    found = []
    for file in filter(own, FILES):
        here = file.removesuffix(".py").split("/")[1]
        for to in imports(file):
            there = room(to.module)
            if to.module.split(".")[0] != "gradloop" or to.typing or to.names == ("__version__",) or there == here:
                continue
            if LEVEL[there] <= LEVEL[here] < LEVEL["errors"]:
                found.append(f"{file}: {to.module}")
    checked(found, UPWARDS)


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: {to for to in at_import(file) if to in MODULES} for module, file in MODULES.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" imports ".join(reversed(error.args[1]))) from error


def test_what_answers_a_mistake_is_imported_without_torch() -> None:
    """Neither by a line of its own nor through another module of gradloop."""
    found = []
    for module, file in MODULES.items():
        if not own(file) or room(module) not in LIGHT or module == "gradloop.runs.checkpoint_io":
            continue
        waiting, seen = [(module,)], {module}
        while waiting:
            path = waiting.pop(0)
            for to in at_import(MODULES[path[-1]]):
                if to.split(".")[0] in HEAVY:
                    found.append(f"{file}: {[*path[1:], to][0]}")
                elif to in MODULES and to not in seen:
                    seen.add(to)
                    waiting.append((*path, to))
    checked(found, TOO_HEAVY)


def private(name: str) -> bool:
    return name.startswith("_") and not name.endswith("_") and name not in DOCUMENTED


def defined(tree: ast.AST) -> set[str]:
    """Return the private names that a file gives to something: functions, classes, variables, self's attributes."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            names.add(node.id)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store) and is_self(node.value):
            names.add(node.attr)
    return {name for name in names if private(name)}


def is_self(node: ast.AST) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def test_no_private_names_of_other_projects() -> None:
    """Of an object other than self only what the same file defines; of self what gradloop defines anywhere."""
    names = {file: defined(tree) for file, tree in FILES.items()}
    everywhere = set().union(*names.values())
    found = []
    for file, tree in FILES.items():
        for to in imports(file):
            if to.module.split(".")[0] not in ("gradloop", "__future__"):
                path = [*to.module.split("."), *to.names]
                found += [f"{file}: import {'.'.join(path)}"] if any(map(private, path)) else []
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and private(node.attr):
                if node.attr not in (everywhere if is_self(node.value) else names[file]):
                    found.append(f"{file}: {ast.unparse(node)}")
            elif isinstance(node, ast.Call) and ast.unparse(node.func) in BY_NAME:
                name = node.args[1] if len(node.args) > 1 else None
                if isinstance(name, ast.Constant) and private(str(name.value)) and name.value not in everywhere:
                    found.append(f"{file}: {ast.unparse(node.func)} of {name.value}")
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found += [f"{file}: {name}" for name in IN_TEXT.findall(node.value)]
    checked(found, PRIVATE)
