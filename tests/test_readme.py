"""What README shows works: its Python runs as it stands, and so do its command lines."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from graphengine import read_workflow
from graphengine.cli import main
from graphengine.settings import Settings
from graphengine_workflows import __path__ as workflow_folders

README = (Path(__file__).parent.parent / "README.md").read_text()


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def command_lines() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [
        shlex.split(line, comments=True)[1:] for line in lines if line.startswith("graphengine ")
    ]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a cache of its own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GRAPHENGINE_CACHE", str(tmp_path / "cache"))
    assert Settings().cache == tmp_path / "cache"
    return tmp_path


def test_python_blocks_run_in_order(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, object] = {"__name__": "readme"}
    for number, block in enumerate(blocks("python")):
        exec(compile(block, f"README.md, Python block {number}", "exec"), namespace)
    report = namespace["report"]
    assert report["image"].shape == (1, 128, 128, 3)  # type: ignore[index]
    assert [saved.artifact.path.parent.name for saved in report.artifacts] == ["output"]  # type: ignore[attr-defined]
    printed = capsys.readouterr().out
    assert "sample 8 of 8" in printed
    assert '"prompt"' in printed, "the built graph is printed as a workflow"


def test_command_lines_run(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundled = Path(next(iter(workflow_folders))) / "text_to_image.json"
    (home / "my_workflow.json").write_text(bundled.read_text())
    seen = command_lines()
    assert len(seen) >= 6
    for arguments in seen:
        assert main(arguments) == 0, (
            f"graphengine {shlex.join(arguments)}: {capsys.readouterr().err}"
        )
    assert len(list((home / "output").glob("*.png"))) >= 2


def test_the_first_line_of_commands_names_a_bundled_workflow() -> None:
    first = next(line for block in blocks("sh") for line in block.splitlines())
    name = re.search(r"graphengine run (\w+)", first)
    assert name is not None
    assert read_workflow(Path(next(iter(workflow_folders))) / f"{name[1]}.json").title
