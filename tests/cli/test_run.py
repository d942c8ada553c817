"""`graphengine run`: what it finds, runs, prints and returns."""

from __future__ import annotations

import io
import time
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

from tests.cli.conftest import Run, finished, workflow


def test_prints_results_on_stdout_and_the_rest_on_stderr(cli: Run, saved: Path, home: Path) -> None:
    done = cli("run", saved)
    path = home / "output" / "note_00001.txt"
    assert (done.code, done.out) == (0, f"total = 3\n{path}\n")
    assert done.err.startswith("done in ")
    assert "2 steps ran" in done.err
    assert path.read_text() == "3"


def test_json_is_one_object_and_nothing_else(cli: Run, saved: Path, home: Path) -> None:
    done = cli("run", saved, "--json", "--out", "elsewhere")
    answer = done.json
    path = str(home / "elsewhere" / "note_00001.txt")
    assert answer.pop("seconds") >= 0
    assert answer == {
        "status": "success",
        "outputs": [
            {"node": "save", "output": "artifact", "path": path, "media_type": "text/plain"}
        ],
        "results": {"total": 3},
        "executed": ["sum", "save"],
        "cached": [],
        "skipped": {},
        "failed": [],
        "issues": [],
    }
    assert done.err == ""


def test_a_second_run_is_cached_and_another_value_runs_again(cli: Run, saved: Path) -> None:
    assert cli("run", saved).code == 0
    assert set(cli("run", saved, "--json").json["cached"]) == {"sum", "save"}
    assert cli("run", saved, "--json", "--b", "5").json["executed"] == ["sum", "save"]
    assert cli("run", saved, "--json", "--no-cache").json["executed"] == ["sum", "save"]


def test_the_same_run_from_another_folder_saves_there(
    cli: Run, saved: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli("run", saved)
    (home / "inner").mkdir()
    monkeypatch.chdir(home / "inner")
    assert cli("run", saved, "--json").json["outputs"][0]["path"] == str(
        home / "inner" / "output" / "note_00001.txt"
    )


def test_explains_what_is_cached_and_what_differs(cli: Run, saved: Path) -> None:
    cli("run", saved)
    explained = cli("run", saved, "--first", "9", "--explain", "--json").json["explain"]
    assert [(step["node"], step["cached"]) for step in explained] == [
        ("sum", False),
        ("save", False),
    ]
    assert "a" in explained[0]["reason"]
    assert "2" in explained[0]["reason"]
    told = cli("run", saved, "--first", "9", "--explain").err
    assert "cached  sum" in told


def test_check_explains_without_running(cli: Run, saved: Path, home: Path) -> None:
    done = cli("check", saved, "--explain")
    assert (done.code, done.out) == (0, "A sum: all is well, 2 steps\n")
    assert "runs    sum" in done.err
    assert not (home / "output").exists()
    assert cli("check", saved, "--json").json["status"] == "success"


def test_a_failing_step_leaves_other_targets_alone(cli: Run, home: Path) -> None:
    nodes = {
        "bad": ("fail", {"a": 4}),
        "behind": ("save", {"value": "=bad.result"}),
        "good": ("save", {"value": 1}),
    }
    file = workflow(home / "w.json", nodes)
    done = cli("run", file)
    assert done.code == 1
    assert "failed: bad (test.fail): ValueError: no luck with 4" in done.err
    assert "with a=4" in done.err
    assert "Traceback" not in done.err
    assert done.out.endswith("note_00001.txt\n")
    answer = cli("run", file, "--json").json
    failed = {
        "node": "bad",
        "type": "test.fail",
        "code": "exception",
        "hint": None,
        "inputs": {"a": "4"},
    }
    assert answer["status"] == "failed"
    assert answer["failed"] == [{**failed, "message": "ValueError: no luck with 4"}]
    assert answer["skipped"] == {"behind": "bad failed"}
    assert "Traceback" in cli("run", file, "--debug").err


def test_fail_fast_stops_everything(cli: Run, home: Path) -> None:
    file = workflow(home / "w.json", {"other": ("slow", {"seconds": 200}), "bad": ("fail", {})})
    started = time.monotonic()
    assert cli("run", file, "--fail-fast").code == 1
    assert time.monotonic() - started < 100


def test_a_blocked_step_is_skipped_with_its_reason(cli: Run, home: Path) -> None:
    file = workflow(
        home / "w.json", {"none": ("block", {}), "save": ("save", {"value": "=none.result"})}
    )
    done = cli("run", file)
    assert done.code == 0
    assert "skipped: save: nothing to do" in done.err


def test_targets_choose_what_runs(cli: Run, saved: Path) -> None:
    assert cli("run", saved, "--target", "sum", "--json").json["executed"] == ["sum"]
    wrong = cli("run", saved, "--target", "sun", "--json")
    assert wrong.code == 2
    assert wrong.json["issues"][0]["hint"] == "did you mean 'sum'?"


def test_runs_a_saved_workflow_by_its_name(cli: Run, saved: Path, home: Path) -> None:
    (home / "workflows").mkdir()
    saved.rename(home / "workflows" / "sum.json")
    assert cli("run", "sum").code == 0


def test_runs_a_picture_that_carries_a_workflow(cli: Run, saved: Path, home: Path) -> None:
    facts = PngImagePlugin.PngInfo()
    facts.add_itxt("graphengine", saved.read_text())
    Image.new("RGB", (4, 4)).save(home / "picture.png", pnginfo=facts)
    assert cli("run", "picture.png", "--json").json["results"] == {"total": 3}


def test_reads_a_workflow_from_stdin(
    cli: Run, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO(saved.read_text()))
    assert cli("run", "-", "--json").json["results"] == {"total": 3}


def test_a_file_whose_name_begins_with_a_dash(cli: Run, saved: Path, home: Path) -> None:
    saved.rename(home / "-odd.json")
    assert cli("run", "./-odd.json").code == 0


def test_sets_any_input_and_takes_its_link_away(cli: Run, saved: Path, home: Path) -> None:
    cli("run", saved, "--set", "save.value=40", "--set", "save.text=2 and so on")
    assert (home / "output" / "note_00001.txt").read_text() == "402 and so on"


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("text=1984", "'1984'"),
        ('text="quoted"', "'quoted'"),
        ("tiled=true", "True"),
        ("strength=1", "1"),
        ("strength=.25", "0.25"),
        ("mood=wild", "'wild'"),
        ('words=["a", "b"]', "['a', 'b']"),
        ("maybe=null", "None"),
        ("maybe=7", "7"),
        ("seed=18446744073709551615", "18446744073709551615"),
    ],
)
def test_set_reads_json_or_else_text(cli: Run, home: Path, given: str, shown: str) -> None:
    file = workflow(home / "w.json", {"it": ("settings", {})}, outputs={"seen": "it.result"})
    assert shown in cli("run", file, "--json", "--set", f"it.{given}").json["results"]["seen"]


def test_what_nodes_print_stays_out_of_the_json(home: Path) -> None:
    file = workflow(home / "w.json", {"loud": ("loud", {})}, outputs={"a": "loud.result"})
    done = finished("run", file, "--json")
    assert done.json["results"] == {"a": 0}
    assert "printed by a node" in done.err
    assert "written by a library" in done.err


def test_a_pack_that_fails_to_load_is_told_and_the_rest_runs(
    cli: Run, saved: Path, home: Path
) -> None:
    (home / "packs" / "broken.py").write_text("import nothing_of_that_name")
    done = cli("run", saved)
    assert done.code == 0
    assert "broken.py: ModuleNotFoundError: No module named 'nothing_of_that_name'" in done.err
    assert "Traceback" not in done.err
    assert "Traceback" in cli("run", saved, "--debug").err


def test_a_long_chain(cli: Run, home: Path) -> None:
    nodes = {"n0": ("add", {"a": 0})}
    nodes |= {f"n{i}": ("add", {"a": f"=n{i - 1}.result"}) for i in range(1, 10_000)}
    file = workflow(home / "w.json", nodes, outputs={"total": "n9999.result"})
    assert cli("check", file).code == 0
    done = cli("run", file, "--no-cache")
    assert (done.code, done.out) == (0, "total = 10000\n")
    assert len(done.err.splitlines()) < 20, "not a line a step"
