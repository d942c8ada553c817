"""Branches, gates, lists, and saved workflows called as nodes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import pytest

from graphengine import Engine, File, Files, Graph, Ref, RunError, node
from graphengine.cache import MemoryCache
from graphengine.registry import Registry
from graphengine.storage import Arrays, Storage
from graphengine.worker import InlineWorker
from graphengine_nodes import flow, lists, value

made: list[int] = []


@node
def add(a: int, b: int = 1) -> int:
    made.append(a)
    return a + b


@node
def word_count(file: Annotated[Path, File("input")], times: int = 1) -> int:
    return len(file.read_text().split()) * times


@pytest.fixture
def engine(tmp_path: Path) -> Engine:
    made.clear()
    functions = [
        value
        for module in (flow, lists, value)
        for value in vars(module).values()
        if hasattr(value, "__node__")
    ]
    storage = Storage(Arrays())
    files = Files({"workflows": [tmp_path], "input": [tmp_path]})
    return Engine(
        Registry([add, word_count, *functions]),
        MemoryCache(2**26, storage),
        InlineWorker(),
        files,
        storage.digest,
    )


def save(
    folder: Path, name: str, nodes: dict[str, Any], params: dict[str, Any], outputs: dict[str, str]
) -> str:
    data = {"format": "graphengine/1", "nodes": nodes, "params": params, "outputs": outputs}
    (folder / name).write_text(json.dumps(data))
    return name


@pytest.fixture
def increase(tmp_path: Path) -> str:
    """a -> a + b, with b = 2 unless told otherwise."""
    nodes = {"sum": {"type": "add", "values": {"a": 0, "b": 2}}}
    params = {"a": {"to": ["sum.a"]}, "b": {"to": ["sum.b"]}}
    return save(tmp_path, "increase.json", nodes, params, {"sum": "sum.result"})


def result(engine: Engine, ref: Any, graph: Graph) -> Any:
    return engine.run(graph.returning(ref)).outputs["result"]


@pytest.mark.parametrize(("condition", "wanted", "called"), [(True, 11, [10]), (False, 21, [20])])
def test_switch_computes_one_branch(
    engine: Engine, condition: bool, wanted: int, called: list[int]
) -> None:
    graph = Graph()
    yes = graph.add(add, "yes", a=10)
    no = graph.add(add, "no", a=20)
    chosen = graph.add(flow.switch, condition=condition, if_true=yes, if_false=no)
    assert result(engine, chosen, graph) == wanted
    assert made == called


def test_a_closed_gate_skips_what_is_behind_without_failing(engine: Engine) -> None:
    graph = Graph()
    shut = graph.add(flow.gate, open=False, value=graph.add(add, a=1))
    behind = graph.add(add, "behind", a=shut)
    report = engine.run(graph.returning(behind))
    assert (report.status, dict(report.skipped), made) == (
        "success",
        {"behind": "a gate is closed"},
        [],
    )
    assert "result" not in report.outputs


def test_call_takes_values_and_links_and_leaves_the_other_params(
    engine: Engine, increase: str
) -> None:
    graph = Graph()
    first = graph.add(flow.call, workflow=increase, a=5)
    second = graph.add(flow.call, workflow=increase, a=first, b=100)
    assert result(engine, second, graph) == 107


def test_call_is_mapped_over_a_list_of_files_or_values(engine: Engine, increase: str) -> None:
    graph = Graph()
    each = graph.add(add, a=graph.add(lists.range, stop=3), b=10)
    assert result(engine, each, graph) == [10, 11, 12]


def test_call_names_the_outputs_there_are(engine: Engine, increase: str) -> None:
    graph = Graph()
    graph.returning(graph.add(flow.call, workflow=increase, output="total", a=1))
    with pytest.raises(RunError, match=r"increase.json has no output 'total' \(it has: sum\)"):
        engine.run(graph)


def test_call_with_an_unknown_param_suggests_the_nearest(engine: Engine, tmp_path: Path) -> None:
    name = save(
        tmp_path,
        "one.json",
        {"s": {"type": "add"}},
        {"first": {"to": ["s.a"]}},
        {"sum": "s.result"},
    )
    graph = Graph()
    graph.returning(graph.add(flow.call, workflow=name, frist=1))
    with pytest.raises(RunError, match="did you mean 'first'"):
        engine.run(graph)


def test_for_each_gives_results_in_order_and_shares_params(engine: Engine, increase: str) -> None:
    graph = Graph()
    items = graph.add(lists.range, start=3, stop=0, step=-1)
    results = graph.add(flow.for_each, workflow=increase, parameter="a", items=items, b=10)
    total = graph.add(lists.length, items=results)
    report = engine.run(graph.returning(results))
    assert report.outputs["result"] == [13, 12, 11]
    assert result(engine, total, graph) == 3


def test_for_each_over_nothing_is_an_empty_list(engine: Engine, increase: str) -> None:
    graph = Graph()
    results = graph.add(flow.for_each, workflow=increase, parameter="a", items=[])
    assert result(engine, results, graph) == []


def test_repeat_feeds_each_result_back_however_often(engine: Engine, increase: str) -> None:
    graph = Graph()
    last = graph.add(flow.repeat, workflow=increase, parameter="a", value=1, times=2000)
    assert result(engine, last, graph) == 4001
    assert made == list(range(1, 4001, 2))


def test_repeat_zero_times_is_the_value(engine: Engine, increase: str) -> None:
    graph = Graph()
    same = graph.add(
        flow.repeat, workflow=increase, parameter="a", value=graph.add(add, a=6), times=0
    )
    assert result(engine, same, graph) == 7


def test_a_file_read_inside_a_called_workflow_is_noticed(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("one two")
    nodes = {"count": {"type": "word_count", "values": {"file": "words.txt"}}}
    name = save(
        tmp_path, "count.json", nodes, {"times": {"to": ["count.times"]}}, {"count": "count.result"}
    )
    graph = Graph()
    behind = graph.add(add, a=graph.add(flow.call, workflow=name, times=10))
    assert result(engine, behind, graph) == 21
    assert engine.run(graph).executed == ()
    (tmp_path / "words.txt").write_text("one two three")
    assert result(engine, behind, graph) == 31


def test_lists_and_values_are_plain_functions() -> None:
    assert lists.collect(b=1, a=2) == [1, 2]
    assert lists.lines("a house\n\n  a tree ") == ["a house", "a tree"]
    assert (
        value.integer(3),
        value.number(0.5),
        value.text("x"),
        value.boolean(True),
        value.seed(9),
    ) == (
        3,
        0.5,
        "x",
        True,
        9,
    )
    assert isinstance(Graph().add(value.seed), Ref)
