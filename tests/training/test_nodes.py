"""The nodes of training, run by an engine: what is cached, checked, found again, and refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import torch
from PIL import Image

from graphengine import RunError, Settings, WorkflowError, default_engine

START = """
parts = checkpoint.load(name="tiny")
world = dataset.world(count=4, seed=3, size=32)
latents = training.latents(dataset=world.dataset, model=parts.model, vae=parts.vae)
"""
LINKS = (
    "latents=latents.latent_set, model=parts.model, text_encoder=parts.text_encoder, vae=parts.vae"
)
DRAWING = """
words = text.encode(text_encoder=parts.text_encoder, text="a cat")
empty = latent.empty(vae=parts.vae, width=32, height=32)
drawn = sample.ksampler(model={model}, positive=words.conditioning, negative=words.conditioning,
    latent=empty.latent, steps=2)
decode = vae.decode(vae=parts.vae, latent=drawn.latent)
"""


def lesson(node: str = "noise_predictor", **values: object) -> str:
    """A data set, latents and a training."""
    given = {"name": "mine", "steps": 2, "batch": 2, "every": 1, "prompts": "a cat", **values}
    told = ", ".join(f"{name}={value!r}" for name, value in given.items())
    return f"{START}train = training.{node}({LINKS}, {told})\n"


@pytest.fixture
def run(tmp_path: Path, base, drawing):
    folders = {name: tmp_path / name for name in ("input", "output", "temp", "workflows", "cache")}
    models = tmp_path / "models"
    shutil.copytree(base.model.folder.parent, models / "checkpoints" / "tiny")
    settings = Settings(**folders, models=(models,), packs=(), device="cpu")

    def run(text: str, **outputs: str):
        return default_engine(settings).run(drawing(text, outputs=outputs))

    return run


def test_a_trained_model_is_drawn_with_at_once_and_found_by_name(run):
    text = lesson() + DRAWING.format(model="train.model")
    text += "curve = training.curves(losses=train.losses)\n"
    report = run(text, image="decode.image", curve="curve.image", sheet="train.image")
    assert report["image"].shape == (1, 32, 32, 3)
    assert report["curve"].shape[3] == 3 and report["sheet"].shape[3] == 3
    saved = {item.artifact.path.name for item in report.artifacts}
    assert saved == {"diffusion_pytorch_model.safetensors", "model_index.json"} | saved
    named = 'parts = checkpoint.load(name="mine")' + DRAWING.format(model="parts.model")
    again = run(named, image="decode.image")
    assert torch.equal(again["image"], report["image"])


def test_cached_only_while_the_weights_are_there_unchanged(run, tmp_path):
    def trained():
        report = run(lesson(), sheet="train.image")
        return "train" in report.executed, report["sheet"]

    first, sheet = trained()
    assert first and not trained()[0]
    weights = tmp_path / "models/checkpoints/mine/unet/diffusion_pytorch_model.safetensors"
    good = weights.read_bytes()
    weights.write_bytes(good[:-1] + b"x")
    repeated, again = trained()
    assert repeated and weights.read_bytes() == good and torch.equal(again, sheet)
    shutil.rmtree(tmp_path / "models/checkpoints/mine")
    assert trained()[0] and weights.read_bytes() == good
    assert not trained()[0]


def test_a_lora_is_put_on_and_found_by_name(run):
    report = run(lesson("lora", rank=2, rate=0.05), model="train.model")
    (saved,) = report.artifacts
    assert saved.artifact.path.name == "mine.safetensors"
    named = """
parts = checkpoint.load(name="tiny")
lora = lora.load(model=parts.model, file="mine.safetensors")
"""
    drawn = DRAWING.format(model="lora.model")
    found = run(named + drawn, model="lora.model", image="decode.image")
    assert found["model"].digest == report["model"].digest and len(found["model"].loras) == 1
    plain = run(named + DRAWING.format(model="parts.model"), image="decode.image")
    assert not torch.equal(plain["image"], found["image"])


def test_changed_pictures_are_seen(run, tmp_path):
    folder = tmp_path / "input" / "mine"
    folder.mkdir(parents=True)
    for name in ("a", "b"):
        Image.new("RGB", (32, 32), "red").save(folder / f"{name}.png")
        (folder / f"{name}.txt").write_text(name)
    text = """
pictures = dataset.folder(folder="mine", size=32)
show = dataset.show(dataset=pictures.dataset, count=2)
"""

    def shown():
        return run(text, image="show.image", told="show.captions")

    assert shown()["told"] == ["a", "b"]
    assert not shown().executed
    Image.new("RGB", (32, 32), "blue").save(folder / "b.png")
    changed = shown()
    assert set(changed.executed) == {"pictures", "show"}
    assert changed["image"][1, 0, 0].tolist() == [0, 0, 1]
    (folder / "a.txt").write_text("another")
    assert shown()["told"] == ["another", "b"]


def test_a_vae_is_taught_and_used(run):
    text = """
world = dataset.world(count=4, seed=3, size=32)
train = training.vae(dataset=world.dataset, name="mine", channels=[8, 8], steps=2, batch=2, crop=16,
    every=1, shown=2)
show = dataset.show(dataset=world.dataset, count=1)
encode = vae.encode(vae=train.vae, image=show.image)
"""
    report = run(text, latent="encode.latent", sheet="train.image")
    assert report["latent"].samples.shape == (1, 4, 16, 16)


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"name": "tiny"}, "already a checkpoint tiny"),
        ({"prompts": " \n "}, "no prompt to draw"),
        ({"name": "postcard"}, "already a postcard among the checkpoints"),
    ],
)
def test_what_can_t_be_is_told(run, values, told):
    with pytest.raises(RunError, match=told):
        run(lesson(**values), model="train.model")


@pytest.mark.parametrize("name", ["../out", "a/b", "", ".hidden", "/root"])
def test_names_stay_inside_their_folder(run, name):
    with pytest.raises(WorkflowError, match="name"):
        run(lesson(name=name), model="train.model")
