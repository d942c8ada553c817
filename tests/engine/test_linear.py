"""Cost grows with the steps: asserted by counting calls of Python functions, not by a clock."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import Any

import pytest

from graphengine import Graph, node


@node
def tick(a: int) -> int:
    return a + 1


@node
def many(**parts: int) -> int:
    return sum(parts.values())


@node
def turn(a: int, times: int) -> int | Graph:
    if not times:
        return a
    graph = Graph()
    return graph.returning(graph.add(turn, a=graph.add(tick, a=a), times=times - 1))


@node
def stop(a: int) -> int:
    raise ValueError


def chain(n: int) -> str:
    return "\n".join(["n0 = one()", *(f"n{i} = add(a=n{i - 1}.result)" for i in range(1, n))])


def fan(n: int) -> str:
    links = ", ".join(f"x{i}=n{i}.result" for i in range(n))
    return "\n".join([*(f"n{i} = add(a={i})" for i in range(n)), f"end = many({links})"])


def ladder(n: int) -> str:
    lines = ["a0 = one()", "b0 = add(a=5)"]
    for i in range(1, n // 2):
        lines += [
            f"a{i} = add(a=a{i - 1}.result, b=b{i - 1}.result)",
            f"b{i} = add(a=b{i - 1}.result, b=a{i - 1}.result)",
        ]
    return "\n".join(lines)


def loop(n: int) -> str:
    return f"l = turn(a=0, times={n // 2})"


def items(n: int) -> str:
    return f"s = span(stop={n})\nm = add(a=s.result)\nt = total(items=m.result)"


def failing(n: int) -> str:
    return chain(n).replace("n0 = one()", "n0 = broken()")


def twins(n: int) -> str:
    return "\n".join(f"n{i} = one()" for i in range(n))


def cyclic(n: int) -> str:
    return "\n".join(f"n{i} = add(a=n{(i + 1) % n}.result)" for i in range(n))


def calls_of(work: Callable[[], Any]) -> int:
    """How many functions, of Python and of C, are called."""
    count = 0

    def count_one(frame: Any, event: str, argument: Any) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    sys.setprofile(count_one)
    try:
        work()
    finally:
        sys.setprofile(None)
    return count


SHAPES = [chain, fan, ladder, loop, items, failing, twins]


@pytest.mark.parametrize("shape", SHAPES, ids=lambda shape: shape.__name__)
def test_plan_run_and_rerun_are_linear(
    board: Any, drawing: Any, shape: Callable[[int], str]
) -> None:
    def cost(n: int) -> tuple[int, int, int]:
        engine = board.build([tick, many, turn, stop])
        flow = drawing(shape(n))
        plan = engine.plan(flow)
        first = calls_of(lambda: engine.plan(flow))
        second = calls_of(lambda: asyncio.run(engine.execute(plan)))
        third = calls_of(lambda: asyncio.run(engine.execute(engine.plan(flow))))
        return first, second, third

    cost(100)
    for small, large in zip(cost(300), cost(600), strict=True):
        assert large <= 2.1 * small


def test_checking_a_faulty_workflow_is_linear(board: Any, drawing: Any) -> None:
    def cost(n: int) -> int:
        flow = drawing(cyclic(n) + "\n" + "\n".join(f"x{i} = add(a='x')" for i in range(n)))

        def check() -> None:
            with pytest.raises(Exception, match="a cycle"):
                board.engine.plan(flow)

        return calls_of(check)

    cost(50)
    assert cost(800) <= 2.1 * cost(400)


def test_explaining_is_linear(board: Any, drawing: Any) -> None:
    def cost(n: int) -> int:
        flow = drawing(chain(n))
        asyncio.run(board.engine.execute(board.engine.plan(flow)))
        changed = board.engine.plan(drawing(chain(n).replace("one()", "add(a=1)")))
        return calls_of(lambda: board.engine.explain(changed))

    cost(50)
    assert cost(600) <= 2.1 * cost(300)


@pytest.mark.parametrize("shape", [chain, loop])
def test_no_recursion_limit(board: Any, drawing: Any, shape: Callable[[int], str]) -> None:
    board.build([tick, turn])
    n = 10_000
    assert n > 5 * sys.getrecursionlimit()
    report = board.engine.run(drawing(shape(n)))
    assert report.status == "success"
    assert report.results.popitem()[1]["result"] in (n, n // 2)
    del report
    board.build()  # what the cache held is freed without recursion too


def test_results_are_let_go_as_the_run_goes_on(board: Any) -> None:
    """A chain of big results holds a few at a time."""
    import weakref

    from graphengine.cache import NoCache

    alive: weakref.WeakSet[Any] = weakref.WeakSet()
    most = 0

    @node
    def grow(a: Any = 0) -> Any:
        nonlocal most
        made = type("Big", (), {"__slots__": ("__weakref__",)})()
        alive.add(made)
        most = max(most, len(alive))
        return made

    board.build([grow], cache=NoCache())
    board.run(
        "\n".join(["n0 = grow()", *(f"n{i} = grow(a=n{i - 1}.result)" for i in range(1, 50))])
    )
    assert most <= 4
