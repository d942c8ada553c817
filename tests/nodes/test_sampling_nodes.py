"""Sampling, conditioning and latents as nodes and as bundled workflows, on the model that ships."""

import numpy as np
import pytest
import torch
from PIL import Image

from graphengine import Graph, RunError, Settings, default_engine
from graphengine.diffusion import Conditioning, Latent
from graphengine_nodes import conditioning, latent, sheet

FAST = {"steps": 4}
SMALL = {"width": 64, "height": 64, "steps": 2}


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    folder = tmp_path_factory.mktemp("place")
    names = ("input", "output", "temp", "workflows")
    return Settings(
        **{name: folder / name for name in names},
        models=(folder / "models",),
        packs=(),
        cache=None,
        device="cpu",
    )


@pytest.fixture(scope="module")
def engine(settings):
    torch.set_num_threads(1)
    return default_engine(settings)


def distance(one, other):
    return float((one - other).square().mean())


def test_image_to_image_goes_from_the_picture_to_the_prompt(engine):
    reports = {
        strength: engine.run("image_to_image", strength=strength, **FAST)
        for strength in (0.0, 0.3, 0.7, 1.0)
    }
    encoded = reports[0.0]["encoded"].samples
    assert torch.equal(reports[0.0]["latent"].samples, encoded)
    away = [distance(report["latent"].samples, encoded) for report in reports.values()]
    assert away[0] == 0 and away == sorted(away) and away[3] > 2 * away[1]

    prompt = "a red lighthouse by the sea at sunset"
    drawn = engine.run("text_to_image", prompt=prompt, seed=1, cfg=5.0, **FAST)
    assert torch.equal(reports[1.0]["image"], drawn["image"])


@pytest.mark.parametrize("strength", [0.0, 0.6])
def test_image_to_image_takes_any_picture(engine, settings, strength):
    settings.input.mkdir(exist_ok=True)
    pixels = np.random.default_rng(0).integers(0, 256, (61, 83, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(settings.input / "odd.png")
    report = engine.run("image_to_image", image="odd.png", strength=strength, steps=1)
    assert report["image"].shape == (1, 56, 80, 3)


def test_variations_are_the_pictures_of_their_seeds(engine):
    report = engine.run("variations", count=3, seed=5, prompt="a red house", **SMALL)
    assert report["image"].shape == (3, 64, 64, 3)
    for place in range(3):
        alone = engine.run("text_to_image", prompt="a red house", seed=5 + place, **SMALL)
        assert torch.equal(report["image"][place], alone["image"][0])


def test_split_sampling_goes_from_one_prompt_to_the_other(engine):
    """With no steps for one of the prompts the other has drawn all of it."""
    texts = {"first": "a red house at night", "second": "a red house by day"}
    euler = {"first_sampler": "euler", "second_sampler": "euler", **FAST}
    same = {**euler, "first": texts["second"], "second": texts["second"]}
    whole = engine.run("split_sampling", split=2, **same)["latent"].samples
    only_second = engine.run("split_sampling", split=0, **texts, **euler)["latent"].samples
    assert torch.equal(whole, only_second)
    only_first = engine.run("split_sampling", split=4, **texts, **euler)["latent"].samples
    half = engine.run("split_sampling", split=2, **texts, **euler)["latent"].samples
    apart = distance(only_first, only_second)
    assert 0 < distance(half, only_first) < apart
    assert 0 < distance(half, only_second) < apart


def test_two_passes_keep_what_the_first_has_settled(engine):
    report = engine.run("two_pass", steps=6, second_steps=4)
    assert report["first"].shape == (1, 128, 128, 3)
    assert report["image"].shape == report["at_once"].shape == (1, 192, 192, 3)
    small, large, at_once = (
        torch.nn.functional.interpolate(report[name].movedim(3, 1), (16, 16), mode="area")
        for name in ("first", "image", "at_once")
    )
    assert distance(large, small) < distance(at_once, small)


def share_of(image, strong, weak):
    """How much of a picture has one colour channel well above another."""
    return float((image[..., strong] > image[..., weak] + 0.25).float().mean())


def test_area_prompts_put_each_prompt_where_it_belongs(engine):
    """Red of a house on the left, yellow of a windmill on the right, as each has alone; without a
    left part the right prompt has drawn all of it.
    """
    texts = {
        "left": "a red house on the left by day on the grass",
        "right": "a yellow windmill on the right by day on the grass",
    }
    options = {"seed": 2, "cfg": 5.0, "steps": 10}
    left, right = (
        engine.run("text_to_image", prompt=text, **options)["image"] for text in texts.values()
    )
    both = engine.run("area_prompts", scene_end=0.0, **texts, **options)["image"]
    for half, strong, weak, own, other in (
        (slice(0, 56), 0, 1, left, right),
        (slice(72, 128), 0, 2, right, left),
    ):
        shares = [share_of(image[:, :, half], strong, weak) for image in (both, own, other)]
        assert shares[0] > max(0.5 * shares[1], 3 * shares[2]), shares
    none = engine.run("area_prompts", scene_end=0.0, border=0.0, **texts, **options)["image"]
    torch.testing.assert_close(none, right, rtol=0, atol=2e-3)


def test_one_run_in_the_scene_is_the_scene_alone(engine):
    """Asked to the end and counting ten times as much, the scene is nearly all there is."""
    shown = engine.run("area_prompts", scene_end=1.0, scene_strength=10.0, steps=2)
    plain = engine.run("area_prompts", scene_end=0.0, steps=2)
    scene = engine.run(
        "text_to_image", prompt="the grass at sunset, mountains behind", seed=7, cfg=5.0, steps=2
    )
    assert distance(shown["image"], scene["image"]) < distance(plain["image"], scene["image"])


def text(number, length=2):
    return Conditioning(torch.full((1, length, 3), float(number)))


def test_nodes_of_conditioning_are_the_functions_of_the_library():
    mask = torch.rand(1, 8, 8)
    for node, given, field in (
        (conditioning.set_area, {"x": 0.5, "width": 0.5}, "area"),
        (conditioning.set_area_in_pixels, {"x": 64, "width": 64}, "area"),
        (conditioning.set_mask, {"mask": mask, "strength": 2.0}, "mask"),
        (conditioning.set_range, {"start": 0.2}, "start"),
        (conditioning.set_strength, {"strength": 2.0}, "strength"),
        (conditioning.zero_out, {}, "tokens"),
    ):
        before, same = text(1), text(1)
        after = node(before, **given)
        assert str(getattr(after, field)) != str(getattr(same, field)), field
        assert str(before) == str(same), "inputs are left alone"
    assert conditioning.set_area(text(1), x=0.5).area.unit == "fraction"
    assert conditioning.set_area_in_pixels(text(1), x=64).area.unit == "pixels"
    assert conditioning.concat(text(1), text(2)).tokens[0, :, 0].tolist() == [1, 1, 2, 2]
    assert conditioning.average(text(1), text(2), 0.25).tokens[0, :, 0].tolist() == [1.75, 1.75]
    assert len(conditioning.combine(text(1), text(2)).parts) == 2


def test_latents_without_a_vae_have_cells_of_eight_pixels():
    start = Latent(torch.randn(1, 4, 8, 8))
    assert latent.resize(start, 128, 96).samples.shape == (1, 4, 12, 16)
    assert latent.crop(start, 16, 8, 32, 24).samples.shape == (1, 4, 3, 4)
    assert torch.equal(latent.flip(latent.flip(start)).samples, start.samples)
    assert latent.repeat(start, 3).samples.shape[0] == 3
    joined = latent.join(one=start, two=latent.rotate(start))
    assert torch.equal(latent.select(joined, 1).samples, start.samples.rot90(-1, (2, 3)))
    below = Latent(torch.zeros(1, 4, 16, 16))
    put = latent.composite(below, start, x=64, y=64)
    assert torch.equal(put.samples[..., 8:, 8:], start.samples)


def test_a_sheet_shows_every_picture_with_its_caption():
    pictures = torch.rand(3, 16, 16, 3)
    drawn = sheet.pictures("Title", "note", "one\ntwo\nthree", one=pictures[:1], more=pictures[1:])
    assert drawn.shape[0] == 1 and drawn.shape[3] == 3
    assert sheet.numbered(pictures, first=4, columns=3).shape[2] > 3 * 16
    with pytest.raises(Exception, match="2 labels for 3 pictures"):
        sheet.pictures(captions="one\ntwo", one=pictures)
    with pytest.raises(Exception, match="needs a picture"):
        sheet.pictures()


def test_a_wrong_number_of_an_item_is_told_with_its_place(engine):
    graph = Graph()
    start = graph.add(latent.empty, vae=_checkpoint(graph).vae, width=64, height=64)
    graph.add(latent.select, "third", latent=start, first=3)
    with pytest.raises(RunError, match=r"third.*batch of 1 has no 1 items from number 3"):
        engine.run(graph)


def _checkpoint(graph):
    from graphengine_nodes import checkpoint

    return graph.add(checkpoint.load, name="postcard")
