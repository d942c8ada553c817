"""Pictures with captions: folders as people have them, and the drawn world."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graphengine import FileError, ModelError
from graphengine.postcard.data import scene
from graphengine.postcard.dataset import World
from graphengine.postcard.render import render
from graphengine.training import depth_pictures, picture_set, read_folder


def paint(
    path: Path, colour: tuple[int, ...] = (255, 0, 0), size: tuple[int, int] = (40, 20)
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB" if len(colour) == 3 else "RGBA", size, colour).save(path)


def test_captions_stand_beside_pictures(tmp_path: Path) -> None:
    paint(tmp_path / "b.png")
    paint(tmp_path / "a.jpg", (0, 0, 255))
    paint(tmp_path / ".hidden" / "c.png")
    (tmp_path / "a.txt").write_text("a blue sheet\n\nnothing but blue\n")
    (tmp_path / "b.txt").write_text("\ufeffa red sheet", encoding="utf-8")
    dataset = read_folder(tmp_path, "digest", 16)
    assert len(dataset) == 2
    assert dataset.captions(0) == ("a blue sheet", "nothing but blue")
    assert dataset.captions(1) == ("a red sheet",)
    pictures = dataset.pictures([1, 0])
    assert pictures.shape == (2, 16, 16, 3)
    assert torch.allclose(pictures[0, 8, 8], torch.tensor([1.0, 0.0, 0.0]))
    assert pictures[1, 8, 8, 2] > 0.9


@pytest.mark.parametrize("table", ["metadata.jsonl", "metadata.csv"])
def test_captions_stand_in_a_table_as_hugging_face_has_it(tmp_path: Path, table: str) -> None:
    paint(tmp_path / "train" / "a.png")
    rows = [{"file_name": "a.png", "text": "one, two"}, {"file_name": "a.png", "text": "three"}]
    if table.endswith("csv"):
        text = 'file_name,text\na.png,"one, two"\na.png,three\n'
    else:
        text = "\n".join(json.dumps(row) for row in rows)
    (tmp_path / "train" / table).write_text(text)
    assert read_folder(tmp_path, "", 16).captions(0) == ("one, two", "three")


def test_missing_captions_are_named_with_the_remedy(tmp_path: Path) -> None:
    for name in "abcde":
        paint(tmp_path / f"{name}.png")
    (tmp_path / "a.txt").write_text("told")
    (tmp_path / "b.txt").write_text("  \n")
    with pytest.raises(
        FileError, match="4 of 5 pictures .* no caption: b.png, c.png, d.png, ..."
    ) as e:
        read_folder(tmp_path, "", 16)
    assert "b.txt" in str(e.value.hint) and "metadata.jsonl" in str(e.value.hint)
    assert read_folder(tmp_path, "", 16, empty_captions=True).captions(1) == ("",)


def test_folders_that_are_none_and_bad_tables(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="no pictures in the folder"):
        read_folder(tmp_path, "", 16)
    paint(tmp_path / "a.png")
    with pytest.raises(FileError, match="is no folder"):
        read_folder(tmp_path / "a.png", "", 16)
    (tmp_path / "metadata.jsonl").write_text('{"file_name": "a.png", "text": "x"}\n{broken')
    with pytest.raises(FileError, match="line 2 of metadata.jsonl is no JSON"):
        read_folder(tmp_path, "", 16)
    (tmp_path / "metadata.jsonl").write_text('{"file": "a.png"}')
    with pytest.raises(FileError, match="line 1 of metadata.jsonl names no picture"):
        read_folder(tmp_path, "", 16)


def test_odd_pictures_become_square_and_opaque(tmp_path: Path) -> None:
    paint(tmp_path / "wide.png", (0, 0, 0, 0), (90, 30))
    Image.fromarray(np.full((9, 50), 65535, dtype=np.uint16)).save(tmp_path / "deep.png")
    Image.new("P", (20, 33)).save(tmp_path / "palette.gif")
    dataset = read_folder(tmp_path, "", 24, empty_captions=True)
    pictures = dataset.pictures(range(3))
    assert pictures.shape == (3, 24, 24, 3)
    assert torch.isfinite(pictures).all()
    names = [name for name, _ in dataset.entries]
    assert pictures[names.index("wide.png")].mean() == 1, "transparent is white"
    assert pictures[names.index("deep.png")].mean() > 0.99


def test_the_world_is_the_one_that_postcard_was_trained_on() -> None:
    world = World(128, 4, 7)
    image, far = render(scene(7, 2))
    pictures, captions = picture_set(world, 2, 5)
    assert len(pictures) == len(captions) == 2
    assert np.array_equal((pictures[0] * 255).round().numpy().astype(np.uint8), np.asarray(image))
    assert torch.allclose(world.depth([2])[0], torch.from_numpy(1 / far))
    assert len(world.captions(0)) == 3
    small = depth_pictures(World(32, 4, 7), 2, 1)
    assert small.shape == (1, 32, 32, 3) and small.min() == 0 and small.max() == 1
    with pytest.raises(ModelError, match="no picture 9 in a set of 4"):
        picture_set(world, 9, 1)


def test_parts_of_the_world() -> None:
    world = World(128, 5, 3, kind="castle", style="watercolour")
    for index in range(5):
        told = world.scene(index).attributes()
        assert (told["kind"], told["style"]) == ("castle", "watercolour")
    with pytest.raises(ModelError, match="no scene of kind"):
        for sky in ("day", "sunset", "night", "overcast"):
            for kind in ("house", "lighthouse", "tree", "castle", "balloon"):
                World(128, 1, 1, kind=kind, sky=sky).scene(0)  # type: ignore[arg-type]


def test_folders_don_t_know_depth(tmp_path: Path) -> None:
    paint(tmp_path / "a.png")
    with pytest.raises(ModelError, match="nobody has measured"):
        read_folder(tmp_path, "", 16, empty_captions=True).depth([0])
