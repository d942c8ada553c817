"""What a run tells while it goes on, and how it is stopped."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import Any

import pytest

from graphengine import Engine, Progress, node
from graphengine.events import Failure, StepFailed, StepProgress, to_json


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


# --- events


def test_events_in_order_and_as_json(board: Any) -> None:
    @node
    def slow(progress: Progress, a: int) -> int:
        progress.report(1, 2, "half", sigma=0.5)
        return a

    board.build([slow])
    board.run("a = one()\nb = slow(a=a.result)\nc = broken(a=b.result)\nd = add(a=c.result)")
    assert kinds(board.events) == [
        "RunStarted",
        *("StepStarted", "StepFinished"),
        *("StepStarted", "StepProgress", "StepFinished"),
        *("StepStarted", "StepFailed", "StepSkipped"),
        "RunFinished",
    ]
    told = [to_json(event) for event in board.events]
    assert told[0] == {"event": "run_started", "steps": 4}
    assert told[4] == {
        "event": "step_progress",
        "node": "b",
        "done": 1,
        "total": 2,
        "note": "half",
        "figures": {"sigma": 0.5},
    }
    assert told[7]["failure"]["node"] == "c"
    assert told[-1]["status"] == "failed" and "report" not in told[-1]
    failed = board.events[7]
    assert isinstance(failed, StepFailed) and isinstance(failed.failure, Failure)


def test_iterating_events_ends_with_the_report(board: Any, drawing: Any) -> None:
    *_, last = board.engine.events(drawing("a = one()\nb = add(a=a.result, b=4)"))
    assert last.report["b.result"] == 5


def test_events_refuse_a_wrong_workflow_at_once(board: Any, drawing: Any) -> None:
    with pytest.raises(Exception, match="unknown_type|no node type"):
        board.engine.events(drawing("a = nothing()"))


# --- cancel


@node
def long(progress: Progress, started: int = 0) -> int:
    for step in range(5000):
        progress.report(step, 5000)
        time.sleep(0.002)
    return 1


def test_leaving_the_events_cancels_this_run_only(board: Any, drawing: Any) -> None:
    engine: Engine = board.build([long], slots=2)
    other = engine.events(drawing("b = long(started=2)"))
    assert next(other) is not None
    begun = time.perf_counter()
    for event in engine.events(drawing("a = long()")):
        if isinstance(event, StepProgress):
            break
    assert time.perf_counter() - begun < 5
    assert next(event for event in other if isinstance(event, StepProgress))
    other.close()  # type: ignore[attr-defined]
    assert engine.run(drawing("c = one()"))["c.result"] == 1


@pytest.mark.parametrize("slots", [0, 1, 3])
def test_cancel_from_another_thread_stops_at_the_next_report(
    board: Any, drawing: Any, slots: int
) -> None:
    engine: Engine = board.build([long], slots=slots)
    reports = 0
    after = 0

    def listen(event: Any) -> None:
        nonlocal reports, after
        if isinstance(event, StepProgress):
            reports += 1
            if reports == 3:
                thread = threading.Thread(target=engine.cancel)
                thread.start()
                thread.join()
                after = reports

    flow = drawing("a = one()\nb = long(started=a.result)\nc = add(a=b.result)")
    report = engine.run(flow, emit=listen)
    assert report.status == "cancelled"
    assert reports - after <= (0 if slots == 0 else 3)  # threads report while we listen
    assert report.executed == ("a",) and not report.failures  # b was begun, not done
    assert engine.run(flow, ["a"]).cached == ("a",)


def test_cancelling_the_coroutine_waits_for_the_call_and_tells_the_end(board: Any) -> None:
    board.build([long], slots=1)
    plan = board.plan("b = long()")
    events: list[Any] = []

    async def main() -> None:
        running = asyncio.create_task(board.engine.execute(plan, events.append))
        while "StepProgress" not in kinds(events):
            await asyncio.sleep(0.005)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(main())
    assert kinds(events)[-1] == "RunFinished" and events[-1].status == "cancelled"
    assert board.run("c = one()")["c.result"] == 1


def test_a_cancel_that_comes_too_late_changes_nothing(board: Any) -> None:
    from graphengine.run import Run

    plan = board.plan("a = one()")
    run = Run(plan, board.engine._planner, board.engine.cache, board.engine.worker)
    assert asyncio.run(run.execute()).status == "success"
    run.cancel()  # its loop is closed


def test_cancel_before_the_start(board: Any) -> None:
    from graphengine.run import Run

    run = Run(
        board.plan("a = one()"), board.engine._planner, board.engine.cache, board.engine.worker
    )
    run.cancel()
    assert asyncio.run(run.execute()).status == "cancelled"
    assert board.calls == []
