"""How long the engine takes over trivial nodes: `python tests/bench/engine.py` prints a table.

Each figure is the best of a few runs, in seconds of CPU time of all threads of the process: other
work on the machine would only add to a clock on the wall.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from itertools import chain as chain_of
from itertools import pairwise
from pathlib import Path
from typing import Any

from graphengine import Engine, Files, Graph, Workflow, node
from graphengine.cache import MemoryCache
from graphengine.registry import Registry
from graphengine.storage import Arrays, Storage
from graphengine.worker import InlineWorker, ThreadWorker, Worker
from graphengine.workflow import parse_workflow

SIZES = (1000, 2000, 4000, 8000, 16_000, 32_000)


@node
def add(a: int, b: int = 1) -> int:
    return (a + b) % 1_000_003


@node
def sum_all(**parts: int) -> int:
    return sum(parts.values())


@node
def span(stop: int) -> list[int]:
    return list(range(stop))


@node
def total(items: list[int]) -> int:
    return sum(items)


@node
def turn(a: int, times: int) -> int | Graph:
    """One step and itself again: two steps a turn."""
    if not times:
        return a
    graph = Graph()
    return graph.returning(graph.add(turn, a=graph.add(add, a=a), times=times - 1))


def workflow(nodes: dict[str, tuple[str, dict[str, Any], dict[str, str]]]) -> Workflow:
    data = {id: {"type": t, "values": v, "links": li} for id, (t, v, li) in nodes.items()}
    return parse_workflow(json.dumps({"format": "graphengine/1", "nodes": data}))


def chain(n: int) -> Workflow:
    links = {i: {"a": f"n{i - 1}.result"} for i in range(1, n)}
    first = {"n0": ("add", {"a": 0}, {})}
    return workflow(first | {f"n{i}": ("add", {"b": i}, links[i]) for i in range(1, n)})


def fan(n: int) -> Workflow:
    parts = {f"n{i}": ("add", {"a": i}, {}) for i in range(n - 1)}
    return workflow({**parts, "end": ("sum_all", {}, {id: f"{id}.result" for id in parts})})


def ladder(n: int) -> Workflow:
    nodes: Any = {"a0": ("add", {"a": 0}, {}), "b0": ("add", {"a": 1}, {})}
    for i in range(1, n // 2):
        left, right = f"a{i - 1}.result", f"b{i - 1}.result"
        nodes[f"a{i}"] = ("add", {}, {"a": left, "b": right})
        nodes[f"b{i}"] = ("add", {}, {"a": right, "b": left})
    return workflow(nodes)


def loop(n: int) -> Workflow:
    return workflow({"l": ("turn", {"a": 0, "times": n // 2}, {})})


def items(n: int) -> Workflow:
    return workflow(
        {
            "s": ("span", {"stop": n}, {}),
            "m": ("add", {}, {"a": "s.result"}),
            "t": ("total", {}, {"items": "m.result"}),
        }
    )


def engine_with(worker: Worker) -> Engine:
    storage = Storage(Arrays())
    registry = Registry([add, sum_all, span, total, turn])
    files = Files({"output": [Path(tempfile.gettempdir())]})
    return Engine(registry, MemoryCache(2**30, storage), worker, files, storage.digest)


def seconds(work: Callable[[], Any]) -> float:
    gc.collect()
    begun = time.process_time()
    work()
    return time.process_time() - begun


def plan_and_run(engine: Engine, flow: Workflow | str) -> None:
    source = parse_workflow(flow) if isinstance(flow, str) else flow
    report = asyncio.run(engine.execute(engine.plan(source)))
    assert report.status == "success"


def best(make: Callable[[], Worker], flow: Workflow, times: int) -> float:
    found = []
    for _ in range(times):
        engine = engine_with(make())
        found.append(seconds(lambda e=engine: plan_and_run(e, flow)))  # type: ignore[misc]
        asyncio.run(engine.worker.close())
    return min(found)


def growth() -> Iterator[str]:
    """µs a step, plan and run together, and how much longer twice the steps take."""
    sizes = "".join(f" {n:,} |" for n in SIZES)
    yield f"| plan and run, CPU µs a step | worker |{sizes} worst ×2 |"
    yield "|---|---|" + "---:|" * (len(SIZES) + 1)
    for shape in (chain, fan, ladder, loop, items):
        for name, make in (("inline", InlineWorker), ("thread", ThreadWorker)):
            took = [best(make, shape(n), max(3, 8000 // n)) for n in SIZES]
            worst = max(b / a for a, b in pairwise(took))
            cells = "".join(f" {t / n * 1e6:.0f} |" for t, n in zip(took, SIZES, strict=True))
            label = "list mapping, per item" if shape is items else shape.__name__
            yield f"| {label} | {name} |{cells} {worst:.2f} |"


def moments() -> Iterator[str]:
    text = chain(10_000).text()
    engine = engine_with(ThreadWorker())
    plan_and_run(engine, text)
    cached = min(seconds(lambda: plan_and_run(engine, text)) for _ in range(5))
    rows = [
        ("10,000-step chain, all cached, from JSON text to result", cached, "0.4 s"),
        ("Python itself", fresh(""), ""),
        ("`import graphengine`", fresh("import graphengine"), "0.25 s"),
        ("every public name of it", fresh("from graphengine import *"), ""),
        (
            "`graphengine --help`",
            fresh("from graphengine.cli import main; main(['--help'])"),
            "0.5 s",
        ),
    ]
    yield "| moment | CPU s | at most |"
    yield "|---|---:|---:|"
    for name, took, limit in rows:
        yield f"| {name} | {took:.3f} | {limit} |"


def fresh(script: str, times: int = 5) -> float:
    """CPU seconds of a process of its own, with the interpreter's start."""

    def once() -> float:
        process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.DEVNULL)
        _, _, used = os.wait4(process.pid, 0)
        process.returncode = 0
        return used.ru_utime + used.ru_stime

    return min(once() for _ in range(times))


def main() -> None:
    machine = f"Python {platform.python_version()}, {os.cpu_count()} cores, {platform.machine()}."
    for line in chain_of([machine, ""], moments(), [""], growth()):
        print(line, flush=True)


if __name__ == "__main__":
    main()
