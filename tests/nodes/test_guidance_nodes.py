"""Guiders and custom levels as nodes, on the model that ships."""

from dataclasses import replace

import pytest
import torch

from graphengine import Graph, Settings, default_engine
from graphengine.diffusion import Conditioning
from graphengine.diffusion.guidance import Dual, Perpendicular, Projected
from graphengine_nodes import checkpoint, guidance, latent, sample, schedule, text

LEVELS = "14.6, 4, 1, 0"


@pytest.fixture(scope="module")
def engine(tmp_path_factory):
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("place")
    names = ("input", "output", "temp", "workflows")
    return default_engine(
        Settings(
            **{name: folder / name for name in names},
            models=(folder / "models",),
            packs=(),
            cache=None,
            device="cpu",
        )
    )


@pytest.fixture
def graph():
    return Graph()


@pytest.fixture
def parts(graph):
    """A graph with what every run needs: checkpoint, three texts, an empty latent, levels."""
    loaded = graph.add(checkpoint.load, name="postcard")
    texts = [
        graph.add(text.encode, text_encoder=loaded.text_encoder, text=words)
        for words in ("a red tent on grass", "a tree", "")
    ]
    empty = graph.add(latent.empty, vae=loaded.vae, width=64, height=64)
    return loaded.model, texts, empty, graph.add(schedule.manual, sigmas=LEVELS)


def guiders(graph, texts):
    positive, negative, empty = texts
    plain = graph.add(guidance.cfg, positive=positive, negative=negative, cfg=5.0)
    dual = graph.add(guidance.dual, first=positive, second=negative, negative=empty)
    perp = graph.add(guidance.perp_neg, positive=positive, negative=negative, empty=empty)
    return [
        plain,
        dual,
        perp,
        graph.add(guidance.rescale, guider=dual),
        graph.add(guidance.projected, guider=plain),
    ]


def test_every_guider_draws_another_picture(engine, graph, parts):
    model, texts, empty, levels = parts
    drawn = [
        drawn_by(engine, graph, model=model, guider=guider, levels=levels, latent=empty)
        for guider in guiders(graph, texts)
    ]
    assert all(bool(x.isfinite().all()) for x in drawn)
    for place, one in enumerate(drawn):
        for other in drawn[:place]:
            assert (one - other).abs().max() > 1e-3


def test_plain_guidance_is_ksampler_split_and_joined_levels_too(engine, graph, parts):
    model, texts, empty, _ = parts
    positive, negative, _ = texts
    plain = graph.add(guidance.cfg, positive=positive, negative=negative, cfg=5.0)
    levels = graph.add(schedule.levels, model=model, schedules="karras", steps=4)
    high, low = graph.add(schedule.split, levels=levels, step=2)
    both = {"model": model, "guider": plain, "seed": 5}
    half = graph.add(sample.custom, **both, levels=high, latent=empty)
    wanted = graph.add(
        sample.ksampler,
        model=model,
        positive=positive,
        negative=negative,
        latent=empty,
        seed=5,
        steps=4,
        cfg=5.0,
        schedule="karras",
    )
    wanted = engine.run(graph.returning(wanted))["result"].samples
    rest = drawn_by(engine, graph, **both, levels=low, latent=half, add_noise=False)
    assert torch.equal(rest[0], wanted)
    joined = graph.add(schedule.join, first=high, second=low)
    written = graph.add(schedule.numbers, levels=joined)
    again = graph.add(schedule.manual, sigmas=written, model=model)
    whole = drawn_by(engine, graph, **both, levels=again, latent=empty)
    assert torch.equal(whole[0], wanted)


def drawn_by(engine, graph, **links):
    """The samples of the run, or of one for each of the levels, [runs, batch, ...]."""
    result = engine.run(graph.returning(graph.add(sample.custom, **links)))["result"]
    return torch.stack(
        [each.samples for each in (result if isinstance(result, list) else [result])]
    )


def test_nodes_of_levels_are_the_functions_of_the_library():
    levels = schedule.manual("6 5 4 3 2 1 0", "mine")
    assert levels.name == "mine" and schedule.numbers(levels).startswith("6.0, 5.0")
    assert [len(part.sigmas) for part in schedule.split(levels, 2)] == [3, 5]
    assert [len(part.sigmas) for part in schedule.split_by_denoise(levels, 0.5)] == [4, 4]
    assert schedule.join(*schedule.split(levels, 2)).sigmas == levels.sigmas
    assert schedule.flip(levels).sigmas[-1] == 6
    assert len(schedule.manual().sigmas) == 11


def test_guiders_nodes_hand_on_every_value():
    one, two, three = (Conditioning(torch.full((1, 2, 3), float(n))) for n in range(3))
    plain = guidance.cfg(one, two, 3.0)
    assert (plain.positive, plain.negative, plain.cfg, plain.is_plain) == (one, two, 3.0, True)
    dual = guidance.dual(one, two, three, 3.0, 4.0, True)
    assert (dual.negative, dual.cfg, dual.rule) == (three, 3.0, Dual(two, 4.0, True))
    perp = guidance.perp_neg(one, two, three, 3.0, 2.0)
    assert (perp.negative, perp.cfg, perp.rule) == (three, 3.0, Perpendicular(two, 2.0))
    assert guidance.rescale(dual, 0.5) == replace(dual, rescale=0.5)
    assert guidance.projected(plain, 0.1, 2.0, -0.3).rule == Projected(0.1, 2.0, -0.3)
    assert plain.rule is None, "inputs are left alone"
