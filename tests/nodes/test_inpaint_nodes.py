"""The three inpainting workflows on the models that ship, with whatever pictures people bring."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from graphengine import Graph, RunError, Settings, default_engine
from graphengine_nodes import checkpoint, image, inpaint, mask

INPUTS = Path(__file__).parents[2] / "workflows" / "input"
FEW = {"steps": 2}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return tmp_path_factory.mktemp("inpaint")


@pytest.fixture(scope="module")
def engine(folders):
    torch.set_num_threads(1)
    kinds = {name: folders / name for name in ("input", "output", "temp", "workflows")}
    kinds["input"].mkdir()
    settings = Settings(**kinds, models=(folders / "models",), packs=(), cache=None, device="cpu")
    return default_engine(settings)


@pytest.fixture
def bring(folders):
    """Puts a picture among the inputs; gives its name."""

    def save(picture, name, **options):
        picture.save(folders / "input" / name, **options)
        return name

    return save


def noise(width, height, mode="RGB"):
    rng = np.random.default_rng(0)
    channels = {"L": (), "RGB": (3,), "RGBA": (4,)}[mode]
    return Image.fromarray(rng.integers(0, 256, (height, width, *channels), dtype=np.uint8))


def half(width, height):
    """A mask of the left half."""
    pixels = np.zeros((height, width), np.uint8)
    pixels[:, : width // 2] = 255
    return Image.fromarray(pixels)


@pytest.mark.parametrize("workflow", ["inpaint", "inpaint_model"])
def test_kept_pixels_are_kept_in_the_saved_file(engine, bring, workflow):
    source = noise(64, 48)
    given = {"image": bring(source, "a.png"), "mask": bring(half(64, 48), "half.png")}
    report = engine.run(workflow, **given, **FEW)
    path = next(
        saved.artifact.path
        for saved in report.artifacts
        if saved.artifact.path.name.startswith(f"{workflow}_0")
    )
    with Image.open(path) as saved:
        now, then = np.asarray(saved), np.asarray(source)
    assert np.array_equal(now[:, 32:], then[:, 32:])
    assert np.abs(now[:, :20].astype(int) - then[:, :20]).mean() > 10
    kept = report["latent"].samples[..., 5:] - report["encoded"].samples[..., 5:]
    assert kept.abs().max() < 1e-5
    painted = engine.run(workflow, **given, **FEW, restore=False)
    assert torch.equal(painted["image"], report["painted"])


@pytest.mark.parametrize("workflow", ["inpaint", "inpaint_model"])
def test_an_empty_mask_gives_the_picture_back(engine, bring, workflow):
    given = {"image": bring(noise(64, 48), "a.png")}
    black = bring(Image.new("L", (20, 20), 0), "black.png")
    report = engine.run(workflow, **given, mask=black, **FEW)
    wanted = np.asarray(noise(64, 48), np.float32) / 255
    assert np.array_equal(report["image"][0].numpy(), wanted)
    change = report["latent"].samples - report["encoded"].samples
    assert change.abs().max() < 1e-5


@pytest.mark.parametrize("workflow", ["inpaint", "inpaint_model"])
def test_a_full_mask_forgets_the_picture(engine, bring, workflow):
    white = bring(Image.new("L", (20, 20), 255), "white.png")
    one, other = (
        engine.run(workflow, image=name, mask=white, **FEW)["image"]
        for name in (bring(noise(64, 48), "a.png"), bring(half(64, 48), "b.png"))
    )
    torch.testing.assert_close(one, other, rtol=0, atol=1e-4)


ODD = {
    "odd sides": lambda: (noise(67, 50), {}),
    "one row of cells": lambda: (noise(70, 8), {}),
    "transparent": lambda: (noise(64, 48, "RGBA"), {}),
    "grey": lambda: (noise(64, 48, "L"), {}),
    "16 bits": lambda: (Image.fromarray(np.full((48, 64), 32768, np.uint16)), {}),
    "palette": lambda: (noise(64, 48).quantize(7), {"transparency": 3}),
    "1 bit": lambda: (noise(64, 48).convert("1"), {}),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("workflow", ["inpaint", "inpaint_model", "outpaint"])
def test_pictures_of_any_kind(engine, bring, workflow, kind):
    picture, options = ODD[kind]()
    name = bring(picture, f"{kind.replace(' ', '_')}.png", **options)
    # the mask has yet another size
    given = {} if workflow == "outpaint" else {"mask": bring(half(33, 21), "small.png")}
    report = engine.run(workflow, image=name, **given, **FEW)
    width, height = picture.size
    more = 64 if workflow == "outpaint" else 0
    assert report["image"].shape == (1, height, width + more, 3)
    assert torch.isfinite(report["image"]).all()


@pytest.mark.parametrize("name", ["a.tif", "a.jpg"])
def test_print_colours_and_turned_photographs(engine, bring, name):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = noise(64, 48).convert("CMYK") if name == "a.tif" else noise(64, 48)
    options = {} if name == "a.tif" else {"exif": exif}
    report = engine.run("inpaint", image=bring(picture, name, **options), **FEW)
    assert report["image"].shape == ((1, 48, 64, 3) if name == "a.tif" else (1, 64, 48, 3))


def test_each_frame_of_an_animation_is_prepared(engine, bring):
    turned = noise(64, 48).rotate(180)
    name = bring(noise(64, 48), "a.gif", save_all=True, append_images=[turned])
    graph = Graph()
    model, _, vae = graph.add(checkpoint.load, name="postcard-inpaint")
    loaded = graph.add(image.load, file=name)
    drawn = graph.add(mask.rectangle)
    given = {"model": model, "vae": vae, "image": loaded.image, "mask": drawn}
    latent = engine.run(graph.returning(graph.add(inpaint.prepare, **given)))["result"]
    assert latent.samples.shape == (2, 4, 6, 8)
    assert latent.beside.shape == (2, 5, 6, 8)


def failure(engine, workflow, **params):
    """What is told when a run fails."""
    with pytest.raises(RunError) as raised:
        engine.run(workflow, **params, **FEW)
    return str(raised.value)


def test_what_does_not_fit_is_told(engine, bring, folders):
    told = failure(engine, "inpaint_model", checkpoint="postcard")
    assert "prepare" in told and "postcard is an ordinary model (4 channels)" in told
    assert "load an inpainting checkpoint (9 channels)" in told
    told = failure(engine, "inpaint", checkpoint="postcard-inpaint")
    assert "postcard-inpaint is an inpainting model (9 channels)" in told
    assert "inpaint.prepare" in told
    whole = bring(noise(64, 48), "whole.png")
    data = (folders / "input" / whole).read_bytes()
    (folders / "input" / "cut.png").write_bytes(data[: len(data) // 2])
    assert "cut.png is no picture, or damaged" in failure(engine, "inpaint", image="cut.png")
    assert "cut.png is no picture, or damaged" in failure(engine, "inpaint", mask="cut.png")
    tiny = bring(noise(5, 40), "tiny.png")
    assert "(40, 5, 3) can't be encoded" in failure(engine, "inpaint", image=tiny)
    gif = bring(
        half(20, 20).convert("P"),
        "two.gif",
        save_all=True,
        append_images=[Image.new("P", (20, 20))],
    )
    three = bring(
        noise(64, 48), "three.gif", save_all=True,
        append_images=[noise(64, 48).rotate(180), noise(64, 48).rotate(90)],
    )  # fmt: skip
    assert "2 pictures or masks can't be matched with 3" in failure(
        engine, "inpaint", image=three, mask=gif
    )


def test_outpainting_keeps_the_picture_and_adds_to_it(engine):
    report = engine.run("outpaint", left=16, top=8, right=24, bottom=0, feather=0, **FEW)
    with Image.open(INPUTS / "lighthouse.png") as file:
        wanted = torch.from_numpy(np.asarray(file, dtype=np.float32) / 255)
    assert report["image"].shape == (1, 136, 168, 3)
    assert torch.equal(report["image"][0, 8:, 16:144], wanted)


def test_masks_take_the_size_of_a_picture(engine):
    picture = torch.rand(2, 12, 20, 3)
    assert mask.rectangle(image=picture).shape == (1, 12, 20)
    assert mask.ellipse(width=7, height=5).shape == (1, 5, 7)
    assert mask.solid(0.5, image=picture).unique().tolist() == [0.5]
    graph = Graph()
    colours = graph.add(image.solid, color="#ff0000", width=8, height=4)
    drawn = graph.add(mask.rectangle, image=colours, left=0.0, right=0.5, top=0.0, bottom=1.0)
    red = graph.add(mask.from_color, image=colours, color="#ff0000")
    both = graph.add(mask.combine, mask=red, other=drawn, operation="subtract")
    result = engine.run(graph.returning(both))["result"]
    assert result[0, 0].tolist() == [0] * 4 + [1] * 4


def test_names_of_the_field_lead_to_our_nodes(engine):
    for alias, id in {
        "InpaintModelConditioning": "inpaint.prepare",
        "VAEEncodeForInpaint": "inpaint.encode",
        "ImagePadForOutpaint": "image.pad",
        "ImageCompositeMasked": "image.composite",
        "ImageBlend": "image.blend",
        "ImageCrop": "image.crop",
        "ImageFlip": "image.flip",
        "ImageRotate": "image.rotate",
        "ImageInvert": "image.invert",
        "ImageBlur": "image.blur",
        "ImageSharpen": "image.sharpen",
        "EmptyImage": "image.solid",
        "ImageBatch": "image.batch",
        "ImageFromBatch": "image.select",
        "RepeatImageBatch": "image.repeat",
        "GetImageSize": "image.size",
        "SplitImageWithAlpha": "image.split_alpha",
        "JoinImageWithAlpha": "image.join_alpha",
        "LoadImageMask": "mask.load",
        "ImageColorToMask": "mask.from_color",
        "SolidMask": "mask.solid",
        "InvertMask": "mask.invert",
        "GrowMask": "mask.grow",
        "FeatherMask": "mask.feather",
        "ThresholdMask": "mask.threshold",
        "MaskComposite": "mask.combine",
        "CropMask": "mask.crop",
        "MaskToImage": "mask.to_image",
        "MaskPreview": "mask.preview",
    }.items():
        assert alias in engine.registry[id].aliases


def test_pasting_can_be_left_out():
    picture, painted = torch.rand(2, 1, 8, 8, 3)
    assert inpaint.paste(picture, painted, torch.zeros(1, 8, 8), restore=False) is painted
    assert torch.equal(inpaint.paste(picture, painted, torch.zeros(1, 8, 8)), picture)
