"""The params of a workflow as flags: names, types, help."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Run, workflow

NAMES = ("text", "steps", "strength", "tiled", "mood", "size", "seed", "words", "maybe")


@pytest.fixture
def file(home: Path) -> Path:
    """A workflow whose params are every kind of value."""
    params: dict[str, Any] = {name: {"to": [f"it.{name}"]} for name in NAMES}
    params["text"]["help"] = "What it says [red]so[/red]"
    params["out"] = {"to": ["it.text"]}
    params["negative_prompt"] = {"to": ["it.text"]}
    params["ghost"] = {"to": ["it.missing"]}
    nodes = {"it": ("settings", {"steps": 30})}
    return workflow(
        home / "w.json", nodes, title="All [kinds]", params=params, outputs={"seen": "it.result"}
    )


def sound(file: Path) -> Path:
    """The same workflow without the param that leads nowhere."""
    file.write_text(file.read_text().replace(', "ghost": {"to": ["it.missing"]}', ""))
    return file


def shown(text: str) -> str:
    return re.sub(r"[│╭╮╰╯─\s]+", " ", text)


@pytest.mark.parametrize(
    ("given", "seen"),
    [
        (["--text", '"1"'], "'\"1\"'"),
        (["--text", "-dash"], "'-dash'"),
        (["--text="], "''"),
        (["--steps", "7"], "7"),
        (["--strength", "1"], "1"),
        (["--strength=.5"], "0.5"),
        (["--tiled"], "True"),
        (["--no-tiled"], "False"),
        (["--mood", "wild"], "'wild'"),
        (["--size", "large"], "'large'"),
        (["--words", '["x", "y"]'], "['x', 'y']"),
        (["--maybe", "3"], "3"),
        (["--param-out", "renamed"], "'renamed'"),
        (["--negative-prompt", "none"], "'none'"),
    ],
    ids=str,
)
def test_flags_are_typed(cli: Run, file: Path, given: list[str], seen: str) -> None:
    assert seen in cli("run", sound(file), "--json", *given).json["results"]["seen"]


@pytest.mark.parametrize(
    ("given", "code", "hint"),
    [
        (["--steps", "0"], "out_of_range", "it takes at least 1, at most 100"),
        (["--steps", "many"], "wrong_type", None),
        (["--steps", "1.5"], "wrong_type", None),
        (["--strength", "nan"], "wrong_type", None),
        (["--mood", "wyld"], "not_in_list", "did you mean 'wild'?"),
        (["--size", "huge"], "not_in_list", "one of: small, large"),
        (["--seed", "-1"], "out_of_range", None),
    ],
    ids=str,
)
def test_wrong_values_name_the_flag(
    cli: Run, file: Path, given: list[str], code: str, hint: str | None
) -> None:
    done = cli("run", sound(file), "--json", *given)
    [issue] = done.json["issues"]
    assert (done.code, issue["code"]) == (2, code)
    assert given[0] in issue["message"]
    assert hint is None or issue["hint"] == hint


def test_everything_that_is_wrong_is_told_at_once(cli: Run, file: Path) -> None:
    given = ["--steps", "0", "--size", "huge", "--set", "it.moood=1", "--set", "nonsense"]
    places = [
        (issue["node"], issue["input"])
        for issue in cli("check", file, "--json", *given).json["issues"]
    ]
    assert places == [("it", "steps"), ("it", "size"), ("it", "moood"), (None, None), ("it", None)]


@pytest.mark.parametrize(
    "given", [["--stepz", "1"], ["--steps"], ["--out"], ["word"], ["--tiled=maybe"]], ids=str
)
def test_flags_that_do_not_exist_or_lack_a_value(cli: Run, file: Path, given: list[str]) -> None:
    done = cli("run", sound(file), "--json", *given)
    assert (done.code, done.json["issues"][0]["code"]) == (2, "bad_argument")
    done = cli("run", file, *given)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert "--help` tells what can be given" in done.err


def test_flags_before_the_file_are_told_to_stand_behind_it(cli: Run, file: Path) -> None:
    done = cli("run", "--steps", "3", file)
    assert done.code == 2
    assert "FILE comes first" in done.err


def test_help_shows_type_range_default_and_text(
    cli: Run, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    done = cli("run", file, "--help")
    text = shown(done.out)
    assert done.code == 0
    assert "Params of All [kinds]" in text
    assert "--text TEXT What it says [red]so[/red] [default: a house]" in text
    assert "--steps INTEGER How many. [1 to 100] [default: 30]" in text
    assert "--strength NUMBER Strength [0 to 1] [default: 0.5]" in text
    assert "--tiled --no-tiled Tiled [default: no]" in text
    assert "--mood NAME Mood [one of: calm, wild] [default: calm]" in text
    assert "--seed INTEGER Seed [at least 0] [default: 0]" in text
    assert '--words JSON Words [default: ["one"]]' in text
    assert "--param-out TEXT" in text
    assert "it feeds it.missing, which is not known here" in text
    assert "--fail-fast" in text


@pytest.mark.parametrize("command", ["run", "check"])
def test_help_without_a_file(cli: Run, command: str) -> None:
    assert "NODE.INPUT=VALUE" in cli(command, "--help").out
    alone = cli(command)
    assert alone.code == 2
    assert "Usage:" in alone.out


def test_params_with_odd_and_equal_names_all_get_a_flag(cli: Run, home: Path) -> None:
    names = ["a b", "a_b", "a-b", "--", "größe", "json", "set"]
    params = {name: {"to": ["it.text"]} for name in names}
    file = workflow(
        home / "w.json", {"it": ("settings", {})}, params=params, outputs={"seen": "it.result"}
    )
    for flag in (
        "--a-b",
        "--param-a-b",
        "--param-a-b-2",
        "--value",
        "--größe",
        "--param-json",
        "--param-set",
    ):
        assert "'here'" in cli("run", file, "--json", flag, "here").json["results"]["seen"]


def test_help_names_the_files_that_are_there(cli: Run, home: Path) -> None:
    (home / "input").mkdir()
    for name in ("a-one.txt", "a-two.txt"):  # before those that ship with the workflows
        (home / "input" / name).write_text("")
    file = workflow(home / "w.json", {"it": ("read", {})}, params={"file": {"to": ["it.file"]}})
    told = shown(cli("run", file, "--help").out)
    assert "--file FILE File [there are: a-one.txt, a-two.txt, castle.png" in told
