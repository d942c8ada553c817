"""What a start costs, what it does not load, and how it looks on a terminal."""

from __future__ import annotations

import os
import pty
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

import graphengine
from tests.cli.conftest import Run, command, finished, workflow

LOADED = "import sys; print(sorted({name.partition('.')[0] for name in sys.modules} & {'torch', 'diffusers', 'transformers'}))"


def seconds(*arguments: str) -> float:
    """What a process takes of a processor, at best of five: the time it takes if nobody else is busy."""
    times = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        times.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    return min(times)


def test_starts_quickly() -> None:
    assert seconds("-c", "import graphengine") < 0.25
    assert seconds("-m", "graphengine", "--help") < 0.5


@pytest.mark.parametrize(
    "arguments",
    [
        ["--help"],
        ["run", "text_to_image", "--help"],
        ["nodes"],
        ["check", "text_to_image", "--explain"],
        ["--version"],
    ],
    ids=" ".join,
)
def test_loads_no_torch_before_a_run(home: Path, arguments: list[str]) -> None:
    code = f"from graphengine.cli import main; main({arguments!r}); {LOADED}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_tells_its_version(cli: Run, capsys: pytest.CaptureFixture[str]) -> None:
    from graphengine.cli import main

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"graphengine {graphengine.__version__}\n"


def test_completion_knows_workflows_by_name(home: Path) -> None:
    environment = {**os.environ, "_GRAPHENGINE_COMPLETE": "complete_bash"}
    environment |= {
        "COMP_WORDS": "graphengine run text_",
        "COMP_CWORD": "2",
        "_TYPER_COMPLETE_ARGS": "graphengine run text_",
    }
    line = [sys.executable, "-c", "import sys; from graphengine.cli import main; sys.exit(main())"]
    done = subprocess.run(line, env=environment, capture_output=True, text=True, check=False)
    assert "text_to_image" in done.stdout.split()


def on_terminal(*arguments: object) -> str:
    """What a command line writes to a terminal of 100 columns."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "30"}
    process = subprocess.Popen(
        command(*arguments), stdin=follower, stdout=follower, stderr=follower, env=environment
    )
    os.close(follower)
    parts = []
    while True:
        try:
            part = os.read(leader, 65536)
        except OSError:  # the other end is closed
            break
        if not part:
            break
        parts.append(part)
    os.close(leader)
    assert process.wait() == 0
    return b"".join(parts).decode()


def test_shows_a_live_board_on_a_terminal(home: Path) -> None:
    nodes = {
        "slow": ("slow", {"seconds": 1.5}),
        "loud": ("loud", {"a": "=slow.result"}),
        "save": ("save", {"value": "=loud.result"}),
    }
    screen = on_terminal("run", workflow(home / "w.json", nodes, title="Slowly"))
    plain = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", screen)
    assert re.search(r"Slowly\s+[━╸╺]+\s+0/3 steps", plain)
    assert re.search(r"slow\s+[━╸╺]+\s+\d+/75, \d+\.\d it/s", plain)
    assert "printed by a node" in plain
    assert plain.rstrip().endswith("note_00001.txt")
    assert screen.rfind("\x1b[?25h") > screen.rfind("\x1b[?25l"), "the cursor is shown again"


def test_is_quiet_when_piped(home: Path) -> None:
    nodes = {"quick": ("add", {"a": 1}), "slow": ("slow", {"seconds": 0.4, "a": "=quick.result"})}
    done = finished("run", workflow(home / "w.json", nodes))
    assert re.fullmatch(
        r"slow \(test\.slow\): \d+\.\d s\ndone in \d+\.\d s: 2 steps ran\n", done.err
    )
    assert "\x1b" not in done.err


def test_whoever_reads_may_stop_reading(home: Path) -> None:
    line = " ".join(command("nodes")) + " | head -1"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.stdout.startswith("node")
    assert done.stderr == ""


@pytest.mark.parametrize(
    "arguments", [["nodes"], ["run", "sum.json"], ["run", "sum.json", "--json"]], ids=" ".join
)
def test_an_answer_that_cannot_be_written_is_told(saved: Path, arguments: list[str]) -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            command(*arguments), stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr.endswith("error: the answer can't be written: No space left on device\n")
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_closed_streams_are_no_crash(saved: Path, closed: str) -> None:
    line = f"{' '.join(command('run', saved))} {closed}"
    done = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=False)
    assert done.returncode == 0
    assert "Traceback" not in done.stderr
