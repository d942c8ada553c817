"""Dynamic features: deferred inputs, answers, loops, lists, async nodes, workflows as nodes."""

from __future__ import annotations

import sys
from typing import Any, NamedTuple, TypeVar

import pytest

from graphengine import Blocked, Graph, Ref, Workflow, node

T = TypeVar("T")
CALLS: list[str] = []


@node
def switch(condition: bool, yes: Ref[T], no: Ref[T]) -> T | Ref[T]:
    return yes if condition else no


@node
def step(a: int) -> int:
    CALLS.append(f"step {a}")
    return a + 1


@node
def loop(a: int, times: int) -> int | Graph:
    if times == 0:
        return a
    graph = Graph()
    after = graph.add(step, a=a)
    return graph.returning(graph.add(loop, a=after, times=times - 1))


@node
def gate(a: int, open: bool = True) -> int | Blocked:
    return a if open else Blocked("shut")


@node
def odd(a: int) -> int | Blocked:
    return a if a % 2 else Blocked("even")


@node
def join(**parts: int) -> str:
    return ",".join(f"{name}={value}" for name, value in parts.items())


@node
def maybe(a: int | None = None, later: Ref[int] | None = None) -> str:
    return f"{a} {'-' if later is None else 'ref'}"


@node
def half(a: int) -> list[int] | Graph:
    """[a, a // 2, ...]: answers with graphs, or a list."""
    if a == 0:
        return []
    graph = Graph()
    rest = graph.add(half, a=a // 2)
    return graph.returning(graph.add(front, a=a, rest=rest))


@node
def front(a: int, rest: list[int]) -> list[int]:
    return [a, *rest]


@node
def twice(a: int) -> int | Graph:
    graph = Graph()
    return graph.returning(graph.add(step, a=graph.add(step, a=a)))


class Pair(NamedTuple):
    left: int
    right: int


@node
def pair(a: int, right: Ref[int]) -> Pair | Graph:
    graph = Graph()
    left: Any = graph.add(step, a=a)
    return graph.returning(Pair(left, right))  # type: ignore[arg-type]


@node
def forged() -> int | Ref[int]:
    return Ref("#99", "result")


@node
def typo() -> int | Graph:
    graph = Graph()
    graph.add(step, a="seven")
    return graph.returning(Ref("step", "nothing"))


@pytest.fixture
def lab(board: Any) -> Any:
    CALLS.clear()
    board.build(
        [switch, step, loop, gate, odd, join, maybe, half, front, twice, pair, forged, typo]
    )
    return board


# --- deferred inputs and answers


@pytest.mark.parametrize(("condition", "value", "call"), [(True, 2, "1+1"), (False, 3, "1+2")])
def test_the_branch_not_taken_makes_no_call(
    lab: Any, condition: bool, value: int, call: str
) -> None:
    flow = f"""
a = one()
b = add(a=a.result, b=1)
c = add(a=a.result, b=2)
s = switch(condition={condition}, yes=b.result, no=c.result)
d = add(a=s.result, b=10)
"""
    report = lab.run(flow)
    assert report["d.result"] == value + 10
    assert lab.calls == ["one", call, f"{value}+10"]
    lab.run(flow)
    assert lab.calls == []


def test_a_failing_branch_not_taken_harms_nobody(lab: Any) -> None:
    report = lab.run(
        "x = broken()\na = one()\ns = switch(condition=False, yes=x.result, no=a.result)"
    )
    assert (report.status, report["s.result"]) == ("success", 1)


def test_a_failing_branch_taken_skips_the_switch(lab: Any) -> None:
    report = lab.run(
        "x = broken()\na = one()\ns = switch(condition=True, yes=x.result, no=a.result)"
    )
    assert (report.skipped, len(report.failures)) == ({"s": "x failed"}, 1)


def test_a_deferred_input_may_hold_a_value(lab: Any) -> None:
    assert lab.run("s = switch(condition=True, yes=7, no=8)")["s.result"] == 7


def test_a_released_result_is_there_for_a_deferred_ref(lab: Any) -> None:
    lab.run(
        """
a = one()
b = add(a=a.result)
c = add(a=b.result)
d = add(a=c.result)
s = switch(condition=True, yes=b.result, no=d.result)
e = add(a=s.result, b=100)
"""
    )
    assert lab.calls.count("1+1") == 1


def test_a_result_let_go_is_computed_again_without_cache(lab: Any) -> None:
    from graphengine.cache import NoCache

    @node
    def regrow(a: int) -> int | Graph:
        graph = Graph()
        return graph.returning(graph.add(step, a=1))  # equal to a step that is long done

    lab.build([step, regrow], cache=NoCache())
    report = lab.run("a = step(a=1)\nb = add(a=a.result)\nc = regrow(a=b.result)")
    assert report["c.result"] == 2
    assert CALLS.count("step 1") == 2


def test_chains_of_aliases_of_any_length(lab: Any) -> None:
    lines = ["a0 = one()"]
    for i in range(1, 3000):
        lines.append(f"a{i} = switch(condition=True, yes=a{i - 1}.result, no=0)")
    assert lab.run("\n".join(lines))["a2999.result"] == 1
    assert lab.calls == ["one"]


def test_several_outputs_one_grown_one_handed_on(lab: Any) -> None:
    report = lab.run("a = one()\nb = add(a=a.result)\np = pair(a=a.result, right=b.result)")
    assert report["p.left"] == 2 and report["p.right"] == 2


def test_a_ref_that_was_not_given_is_refused(lab: Any) -> None:
    (failure,) = lab.run("f = forged()").failures
    assert "which it was not given" in failure.message


def test_a_graph_that_can_t_be_run_tells_all_its_problems(lab: Any) -> None:
    (failure,) = lab.run("t = typo()").failures
    assert failure.node == "t"
    assert "its answer can't be run" in failure.message and '"seven"' in failure.message


def test_a_list_of_refs_is_refused_where_it_is_written() -> None:
    graph = Graph()
    with pytest.raises(Exception, match="list of refs"):
        graph.add(front, a=1, rest=[graph.add(step, a=1)])


# --- loops


def test_a_loop(lab: Any) -> None:
    report = lab.run("a = one()\nb = loop(a=a.result, times=3)\nc = add(a=b.result)")
    assert report["c.result"] == 5
    assert CALLS == ["step 1", "step 2", "step 3"]
    assert "b/step#1" in report.executed and "b/step#3" in report.executed
    CALLS.clear()
    assert lab.run("a = one()\nb = loop(a=a.result, times=3)")["b.result"] == 4
    assert CALLS == []


def test_a_loop_deeper_than_the_recursion_limit_with_flat_names(lab: Any) -> None:
    assert sys.getrecursionlimit() < 6000
    report = lab.run("b = loop(a=0, times=6000)")
    assert report["b.result"] == 6000
    assert max(map(len, report.executed)) == len("b/step#6000")


def test_one_more_turn_costs_one_more_turn(lab: Any) -> None:
    lab.run("b = loop(a=0, times=5)")
    CALLS.clear()
    lab.run("b = loop(a=0, times=6)")
    assert CALLS == ["step 5"]


def test_a_step_that_needs_itself_is_told(lab: Any) -> None:
    @node
    def dog(tail: int = 0) -> int | Graph:
        graph = Graph()
        return graph.returning(graph.add(dog, tail=tail))

    lab.build([dog])
    report = lab.run("d = dog()\ne = add(a=d.result)")
    assert [(f.node, f.message) for f in report.failures] == [("d", "it waits for its own result")]
    assert dict(report.skipped) == {"e": "d failed"}


def test_sinks_in_a_grown_graph_run(lab: Any) -> None:
    saved = []

    @node(sink=True)
    def save(a: int) -> None:
        saved.append(a)

    @node
    def saving(a: int) -> int | Graph:
        graph = Graph()
        after = graph.add(step, a=a)
        graph.add(save, a=after)
        return graph.returning(after)

    lab.build([saving, save, step])
    assert lab.run("s = saving(a=1)")["s.result"] == 2
    assert saved == [2]


def test_what_is_never_cached_is_not_hidden_by_the_node_that_grew_it(lab: Any) -> None:
    rolled = []

    @node(cache=False)
    def dice() -> int:
        rolled.append(len(rolled))
        return rolled[-1]

    @node
    def throw() -> int | Graph:
        graph = Graph()
        return graph.returning(graph.add(dice))

    lab.build([throw, dice])
    flow = "t = throw()\nb = add(a=t.result, b=10)"
    assert [lab.run(flow)["b.result"] for _ in range(3)] == [10, 11, 12]


# --- blocked


def test_blocked_skips_what_is_behind_and_fails_nothing(lab: Any) -> None:
    report = lab.run(
        "g = gate(a=1, open=False)\nb = add(a=g.result)\nc = add(a=b.result)\nd = one()"
    )
    assert (report.status, report["d.result"]) == ("success", 1)
    assert dict(report.skipped) == {"b": "shut", "c": "shut"}
    assert lab.calls == ["one"]


def test_blocked_items_are_left_out_of_a_list(lab: Any) -> None:
    report = lab.run(
        "a = span(stop=5)\nb = odd(a=a.result)\nc = add(a=b.result)\nd = total(items=c.result)"
    )
    assert report["d.result"] == 6
    assert set(lab.calls) >= {"1+1", "3+1"} and "0+1" not in lab.calls


# --- lists


def test_a_node_is_mapped_over_a_list(lab: Any) -> None:
    report = lab.run(
        "a = span(stop=3)\nb = add(a=a.result, b=10)\nc = add(a=b.result)\nd = total(items=c.result)"
    )
    assert report["d.result"] == 11 + 12 + 13
    assert len([call for call in lab.calls if call.endswith("+10")]) == 3


def test_lists_of_one_length_go_in_step_and_one_item_serves_all(lab: Any) -> None:
    report = lab.run(
        "a = span(stop=3)\nb = span(stop=1)\nc = add(a=a.result, b=a.result)\nd = add(a=c.result, b=b.result)"
    )
    assert report["d.result"] == [0, 2, 4]


def test_lists_of_different_lengths_are_told(lab: Any) -> None:
    (failure,) = lab.run(
        "a = span(stop=3)\nb = span(stop=2)\nc = add(a=a.result, b=b.result)"
    ).failures
    assert (failure.node, failure.message) == (
        "c",
        "lists of different lengths come in: a has 3, b has 2",
    )


def test_an_empty_list_makes_no_call(lab: Any) -> None:
    report = lab.run("a = span(stop=0)\nb = add(a=a.result)\nc = total(items=b.result)")
    assert (report["c.result"], lab.calls) == (0, ["span 0", "total []"])


def test_lists_out_of_a_mapped_node_are_joined(lab: Any) -> None:
    report = lab.run("a = span(stop=4)\nb = span(stop=a.result)\nc = total(items=b.result)")
    assert report["b.result"] == [0, 0, 1, 0, 1, 2] if "b" in report.results else True
    assert report["c.result"] == 4


def test_a_mapped_node_may_answer_with_graphs(lab: Any) -> None:
    report = lab.run("a = span(stop=4)\nb = twice(a=a.result)\nc = half(a=b.result)")
    assert report["c.result"] == [2, 1, 3, 1, 4, 2, 1, 5, 2, 1]


def test_a_list_given_as_a_whole_to_a_whole_list(lab: Any) -> None:
    assert lab.run("a = total(items=[1, 2, 3])")["a.result"] == 6
    assert lab.run("a = one()\nb = total(items=a.result)")["b.result"] == 1


def test_one_failing_item_fails_the_step_once(lab: Any) -> None:
    @node
    def picky(a: int) -> int:
        if a:
            raise ValueError(a)
        return a

    lab.build([picky])
    report = lab.run("a = span(stop=4)\nb = picky(a=a.result)\nc = add(a=b.result)")
    assert (len(report.failures), set(report.skipped)) == (1, {"c"})


def test_a_list_passes_a_branch_as_a_list(lab: Any) -> None:
    flow = "a = span(stop=3)\nb = one()\ns = switch(condition={}, yes=a.result, no=b.result)\nd = add(a=s.result, b=5)"
    assert lab.run(flow.format(True))["d.result"] == [5, 6, 7]
    assert lab.run(flow.format(False))["d.result"] == [6]


def test_items_of_a_whole_list_are_checked(lab: Any) -> None:
    @node
    def mixed() -> list[Any]:
        return [1, "two"]

    lab.build([mixed])
    (failure,) = lab.run("a = mixed()\nb = total(items=a.result)").failures
    assert failure.node == "b"


# --- optional and variadic


def test_optional_inputs(lab: Any) -> None:
    report = lab.run(
        "a = maybe()\nb = one()\nc = maybe(a=b.result, later=b.result)\nd = maybe(a=None)"
    )
    assert [report[f"{name}.result"] for name in "acd"] == ["None -", "1 ref", "None -"]


def test_variadic_inputs_take_links_and_values_by_any_name(lab: Any) -> None:
    report = lab.run("a = one()\nb = join(first=a.result, second=2, third=a.result)")
    assert report["b.result"] == "second=2,first=1,third=1"


def test_variadic_inputs_are_mapped_too(lab: Any) -> None:
    report = lab.run("a = span(stop=2)\nb = join(x=a.result, y=9)")
    assert report["b.result"] == ["y=9,x=0", "y=9,x=1"]


# --- a workflow as a node


def saved(drawing: Any) -> Workflow:
    flow: Workflow = drawing(
        "first = add(a=0, b=2)\nsecond = add(a=first.result, b=3)",
        params={"start": {"to": ["first.a"]}, "more": {"to": ["second.b"]}},
        outputs={"sum": "second.result"},
    )
    return flow


def test_a_workflow_called_with_values_and_links(lab: Any, drawing: Any) -> None:
    flow = saved(drawing)

    @node
    def call(start: Ref[int], more: int = 3) -> int | Graph:
        return flow.with_params({"start": start, "more": more}).graph("sum")

    lab.build([call])
    report = lab.run("a = one()\nb = call(start=a.result)\nc = call(start=5, more=b.result)")
    assert report["c.result"] == 5 + 2 + 6
    assert lab.calls == ["one", "1+2", "3+3", "5+2", "7+6"]


def test_a_param_to_a_called_workflow_is_mapped_over_a_list(lab: Any, drawing: Any) -> None:
    flow = saved(drawing)

    @node
    def call(start: int) -> int | Graph:
        return flow.with_params({"start": start}).graph("sum")

    lab.build([call])
    assert lab.run("a = span(stop=3)\nb = call(start=a.result)")["b.result"] == [5, 6, 7]


def test_an_unknown_param_of_a_called_workflow_is_a_failure_with_a_hint(
    lab: Any, drawing: Any
) -> None:
    flow = saved(drawing)

    @node
    def call(start: int) -> int | Graph:
        return flow.with_params({"strat": start}).graph("sum")

    lab.build([call])
    assert "did you mean 'start'?" in lab.run("b = call(start=1)").failures[0].message
