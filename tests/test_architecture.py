"""Who may import whom, how long a file may be, what is loaded when. Reads every import there is."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "graphengine"

LAYERS = """
errors ref resource settings
sockets
events spec files storage
definition signature workflow report cache worker
registry plan
check task
values gather ledger reading
planner outcome explain
run
engine
default
cli
__init__ __main__
"""
"""A module imports from the lines above its own, and nothing of its own line or below."""

FOREIGN = {"pydantic", "pydantic_core", "pydantic_settings", "platformdirs"}
LAZY = {"PIL", "networkx", "numpy", "safetensors", "torch"}
"""What the engine imports of others: at the top of a module, and inside of a function only."""

LIBRARY = {"errors", "resource", "sockets", "diffusion", "training"}
"""What `diffusion`, `training` and `postcard` may know of us."""

LAYER_OF = {name: i for i, line in enumerate(LAYERS.split("\n")) for name in line.split()}
ENGINE = sorted(path for path in PACKAGE.glob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """(dotted name, whether it stands at the top of the module) of every import, type checking too."""
    tree = ast.parse(path.read_text())
    inner = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, id(node) not in inner
        elif isinstance(node, ast.ImportFrom):
            where = "." * node.level + (node.module or "")
            if where == "graphengine":
                for alias in node.names:
                    module = (PACKAGE / alias.name).with_suffix(".py").exists()
                    package = (PACKAGE / alias.name).is_dir()
                    yield f"graphengine.{alias.name}" if module or package else where, True
            else:
                yield where, id(node) not in inner


@pytest.mark.parametrize("path", ENGINE, ids=lambda path: path.stem)
def test_the_engine_keeps_its_layers(path: Path) -> None:
    assert path.stem in LAYER_OF, "give the module a place in the table"
    for name, top in imports(path):
        first, _, rest = name.partition(".")
        ours = rest.partition(".")[0]
        if first == "graphengine" and path.stem == "default" and ours == "diffusion":
            assert not top, "torch is only loaded by whoever needs it"
        elif first == "graphengine":
            assert ours, f"{path.stem} imports the public names, which import it"
            assert LAYER_OF.get(ours, 99) < LAYER_OF[path.stem], f"{path.stem} imports {ours}"
        elif first not in sys.stdlib_module_names:
            assert first in FOREIGN or (first in LAZY and not top), f"{path.stem} imports {name}"
            assert first != "torch", f"{path.stem} imports {name}"


def python(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.py") if "__pycache__" not in path.parts)


@pytest.mark.parametrize("folder", ["diffusion", "training", "postcard"])
def test_libraries_know_nothing_of_graphs(folder: str) -> None:
    known = LIBRARY | {folder} | (set() if folder == "diffusion" else {"figures"})
    for path in python(PACKAGE / folder):
        for name, _ in imports(path):
            if name.split(".")[0] == "graphengine":
                assert name.split(".")[1] in known, f"{path.name} imports {name}"


def test_figures_draw_what_they_are_given() -> None:
    """They know what diffusion calls its things, and nothing of training or graphs."""
    known = {"errors", "figures", "diffusion"}
    for path in python(PACKAGE / "figures"):
        for name, _ in imports(path):
            first, _, ours = name.partition(".")
            if first == "graphengine":
                assert ours.split(".")[0] in known, f"{path.name} imports {name}"


def test_nodes_import_public_names_and_the_library() -> None:
    for path in python(ROOT / "nodes"):
        for name, _ in imports(path):
            first, _, rest = name.partition(".")
            assert first != "graphengine_nodes", f"{path.name}: write a relative import"
            if first == "graphengine":
                library = rest.split(".")[0] in ("", "diffusion", "figures", "training", "postcard")
                assert library, f"{path.name}: {name}"


def test_the_command_line_stands_apart_from_torch_and_the_library() -> None:
    for path in python(PACKAGE / "cli"):
        for name, _ in imports(path):
            assert name.split(".")[0] not in ("torch", "diffusers", "transformers")
            assert not name.startswith(
                (
                    "graphengine.diffusion",
                    "graphengine.figures",
                    "graphengine.training",
                    "graphengine.postcard",
                )
            )


@pytest.mark.parametrize("folder", ["graphengine", "nodes"])
def test_files_are_read_at_a_sitting(folder: str) -> None:
    lengths = {path: len(path.read_text().splitlines()) for path in python(ROOT / folder)}
    assert not {str(path): length for path, length in lengths.items() if length > 350}


def loaded(script: str) -> set[str]:
    """The top-level modules that a fresh process has loaded in the end."""
    code = f"import sys\n{script}\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return set(done.stdout.split("\n")[-2].split())


LIBRARIES = {"torch", "diffusers", "transformers", "matplotlib", "PIL"}
HEAVY = LIBRARIES | {"aiohttp", "networkx", "numpy", "safetensors"}


def test_importing_loads_nothing() -> None:
    assert not loaded("import graphengine") & {*HEAVY, "pydantic", "asyncio"}


def test_every_public_name_is_there() -> None:
    assert "torch" not in loaded(
        "import graphengine\n"
        "for name in graphengine.__all__: getattr(graphengine, name)\n"
        "assert set(graphengine.__all__) <= set(dir(graphengine))"
    )


def test_planning_and_running_load_no_torch() -> None:
    script = """
from pathlib import Path
from tempfile import mkdtemp
from graphengine import Engine, Files, Graph, node
from graphengine.cache import MemoryCache
from graphengine.registry import Registry
from graphengine.storage import Arrays, Storage
from graphengine.worker import ThreadWorker

@node
def add(a: int, b: int = 1) -> int:
    return a + b

storage = Storage(Arrays())
files = Files({"output": [Path(mkdtemp())]})
engine = Engine(Registry([add]), MemoryCache(1000, storage), ThreadWorker(), files, storage.digest)
graph = Graph()
assert engine.run(graph.returning(graph.add(add, a=1))).outputs == {"result": 2}
"""
    assert not loaded(script) & HEAVY


def test_the_bundled_nodes_are_planned_without_torch() -> None:
    script = """
from graphengine import Settings, default_engine
engine = default_engine(Settings(packs=()))
assert not engine.registry.errors, engine.registry.errors
assert len(engine.registry) > 5
"""
    assert not loaded(script) & LIBRARIES
