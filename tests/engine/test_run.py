"""Values, calls made and not made; failures, cancellation, events."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import weakref
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import pytest

from graphengine import Cancelled, Provenance, Resource, RunError, node
from graphengine.cache import NoCache
from graphengine.report import clip


class Two(NamedTuple):
    left: int
    right: int


class Moon(Resource):
    pass


class Big:
    pass


DIAMOND = """
a = one()
b = add(a=a.result, b=1)
c = add(a=a.result, b=2)
d = add(a=b.result, b=c.result)
"""


def kinds(events: list[Any]) -> list[str]:
    return [type(event).__name__ for event in events]


def test_a_diamond(board: Any) -> None:
    report = board.run(DIAMOND)
    assert report.status == "success"
    assert report["d.result"] == 5
    assert sorted(board.calls) == ["1+1", "1+2", "2+3", "one"]
    assert (set(report.executed), report.cached) == ({"a", "b", "c", "d"}, ())


def test_the_second_run_makes_no_call(board: Any) -> None:
    board.run(DIAMOND)
    report = board.run(DIAMOND)
    assert (report["d.result"], board.calls) == (5, [])
    assert (report.executed, set(report.cached)) == ((), {"a", "b", "c", "d"})


def test_only_what_is_behind_a_change_runs_again(board: Any) -> None:
    board.run(DIAMOND)
    report = board.run(DIAMOND.replace("b=2", "b=20"))
    assert (report["d.result"], board.calls) == (23, ["1+20", "2+21"])
    assert (set(report.executed), set(report.cached)) == ({"c", "d"}, {"a", "b"})


def test_renamed_moved_and_copied_nodes_are_cached(board: Any) -> None:
    board.run(DIAMOND)
    copied = DIAMOND.replace("d =", "z =") + "b2 = add(a=a.result, b=1)\n"
    report = board.run(copied, layout={"a": {"x": 7}}, title="moved")
    assert (report["z.result"], report["b2.result"], board.calls) == (5, 2, [])


def test_twins_run_once_and_both_are_reported(board: Any) -> None:
    report = board.run("a = one()\nb = add(a=a.result)\nc = add(a=a.result)")
    assert board.calls == ["one", "1+1"]
    assert (report["b.result"], report["c.result"]) == (2, 2)
    assert set(report.executed) == {"a", "b", "c"}
    assert kinds(board.events).count("StepFinished") == 3


def test_failing_twins_are_both_reported(board: Any) -> None:
    report = board.run("a = broken()\nb = broken()")
    assert [failure.node for failure in report.failures] == ["a", "b"]
    assert board.calls == ["broken"]


def test_an_int_is_a_float_and_1_and_true_are_kept_apart(board: Any) -> None:
    @node
    def half(x: float) -> float:
        return x / 2

    @node
    def same(x: Any) -> Any:
        return x

    board.build([half, same])
    plan = board.plan(
        "a = half(x=3)\nb = half(x=3.0)\nc = same(x=1)\nd = same(x=1.0)\ne = same(x=True)"
    )
    signature = {name: step.signature for name, step in plan.steps.items()}
    assert signature["a"] == signature["b"]
    assert len({signature[name] for name in "cde"}) == 3


def test_named_outputs_and_params(board: Any, drawing: Any) -> None:
    flow = drawing(
        "a = add(a=1, b=1)\nb = add(a=a.result)",
        params={"start": {"to": ["a.a", "a.b"]}},
        outputs={"sum": "b.result"},
    )
    assert board.engine.run(flow).outputs == {"sum": 3}
    assert board.engine.run(flow, start=5).outputs == {"sum": 11}
    assert board.engine.run(flow, ["a"], start=5)["a.result"] == 10


def test_a_param_takes_the_place_of_a_link(board: Any, drawing: Any) -> None:
    flow = drawing("a = one()\nb = add(a=a.result)", params={"start": {"to": ["b.a"]}})
    assert board.engine.run(flow, start=40)["b.result"] == 41


# --- failure


FORK = """
a = one()
x = broken(a=a.result)
y = add(a=x.result)
z = add(a=a.result, b=9)
w = add(a=y.result)
"""


def test_a_failure_stops_what_depends_on_it_and_nothing_else(board: Any) -> None:
    report = board.run(FORK)
    assert report.status == "failed"
    assert report["z.result"] == 10
    assert dict(report.skipped) == {"y": "x failed", "w": "x failed"}
    assert set(report.executed) == {"a", "z"}
    (failure,) = report.failures
    assert (failure.node, failure.type, failure.code) == ("x", "broken", "exception")
    assert failure.message == "ValueError: no luck with 1"
    assert failure.inputs == {"a": "1"}
    assert "no luck" in failure.traceback


def test_every_failure_is_reported(board: Any) -> None:
    report = board.run(
        "a = broken(a=1)\nb = broken(a=2)\nc = add(a=a.result, b=b.result)\nd = one()"
    )
    assert {failure.node for failure in report.failures} == {"a", "b"}
    assert (set(report.skipped), report["d.result"]) == ({"c"}, 1)


def test_fail_fast_stops_at_the_first(board: Any) -> None:
    report = board.run("a = broken(a=1)\nb = broken(a=2)\nc = broken(a=3)", fail_fast=True)
    assert (report.status, len(report.failures), board.calls) == ("failed", 1, ["broken"])


def test_what_failed_runs_again_and_the_rest_is_cached(board: Any) -> None:
    board.run(FORK)
    report = board.run(FORK)
    assert board.calls == ["broken"]
    assert set(report.cached) == {"a", "z"}


def test_a_failed_source_is_not_cached_because_a_sibling_of_its_reader_is(board: Any) -> None:
    @node(cache=False)
    def fresh() -> int:
        raise ValueError("out")

    board.build([fresh])
    report = board.run("f = fresh()\nb = add(a=f.result)")
    assert (report.cached, set(report.skipped)) == ((), {"b"})


def test_inputs_are_clipped_and_causes_chained(board: Any) -> None:
    @node
    def chained(value: str) -> int:
        try:
            raise OSError("the disk")
        except OSError as cause:
            raise ValueError("the file") from cause

    board.build([chained])
    failure = board.run(f"a = chained(value={'x' * 500!r})").failures[0]
    assert len(failure.inputs["value"]) == 60
    assert "OSError: the disk" in failure.traceback


@pytest.mark.parametrize(
    "cause", [SystemExit(3), KeyboardInterrupt(), Cancelled(), GeneratorExit()]
)
def test_whatever_a_node_raises_is_its_failure(board: Any, cause: BaseException) -> None:
    @node
    def rude() -> int:
        raise cause

    board.build([rude])
    report = board.run("a = rude()\nb = one()")
    assert (report.status, report["b.result"]) == ("failed", 1)


def test_run_raises_what_failed(board: Any, drawing: Any) -> None:
    with pytest.raises(RunError, match=r"x \(broken\): ValueError: no luck with 1"):
        board.engine.run(drawing(FORK))


def test_a_wrong_answer_names_what_was_wanted(board: Any) -> None:
    @node
    def pair() -> Two:
        return (1, 2, 3)  # type: ignore[return-value]

    @node
    def many() -> list[int]:
        return 1  # type: ignore[return-value]

    board.build([pair, many])
    report = board.run("a = pair()\nb = many()")
    hints = {failure.node: failure.hint for failure in report.failures}
    assert hints == {"a": "return a Two of left, right", "b": "return a list"}


def test_a_value_of_the_wrong_type_over_a_link_is_caught_before_the_call(board: Any) -> None:
    @node
    def liar() -> Any:
        return "seven"

    board.build([liar])
    failure = board.run("a = liar()\nb = add(a=a.result)").failures[0]
    assert failure.node == "b"
    assert "over its link" in failure.message and '"seven"' in failure.message
    assert board.calls == []


def test_nobody_supplies_an_unknown_resource(board: Any) -> None:
    @node
    def howl(moon: Moon) -> int:
        return 1

    board.build([howl])
    assert "nobody supplies a Moon" in board.run("a = howl()").failures[0].message


def test_provenance_holds_the_values_that_were_used(board: Any) -> None:
    @node
    def sign(a: int, made: Provenance) -> str:
        return str(made.workflow["nodes"]["b"]["values"])

    board.build([sign])
    assert board.run("b = add(a=1)\nc = sign(a=b.result)")["c.result"] == "{'a': 1, 'b': 1}"


def test_a_listener_that_fails_does_not_take_the_run_down(board: Any, caplog: Any) -> None:
    def deaf(event: Any) -> None:
        raise OSError("a broken pipe")

    with caplog.at_level(logging.ERROR):
        report = asyncio.run(board.engine.execute(board.plan(DIAMOND), deaf))
    assert report["d.result"] == 5
    assert len(caplog.records) == 1


def test_run_inside_an_event_loop(board: Any, drawing: Any) -> None:
    async def notebook() -> Any:
        return board.engine.run(drawing(DIAMOND))["d.result"]

    assert asyncio.run(notebook()) == 5


def test_parallel_calls_use_all_slots(board: Any) -> None:
    barrier = threading.Barrier(3, timeout=10)

    @node
    def meet(a: int) -> int:
        barrier.wait()
        return a

    board.build([meet], slots=3)
    report = board.run("a = span(stop=3)\nb = meet(a=a.result)\nc = total(items=b.result)")
    assert report["c.result"] == 3


def test_results_are_let_go_when_their_last_reader_has_failed(board: Any) -> None:
    alive: list[weakref.ref[Big]] = []

    @node
    def big() -> Big:
        made = Big()
        alive.append(weakref.ref(made))
        return made

    @node
    def drop(big: Big, a: int) -> int:
        return 1

    @node(cache=False, sink=True)
    def look(a: int) -> int:
        gc.collect()
        return sum(ref() is not None for ref in alive)

    board.build([big, drop, look], cache=NoCache())
    report = board.run("l = look(a=0)\nx = broken()\nb = big()\nd = drop(big=b.result, a=x.result)")
    assert report["l.result"] == 0
    plan = board.plan(
        "b = big()\nx = broken()\nd = drop(big=b.result, a=x.result)\ns = one()\nl = look(a=s.result)"
    )
    plan = replace(plan, targets=tuple(plan.steps[name] for name in "ld"))
    alive.clear()
    assert asyncio.run(board.engine.execute(plan)).results["l"] == {"result": 0}


def test_a_record_is_told_by_its_first_field() -> None:
    @dataclass
    class Sheet:
        pixels: Any
        title: str = "t" * 100

    class Pixels:
        shape = (2, 3)

    assert clip(Sheet(Pixels())) == "Sheet(pixels=Pixels of shape (2, 3), ...)"
    assert clip(Sheet) == clip(Sheet)[:57] + "..."
