"""Random graphs against an evaluator that knows nothing of plans, caches or twins."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphengine import Graph, Ref, node

T = TypeVar("T")
MADE: list[tuple[Any, ...]] = []


@node
def number(n: int) -> int:
    MADE.append(("number", n))
    return n


@node
def plus(a: int, b: int) -> int:
    MADE.append(("plus", a, b))
    return (a + b) % 1009


@node
def upto(n: int) -> list[int]:
    MADE.append(("upto", n))
    return list(range(n % 4))


@node
def summed(items: list[int]) -> int:
    MADE.append(("summed", *items))
    return sum(items) % 1009


@node
def either(first: bool, a: Ref[T], b: Ref[T]) -> T | Ref[T]:
    MADE.append(("either", first))
    return a if first else b


@node
def power(a: int, times: int) -> int | Graph:
    MADE.append(("power", a, times))
    if times == 0:
        return a
    graph = Graph()
    more: Any = graph.add(plus, a=a, b=a)
    return graph.returning(graph.add(power, a=more, times=times - 1))


FUNCTIONS = (number, plus, upto, summed, either, power)


@st.composite
def drawings(draw: Any) -> list[tuple[Any, ...]]:
    """(type, ...) by index; a source is an index before its own. Few numbers, so that twins happen."""
    nodes: list[tuple[Any, ...]] = [("number", draw(st.integers(0, 2)))]
    for index in range(1, draw(st.integers(2, 14))):
        source = st.integers(0, index - 1)
        kind = draw(
            st.sampled_from(["number", "plus", "plus", "upto", "summed", "either", "power"])
        )
        if kind == "number":
            nodes.append((kind, draw(st.integers(0, 2))))
        elif kind in ("upto", "summed"):
            nodes.append((kind, draw(source)))
        elif kind == "plus":
            nodes.append((kind, draw(source), draw(source)))
        elif kind == "either":
            nodes.append((kind, draw(st.booleans()), draw(source), draw(source)))
        else:
            nodes.append((kind, draw(source), draw(st.integers(0, 3))))
    return nodes


def naive(nodes: list[tuple[Any, ...]]) -> list[Any]:
    """Every value, by the plainest means; None where lists of different lengths meet, and behind it."""

    def mapped(function: Any, *given: Any) -> Any:
        if any(item is None for item in given):
            return None
        if not any(isinstance(item, list) for item in given):
            return function(*given)
        lengths = {len(item) for item in given if isinstance(item, list)} - {1}
        if len(lengths) > 1:
            return None
        rows = [item if isinstance(item, list) else [item] for item in given]
        count = lengths.pop() if lengths else 1
        out: list[Any] = []
        for i in range(count):
            one = function(*(row[i if len(row) > 1 else 0] for row in rows))
            out.extend(one if isinstance(one, list) else [one])
        return out

    values: list[Any] = []
    for kind, *of in nodes:
        if kind == "number":
            values.append(of[0])
        elif kind == "plus":
            values.append(mapped(lambda a, b: (a + b) % 1009, values[of[0]], values[of[1]]))
        elif kind == "upto":
            values.append(mapped(lambda n: list(range(n % 4)), values[of[0]]))
        elif kind == "summed":
            value = values[of[0]]
            whole = value if isinstance(value, list) else [value]
            values.append(None if value is None else sum(whole) % 1009)
        elif kind == "either":
            values.append(values[of[1] if of[0] else of[2]])
        else:
            values.append(mapped(lambda a, t: a * 2**t % 1009, values[of[0]], of[1]))
    return values


def text_of(nodes: list[tuple[Any, ...]], prefix: str = "n") -> str:
    lines = []
    names = {
        "number": "number(n={})",
        "plus": "plus(a=@{}.result, b=@{}.result)",
        "upto": "upto(n=@{}.result)",
        "summed": "summed(items=@{}.result)",
        "either": "either(first={}, a=@{}.result, b=@{}.result)",
        "power": "power(a=@{}.result, times={})",
    }
    for index, (kind, *of) in enumerate(nodes):
        lines.append(f"{prefix}{index} = {names[kind].format(*of)}".replace("@", prefix))
    return "\n".join(lines)


def as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


def check(board: Any, nodes: list[tuple[Any, ...]]) -> Any:
    """Run it with every node a target, and compare each value."""
    text = text_of(nodes)
    outputs = {f"n{i}": f"n{i}.result" for i in range(len(nodes))}
    MADE.clear()
    report = board.run(text, outputs=outputs)
    for index, wanted in enumerate(naive(nodes)):
        got = report.outputs.get(f"n{index}")
        assert as_list(got) == as_list(wanted), f"n{index} of\n{text}"
    return report


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=drawings())
def test_random_graphs(board: Any, nodes: list[tuple[Any, ...]]) -> None:
    board.build(FUNCTIONS)
    check(board, nodes)
    values = naive(nodes)
    lists = any(value is None or isinstance(value, list) for value in values)
    if not lists and not any(kind == "power" for kind, *_ in nodes):
        steps = board.plan(text_of(nodes)).steps.values()
        assert len(MADE) == len({step.signature for step in steps})
    again = check(board, nodes)
    if not again.failures:
        assert MADE == [] and again.executed == ()
    doubled = text_of(nodes) + "\n" + text_of(nodes, "m")
    MADE.clear()
    copy = board.run(doubled)
    if not copy.failures:
        assert MADE == []


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=drawings(), data=st.data())
def test_only_what_is_needed_is_called(board: Any, nodes: Any, data: Any) -> None:
    """With one target, nothing is called that is not an ancestor, or that its branch leaves out."""
    board.build(FUNCTIONS)
    target = data.draw(st.integers(0, len(nodes) - 1))
    report = board.run(text_of(nodes), outputs={"it": f"n{target}.result"})
    if naive(nodes)[target] is not None:
        assert as_list(report.outputs["it"]) == as_list(naive(nodes)[target])
    needed, stack = set(), [target]
    while stack:
        index = stack.pop()
        if index in needed:
            continue
        needed.add(index)
        kind, *of = nodes[index]
        if kind == "either":
            stack.append(of[1] if of[0] else of[2])
        elif kind != "number":
            stack.extend(of[:1] if kind == "power" else of)
    steps = board.plan(text_of(nodes)).steps
    wanted = {step.signature for name, step in steps.items() if int(name[1:]) in needed}
    ran = {name for name in report.executed if "/" not in name}
    assert {steps[name].signature for name in ran} <= wanted


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(nodes=drawings(), slots=st.integers(1, 3))
def test_threads_agree(tmp_path: Path, board: Any, nodes: Any, slots: int) -> None:
    engine = board.build(FUNCTIONS, slots=slots)
    check(board, nodes)
    asyncio.run(engine.worker.close())
