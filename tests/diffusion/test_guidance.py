"""Guidance and levels as values, against formulas written out and other libraries' functions."""

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from diffusers.guiders.adaptive_projected_guidance import MomentumBuffer, normalized_guidance
from diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion import rescale_noise_cfg

from graphengine.diffusion import (
    Area,
    Conditioning,
    Latent,
    Levels,
    Memory,
    cfg_guider,
    dual_guider,
    empty_latent,
    encode_prompt,
    flip_levels,
    join_levels,
    ksampler,
    levels_as_text,
    levels_from_text,
    limit_to_area,
    noise_levels,
    noise_table,
    perp_neg_guider,
    projected,
    rescaled,
    sample_custom,
    split_by_denoise,
    split_levels,
)
from graphengine.diffusion.guidance import Past, steered
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.regions import Frame, conditioned
from graphengine.diffusion.samplers import GuidedDenoiser
from graphengine.errors import GraphEngineError, ModelError

TEXTS = [Conditioning(torch.full((1, 2, 3), float(number))) for number in range(3)]
TOWARDS, AWAY, OTHER = torch.randn(3, 1, 4, 6, 5, generator=torch.Generator().manual_seed(1))
X = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(2)) * 3
SIGMA = 2.5


def flat(x):
    return x.double().numpy().ravel()


def answer(guider, *, towards=TOWARDS, away=AWAY, other=OTHER, x=X, sigma=SIGMA, past=None):
    pair = GuidedDenoiser(lambda x, sigma, wants: (towards, away if wants else None))
    third = GuidedDenoiser(lambda x, sigma, wants: (other, None)) if guider.third else None
    clean, unguided = steered(guider, pair, third, past or Past()).answer(x, sigma, False)
    assert torch.equal(unguided, away)
    assert clean.shape == x.shape
    return flat(clean)


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=2e-5, atol=2e-5)


def test_two_texts_beside_each_other_and_nested():
    first, second, negative = flat(TOWARDS), flat(OTHER), flat(AWAY)
    guider = dual_guider(TEXTS[0], TEXTS[1], TEXTS[2], 3.0, 5.0)
    close(answer(guider), negative + 5 * (second - negative) + 3 * (first - second))
    guider = dual_guider(TEXTS[0], TEXTS[1], TEXTS[2], 3.0, 5.0, nested=True)
    close(answer(guider), negative + 5 * (second + 3 * (first - second) - negative))
    assert [id(text) for _, text in guider.sides] == [id(TEXTS[place]) for place in (0, 2, 1)]


def test_a_perpendicular_negative_by_projection_onto_a_line():
    empty, wanted = flat(AWAY), flat(TOWARDS) - flat(AWAY)
    unwanted = flat(OTHER) - empty
    fitted, *_ = np.linalg.lstsq(wanted[:, None], unwanted, rcond=None)
    across = unwanted - wanted * fitted[0]
    assert abs(across @ wanted) < 1e-9
    guider = perp_neg_guider(TEXTS[0], TEXTS[1], TEXTS[2], 7.0, 1.5)
    close(answer(guider), empty + 7 * (wanted - 1.5 * across))
    # A negative that says what the positive says, or its contrary, changes nothing.
    for share in (0.5, -2.0):
        same = AWAY + (TOWARDS - AWAY) * share
        close(answer(guider, other=same), empty + 7 * wanted)
    # Where the positive says nothing, the negative is all there is.
    close(answer(guider, towards=AWAY), empty - 7 * 1.5 * unwanted)


@pytest.mark.parametrize("amount", [0.3, 1.0])
def test_rescaling_is_that_of_diffusers_on_velocities(amount):
    root = (SIGMA**2 + 1) ** 0.5

    def velocity(clean):
        return (X / (SIGMA**2 + 1) - clean) * root / SIGMA

    guided = AWAY + (TOWARDS - AWAY) * 8
    wanted = rescale_noise_cfg(velocity(guided), velocity(TOWARDS), guidance_rescale=amount)
    found = answer(rescaled(cfg_guider(TEXTS[0], TEXTS[1], 8.0), amount))
    close(found, flat(X / (SIGMA**2 + 1) - wanted * SIGMA / root))
    assert abs(found - flat(guided)).max() > 0.1


def test_rescaling_goes_with_every_rule_and_within_its_range():
    plain = dual_guider(TEXTS[0], TEXTS[1], TEXTS[2], 3.0, 5.0)
    found, without = answer(rescaled(plain, 1.0)), answer(plain)
    base = flat(X / (SIGMA**2 + 1))
    assert np.std(found - base) == pytest.approx(np.std(flat(TOWARDS) - base), rel=1e-5)
    np.testing.assert_allclose(np.corrcoef(found - base, without - base)[0, 1], 1.0, rtol=1e-6)
    assert rescaled(plain, 0.0) == plain
    with pytest.raises(GraphEngineError, match="rescaling by 1.5"):
        rescaled(plain, 1.5)


@pytest.mark.parametrize("along", [0.0, 0.4, 1.0])
@pytest.mark.parametrize("limit", [0.0, 3.0, 1000.0])
def test_adaptive_projection_is_that_of_diffusers_call_after_call(along, limit):
    """Its scale is that of the update alone, ours counts the positive answer."""
    guider = projected(cfg_guider(TEXTS[0], TEXTS[1], 6.0), along, limit, momentum=-0.5)
    past, buffer = Past(), MomentumBuffer(-0.5)
    for towards, away in ((TOWARDS, AWAY), (OTHER, AWAY), (OTHER, TOWARDS)):
        wanted = normalized_guidance(
            towards,
            away,
            guidance_scale=5.0,
            momentum_buffer=buffer,
            eta=along,
            norm_threshold=limit,
            use_original_formulation=True,
        )
        close(answer(guider, towards=towards, away=away, past=past), flat(wanted))


def test_projection_without_limits_is_plain_guidance_and_takes_no_other_rule():
    guider = cfg_guider(TEXTS[0], TEXTS[1], 6.0)
    close(answer(projected(guider, 1.0, 0.0)), flat(AWAY + (TOWARDS - AWAY) * 6))
    assert projected(projected(guider, 1, 2), 0, 3) == projected(guider, 0, 3)
    with pytest.raises(GraphEngineError, match="with the rule Dual"):
        projected(dual_guider(*TEXTS, 2.0, 3.0), 0, 3)


class Numbers:
    """A network that answers the number of a text everywhere."""

    def at(self, cells):
        return lambda x, sigma, tokens: x * 0 + tokens[:, :1, :1, None]


def test_texts_of_several_parts_are_answered_for_pair_and_third():
    frame, wide = Frame(noise_table(), (4, 8)), Conditioning(torch.full((1, 4, 3), 5.0))
    half = limit_to_area(wide, Area(0.5, 0, 0.5, 1))
    pair = conditioned(Numbers().at, frame, 0, half, TEXTS[1], 1.0)
    third = conditioned(Numbers().at, frame, 0, TEXTS[2], TEXTS[1], 1.0)
    guider = dual_guider(half, TEXTS[2], TEXTS[1], 3.0, 2.0)
    clean = steered(guider, pair, third, Past())(torch.randn(1, 4, 4, 8), 1.0)
    assert clean[..., 6:].unique().tolist() == [1 + 2 * (2 - 1) + 3 * (5 - 2)]
    assert clean[..., :4].unique().tolist() == [1 + 2 * (2 - 1) + 3 * (1 - 2)]


SETTINGS = {"seed": 3, "sampler": "euler"}


@pytest.fixture
def texts(checkpoint, memory, prompts):
    return [*prompts, encode_prompt(checkpoint.text_encoder, "a", memory=memory)]


@pytest.fixture
def draw(checkpoint, memory):
    def run(guider, levels, latent=None, **changed):
        start = empty_latent(checkpoint.vae, 20, 28, 2) if latent is None else latent
        given = {"memory": memory, **SETTINGS, **changed}
        return sample_custom(checkpoint.model, guider, start, levels, **given)

    return run


@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "dpmpp_sde", "euler_cfg_pp"])
def test_plain_guidance_and_a_whole_schedule_are_the_bits_of_ksampler(
    checkpoint, memory, texts, draw, sampler, cfg
):
    levels = noise_levels(checkpoint.model, "karras", 5)
    found = draw(cfg_guider(*texts[:2], cfg), levels, sampler=sampler)
    wanted = ksampler(
        checkpoint.model,
        *texts[:2],
        empty_latent(checkpoint.vae, 20, 28, 2),
        **{**SETTINGS, "sampler": sampler},
        steps=5,
        cfg=cfg,
        schedule="karras",
        memory=memory,
    )
    assert torch.equal(found.samples, wanted.samples)


def guiders(texts):
    positive, negative, third = texts
    plain = cfg_guider(positive, negative, 6.0)
    return {
        "cfg": plain,
        "dual": dual_guider(positive, third, negative, 4.0, 5.0),
        "perp": perp_neg_guider(positive, negative, third, 6.0, 2.0),
        "rescaled": rescaled(plain, 0.7),
        "projected": projected(plain, 0.0, 2.0),
        "momentum": projected(plain, 0.0, 2.0, -0.5),
    }


KINDS = ["cfg", "dual", "perp", "rescaled", "projected", "momentum"]


@pytest.mark.parametrize("kind", KINDS)
def test_every_guider_draws_something_else_and_each_picture_by_itself(texts, draw, kind):
    levels = levels_from_text("14.6, 5, 2, 0.7, 0")
    guider = guiders(texts)[kind]
    found = draw(guider, levels)
    assert torch.equal(draw(pickle.loads(pickle.dumps(guider)), levels).samples, found.samples)
    alone = draw(guider, levels, Latent(torch.zeros(1, 4, 7, 5), noise_index=(1,)))
    assert alone.samples.shape == found.samples[1:].shape
    assert torch.equal(alone.samples, found.samples[1:])
    if kind != "cfg":
        plain = draw(guiders(texts)["cfg"], levels)
        assert (found.samples - plain.samples).abs().max() > 1e-4


@pytest.mark.parametrize("sampler", ["euler", "ddim", "heun"])
@pytest.mark.parametrize("kind", KINDS[:5])
def test_parts_of_split_levels_are_the_bits_of_the_whole(checkpoint, texts, draw, sampler, kind):
    levels, guider = noise_levels(checkpoint.model, "karras", 4), guiders(texts)[kind]
    whole = draw(guider, levels, sampler=sampler)
    for step in range(5):
        high, low = split_levels(levels, step)
        half = draw(guider, high, sampler=sampler)
        rest = draw(guider, low, half, sampler=sampler, add_noise=False)
        assert torch.equal(rest.samples.float(), whole.samples), step
        joined = join_levels(high, low)
        assert (joined.sigmas, joined.timesteps) == (levels.sigmas, levels.timesteps)


def test_momentum_begins_anew_with_a_run_and_counts_within_it(texts, draw):
    levels, made = levels_from_text("14.6, 5, 2, 0.7, 0"), guiders(texts)
    one, other = (draw(made[kind], levels).samples for kind in ("momentum", "projected"))
    assert not torch.equal(one, other)
    single = levels_from_text("14.6, 0")
    one, other = (draw(made[kind], single).samples for kind in ("momentum", "projected"))
    assert torch.equal(one, other)


def test_a_split_by_denoise_is_rounded():
    levels = levels_from_text("6 5 4 3 2 1 0")
    for denoise, high, low in ((0.5, 4, 4), (0.25, 5, 3), (1.0, 1, 7), (0.0, 7, 1)):
        parts = split_by_denoise(levels, denoise)
        assert [len(part.sigmas) for part in parts] == [high, low], denoise
    with pytest.raises(GraphEngineError, match="has 6 steps and can't be split at step 7"):
        split_levels(levels, 7)


def test_levels_as_text_and_back_are_the_same_to_the_last_digit(checkpoint):
    levels = noise_levels(checkpoint.model, "karras", 9)
    read = levels_from_text(levels_as_text(levels), checkpoint.model, "karras")
    assert read == levels
    assert levels_from_text("3;\n1e0 , 0").sigmas == (3.0, 1.0, 0.0)
    for text, words in (("3, x", "level 1 is 'x'"), ("-1", "level 0 is"), (" ", "no noise levels")):
        with pytest.raises(GraphEngineError, match=words):
            levels_from_text(text)
    with pytest.raises(GraphEngineError, match="level 0 is 'inf'"):
        levels_from_text("inf")


def test_lists_of_two_schedules_are_joined_where_they_fall():
    joined = join_levels(levels_from_text("9 6 3", name="a"), levels_from_text("4 1 0", name="b"))
    assert joined.sigmas == (9, 6, 4, 1, 0)
    assert joined.timesteps == levels_from_text("9 6 4 1 0").timesteps
    assert joined.name == "a + b"
    with pytest.raises(GraphEngineError, match="b starts at 6, above the last step of a at 6"):
        join_levels(levels_from_text("9 6 3", name="a"), levels_from_text("6 0", name="b"))


def test_flipped_levels_rise_and_a_run_says_that_it_needs_falling_ones(texts, draw):
    levels = levels_from_text("9 3 1 0")
    turned = flip_levels(levels)
    assert turned.sigmas == (0.0001, 1, 3, 9)
    assert turned.timesteps == (0.0, *levels.timesteps[:0:-1])
    assert flip_levels(turned).sigmas == (9, 3, 1, 0.0001)
    with pytest.raises(ModelError, match="levels have to fall"):
        draw(cfg_guider(*texts[:2], 5.0), turned)


def test_too_few_levels_leave_the_latent_or_noise_it(texts, draw):
    latent, guider = Latent(torch.randn(1, 4, 5, 7)), cfg_guider(*texts[:2], 5.0)
    assert draw(guider, Levels("none", (), ()), latent) is latent
    assert draw(guider, levels_from_text("0"), latent) is latent
    assert draw(guider, levels_from_text("2"), latent, add_noise=False) is latent
    noise = start_noise(3, (4, 5, 7), [0])
    scale = 0.5
    wanted = latent.samples * scale + noise * 2
    found = draw(guider, levels_from_text("2"), latent)
    torch.testing.assert_close(found.samples.float() * scale, wanted)


def test_a_third_text_of_another_family_is_told_before_weights_are_loaded(checkpoint, texts):
    def load(*_):
        raise AssertionError("weights were loaded")

    other = replace(texts[2], tokens=torch.zeros(1, 77, 768))
    guider = dual_guider(*texts[:2], texts[2], 4.0, 5.0)
    guider = replace(guider, rule=replace(guider.rule, middle=other))
    with pytest.raises(ModelError, match="encoder of the third text is Stable Diffusion 1.x"):
        sample_custom(
            checkpoint.model,
            guider,
            Latent(torch.zeros(1, 4, 5, 7)),
            levels_from_text("2 0"),
            memory=Memory(load=load),
            **SETTINGS,
        )
