"""The nodes from checkpoint to saved picture, in an engine, with a model of random weights."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graphengine import Files, Graph, Progress, Provenance, RunError, Settings, default_engine
from graphengine.diffusion import Latent, Memory
from graphengine_nodes import checkpoint, image, latent, mask, sample, text, vae
from tests.diffusion import tiny

WORKFLOWS = Path(__file__).parents[2] / "workflows"
SMALL = {"width": 16, "height": 24, "steps": 3}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    """A models folder: a checkpoint in the place of the one that ships, and one of another kind."""
    folder = tmp_path_factory.mktemp("models") / "checkpoints"
    tiny.save(folder / "postcard")
    tiny.save(folder / "wide", width=64)
    return folder.parent


@pytest.fixture
def settings(models, tmp_path):
    return Settings(
        models=(models,),
        input=tmp_path / "input",
        output=tmp_path / "output",
        temp=tmp_path / "temp",
        workflows=WORKFLOWS,
        packs=(),
        cache=None,
        device="cpu",
    )


@pytest.fixture
def engine(settings):
    torch.set_num_threads(1)
    return default_engine(settings)


@pytest.fixture
def photo(settings):
    settings.input.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (24, 16, 4), dtype=np.uint8)
    pixels[..., 3] = 255
    pixels[:, 8:, 3] = 0
    Image.fromarray(pixels).save(settings.input / "photo.png")
    return "photo.png"


def pixels_of(path):
    with Image.open(path) as picture:
        return np.asarray(picture).copy()


def test_text_to_image_draws_a_picture_that_can_be_run_again(engine):
    report = engine.run("text_to_image", prompt="a cat", seed=7, batch=2, **SMALL)
    first, second = (saved.artifact for saved in report.artifacts)
    assert first.path.name == "postcard_00001.png"
    assert report["image"].shape == (2, 24, 16, 3)
    assert not np.array_equal(pixels_of(first.path), pixels_of(second.path))

    with Image.open(first.path) as picture:
        carried = json.loads(picture.text["graphengine"])
    assert carried["nodes"]["positive"]["values"]["text"] == "a cat"
    again = engine.run(first.path)
    assert not again.executed
    changed = engine.run(first.path, seed=8)
    assert set(changed.executed) == {"sample", "decode", "save"}
    assert not torch.equal(changed["image"], report["image"])


def test_the_same_seed_gives_the_same_picture_in_a_new_engine(settings):
    pictures = []
    for _ in range(2):
        report = default_engine(settings).run("text_to_image", seed=7, **SMALL)
        assert "sample" in report.executed
        pictures.append(pixels_of(report.artifacts[0].artifact.path))
    assert np.array_equal(*pictures)


def test_image_to_image_keeps_what_the_mask_leaves_out(engine, photo):
    graph = Graph()
    model, encoder, autoencoder = graph.add(checkpoint.load, name="postcard")
    loaded = graph.add(image.load, file=photo)
    start = graph.add(vae.encode, vae=autoencoder, image=loaded.image)
    prompt = graph.add(text.encode, text_encoder=encoder, text="a cat")
    result = graph.add(
        sample.ksampler,
        model=model,
        positive=prompt,
        negative=prompt,
        latent=graph.add(latent.set_mask, latent=start, mask=loaded.mask),
        steps=3,
        denoise=0.7,
    )
    before = engine.run(graph.returning(start))["result"].samples
    after = engine.run(graph.returning(result))["result"].samples
    torch.testing.assert_close(after[..., :1], before[..., :1], rtol=0, atol=1e-5)
    assert (after[..., 3:] - before[..., 3:]).abs().mean() > 0.01


def test_parts_of_different_families_are_told_apart(engine):
    graph = Graph()
    model, _, autoencoder = graph.add(checkpoint.load, name="postcard")
    _, other, _ = graph.add(checkpoint.load, name="wide")
    prompt = graph.add(text.encode, text_encoder=other, text="a cat")
    empty = graph.add(latent.empty, vae=autoencoder, width=16, height=16)
    graph.add(sample.ksampler, "draw", model=model, positive=prompt, negative=prompt, latent=empty)
    with pytest.raises(RunError, match=r"draw.*64 wide.*but the model is.*32"):
        engine.run(graph)


def test_a_checkpoint_that_moved_is_found_again(settings, models, tmp_path):
    """A result on disk tells of files; those may lie elsewhere the next time."""
    kept = settings.model_copy(update={"cache": tmp_path / "cache"})
    default_engine(kept).run("text_to_image", **SMALL)
    moved = Path(shutil.copytree(models, tmp_path / "moved"))
    hidden = models.rename(models.with_name("hidden"))
    try:
        report = default_engine(kept.model_copy(update={"models": (moved,)})).run(
            "text_to_image", seed=9, **SMALL
        )
    finally:
        hidden.rename(models)
    assert "sample" in report.executed


@pytest.fixture
def files(settings):
    return Files({"output": [settings.output], "temp": [settings.temp]})


def test_pictures_are_numbered(files):
    picture = torch.rand(2, 4, 6, 3)
    provenance = Provenance({"title": "mine"})
    saved = image.save(picture, prefix="dir/cat", files=files, provenance=provenance)
    assert [artifact.path.name for artifact in saved] == ["cat_00001.png", "cat_00002.png"]
    assert saved[0].media_type == "image/png"
    shown = image.preview(picture[:1], files=files, provenance=provenance)
    assert shown[0].path.parent == files.folder("temp").resolve()


def test_clip_skip_is_counted_from_the_last_layer(models):
    encoder = checkpoint.load(models / "checkpoints" / "postcard", files=Files({})).text_encoder
    assert encoder.skip == 0
    assert text.clip_skip(encoder, 1) == encoder
    changed = text.clip_skip(encoder, 2)
    given = {"memory": Memory(), "progress": Progress()}
    one, other = (text.encode(each, "a cat", **given).tokens for each in (encoder, changed))
    assert one.shape == other.shape
    assert not torch.equal(one, other)


def test_resizing_and_masks():
    picture = torch.rand(1, 10, 20, 3)
    assert image.resize(picture, 10, 0).shape == (1, 5, 10, 3)
    assert torch.equal(mask.from_image(picture, "green"), picture[..., 1])
    start = Latent(torch.zeros(1, 4, 2, 2))
    assert latent.set_mask(start, torch.ones(1, 8, 8)).noise_mask.shape == (1, 8, 8)
    assert start.noise_mask is None


def test_nodes_are_read_without_loading_torch(models):
    script = f"""
import sys
from pathlib import Path
from graphengine import Settings, default_engine
engine = default_engine(Settings(models=({str(models)!r},), cache=None))
for spec in engine.registry.values():
    for each in spec.inputs.values():
        each.schema()
engine.plan({str(WORKFLOWS / "text_to_image.json")!r})
assert not engine.registry.errors, engine.registry.errors
print([name for name in ("torch", "numpy", "PIL", "diffusers") if name in sys.modules])
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_names_of_the_field_lead_to_our_nodes(engine):
    for alias, id in {
        "CheckpointLoaderSimple": "checkpoint.load",
        "CLIPTextEncode": "text.encode",
        "CLIPSetLastLayer": "text.clip_skip",
        "EmptyLatentImage": "latent.empty",
        "SetLatentNoiseMask": "latent.set_mask",
        "VAEEncode": "vae.encode",
        "VAEDecode": "vae.decode",
        "KSampler": "sample.ksampler",
        "LoadImage": "image.load",
        "SaveImage": "image.save",
        "PreviewImage": "image.preview",
        "ImageScale": "image.resize",
        "ImageToMask": "mask.from_image",
    }.items():
        assert alias in engine.registry[id].aliases
