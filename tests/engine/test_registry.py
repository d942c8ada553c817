"""Packs: files, folders, helpers, failures, doubles, edits."""

from __future__ import annotations

import importlib.metadata
import sys
from pathlib import Path
from typing import Any

import pytest

from graphengine import WorkflowError
from graphengine.registry import Registry
from graphengine.signature import source_of

NODE = """
from graphengine import node

@node(id="{id}")
def f(a: int = 1) -> int:
    return a + {n}
"""


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def load(folder: Path) -> Registry:
    registry = Registry()
    registry.load_folder(folder)
    return registry


def test_files_and_folders_with_and_without_init(tmp_path: Path) -> None:
    write(tmp_path / "single.py", NODE.format(id="x.single", n=1))
    write(
        tmp_path / "bare" / "inner.py",
        "from .help import TWO\n" + NODE.format(id="x.bare", n="TWO"),
    )
    write(tmp_path / "bare" / "help.py", "TWO = 2")
    write(tmp_path / "packed" / "__init__.py", NODE.format(id="x.packed", n=3))
    write(tmp_path / "packed" / "more.py", NODE.format(id="x.more", n=4))
    write(tmp_path / "with-dash.v2" / "n.py", NODE.format(id="x.dash", n=5))
    write(tmp_path / "_hidden.py", "raise RuntimeError")
    write(tmp_path / "notes.txt", "no pack")
    (tmp_path / "empty").mkdir()
    registry = load(tmp_path)
    assert registry.errors == []
    assert sorted(registry) == ["x.bare", "x.dash", "x.more", "x.packed", "x.single"]
    results = {id: spec.function(1) for id, spec in registry.items()}
    assert results == {"x.single": 2, "x.bare": 3, "x.packed": 4, "x.more": 5, "x.dash": 6}


def test_a_pack_that_fails_is_reported_and_the_rest_loads(tmp_path: Path) -> None:
    write(tmp_path / "a.py", "import nothing_of_the_kind\n")
    write(tmp_path / "b.py", "def broken(:\n")
    write(tmp_path / "c.py", "raise SystemExit(3)")
    write(tmp_path / "d" / "one.py", "1 / 0")
    write(tmp_path / "d" / "two.py", NODE.format(id="d.two", n=1))
    write(tmp_path / "e" / "__init__.py", "oops")
    write(tmp_path / "f.py", NODE.format(id="f", n=1))
    write(tmp_path / "g.py", "from graphengine import node\n@node\ndef g(a) -> int: ...")
    registry = load(tmp_path)
    assert sorted(registry) == ["d.two", "f"]
    told = {Path(error.origin).name: error for error in registry.errors}
    assert sorted(told) == ["a.py", "b.py", "c.py", "d", "e", "g.py"]
    assert "nothing_of_the_kind" in told["a.py"].message
    assert 'a.py", line 1' in told["a.py"].traceback
    assert "ZeroDivisionError" in told["d"].traceback
    assert "'a' has no type" in told["g.py"].message
    with pytest.raises(WorkflowError, match="failed to load"):
        registry["zzz"]


def test_a_second_node_of_the_same_id_names_both_origins(tmp_path: Path) -> None:
    write(tmp_path / "a.py", NODE.format(id="same", n=1))
    write(tmp_path / "b.py", NODE.format(id="same", n=2))
    registry = load(tmp_path)
    (error,) = registry.errors
    assert "a.py:4" in error.message and "b.py:4" in error.message
    assert registry["same"].function(1) == 2


def test_an_imported_node_stays_where_it_is_defined(tmp_path: Path) -> None:
    write(tmp_path / "p" / "a.py", NODE.format(id="p.a", n=1))
    write(tmp_path / "p" / "b.py", "from .a import f")
    registry = load(tmp_path)
    assert (list(registry), registry.errors) == (["p.a"], [])


def test_an_edit_of_a_plugin_is_loaded_and_changes_the_signature(tmp_path: Path) -> None:
    seen = set()
    for n in range(1, 9):  # the same size each time, and at once
        write(tmp_path / "quick.py", NODE.format(id="q", n=n))
        spec = load(tmp_path)["q"]
        assert spec.function(0) == n
        seen.add(source_of(spec))
    assert len(seen) == 8
    assert not list(tmp_path.rglob("__pycache__"))


def test_an_edit_of_a_helper_beside_the_node_changes_the_signature(tmp_path: Path) -> None:
    write(tmp_path / "p" / "a.py", "from .help import N\n" + NODE.format(id="a", n="N"))
    write(tmp_path / "p" / "help.py", "N = 1")
    first = load(tmp_path)["a"]
    write(tmp_path / "p" / "help.py", "N = 2")
    second = load(tmp_path)["a"]
    assert (first.function(0), second.function(0)) == (1, 2)
    assert source_of(first) != source_of(second)
    write(tmp_path / "p" / "new.py", NODE.format(id="b", n=1))
    assert sorted(load(tmp_path)) == ["a", "b"]


@pytest.mark.parametrize(
    "line",
    [
        "from graphengine.diffusion import x",
        "import graphengine.diffusion.sample",
        "from graphengine import node, diffusion",
        "from graphengine import (\n        node,\n        diffusion as d,\n    )",
    ],
)
def test_the_library_that_a_pack_imports_is_part_of_it(
    tmp_path: Path, monkeypatch: Any, line: str
) -> None:
    import graphengine.signature as signature

    library = tmp_path / "graphengine"
    write(library / "diffusion" / "sample.py", "STEPS = 1")
    monkeypatch.setattr(signature, "__file__", str(library / "signature.py"))
    packs = tmp_path / "packs"
    write(
        packs / "uses.py",
        NODE.format(id="uses", n=1) + f"\n\ndef g():\n    {line}",
    )
    write(packs / "plain.py", NODE.format(id="plain", n=1))
    before = load(packs)
    write(library / "diffusion" / "sample.py", "STEPS = 2")
    after = load(packs)
    assert source_of(before["uses"]) != source_of(after["uses"])
    assert source_of(before["plain"]) == source_of(after["plain"])


def test_editing_a_plugin_runs_its_nodes_again(board: Any, tmp_path: Path, drawing: Any) -> None:
    packs = tmp_path / "packs"
    engine = board.engine
    flow = drawing("a = one()\nb = q(a=a.result)")
    results = []
    for n in (1, 1, 2):
        write(packs / "quick.py", NODE.format(id="q", n=n))
        registry = load(packs)
        registry.add(engine.registry["one"])
        engine.registry = engine._planner.registry = registry
        report = engine.run(flow)
        results.append((report["b.result"], report.executed))
    assert results == [(2, ("a", "b")), (2, ()), (3, ("b",))]


def test_installed_packs_come_in_by_their_entry_point(tmp_path: Path, monkeypatch: Any) -> None:
    write(tmp_path / "installed_pack_x" / "__init__.py", "")
    write(tmp_path / "installed_pack_x" / "n.py", NODE.format(id="installed", n=1))
    write(tmp_path / "installed_pack_x" / "bad.py", "1 / 0")
    monkeypatch.syspath_prepend(str(tmp_path))
    points = [
        importlib.metadata.EntryPoint("x", "installed_pack_x", "graphengine.packs"),
        importlib.metadata.EntryPoint("gone", "no_such_pack_x", "graphengine.packs"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points)
    registry = Registry()
    registry.load_installed()
    assert list(registry) == ["installed"]
    assert sorted(error.origin for error in registry.errors) == [
        "gone = no_such_pack_x",
        "x = installed_pack_x",
    ]
    sys.modules.pop("installed_pack_x.n"), sys.modules.pop("installed_pack_x")


def test_no_folder(tmp_path: Path) -> None:
    assert "no plugins folder" in load(tmp_path / "gone").errors[0].message


def test_it_is_a_mapping(board: Any) -> None:
    registry = board.engine.registry
    assert registry.get("nothing") is None and "one" in registry and len(registry) == 6
    with pytest.raises(WorkflowError, match="did you mean 'one'"):
        registry["onee"]
