"""Confined folders, content digests, sinks and their artifacts."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import Annotated, Any

import pytest

import graphengine.files as files_module
from graphengine import Artifact, File, FileError, Files, node
from graphengine.cache import DiskCache, NoCache
from graphengine.storage import Arrays, Storage


@node
def read(file: Annotated[Path, File("input")]) -> str:
    return file.read_text() if file.is_file() else "folder"


@node(sink=True)
def save(files: Files, text: str, name: str = "out") -> Artifact:
    return files.write("output", name, ".txt", text.encode(), "text/plain")


@node(sink=True)
def save_all(files: Files, items: list[str]) -> list[Artifact]:
    return [files.write("output", "many", ".txt", item.encode(), "text/plain") for item in items]


@pytest.fixture
def lab(board: Any) -> Any:
    board.build([read, save, save_all], supply=lambda kind: board.files)
    return board


def test_content_counts_and_touching_does_not(lab: Any) -> None:
    file = lab.folder / "input" / "a.txt"
    ran = []
    for content, stamp in [("one", 1), ("one", 2), ("two", 2), ("two", 1), ("one", 1)]:
        file.write_text(content)
        os.utime(file, (stamp, stamp))
        report = lab.run("r = read(file='a.txt')")
        assert report["r.result"] == content
        ran.append(bool(report.executed))
    assert ran == [True, False, True, False, False]


def test_a_folder_is_read_by_names_and_contents(lab: Any) -> None:
    folder = lab.folder / "input" / "model"
    (folder / "unet").mkdir(parents=True)
    digests = []
    (folder / "unet" / "a.bin").write_text("one")
    digests.append(lab.files.digest(folder))
    (folder / ".DS_Store").write_text("noise")
    digests.append(lab.files.digest(folder))
    (folder / "unet" / "a.bin").write_text("two")
    digests.append(lab.files.digest(folder))
    (folder / "unet" / "a.bin").rename(folder / "unet" / "b.bin")
    digests.append(lab.files.digest(folder))
    assert digests[0] == digests[1] and len(set(digests)) == 3


def test_digests_are_remembered_for_settled_files(tmp_path: Path, monkeypatch: Any) -> None:
    file = tmp_path / "model.bin"
    file.write_bytes(b"x" * 1000)
    read = []
    real = files_module.file_digest
    monkeypatch.setattr(files_module, "file_digest", lambda path: read.append(path) or real(path))
    memory = tmp_path / "cache" / "digests.json"

    def digest() -> str:
        return Files({"input": [tmp_path]}, memory).digest(file)

    digest(), digest()
    assert len(read) == 2  # it is too young for its times to be trusted
    monkeypatch.setattr(files_module, "SETTLED", 0)
    read.clear()
    first = digest()
    assert digest() == first and len(read) == 1
    file.write_bytes(b"y" * 1000)
    assert digest() != first
    memory.write_text("{]")
    assert len(digest()) == 64
    memory.write_text(json.dumps({str(file): 3}))
    assert len(digest()) == 64


def test_sinks_number_their_files(lab: Any) -> None:
    texts = "t{} = text(value='{}')\ns{} = save(text=t{}.result)"
    report = lab.run("\n".join(texts.format(i, i, i, i) for i in range(3)))
    names = {saved.artifact.path.name for saved in report.artifacts}
    assert names == {"out_00001.txt", "out_00002.txt", "out_00003.txt"}
    assert {saved.output for saved in report.artifacts} == {"artifact"}
    (lab.folder / "output" / "out_00002.txt").unlink()
    assert lab.files.write("output", "out", ".txt", b"", "text/plain").path.name == "out_00004.txt"


@pytest.mark.parametrize("disk", [False, True])
def test_a_file_deleted_or_changed_is_made_again(lab: Any, disk: bool) -> None:
    flow = "t = text(value='x')\ns = save(text=t.result)"

    def fresh() -> None:
        if disk:
            cache = DiskCache(lab.folder / "cache", 2**20, Storage(Arrays()))
            lab.build([save], supply=lambda kind: lab.files, cache=cache)

    fresh()
    (first,) = lab.run(flow).artifacts
    fresh()
    report = lab.run(flow)
    assert report.executed == () and report.artifacts == (first,)
    first.artifact.path.unlink()
    fresh()
    report = lab.run(flow)
    assert report.executed == ("s",) and report.artifacts[0].artifact.path.exists()
    fresh()
    assert lab.run(flow).executed == ()
    report.artifacts[0].artifact.path.write_text("y")
    fresh()
    assert lab.run(flow).executed == ("s",)
    fresh()
    assert lab.run(flow).executed == ()


def test_one_of_many_artifacts_deleted(lab: Any) -> None:
    flow = "s = save_all(items=['a', 'b'])"
    saved = lab.run(flow).artifacts
    assert len(saved) == 2 and lab.run(flow).executed == ()
    saved[1].artifact.path.unlink()
    assert lab.run(flow).executed == ("s",)


def test_another_output_folder_gets_its_own_files(lab: Any) -> None:
    flow = "t = text(value='x')\ns = save(text=t.result)"
    lab.run(flow)
    other = lab.folder / "elsewhere"
    lab.files.folders["output"] = (other,)
    report = lab.run(flow)
    assert report.executed == ("s",) and set(report.cached) == {"t"}
    assert (other / "out_00001.txt").exists()


@pytest.mark.parametrize("prefix", ["../x", "/x", "a/../../x", "", ".", "a/..", "x\0y"])
def test_names_that_lead_out_are_refused(lab: Any, prefix: str) -> None:
    with pytest.raises(FileError, match="no name below"):
        lab.files.write("output", prefix, ".txt", b"", "text/plain")


def test_a_link_out_of_the_output_folder_is_refused(lab: Any) -> None:
    (lab.folder / "output" / "out").symlink_to(lab.folder)
    with pytest.raises(FileError, match="leads out"):
        lab.files.write("output", "out/x", ".txt", b"", "text/plain")
    assert lab.files.write("output", "deep/er/x", ".txt", b"1", "text/plain").is_whole()


def test_a_folder_that_can_t_be_written_fails_the_sink_alone(lab: Any) -> None:
    (lab.folder / "file").write_text("in the way")
    lab.files.folders["output"] = (lab.folder / "file",)
    report = lab.run("t = text(value='x')\ns = save(text=t.result)\nu = text(value='y')")
    (failure,) = report.failures
    assert (failure.node, failure.code) == ("s", "bad_file")
    assert "can't be written" in failure.message and "free some space" in str(failure.hint)


def test_nothing_half_written_is_left(lab: Any, monkeypatch: Any) -> None:
    def fail(*args: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "link", fail)
    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(FileError, match="No space left"):
        lab.files.write("output", "x", ".txt", b"data", "text/plain")
    assert list((lab.folder / "output").iterdir()) == []


def test_names(lab: Any) -> None:
    for name in ("b.txt", "a.TXT", "c.bin", ".hidden.txt", "_x.txt"):
        (lab.folder / "input" / name).write_text("")
    (lab.folder / "input" / "model").mkdir()
    assert lab.files.names("input", (".txt",)) == ["a.TXT", "b.txt", "model"]
    with pytest.raises(FileError, match="no folder of the kind"):
        lab.files.names("nothing")


def test_the_first_folder_wins(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text(name)
    (tmp_path / "two" / "y").write_text("y")
    files = Files({"input": [tmp_path / "gone", tmp_path / "one", tmp_path / "two"]})
    assert files.resolve("input", "x").read_text() == "one"
    assert files.resolve("input", "y").read_text() == "y"


def test_an_unchanged_large_file_is_not_read_twice(lab: Any) -> None:
    file = lab.folder / "input" / "a.txt"
    file.write_text("x")
    time.sleep(0)
    assert lab.plan("r = read(file='a.txt')").steps["r"].parts["files"]["file"][0] == str(file)
    lab.build([read], cache=NoCache())
    assert lab.run("r = read(file='a.txt')")["r.result"] == "x"
