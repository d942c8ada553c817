"""Every bundled workflow is sound, says what its params do, and runs on the model that ships."""

from __future__ import annotations

from pathlib import Path

import pytest

from graphengine import Settings, Workflow, default_engine, read_workflow
from graphengine_workflows import __path__ as workflow_folders

FILES = sorted(path for folder in workflow_folders for path in Path(folder).glob("*.json"))


FEW = {"steps": 2, "pictures": 8, "every": 1, "count": 2, "batch": 2}
"""Params that make a workflow long, where it has them, and what is enough here."""


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    folders = {name: tmp_path / name for name in ("input", "output", "temp", "workflows", "cache")}
    return Settings(**folders, models=(tmp_path / "models",), packs=(), device="cpu")


def test_there_are_workflows() -> None:
    assert "text_to_image" in [path.stem for path in FILES]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_is_canonical_and_documented(path: Path) -> None:
    workflow = read_workflow(path)
    assert path.read_text() == workflow.text(), "not in the canonical form: save Workflow.text()"
    assert workflow.title
    assert workflow.description
    assert set(workflow.layout) == set(workflow.nodes)
    assert [name for name, param in workflow.params.items() if not param.help] == []


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_runs_with_few_steps_and_then_is_cached(path: Path, settings: Settings) -> None:
    workflow: Workflow = read_workflow(path)
    few = {name: value for name, value in FEW.items() if name in workflow.params}
    report = default_engine(settings).run(path, **few)
    assert report.status == "success"
    assert all(saved.artifact.is_whole() for saved in report.artifacts)
    again = default_engine(settings).run(path, **few)
    assert (again.executed, set(again.cached)) == ((), set(workflow.nodes))
