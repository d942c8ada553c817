"""`graphengine nodes`: what types there are and all about one."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import Run


def test_lists_every_type_with_what_it_does(cli: Run) -> None:
    done = cli("nodes")
    lines = done.out.splitlines()
    assert done.code == 0
    assert any(
        line.startswith("test.add ")
        and "Add two numbers." in line
        and line.rstrip().endswith("int")
        for line in lines
    )
    assert any(line.startswith("sample.ksampler ") for line in lines)


def test_lists_a_category(cli: Run) -> None:
    ids = [line.split()[0] for line in cli("nodes", "test").out.splitlines()[1:]]
    assert ids == sorted(ids)
    assert all(id.startswith("test.") for id in ids)


def test_tells_all_about_one(cli: Run) -> None:
    out = cli("nodes", "test.settings").out
    assert "Every kind of value." in out
    assert "steps     int          20         How many. [1 to 100]" in out
    assert "one of: calm, wild" in out
    assert "gives result: str" in out
    out = cli("nodes", "test.save").out
    assert "it has an effect of its own" in out
    assert "by link only" in cli("nodes", "vae.decode").out


def test_json_has_schemas_and_types(cli: Run) -> None:
    data = cli("nodes", "test.settings", "--json").json
    assert data["inputs"]["steps"]["schema"] == {
        "type": "integer",
        "minimum": 1,
        "maximum": 100,
        "default": 20,
        "description": "How many.",
    }
    assert data["inputs"]["size"]["schema"]["enum"] == ["small", "large"]
    assert data["outputs"] == [{"name": "result", "type": "str", "many": False}]
    image = cli("nodes", "vae.decode", "--json").json["inputs"]["latent"]
    assert (image["type"], image["required"], image["schema"]) == ("latent", True, None)
    everything = cli("nodes", "--json").json
    assert {"test.add", "sample.ksampler"} <= {node["id"] for node in everything["nodes"]}
    assert everything["errors"] == []


def test_an_unknown_type_is_told_with_the_nearest(cli: Run) -> None:
    done = cli("nodes", "test.ad", "--json")
    assert done.code == 2
    assert done.json["issues"][0]["hint"] == "did you mean 'test.add'?"
    assert "`graphengine nodes` lists all of them" in cli("nodes", "qqqq").err


def test_packs_that_are_not_there_are_told(cli: Run, home: Path) -> None:
    (home / "packs" / "broken.py").write_text("1 / 0")
    (home / "packs" / "twice.py").write_text(
        "from graphengine import node\n@node(id='test.add')\ndef other(a: int) -> int:\n    '''Other.'''\n    return a\n"
    )
    done = cli("nodes")
    assert done.code == 0
    assert "broken.py: ZeroDivisionError: division by zero" in done.err
    assert "node 'test.add' is defined twice" in done.err
    assert "Traceback" not in done.err
    assert "1 / 0" in cli("nodes", "--debug").err
    assert len(cli("nodes", "--json").json["errors"]) == 2
