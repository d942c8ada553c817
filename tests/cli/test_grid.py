"""`graphengine grid`: what it reads, draws, saves, and says of wrong arguments."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.conftest import Run, workflow

PAINT = '''
from typing import Annotated

from pydantic import Field

from graphengine import node
from graphengine.diffusion import Image


@node(category="test")
def paint(
    shade: Annotated[float, Field(ge=0, le=1)] = 0.5, size: int = 8, text: str = ""
) -> Image:
    """A plain picture."""
    import torch

    return torch.full((1, size, size, 3), shade)
'''


@pytest.fixture
def shade(home: Path) -> Path:
    """A workflow that paints."""
    (home / "packs" / "paint.py").write_text(PAINT)
    params = {name: {"to": [f"paint.{name}"]} for name in ("shade", "size", "text")}
    return workflow(
        home / "shade.json",
        {"paint": ("paint", {"shade": 0.25})},
        title="A shade",
        params=params,
        outputs={"image": "paint.image"},
    )


def cells(answer: dict[str, list[str]]) -> int:
    """How many cells were painted."""
    return sum(name.startswith("grid/paint") for name in answer["executed"])


def test_saves_one_picture_and_prints_its_path(cli: Run, shade: Path, home: Path) -> None:
    done = cli("grid", shade, "--x", "shade=0,0.5,1", "--y", "size=4,8", "--out", "here")
    path = home / "here" / "shade-grid_00001.png"
    assert (done.code, done.out) == (0, f"{path}\n")
    with Image.open(path) as picture:
        assert min(picture.size) > 100
    assert [entry.name for entry in (home / "here").iterdir()] == [path.name]


def test_finished_cells_are_kept_and_new_ones_run(cli: Run, shade: Path) -> None:
    first = cli("grid", shade, "--json", "--x", "shade=0,1").json
    again = cli("grid", shade, "--json", "--x", "shade=0,1").json
    more = cli("grid", shade, "--json", "--x", "shade=0,1,0.5").json
    assert (cells(first), cells(again), cells(more)) == (2, 0, 1)
    assert first["outputs"][0]["node"] == "save"
    assert again["executed"] == []


def test_other_params_are_flags(cli: Run, shade: Path) -> None:
    cli("grid", shade, "--json", "--x", "shade=0,1")
    other = cli("grid", shade, "--json", "--x", "shade=0,1", "--size", "16").json
    same = cli("run", shade, "--json", "--shade", "1", "--size", "16").json
    assert cells(other) == 2
    assert same["cached"] == ["paint"]


def test_texts_with_commas_are_a_json_list(cli: Run, shade: Path) -> None:
    done = cli("grid", shade, "--json", "--x", 'text=["a, b", ""]').json
    assert cells(done) == 2
    assert cells(cli("run", shade, "--json", "--text", "a, b").json) == 0


def test_a_saved_workflow_is_found_by_its_name(cli: Run, shade: Path, home: Path) -> None:
    (home / "workflows").mkdir()
    shade.rename(home / "workflows" / "named.json")
    done = cli("grid", "named", "--x", "shade=0,1")
    assert (done.code, done.out) == (0, f"{home / 'output' / 'named-grid_00001.png'}\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--x", "shade=0,2"), "shade is 2, wanted less than or equal to 1"),
        (("--x", "shade=dark"), 'shade is "dark", wanted a number'),
        (("--x", "shadow=1"), "--x: the workflow has no param 'shadow'"),
        (("--x", "shade"), "--x 'shade' can't be read"),
        (("--x", "shade="), "--x 'shade=' can't be read"),
        (("--x", "shade=[1,"), "the values of shade are no JSON list"),
        (("--y", "shade=1"), "--x is missing"),
        (("--x", "shade=1", "--shade", "0"), "--x varies shade, which is given as a flag too"),
        (("--x", "shade=1", "--size", "big"), "--size"),
        (("--x", "shade=1", "--colour", "red"), "No such option: --colour"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_run(
    cli: Run, shade: Path, home: Path, arguments: tuple[str, ...], said: str
) -> None:
    done = cli("grid", shade, *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in " ".join(done.err.split())
    assert "Traceback" not in done.err
    assert not (home / "output").exists()


def test_all_problems_are_told_at_once(cli: Run, shade: Path) -> None:
    issues = cli("grid", shade, "--json", "--x", "shade=7", "--y", "size=a", "--text", "x").json[
        "issues"
    ]
    assert [issue["code"] for issue in issues] == ["out_of_range", "wrong_type"]


def test_help_shows_the_grid_and_the_params(cli: Run, shade: Path) -> None:
    done = cli("grid", shade, "--help")
    assert done.code == 0
    for word in ("--x", "--y", "PARAM=VALUES", "--shade", "A shade"):
        assert word in done.out
    assert "--x" in cli("grid", "--help").out


def test_needs_a_file(cli: Run, shade: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(shade.read_text()))
    assert "can't be read from stdin" in cli("grid", "-", "--x", "shade=1").err
    assert "no FILE" in cli("grid", "--nope").err
