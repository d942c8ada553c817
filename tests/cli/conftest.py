"""A small pack, free of torch, and a command line to run it with, in a folder of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from graphengine.cli import main

PACK = '''
import time
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from graphengine import Artifact, Blocked, File, Files, Progress, Seed, node


class Mood(Enum):
    CALM = "calm"
    WILD = "wild"


@node(category="test")
def add(a: int, b: int = 1) -> int:
    """Add two numbers."""
    return a + b


@node(category="test")
def settings(
    text: str = "a house",
    steps: Annotated[int, Field(ge=1, le=100, description="How many.")] = 20,
    strength: Annotated[float, Field(ge=0, le=1)] = 0.5,
    tiled: bool = False,
    mood: Mood = Mood.CALM,
    size: Literal["small", "large"] = "small",
    seed: Annotated[int, Seed()] = 0,
    words: list[str] = ["one"],
    maybe: int | None = None,
) -> str:
    """Every kind of value."""
    return repr((text, steps, strength, tiled, mood.value, size, seed, words, maybe))


@node(category="test")
def fail(a: int = 0) -> int:
    """Fail."""
    raise ValueError(f"no luck with {a}")


@node(category="test", cache=False)
def slow(progress: Progress, seconds: float = 30, a: int = 0, stubborn: bool = False) -> int:
    """Take a while, and tell how far it is."""
    for step in range(int(seconds * 50)):
        progress.report(step, int(seconds * 50))
        Path("started").touch()
        time.sleep(0.02)
        while stubborn:
            time.sleep(0.02)
    return a


@node(category="test")
def loud(a: int = 0) -> int:
    """Print, in Python and below it."""
    import os
    print("printed by a node")
    os.write(1, b"written by a library\\n")
    return a


@node(category="test")
def block(a: int = 0) -> int:
    """Answer that there is nothing."""
    return Blocked("nothing to do")


@node(category="test")
def text_of(value: int) -> str:
    """A number as text."""
    return str(value)


@node(category="test")
def read(file: Annotated[Path, File("input")]) -> str:
    """Read a file of the input folder."""
    return file.read_text()


@node(category="test", sink=True)
def save(files: Files, value: int = 0, text: str = "") -> Artifact:
    """Save a text."""
    return files.write("output", "note", ".txt", f"{value}{text}".encode(), "text/plain")
'''


@dataclass(frozen=True)
class Result:
    """What a command line came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> dict[str, Any]:
        """The one object on stdout."""
        data: dict[str, Any] = json.loads(self.out)
        return data


Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with the pack in `packs`, and nothing of the user's."""
    for name in [name for name in os.environ if name.startswith("GRAPHENGINE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GRAPHENGINE_CACHE", str(tmp_path / "cache"))
    (tmp_path / "packs").mkdir()
    (tmp_path / "packs" / "small.py").write_text(PACK)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def cli(home: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs a command line in this process, with the pack."""

    def run(*arguments: object) -> Result:
        capsys.readouterr()
        given = [str(argument) for argument in arguments]
        code = main([*given[:2], "--packs", str(home / "packs"), *given[2:]])
        return Result(code, *capsys.readouterr())

    return run


def command(*arguments: object) -> list[str]:
    """A command line for a process of its own, with the pack."""
    first, *rest = map(str, arguments)
    return [sys.executable, "-m", "graphengine", first, "--packs", "packs", *rest]


def finished(*arguments: object, **options: Any) -> Result:
    """A command line run in a process of its own."""
    done = subprocess.run(
        command(*arguments), capture_output=True, text=True, timeout=120, check=False, **options
    )
    return Result(done.returncode, done.stdout, done.stderr)


def workflow(path: Path, nodes: dict[str, Any], **more: Any) -> Path:
    """Write a workflow. A node is `(type, inputs)`; texts like "=a.result" are links."""
    written = {}
    for name, (kind, inputs) in nodes.items():
        links = {
            key: value[1:]
            for key, value in inputs.items()
            if isinstance(value, str) and value.startswith("=")
        }
        values = {key: value for key, value in inputs.items() if key not in links}
        written[name] = {"type": f"test.{kind}", "values": values, "links": links}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"format": "graphengine/1", **more, "nodes": written}))
    return path


@pytest.fixture
def saved(home: Path) -> Path:
    """A workflow that adds and saves."""
    nodes = {"sum": ("add", {"a": 2}), "save": ("save", {"value": "=sum.result"})}
    params = {"first": {"to": ["sum.a"], "help": "The first number"}, "b": {"to": ["sum.b"]}}
    return workflow(
        home / "sum.json", nodes, title="A sum", params=params, outputs={"total": "sum.result"}
    )
