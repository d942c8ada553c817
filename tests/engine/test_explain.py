"""Why a step runs: the first thing that differs from the last run of that node."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import pytest

from graphengine import Artifact, File, Files, node
from graphengine.cache import MemoryCache
from graphengine.explain import History
from graphengine.signature import source_of


@node
def read(file: Annotated[Path, File("input")]) -> str:
    return file.read_text()


@node(sink=True)
def save(files: Files, a: int) -> Artifact:
    return files.write("output", "out", ".txt", str(a).encode(), "text/plain")


@node(cache=False)
def now() -> int:
    return 1


FLOW = "a = one()\nb = add(a=a.result, b=2)\nc = add(a=b.result, b=3)"


@pytest.fixture(params=[False, True], ids=["same process", "another process"])
def lab(board: Any, request: Any) -> Any:
    """With another process, the history is read back from its folder, and the cache is the same."""
    cache = MemoryCache(2**24, board.storage)

    def build() -> None:
        folder = board.folder / "history"
        parts = {"cache": cache, "supply": lambda kind: board.files}
        board.build([read, save, now], history=History(folder), **parts)

    def why(source: str, **more: Any) -> dict[str, str]:
        if request.param:
            build()
        plan = board.plan(source, **more)
        return {it.node: "cached" if it.cached else it.reason for it in board.engine.explain(plan)}

    build()
    board.why = why
    board.cache = cache
    return board


def test_before_the_first_run(lab: Any) -> None:
    assert set(lab.why(FLOW).values()) == {"first run of this node"}


def test_nothing_changed(lab: Any) -> None:
    lab.run(FLOW)
    assert lab.why(FLOW) == {"a": "cached", "b": "cached", "c": "cached"}


def test_a_value_and_what_comes_behind_it(lab: Any) -> None:
    lab.run(FLOW)
    assert lab.why(FLOW.replace("b=2", "b=7")) == {
        "a": "cached",
        "b": "b was 2, is 7",
        "c": "a comes from b, which changed",
    }


def test_another_link_another_type_another_input(lab: Any) -> None:
    lab.run(FLOW)
    assert lab.why(FLOW.replace("b.result", "a.result"))["c"] == "a comes from a, which changed"
    assert lab.why("a = add(a=1)")["a"] == "type was one, is add"
    assert lab.why("b = add(a=5, b=2)")["b"] == "a was unset, is 5"


def test_the_content_of_a_file(lab: Any) -> None:
    file = lab.folder / "input" / "x.txt"
    file.write_text("one")
    lab.run("r = read(file='x.txt')")
    file.write_text("two")
    assert lab.why("r = read(file='x.txt')") == {"r": "the content of the file in file changed"}


def test_the_source_of_a_pack(lab: Any, monkeypatch: Any) -> None:
    lab.run(FLOW)
    plan = lab.plan(FLOW)
    step = plan.steps["a"]
    edited = replace(step, signature="0" * 64, parts={**step.parts, "source": "edited"})
    plan = replace(plan, steps={"a": edited})
    assert lab.engine.explain(plan)[0].reason == "the source of its pack was edited"
    assert step.parts["source"] == source_of(step.spec)


def test_what_was_evicted(lab: Any) -> None:
    lab.run(FLOW)
    lab.cache._entries.clear()
    assert lab.why(FLOW) == {
        "a": "it is not in the cache any more",
        "b": "a is not in the cache any more",
        "c": "b is not in the cache any more",
    }


def test_what_is_never_cached(lab: Any) -> None:
    flow = "n = now()\nb = add(a=n.result)"
    lab.run(flow)
    assert lab.why(flow) == {"n": "it is never cached", "b": "a comes from n, which changed"}


def test_a_file_that_is_gone(lab: Any) -> None:
    flow = "a = one()\ns = save(a=a.result)"
    (saved,) = lab.run(flow).artifacts
    assert lab.why(flow)["s"] == "cached"
    saved.artifact.path.unlink()
    assert lab.why(flow)["s"] == "its file is gone or was changed"


def test_what_failed_has_not_run(lab: Any) -> None:
    flow = "a = one()\nx = broken(a=a.result)\nb = add(a=x.result)"
    lab.run(flow)
    assert lab.why(flow) == {
        "a": "cached",
        "x": "first run of this node",
        "b": "first run of this node",
    }


def test_a_partial_run_keeps_what_is_known_of_the_others(lab: Any, drawing: Any) -> None:
    lab.run(FLOW)
    asyncio.run(lab.engine.execute(lab.engine.plan(drawing(FLOW), ["a"])))
    assert lab.why(FLOW.replace("b=3", "b=4"))["c"] == "b was 3, is 4"


def test_a_damaged_history_only_explains_less(lab: Any) -> None:
    lab.run(FLOW)
    for text in ("", "x\n[1]", 'x\n{"a": 3}', 'x\n{"a": {}}', "\xff", "x\n" + "[" * 100_000):
        for file in (lab.folder / "history").iterdir():
            file.write_bytes(text.encode("latin-1"))
        assert set(lab.why(FLOW)) == {"a", "b", "c"}
