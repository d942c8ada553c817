"""A drawing board: workflows as text, an engine of small parts, a list of the calls made.

`board.run("a = one()\\nb = add(a=a.result, b=2)")` draws two nodes and a link, and runs them.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest

from graphengine import Engine, Files, Report, Workflow, node
from graphengine.cache import MemoryCache
from graphengine.events import Event
from graphengine.plan import Plan
from graphengine.registry import Registry
from graphengine.storage import Arrays, Storage
from graphengine.worker import InlineWorker, Supply, ThreadWorker, no_supply
from graphengine.workflow import workflow_of

CALLS: list[str] = []
"""What the nodes below were called with, in order, since the board was made."""


def draw(text: str, **more: Any) -> Workflow:
    """One node a line: `id = type(value=1, link=other.output)`."""
    nodes = {}
    for statement in ast.parse(text.strip().replace("\n    ", "\n")).body:
        assert isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Call)
        values, links = {}, {}
        for given in statement.value.keywords:
            assert given.arg
            if isinstance(given.value, ast.Attribute):
                links[given.arg] = ast.unparse(given.value)
            else:
                values[given.arg] = ast.literal_eval(given.value)
        kind = ast.unparse(statement.value.func)
        nodes[ast.unparse(statement.targets[0])] = {"type": kind, "values": values, "links": links}
    return workflow_of({"format": "graphengine/1", "nodes": nodes, **more})


@node
def one() -> int:
    CALLS.append("one")
    return 1


@node
def add(a: int, b: int = 1) -> int:
    CALLS.append(f"{a}+{b}")
    return a + b


@node
def text(value: str) -> str:
    CALLS.append(value)
    return value


@node
def span(stop: int) -> list[int]:
    CALLS.append(f"span {stop}")
    return list(range(stop))


@node
def total(items: list[int]) -> int:
    CALLS.append(f"total {items}")
    return sum(items)


@node
def broken(a: int = 0) -> int:
    CALLS.append("broken")
    raise ValueError(f"no luck with {a}")


NODES = (one, add, text, span, total, broken)


class Board:
    """An engine with a memory cache and folders in a temporary place, and what it did."""

    def __init__(self, folder: Path, functions: Iterable[Callable[..., Any]] = ()) -> None:
        self.folder = folder
        self.storage = Storage(Arrays())
        for kind in ("input", "output", "workflows"):
            (folder / kind).mkdir(exist_ok=True)
        self.files = Files({kind: [folder / kind] for kind in ("input", "output", "workflows")})
        self.engine = self.build(functions)
        self.events: list[Event] = []

    def build(self, functions: Iterable[Callable[..., Any]] = (), **parts: Any) -> Engine:
        """An engine of these parts; those not given are small ones."""
        CALLS.clear()
        supply: Supply = parts.pop("supply", no_supply)
        slots = parts.pop("slots", 0)
        self.engine = Engine(
            registry=Registry([*NODES, *functions]),
            cache=parts.pop("cache", None) or MemoryCache(2**26, self.storage),
            worker=ThreadWorker(supply, slots) if slots else InlineWorker(supply),
            files=parts.pop("files", self.files),
            digest=self.storage.digest,
            **parts,
        )
        return self.engine

    def plan(self, source: Any, **more: Any) -> Plan:
        return self.engine.plan(draw(source, **more) if isinstance(source, str) else source)

    def run(self, source: Any, fail_fast: bool = False, **more: Any) -> Report:
        """Run a drawing. Failures are in the report, and `calls` and `events` are of this run."""
        import asyncio

        CALLS.clear()
        self.events.clear()
        plan = self.plan(source, **more)
        return asyncio.run(self.engine.execute(plan, self.events.append, fail_fast=fail_fast))

    @property
    def calls(self) -> list[str]:
        return list(CALLS)


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path)


@pytest.fixture
def drawing() -> Callable[..., Workflow]:
    return draw


@pytest.fixture
def called() -> Callable[[str], None]:
    """For nodes of a test: notes a call."""
    return CALLS.append
