"""Several texts in one picture: the mixture cell by cell, against the formula."""

import math
from dataclasses import replace

import pytest
import torch

from graphengine.diffusion import (
    Area,
    Conditioning,
    Latent,
    combine_conditioning,
    guided,
    ksampler,
    limit_to_area,
    limit_to_mask,
    limit_to_range,
    noise_table,
    set_strength,
)
from graphengine.diffusion.regions import Cells, Frame, cells_of, conditioned, level_at
from graphengine.errors import ModelError

TABLE = noise_table()
FRAME = Frame(TABLE, (8, 12))
CFG = 3.0


def text(number):
    """A text whose answer, in `predict_at`, is the number everywhere."""
    return Conditioning(torch.full((1, 2, 3), float(number)))


class Model:
    """Answers x * 0 plus the number of the text; notes what it was shown."""

    def __init__(self):
        self.asked = []

    def at(self, cells):
        def predict(x, sigma, tokens):
            self.asked.append((cells, tuple(x.shape[2:]), len(tokens)))
            return x * 0 + tokens[:, :1, :1, None]

        return predict


def answer(positive, negative, sigma=1.0, cfg=CFG, item=0, together=True, x=None):
    x = torch.randn(1, 4, *FRAME.size) if x is None else x
    model = Model()
    result = conditioned(model.at, FRAME, item, positive, negative, cfg, together)(x, sigma)
    assert result.shape == x.shape
    assert bool((result == result[:, :1]).all())
    return result[0, 0], model.asked


def towards(positive, negative, cfg=CFG):
    return negative + (positive - negative) * cfg


def test_masks_are_mixed_by_the_formula():
    ramp = torch.linspace(0, 1, 12).expand(1, 8, 12)
    one, two = limit_to_mask(text(2), ramp, 0.5), limit_to_mask(text(5), 1 - ramp)
    found, asked = answer(combine_conditioning(one, two), text(1))
    weight, other = ramp[0] * 0.5, 1 - ramp[0]
    mixed = (2 * weight + 5 * other) / (weight + other)
    torch.testing.assert_close(found, towards(mixed, 1.0))
    assert asked == [(None, (8, 12), 2), (None, (8, 12), 1)]


def test_a_mask_of_any_size_is_fitted_and_each_item_has_its_own():
    masks = torch.zeros(2, 16, 24)
    masks[0, :, :12], masks[1, :, 12:] = 1, 1
    positive = combine_conditioning(
        limit_to_mask(text(2), masks), limit_to_mask(text(5), 1 - masks)
    )
    first, second = (answer(positive, text(1), item=item)[0] for item in (0, 1))
    wanted = torch.full((8, 12), towards(5.0, 1.0))
    wanted[:, :6] = towards(2.0, 1.0)
    torch.testing.assert_close(first, wanted)
    torch.testing.assert_close(second, wanted.flip(1))


def test_strength_weighs_parts_but_not_one_alone():
    both = combine_conditioning(set_strength(text(2), 3.0), text(5))
    torch.testing.assert_close(
        answer(both, text(1))[0], torch.full((8, 12), towards((2 * 3 + 5) / 4, 1.0))
    )
    alone = answer(set_strength(text(2), 3.0), text(1))[0]
    assert torch.equal(alone, torch.full((8, 12), towards(2.0, 1.0)))


def test_an_area_is_shown_alone_with_soft_edges_inside():
    """The right two thirds of the width: 8 cells, of which the first two rise over 1/2 and 1."""
    area = limit_to_area(text(5), Area(1 / 3, 0, 2 / 3, 1), strength=2.0)
    found, asked = answer(combine_conditioning(text(2), area), text(1))
    weight = torch.zeros(12)
    weight[4:] = 2.0
    weight[4] = 1.0
    positive = (2 + 5 * weight) / (1 + weight)
    torch.testing.assert_close(found, towards(positive, 1.0).expand(8, 12))
    cells = Cells(0, 4, 8, 8)
    assert asked == [(None, (8, 12), 2), (cells, (8, 8), 2)], "both sides are shown the area"


def test_the_other_side_takes_the_text_around_an_area():
    inner = limit_to_area(text(7), Area(0, 0, 0.25, 1))
    half = limit_to_area(text(5), Area(0, 0, 0.5, 1))
    negative = combine_conditioning(text(1), half)
    model = Model()
    tokens = []

    def at(cells):
        def predict(x, sigma, given):
            tokens.append((cells and cells.width, sorted(given[:, 0, 0].tolist())))
            return model.at(cells)(x, sigma, given)

        return predict

    positive = combine_conditioning(text(2), inner)
    conditioned(at, FRAME, 0, positive, negative, CFG)(torch.zeros(1, 4, 8, 12), 1.0)
    assert sorted(tokens, key=str) == [(3, [5.0, 7.0]), (6, [2.0, 5.0]), (None, [1.0, 2.0])]


def test_ranges_are_fractions_of_the_trained_timesteps():
    """Half of Stable Diffusion's schedule is at sigma 1.6155803 (a number of the field)."""
    assert level_at(TABLE, 0.5) == pytest.approx(1.6155803, rel=1e-6)
    assert (level_at(TABLE, 0.0), level_at(TABLE, 1.0)) == (math.inf, 0.0)
    early, late = limit_to_range(text(2), 0, 0.5), limit_to_range(text(5), 0.5, 1)
    both = combine_conditioning(early, late)
    for sigma, number in ((14.6, 2.0), (1.62, 2.0), (1.61, 5.0), (0.03, 5.0)):
        found = answer(both, text(1), sigma=sigma)[0]
        assert torch.equal(found, torch.full((8, 12), towards(number, 1.0)))


@pytest.mark.parametrize("cfg", [1.0, CFG])
def test_what_nothing_covers_is_drawn_without_guidance(cfg):
    mask = torch.zeros(1, 8, 12)
    mask[:, :, :6] = 1
    found, _ = answer(limit_to_mask(text(5), mask), text(1), cfg=cfg)
    wanted = torch.full((8, 12), towards(5.0, 1.0, cfg))
    wanted[:, 6:] = 1.0
    assert torch.equal(found, wanted)
    nothing = limit_to_range(text(5), 0.9, 1)
    assert torch.equal(answer(nothing, text(1), cfg=cfg)[0], torch.ones(8, 12))
    assert torch.equal(answer(nothing, nothing, cfg=cfg)[0], torch.full((8, 12), 5.0))


def test_no_strength_at_all_is_no_part():
    assert torch.equal(answer(set_strength(text(5), 0.0), text(1))[0], torch.ones(8, 12))


def test_one_text_is_asked_for_once():
    one = text(2)
    parts = combine_conditioning(limit_to_range(one, 0, 1), set_strength(one, 2.0))
    found, asked = answer(parts, text(1), together=False)
    assert asked == [(None, (8, 12), 1)] * 2
    assert torch.equal(found, torch.full((8, 12), towards(2.0, 1.0)))


def test_guidance_one_asks_for_the_positive_side_only():
    parts = combine_conditioning(text(2), text(4))
    found, asked = answer(parts, text(1), cfg=1.0)
    assert asked == [(None, (8, 12), 2)]
    assert torch.equal(found, torch.full((8, 12), 3.0))


def test_a_plain_text_takes_the_short_way():
    x = torch.randn(1, 4, 8, 12)
    found, asked = answer(text(2), text(1), x=x)
    plain = guided(Model().at(None), text(2).tokens, text(1).tokens, CFG)(x, 1.0)
    assert torch.equal(found, plain[0, 0])
    assert asked == [(None, (8, 12), 2)]


@pytest.mark.parametrize(
    ("area", "cells"),
    [
        (Area(0, 0, 1, 1), Cells(0, 0, 8, 12)),
        (Area(0.5, 0.25, 0.5, 0.5), Cells(2, 6, 4, 6)),
        (Area(0.99, 0.99, 1, 1), Cells(7, 11, 1, 1)),
        (Area(0, 0, 0.001, 0.001), Cells(0, 0, 1, 1)),
        (Area(16, 8, 32, 16, "pixels"), Cells(1, 2, 2, 4)),
        (Area(1000, 0, 1000, 1000, "pixels"), Cells(0, 11, 8, 1)),
    ],
)
def test_areas_become_cells_that_are_there(area, cells):
    assert cells_of(area, 8, 12, 8) == cells


def test_areas_that_hold_nothing_are_refused():
    for area in (Area(0, 0, 0, 1), Area(1, 0, 0.5, 1), Area(-1, 0, 8, 8, "pixels")):
        with pytest.raises(ModelError, match="holds nothing"):
            limit_to_area(text(1), area)
    with pytest.raises(ModelError, match="let it end after its start"):
        limit_to_range(text(1), 0.6, 0.5)


SETTINGS = {"seed": 3, "steps": 3, "cfg": 5.0, "sampler": "euler", "schedule": "karras"}


def test_a_model_draws_each_text_in_its_place(checkpoint, memory, prompts):
    """Where the mask is 1, far from its border, the first step is that of the text alone."""
    mask = torch.zeros(1, 8, 8)
    mask[:, :, :4] = 1
    one, two = prompts
    parts = combine_conditioning(limit_to_mask(one, mask), limit_to_mask(two, 1 - mask))
    latent = Latent(torch.zeros(1, 4, 8, 8))
    draw = {"memory": memory, **SETTINGS, "steps": 1}
    drawn, first, second = (
        ksampler(checkpoint.model, text, two, latent, **draw).samples for text in (parts, one, two)
    )
    torch.testing.assert_close(drawn[..., :4], first[..., :4], rtol=0, atol=1e-5)
    torch.testing.assert_close(drawn[..., 4:], second[..., 4:], rtol=0, atol=1e-5)
    assert (first - second).abs().max() > 0.01


def test_parts_that_cover_everything_alike_are_the_plain_text(checkpoint, memory, prompts):
    latent = Latent(torch.zeros(1, 4, 8, 8))
    plain, *others = (
        ksampler(checkpoint.model, text, prompts[1], latent, memory=memory, **SETTINGS).samples
        for text in (
            prompts[0],
            limit_to_mask(prompts[0], torch.ones(1, 64, 64), 0.5),
            limit_to_area(prompts[0], Area(0, 0, 1, 1)),
        )
    )
    for other in others:
        torch.testing.assert_close(other, plain, rtol=0, atol=2e-4)


def test_areas_crop_what_an_inpainting_model_reads_beside(checkpoint, prompts):
    from graphengine.diffusion import Memory
    from tests.diffusion.test_generation import FakeUnet

    class Reader(FakeUnet):
        def forward(self, x, timesteps, encoder_hidden_states, return_dict):
            self.calls.append(x[:, 4:].clone())
            return (x[:, :4] * self.weight,)

    unet = Reader()
    beside = torch.randn(1, 5, 8, 8)
    latent = Latent(torch.zeros(1, 4, 8, 8), beside=beside)
    half = limit_to_area(prompts[0], Area(0.5, 0, 0.5, 1))
    model = replace(checkpoint.model, extra_channels=5, vae=None)
    memory = Memory(load=lambda *_: unet)
    ksampler(model, half, prompts[1], latent, memory=memory, **{**SETTINGS, "steps": 1})
    shapes = {tuple(seen.shape[2:]) for seen in unet.calls}
    assert shapes == {(8, 8), (8, 4)}
    for seen in unet.calls:
        wanted = beside[..., 8 - seen.shape[3] :]
        assert torch.equal(seen, wanted.expand_as(seen))


def test_misfits_of_any_part_are_told(checkpoint, memory, prompts):
    latent = Latent(torch.zeros(1, 4, 8, 8))
    wide = Conditioning(torch.zeros(1, 77, 768))
    given = {"memory": memory, **SETTINGS}
    with pytest.raises(ModelError, match="positive text is Stable Diffusion 1.x-sized"):
        ksampler(
            checkpoint.model, combine_conditioning(prompts[0], wide), prompts[1], latent, **given
        )
    masked = limit_to_mask(prompts[0], torch.ones(3, 8, 8))
    with pytest.raises(ModelError, match="negative text has 3 masks for 1 pictures"):
        ksampler(checkpoint.model, prompts[0], masked, latent, **given)
