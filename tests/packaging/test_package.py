"""What an install carries, and that versions and commands are said once."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import graphengine
from graphengine import cli

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def needed() -> dict[str, str]:
    """Every distribution that graphengine and its dev extra need, with the version that is installed."""
    found: dict[str, str] = {}
    open_ends = [
        Requirement(text)
        for text in [*PROJECT["dependencies"], *PROJECT["optional-dependencies"]["dev"]]
    ]
    while open_ends:
        requirement = open_ends.pop()
        name = canonicalize_name(requirement.name)
        if name in found:
            continue
        found[name] = importlib.metadata.version(name)
        for text in importlib.metadata.requires(name) or []:
            inner = Requirement(text)
            if inner.marker is None or any(
                inner.marker.evaluate({"extra": extra}) for extra in {"", *requirement.extras}
            ):
                open_ends.append(inner)
    return found


def pins() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return dict(line.split("==") for line in lines if line and not line.startswith("#"))  # type: ignore[misc]


def test_every_dependency_is_pinned() -> None:
    assert sorted(set(needed()) - set(pins())) == []


def test_pins_name_no_build_of_one_machine() -> None:
    assert [
        version for version in pins().values() if not re.fullmatch(r"[0-9.]+(\.post\d+)?", version)
    ] == []
    assert "://" not in (ROOT / "constraints.txt").read_text()


def test_the_entry_points_load() -> None:
    scripts = importlib.metadata.entry_points(group="console_scripts", name="graphengine")
    assert [entry.load() for entry in scripts] == [cli.main]
    [pack] = importlib.metadata.entry_points(group="graphengine.packs", name="core")
    assert pack.load().__name__ == "graphengine_nodes"
    assert importlib.metadata.version("graphengine") == graphengine.__version__


def test_bundled_workflows_are_found_from_any_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert (
        importlib.resources.files("graphengine_workflows").joinpath("text_to_image.json").is_file()
    )
    code = "from graphengine import default_engine; print(default_engine().open('text_to_image').title)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    assert done.stdout == "Text to image\n"


def tracked() -> list[str]:
    """The files of the project, those not yet committed too."""
    line = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not in a git checkout")
    return [name for name in done.stdout.splitlines() if (ROOT / name).is_file()]


def test_a_wheel_carries_every_file_of_ours(tmp_path: Path) -> None:
    wanted = [
        name
        for name in tracked()
        if name.startswith(("graphengine/", "nodes/", "web/", "workflows/"))
    ]
    for name in [*wanted, "pyproject.toml", "setup.py", "README.md", "LICENSE"]:
        copy = tmp_path / "source" / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, copy)
    code = f"from setuptools import build_meta; build_meta.build_wheel({str(tmp_path)!r})"
    subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "source", capture_output=True, check=True
    )
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        carried = set(wheel.namelist())
    installed = [re.sub(r"^(nodes|web|workflows)/", r"graphengine_\1/", name) for name in wanted]
    assert [name for name in installed if name not in carried] == []
    assert {name.partition("/")[0].partition("-")[0].partition("_")[0] for name in carried} == {
        "graphengine"
    }


def test_ci_runs_the_test_command_of_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    commands = [line for line in readme.splitlines() if line.endswith("/pytest")]
    assert len(commands) == 1
    assert "-c constraints.txt" in commands[0]
    assert "grep -m 1 '/pytest$' README.md" in (ROOT / ".ci" / "run").read_text()
