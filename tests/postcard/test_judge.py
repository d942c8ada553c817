"""The judge reads what rendered scenes show, and marks are counted as one would by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from graphengine import FileError, GraphEngineError
from graphengine.figures import bar_chart, marked_sheet
from graphengine.postcard import judge
from graphengine.postcard.caption import held_captions, random_captions
from graphengine.postcard.marks import Marks, misses, score
from graphengine.postcard.render import render
from graphengine.postcard.world import ATTRIBUTES, held_out
from graphengine_nodes import judge as nodes

FRESH = 10_000_000
"""Scenes from here on were never in the judge's training."""


@pytest.fixture(autouse=True)
def _one_thread() -> Any:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def fresh() -> tuple[list[Image.Image], list[dict[str, str]]]:
    scenes = [judge.scene(FRESH + i) for i in range(128)]
    return [render(scene)[0] for scene in scenes], [scene.attributes() for scene in scenes]


def test_the_shipped_judge_is_small_and_reads_rendered_scenes(fresh: Any) -> None:
    pictures, shown = fresh
    marks = score(judge.load().read(pictures), shown)
    assert np.mean([marks.share_of(name) for name in ATTRIBUTES]) >= 0.97
    assert min(marks.share_of(name) for name in ATTRIBUTES) >= 0.9
    weights = judge.JUDGE / judge.WEIGHTS
    assert weights.stat().st_size <= 800_000
    assert sum(t.numel() for t in load_file(weights).values()) <= 400_000


def test_pictures_may_be_tensors_of_any_size_and_with_transparency(fresh: Any) -> None:
    pictures, _ = fresh
    reader = judge.load()
    plain = reader.read(pictures[:16])
    pixels = torch.from_numpy(np.stack([np.asarray(p) for p in pictures[:16]])).float() / 255
    assert reader.read(pixels) == plain
    assert reader.read(torch.cat([pixels, torch.ones(16, 128, 128, 1)], 3)) == plain
    assert reader.read([p.convert("RGBA") for p in pictures[:16]]) == plain
    large = [p.resize((512, 512), Image.Resampling.BICUBIC) for p in pictures[:16]]
    assert score(reader.read(large), plain).share > 0.97
    assert reader.read([]) == []


def test_marks_are_counted() -> None:
    read = [{"kind": "tree", "sky": "day"}, {"kind": "car", "sky": "night"}]
    stated = [{"kind": "tree", "kind2": "tent"}, {"kind": "tent", "sky": "night"}]
    marks = score(read, stated)
    assert marks == Marks({"kind": 2, "sky": 1}, {"kind": 1, "sky": 1})
    assert marks.share == pytest.approx(2 / 3)
    assert (marks.share_of("kind"), marks.share_of("sky"), marks.share_of("birds")) == (0.5, 1, 0)
    assert misses(read[1], stated[1]) == ["kind: car, not tent"]
    assert misses(read[0], stated[0]) == []
    assert score([], []).share == 0
    with pytest.raises(GraphEngineError, match="2 pictures were read, but 1 captions"):
        score(read, stated[:1])


def test_captions_of_the_exam() -> None:
    held = held_captions(20, 3)
    assert all(held_out(scene) and "kind" in caption.stated for scene, caption in held)
    assert [c.text for _, c in held] == [c.text for _, c in held_captions(20, 3)]
    assert [c.text for _, c in held] != [c.text for _, c in held_captions(20, 4)]
    assert [c for _, c in held[:5]] == [c for _, c in held_captions(5, 3)]
    usual = random_captions(20, 3)
    assert not any(held_out(scene) for scene, _ in usual)
    for scene, caption in (*held, *usual):
        assert caption.stated.items() <= scene.attributes().items()


def test_a_folder_that_holds_no_judge(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="is no judge"):
        judge.load(tmp_path)
    judge.save(judge.load(), tmp_path)
    config = json.loads((tmp_path / judge.CONFIG).read_text())
    (tmp_path / judge.CONFIG).write_text(json.dumps(config | {"hidden": 8}))
    with pytest.raises(FileError, match="is no judge"):
        judge.load(tmp_path)
    (tmp_path / judge.CONFIG).write_text(json.dumps(config))
    (tmp_path / judge.WEIGHTS).write_bytes(b"nothing")
    with pytest.raises(FileError, match="is no judge"):
        judge.load(tmp_path)


def test_training_goes_on_to_the_bit(tmp_path: Path) -> None:
    settings = {"scenes": 8, "steps": 3, "batch": 4}
    straight = judge.train(tmp_path / "straight", **settings).state_dict()
    judge.train(tmp_path / "broken", **settings, stop_at=1)
    resumed = judge.train(tmp_path / "broken", **settings).state_dict()
    assert all(torch.equal(straight[name], resumed[name]) for name in straight)


def test_nodes_mark_true_pictures_right_and_wrong_ones_wrong() -> None:
    made = held_captions(6, 2024)
    text, stated, seed = nodes.captions(count=6, first_seed=2**64 - 2)
    assert text == [caption.text for _, caption in made]
    assert seed == [2**64 - 2, 2**64 - 1, 0, 1, 2, 3]
    pictures = [
        torch.from_numpy(np.array(render(scene)[0]))[None].float() / 255 for scene, _ in made
    ]
    found = nodes.read([torch.cat(pictures[:2]), *pictures[2:]]).read
    assert nodes.score(found, stated).share > 0.95
    assert nodes.score(found[1:] + found[:1], stated).share < 0.8
    chart = nodes.chart(nodes.score(found, stated).marks)
    sheet = nodes.sheet(pictures, text, found, stated, most=5)
    for figure in (chart, sheet):
        assert figure.shape[0] == 1 and figure.shape[2:] == (1600, 3)
        assert figure.min() >= 0 and figure.max() <= 1 and figure.std() > 0.05
    with pytest.raises(GraphEngineError, match="6 pictures, 5 captions"):
        nodes.sheet(pictures, text[:5], found, stated)
    with pytest.raises(GraphEngineError, match="nothing that the judge reads"):
        nodes.chart(Marks())


def test_bars_are_as_long_as_their_shares() -> None:
    def coloured(share: float | None) -> int:
        figure = bar_chart(["a"], [share], notes=["of 4"])[0]
        blue = figure[..., 2] - figure[..., 0]
        return int((blue > 0.4).sum())

    whole = coloured(1.0)
    assert coloured(None) == 0 and coloured(0.0) < 0.02 * whole
    assert coloured(0.25) == pytest.approx(whole / 4, rel=0.03)
    with pytest.raises(GraphEngineError, match="1 shares for 2 bars"):
        bar_chart(["a", "b"], [1.0])
    with pytest.raises(GraphEngineError, match="not 0 to 1"):
        bar_chart(["a"], [1.5])
    with pytest.raises(GraphEngineError, match="something to show"):
        bar_chart([], [])


def test_a_sheet_marks_what_is_missing() -> None:
    picture = torch.zeros(16, 24, 3)

    def orange(missed: list[str]) -> int:
        sheet = marked_sheet([picture], ["a tree"], [missed], columns=1)[0]
        return int((sheet[..., 0] - sheet[..., 2] > 0.5).sum())

    assert orange([]) == 0
    assert 0 < orange(["kind: car, not tree"]) < orange(["kind: car, not tree", "sky: day"])
    with pytest.raises(GraphEngineError, match="1 pictures, 2 captions"):
        marked_sheet([picture], ["a", "b"], [[]])
