"""The nodes of depth, in an engine, on the models that ship."""

import json

import pytest
import torch
from PIL import Image

from graphengine import Graph, RunError, Settings, default_engine
from graphengine_nodes import checkpoint, depth, image, latent, sample, text


@pytest.fixture
def engine(tmp_path):
    torch.set_num_threads(1)
    names = ("input", "output", "temp", "workflows")
    folders = {name: tmp_path / name for name in names}
    return default_engine(
        Settings(**folders, models=(tmp_path / "models",), packs=(), cache=None, device="cpu")
    )


def test_depth_of_a_picture_of_any_size(engine, tmp_path):
    (tmp_path / "input").mkdir()
    with Image.open(engine.files.resolve("input", "castle.png")) as castle:
        castle.convert("L").resize((201, 90)).save(tmp_path / "input" / "odd.png")
    graph = Graph()
    estimator = graph.add(depth.load, name="postcard")
    picture = graph.add(image.load, file="odd.png")
    found = graph.add(depth.estimate, estimator=estimator, image=picture.image)
    nodes = (
        graph.add(depth.picture, depth=found),
        graph.add(depth.mask, depth=found),
        graph.add(depth.picture, depth=found, colours="magma"),
    )
    grey, mask, colours = (engine.run(graph.returning(node))["result"] for node in nodes)
    assert grey.shape == colours.shape == (1, 90, 201, 3)
    assert torch.equal(grey[..., 0], mask)
    assert (mask.min(), mask.max()) == (0, 1)
    assert mask[0, -5:].mean() > mask[0, :5].mean() + 0.5, "the ground is near, the sky far"


def test_depth_to_image_follows_depth(engine):
    """Two prompts from one depth: each looks as its prompt says, and both stand as the picture."""
    prompts = "a blue castle at night\na white castle by day"
    report = engine.run("depth_to_image", prompt=prompts, steps=8)
    night, day = report["image"]
    assert night.shape == day.shape == (1, 128, 128, 3)
    assert day[0, :40].mean() > night[0, :40].mean() + 0.2
    pictures = [saved.artifact.path.name for saved in report.artifacts]
    assert sorted(name.rsplit("_", 1)[0] for name in pictures) == [
        "depth_map", "depth_to_image", "depth_to_image", "depth_to_image_sheet",
    ]  # fmt: skip
    again = engine.run("depth_to_image", prompt=prompts, steps=8)
    assert all(torch.equal(a, b) for a, b in zip(again["image"], report["image"], strict=True))


def drawn(graph, name, start):
    """Samples with a checkpoint, on the latent that `start` makes of an empty one."""
    model, text_encoder, autoencoder = graph.add(checkpoint.load, name=name)
    prompt = graph.add(text.encode, text_encoder=text_encoder, text="a house")
    empty = graph.add(latent.empty, vae=autoencoder, width=128, height=128)
    return graph.returning(
        graph.add(
            sample.ksampler, model=model, positive=prompt, negative=prompt, latent=start(empty),
            steps=1,
        )
    )  # fmt: skip


def test_a_depth_model_needs_depth(engine):
    with pytest.raises(RunError, match=r"(?s)postcard-depth is a depth model.*depth\.condition"):
        engine.run(drawn(Graph(), "postcard-depth", lambda empty: empty))


def test_an_ordinary_model_reads_no_depth(engine):
    graph = Graph()
    grey = graph.add(depth.from_image, image=graph.add(image.load, file="castle.png").image)
    follow = lambda empty: graph.add(depth.condition, latent=empty, depth=grey)  # noqa: E731
    with pytest.raises(RunError, match=r"postcard is an ordinary model"):
        engine.run(drawn(graph, "postcard", follow))


def test_a_checkpoint_is_no_depth_model_and_the_other_way_round(engine, tmp_path):
    graph = Graph()
    with pytest.raises(RunError, match="(?s)checkpoint without a depth model.*depth_estimator"):
        engine.run(graph.returning(graph.add(depth.of_checkpoint, name="postcard")))
    copy = tmp_path / "models" / "checkpoints" / "midas"
    copy.mkdir(parents=True)
    (copy / "config.json").write_text(json.dumps({"model_type": "dpt"}))
    graph = Graph()
    with pytest.raises(RunError, match=r"(?s)midas is a depth model, not a.*depth\.load"):
        engine.run(graph.returning(graph.add(checkpoint.load, name="midas").model))


def test_a_depth_model_is_trained_and_used_by_its_name(engine, tmp_path):
    small = {"steps": 4, "batch": 2, "every": 2, "pictures": 9, "name": "mine"}
    report = engine.run("train_depth", **small)
    assert report["image"].shape[0] == 1
    folder = tmp_path / "models" / "depth" / "mine"
    assert {"config.json", "model.safetensors", "preprocessor_config.json", "training.json"} <= {
        file.name for file in folder.iterdir()
    }
    assert [f.name for f in (tmp_path / "output" / "mine").iterdir() if f.is_dir()] == []
    graph = Graph()
    estimator = graph.add(depth.load, name="mine")
    castle = graph.add(image.load, file="castle.png").image
    found = engine.run(
        graph.returning(graph.add(depth.estimate, estimator=estimator, image=castle))
    )["result"]
    assert found.values.shape == (1, 128, 128) and bool(torch.isfinite(found.values).all())

    folder = tmp_path / "models" / "depth" / "other"
    folder.mkdir()
    with pytest.raises(RunError, match="already a depth model other"):
        engine.run("train_depth", **{**small, "name": "other"})
