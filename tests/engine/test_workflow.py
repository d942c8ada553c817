"""The file: its shape, its canonical text, its faults; and the builder."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Any

import pytest

from graphengine import FileError, Graph, Workflow, WorkflowError, node, read_workflow
from graphengine.workflow import PNG_KEY, parse_workflow


def issues(text: str) -> list[Any]:
    with pytest.raises(WorkflowError) as caught:
        parse_workflow(text, "w.json")
    return list(caught.value.issues)


WHOLE = """{
  "format": "graphengine/1",
  "title": "Größe",
  "params": {
    "start": {
      "to": [
        "a.a"
      ]
    }
  },
  "nodes": {
    "a": {
      "type": "add",
      "values": {
        "a": 1,
        "b": 1.0
      }
    },
    "b": {
      "type": "add",
      "version": 2,
      "links": {
        "a": "a.result"
      }
    }
  },
  "outputs": {
    "sum": "b.result"
  },
  "layout": {
    "a": {
      "x": 40
    }
  }
}
"""


def test_canonical_text_comes_round() -> None:
    assert parse_workflow(WHOLE).text() == WHOLE
    shuffled = json.dumps(dict(reversed(json.loads(WHOLE).items())))
    assert parse_workflow(shuffled).text() == WHOLE


BROKEN = {
    '{"format": 1,\n  "nodes" 2}': ("not_json", "line 2, column 11"),
    "": ("not_json", "line 1"),
    '{"format": "graphengine/1", "nodes": {}, "nodes": {}}': ("not_json", "'nodes' stands twice"),
    '{"format": "graphengine/1", "layout": {"x": NaN}}': ("not_json", "NaN is no number"),
    '{"format": "graphengine/1", "layout": {"x": -Infinity}}': ("not_json", "no number"),
    '{"format": "graphengine/1", "layout": {"x": 1e999}}': ("not_json", "too large"),
    '{"a": ' + "9" * 5000 + "}": ("not_json", "digits"),
    "[" * 100_000: ("not_json", "nested too deeply"),
    "[1, 2]": ("not_a_workflow", "another shape"),
    '"text"': ("not_a_workflow", "another shape"),
    '{"3": {"class_type": "KSampler"}}': ("not_a_workflow", "another shape"),
    '{"nodes": {}}': ("unknown_format", "'none'"),
    '{"format": "graphengine/2", "nodes": {}}': ("unknown_format", "'graphengine/2'"),
    '{"format": ["graphengine/1"], "nodes": {}}': ("unknown_format", "not 'graphengine/1'"),
}


@pytest.mark.parametrize("text", BROKEN, ids=lambda text: text[:24])
def test_what_is_no_workflow(text: str) -> None:
    (issue,) = issues(text)
    code, told = BROKEN[text]
    assert issue.code == code and told in issue.message


def test_all_faults_of_shape_at_once() -> None:
    found = issues(
        """{"format": "graphengine/1", "titel": "x", "params": {"p": {"to": []}},
        "nodes": {"a": {"type": 3, "value": {}}, "b": {"values": {}, "links": {"x": 7}}}}"""
    )
    told = {(issue.code, issue.node, issue.hint) for issue in found}
    assert ("unknown_key", None, "did you mean 'title'?") in told
    assert ("unknown_key", "a", "did you mean 'values'?") in told
    assert {issue.node for issue in found if issue.code == "bad_shape"} == {None, "a", "b"}
    assert any(issue.input == "x" for issue in found)
    assert len(found) == 6


def test_deep_values_that_are_json_still() -> None:
    deep = '{"format": "graphengine/1", "layout": {"x": ' + "[" * 900 + "]" * 900 + "}}"
    try:
        assert parse_workflow(deep).text()
    except WorkflowError as error:  # either is fine; a crash is not
        assert error.issues


def test_reading_files(tmp_path: Path) -> None:
    from PIL import Image
    from PIL.PngImagePlugin import PngInfo

    plain = tmp_path / "w.json"
    plain.write_text("\ufeff" + WHOLE, "utf-8")
    assert read_workflow(plain).title == "Größe"
    info = PngInfo()
    info.add_text(PNG_KEY, WHOLE)
    Image.new("RGB", (4, 4)).save(tmp_path / "p.png", pnginfo=info)
    assert read_workflow(tmp_path / "p.png").text() == WHOLE
    Image.new("RGB", (4, 4)).save(tmp_path / "bare.png")
    with pytest.raises(WorkflowError, match="carries no workflow"):
        read_workflow(tmp_path / "bare.png")
    for cut in range(9, 80, 7):
        (tmp_path / "cut.png").write_bytes((tmp_path / "p.png").read_bytes()[:cut])
        with pytest.raises((FileError, WorkflowError)):
            read_workflow(tmp_path / "cut.png")
    (tmp_path / "x.bin").write_bytes(b"\xff\xfe\x00\x01")
    with pytest.raises(WorkflowError, match="is no text"):
        read_workflow(tmp_path / "x.bin")


@pytest.mark.parametrize("name", ["nowhere.json", ".", "a\0b"])
def test_files_that_can_t_be_read(tmp_path: Path, name: str) -> None:
    with pytest.raises(FileError):
        read_workflow(str(tmp_path / name))


class Mode(enum.Enum):
    FAST = "fast"


@node
def add(a: int, b: int = 1) -> int:
    return a + b


@node
def modal(mode: Mode = Mode.FAST, any: Any = None) -> str:
    return mode.value


def test_the_builder_writes_a_file_that_reads_back() -> None:
    graph = Graph()
    a = graph.add(add, a=1)
    b = graph.add(add, a=a, b=2)
    graph.add(modal, "m", mode=Mode.FAST)
    flow = graph.returning(b).workflow("sum", params={"start": "add.a"})
    assert isinstance(flow, Workflow) and list(flow.nodes) == ["add", "add_1", "m"]
    assert flow.nodes["m"].values == {"mode": "fast"}
    assert parse_workflow(flow.text()) == flow
    assert flow.outputs == {"result": "add_1.result"}


def test_names_in_a_graph() -> None:
    graph = Graph()
    graph.add(add, "add_1", a=1)
    graph.add(add, a=1)
    graph.add(add, a=1)
    assert list(graph.steps) == ["add_1", "add", "add_2"]
    with pytest.raises(Exception, match="has a node 'add' already"):
        graph.add(add, "add", a=1)


def test_live_objects_can_t_be_saved() -> None:
    graph = Graph()
    graph.add(modal, any=object())
    with pytest.raises(ValueError):
        graph.workflow()


def test_params_of_no_such_name(drawing: Any) -> None:
    flow = drawing("a = add(a=1)", params={"start": {"to": ["a.a"]}})
    with pytest.raises(WorkflowError) as caught:
        flow.with_params({"strat": 1, "zzz": 2})
    hints = [issue.hint for issue in caught.value.issues]
    assert hints == ["did you mean 'start'?", "its params: start"]
