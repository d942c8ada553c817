"""Whatever is wrong with what is given: one exit code, a place, a remedy, and never a traceback."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from tests.cli.conftest import Run, finished, workflow


def told(cli: Run, *arguments: object) -> tuple[str, str]:
    """Code and text of the only problem of a command line; the same for `run` and `check`, with and without --json."""
    for command in ("check", "run"):
        done = cli(command, *arguments, "--json")
        answer = done.json
        assert (done.code, answer["status"], len(answer["issues"])) == (2, "invalid", 1), answer
        plain = cli(command, *arguments)
        assert (plain.code, plain.out) == (2, "")
        assert "Traceback" not in plain.err
    issue = answer["issues"][0]
    return issue["code"], f"{issue['message']} | {issue['hint']}"


@pytest.mark.parametrize(
    ("content", "code", "words"),
    [
        (b"", "not_json", "line 1"),
        (b"{", "not_json", "line 1, column 2"),
        (b"\xff\xfe\x00", "not_json", "no text"),
        (b"[" * 100_000, "not_json", "nested too deeply"),
        (
            b'{"format": "graphengine/1", "nodes": {}, "nodes": {}}',
            "not_json",
            "'nodes' stands twice",
        ),
        (
            b'{"format": "graphengine/1", "nodes": {"a": {"type": "t", "values": {"x": NaN}}}}',
            "not_json",
            "NaN",
        ),
        (b"[1, 2]", "not_a_workflow", "another shape"),
        (b'{"format": "graphengine/9"}', "unknown_format", "a newer graphengine may read it"),
        (b'{"nodes": {}}', "unknown_format", 'write "graphengine/1"'),
        (b'{"format": "graphengine/1", "nodez": {}}', "unknown_key", "did you mean 'nodes'?"),
        (b'{"format": "graphengine/1", "nodes": []}', "bad_shape", "nodes"),
        (b"\x89PNG\r\n\x1a\n damaged", "bad_file", "damaged PNG"),
    ],
    ids=lambda value: str(value[:40]) if isinstance(value, bytes) else "",
)
def test_files_that_are_no_workflow(
    cli: Run, home: Path, content: bytes, code: str, words: str
) -> None:
    (home / "w.json").write_bytes(content)
    found, text = told(cli, "w.json")
    assert found == code
    assert words in text


def test_deep_values_are_no_crash(cli: Run, home: Path) -> None:
    deep = "[" * 900 + "]" * 900
    (home / "w.json").write_text(
        f'{{"format": "graphengine/1", "nodes": {{"a": {{"type": "test.add", "values": {{"a": {deep}}}}}}}}}'
    )
    done = cli("check", "w.json", "--json")
    assert (done.code, done.json["status"]) == (2, "invalid")


def test_text_that_is_not_unicode_is_no_crash(cli: Run, home: Path) -> None:
    file = workflow(
        home / "w.json", {"a": ("settings", {"text": "\ud800"})}, outputs={"seen": "a.result"}
    )
    assert cli("run", file, "--json").code == 0
    assert cli("run", file).code == 0
    file = workflow(home / "v.json", {"a": ("settings", {})}, params={"text": {"to": ["a.text"]}})
    assert "no Unicode text" in told(cli, file, "--text", "\udcff")[1]
    assert "no Unicode text" in told(cli, file, "--set", "a.text=\udcff")[1]
    assert told(cli, "name\udcff")[0] == "missing_file"


def test_files_that_are_not_there_or_no_files(cli: Run, home: Path) -> None:
    assert told(cli, "nosuch.json") == (
        "missing_file",
        "there is no file 'nosuch.json' | check the path",
    )
    assert told(cli, "text_to_imag")[1].endswith("did you mean 'text_to_image'?")
    (home / "folder").mkdir()
    assert "Is a directory" in told(cli, "folder")[1]
    assert told(cli, "x" * 5000)[0] in ("bad_file", "missing_file")
    assert told(cli, "x" * 5000 + ".json")[0] in ("bad_file", "missing_file")
    assert "too large" in told(cli, "/dev/zero")[1]


def test_a_file_too_large_for_a_workflow(cli: Run, home: Path) -> None:
    with (home / "huge.json").open("wb") as stream:
        stream.truncate(5 * 2**30)
    assert "too large" in told(cli, "huge.json")[1]


def test_a_picture_without_a_workflow(cli: Run, home: Path) -> None:
    Image.new("RGB", (4, 4)).save(home / "plain.png")
    assert told(cli, "plain.png")[0] == "no_workflow"
    Image.new("RGB", (4, 4)).save(home / "plain.jpg")
    assert told(cli, "plain.jpg")[0] == "not_json"


SUM = ("add", {"a": 1})


@pytest.mark.parametrize(
    ("nodes", "code", "words"),
    [
        ({"x": ("ad", {})}, "unknown_type", "did you mean 'test.add'?"),
        ({"x": ("add", {"a": 1, "bb": 2})}, "unknown_input", "did you mean 'b'?"),
        ({"x": ("add", {})}, "missing_input", "give it a value or a link"),
        ({"x": ("add", {"a": "1"})}, "wrong_type", "write 1 without quotes"),
        ({"x": ("add", {"a": "one"})}, "wrong_type", "wanted an integer"),
        ({"x": ("add", {"a": 1.5})}, "wrong_type", "a is 1.5"),
        ({"x": ("add", {"a": True})}, "wrong_type", "a is true"),
        ({"x": ("settings", {"tiled": "false"})}, "wrong_type", "write false without quotes"),
        ({"x": ("settings", {"steps": 1000})}, "out_of_range", "at most 100"),
        ({"x": ("settings", {"size": "larg"})}, "not_in_list", "did you mean 'large'?"),
        ({"x": ("add", {"a": "=y.result"})}, "unknown_node", "there is no node 'y'"),
        ({"s": SUM, "x": ("add", {"a": "=s.resul"})}, "unknown_output", "did you mean 'result'?"),
        ({"s": ("settings", {}), "x": ("add", {"a": "=s.result"})}, "type_mismatch", "wants int"),
        (
            {"x": ("add", {"a": "=y.result"}), "y": ("add", {"a": "=x.result"})},
            "cycle",
            "x → y → x",
        ),
        ({"x": ("read", {"file": "nosuch.txt"})}, "bad_file", "there is no 'nosuch.txt'"),
        ({"x": ("read", {"file": "../secret"})}, "bad_file", "lies outside the input folder"),
        ({"x": ("read", {"file": "/etc/passwd"})}, "bad_file", "lies outside the input folder"),
        ({"x": ("read", {"file": "link.txt"})}, "bad_file", "is a link out of the input folder"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_workflows_that_cannot_run(
    cli: Run, home: Path, nodes: dict[str, Any], code: str, words: str
) -> None:
    (home / "input").mkdir()
    (home / "secret").write_text("secret")
    (home / "input" / "link.txt").symlink_to(home / "secret")
    found, text = told(cli, workflow(home / "w.json", nodes))
    assert found == code
    assert words in text


def test_every_problem_of_a_file_at_once(cli: Run, home: Path) -> None:
    nodes = {
        "a": ("ad", {}),
        "b": ("add", {"a": "x"}),
        "c": ("add", {"a": "=b.nothing"}),
        "d": ("settings", {"steps": 0}),
    }
    file = workflow(home / "w.json", nodes, params={"p": {"to": ["e.x"]}})
    done = cli("check", file, "--json")
    codes = [issue["code"] for issue in done.json["issues"]]
    assert sorted(codes) == [
        "out_of_range",
        "unknown_node",
        "unknown_output",
        "unknown_type",
        "wrong_type",
    ]
    assert "5 problems in" in cli("check", file).err


def test_many_problems_are_listed_in_part(cli: Run, home: Path) -> None:
    file = workflow(home / "w.json", {f"n{i}": ("ad", {}) for i in range(100)})
    assert "and 60 more; --json lists them all" in cli("check", file).err
    assert len(cli("check", file, "--json").json["issues"]) == 100


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (["--out", "taken"], "is no folder"),
        (["--out", "taken/below"], "is no folder"),
        (["--packs", "nosuch"], "there is no folder 'nosuch'"),
        (["--models", "nosuch"], "there is no folder 'nosuch'"),
        (["--input", "taken"], "is no folder"),
        (["--device", "toaster"], "toaster"),
    ],
    ids=str,
)
def test_folders_and_devices_that_cannot_be_used(
    cli: Run, saved: Path, home: Path, option: list[str], words: str
) -> None:
    (home / "taken").write_text("a file")
    code, text = told(cli, saved, *option)
    assert code in ("bad_folder", "bad_setting")
    assert words in text


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("GRAPHENGINE_CACHE_DISK", "lots"),
        ("GRAPHENGINE_PACKS", "not json"),
        ("GRAPHENGINE_OUTPUT", "taken"),
    ],
)
def test_settings_that_are_wrong(
    cli: Run, saved: Path, home: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    (home / "taken").write_text("a file")
    monkeypatch.setenv(name, value)
    done = cli("run", saved, "--json")
    assert (done.code, done.json["status"]) == (2, "invalid")


def test_a_settings_file_that_is_no_toml(cli: Run, saved: Path, home: Path) -> None:
    (home / "graphengine.toml").write_text("output = [")
    done = cli("run", saved, "--json")
    assert done.code == 2
    assert "graphengine.toml" in done.json["issues"][0]["hint"]


def test_a_full_disk_fails_the_step_and_leaves_nothing_half_written(home: Path) -> None:
    file = workflow(home / "w.json", {"save": ("save", {"text": "x" * 100_000})})
    limit = "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
    limit += "resource.setrlimit(resource.RLIMIT_FSIZE, (50_000, 50_000));"
    (home / "sitecustomize.py").write_text(limit)
    import os

    done = finished("run", file, "--json", env={**os.environ, "PYTHONPATH": str(home)})
    assert done.code == 1
    [failed] = done.json["failed"]
    assert (failed["node"], failed["code"]) == ("save", "bad_file")
    assert "can't be written" in failed["message"]
    assert "free some space" in failed["hint"]
    assert list((home / "output").iterdir()) == []


def test_an_output_folder_that_vanishes_fails_the_step(cli: Run, home: Path) -> None:
    file = workflow(home / "w.json", {"save": ("save", {})})
    (home / "out").mkdir()
    (home / "out" / "sub").write_text("a file")
    (home / "packs" / "deeper.py").write_text(
        "from graphengine import Artifact, Files, node\n"
        "@node(category='test', sink=True)\n"
        "def save_deep(files: Files) -> Artifact:\n"
        "    '''Save below a file.'''\n"
        "    return files.write('output', 'sub/note', '.txt', b'', 'text/plain')\n"
    )
    file = workflow(home / "w.json", {"save": ("save_deep", {})})
    done = cli("run", file, "--out", "out")
    assert done.code == 1
    assert "can't be written" in done.err


def test_unknown_commands_and_options(cli: Run) -> None:
    for arguments in (["rum"], ["run", "--jsn"], ["--nonsense"]):
        done = cli(*arguments, "--json")
        assert done.code == 2
        assert json.loads(done.out)["status"] == "invalid"
