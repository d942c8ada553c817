"""Ctrl-C at any moment: one answer, exit code 130, no traceback."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.conftest import command, workflow


@contextmanager
def started(*arguments: object) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        command(*arguments), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def wait_for(path: Path) -> None:
    deadline = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < deadline, "it did not start"
        time.sleep(0.01)


def cancelled(process: subprocess.Popen[str], seconds: float = 60) -> tuple[str, str]:
    """Streams of a process that ends cancelled."""
    out, err = process.communicate(timeout=seconds)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    return out, err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_is_cancelled_at_the_next_report(home: Path, number: signal.Signals) -> None:
    nodes = {
        "first": ("add", {"a": 1}),
        "slow": ("slow", {"a": "=first.result"}),
        "save": ("save", {"value": "=slow.result"}),
    }
    with started("run", workflow(home / "w.json", nodes), "--json") as process:
        wait_for(home / "started")
        process.send_signal(number)
        out, _ = cancelled(process)
    answer = json.loads(out)
    assert (answer["status"], answer["outputs"], answer["failed"]) == ("cancelled", [], [])
    assert "first" in answer["executed"]


def test_a_cancelled_run_says_so_in_words(home: Path) -> None:
    with started("run", workflow(home / "w.json", {"slow": ("slow", {})})) as process:
        wait_for(home / "started")
        process.send_signal(signal.SIGINT)
        out, err = cancelled(process)
    assert out == ""
    assert "cancelling at the next progress report; Ctrl-C again ends at once" in err
    assert "cancelled after" in err


def test_a_second_one_ends_a_step_that_does_not_listen(home: Path) -> None:
    with started(
        "run", workflow(home / "w.json", {"slow": ("slow", {"stubborn": True})}), "--json"
    ) as process:
        wait_for(home / "started")
        process.send_signal(signal.SIGINT)
        with pytest.raises(subprocess.TimeoutExpired):
            process.communicate(timeout=0.5)
        process.send_signal(signal.SIGINT)
        out, _ = cancelled(process)
    assert json.loads(out)["status"] == "cancelled"


def test_while_a_pack_is_imported(home: Path) -> None:
    late = "import pathlib, time\npathlib.Path('started').touch()\ntime.sleep(30)\n"
    (home / "packs" / "a_late_one.py").write_text(late)
    with started("run", workflow(home / "w.json", {}), "--json") as process:
        wait_for(home / "started")
        process.send_signal(signal.SIGINT)
        out, _ = cancelled(process)
    assert json.loads(out)["status"] == "cancelled"


def test_while_the_workflow_is_read(home: Path) -> None:
    os.mkfifo(home / "w.json")
    with started("check", "w.json") as process, (home / "w.json").open("w"):
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        out, err = cancelled(process)
    assert out == ""
    assert "cancelled" in err


@pytest.mark.parametrize("moment", [0.0, 0.03, 0.1, 0.2, 0.4])
def test_at_any_moment_of_the_start(home: Path, moment: float) -> None:
    file = workflow(home / "w.json", {"slow": ("slow", {"seconds": 1000})})
    line = ["run", "--packs", "packs", str(file), "--json"]
    code = f"""if True:
        import signal, sys
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
        from graphengine.cli import main
        print('begun', flush=True)
        sys.exit(main({line!r}))
    """
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    time.sleep(moment)
    process.send_signal(signal.SIGINT)
    out, _ = cancelled(process)
    assert json.loads(out)["status"] == "cancelled"
