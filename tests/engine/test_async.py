"""Async nodes: beside each other, without a slot, cancelled and failing like others."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from graphengine import node


def test_async_nodes_run_beside_each_other_and_hold_no_slot(board: Any) -> None:
    waiting = 0
    together: list[int] = []
    here = threading.Event()

    @node
    async def fetch(a: int) -> int:
        nonlocal waiting
        waiting += 1
        for _ in range(2000):
            if waiting == 3 and here.is_set():
                break
            await asyncio.sleep(0.002)
        together.append(waiting)
        return a

    @node
    def work() -> int:
        here.set()  # could not, if a fetch held the only slot
        return 1

    board.build([fetch, work], slots=1)
    report = board.run(
        "a = span(stop=3)\nf = fetch(a=a.result)\nt = total(items=f.result)\nw = work()"
    )
    assert (report["t.result"], together) == (3, [3, 3, 3])


@pytest.mark.parametrize("slots", [0, 1])
def test_async_nodes_are_cancelled(board: Any, slots: int) -> None:
    ended = []

    @node
    async def forever(a: int) -> int:
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(a)
        return a

    engine = board.build([forever], slots=slots)
    threading.Timer(0.1, engine.cancel).start()
    report = board.run("a = forever(a=1)\nb = forever(a=2)\nc = add(a=a.result)")
    assert (report.status, sorted(ended)) == ("cancelled", [1, 2])


def test_an_async_node_stopped_before_it_began_does_not_hang_the_run(board: Any) -> None:
    @node
    async def late(a: int) -> int:
        await asyncio.sleep(60)
        return a

    board.build([late])
    report = board.run("a = late(a=1)\nx = broken()\nb = late(a=2)", fail_fast=True)
    assert (report.status, len(report.failures)) == ("failed", 1)


def test_a_failing_async_node_is_a_failure(board: Any) -> None:
    @node
    async def bad() -> int:
        raise ValueError("no answer")

    board.build([bad])
    assert (
        board.run("a = bad()\nb = add(a=a.result)").failures[0].message == "ValueError: no answer"
    )
