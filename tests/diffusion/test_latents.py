"""Latents in batches and shapes: samples, masks, company and noise numbers stay together."""

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from graphengine.diffusion import (
    Latent,
    composite_latents,
    crop_latent,
    flip_latent,
    join_latents,
    ksampler,
    repeat_latents,
    resize_latent,
    resize_latent_by,
    seed_noise,
    select_latents,
    turn_latent,
)
from graphengine.diffusion.latents import fit_beside
from graphengine.errors import ModelError

SETTINGS = {"seed": 3, "steps": 2, "cfg": 2.0, "sampler": "euler_ancestral", "schedule": "karras"}


def full(batch=3, height=6, width=8, **more):
    """A latent with everything a latent can have, one of each for each item."""
    return Latent(
        torch.randn(batch, 4, height, width),
        torch.rand(batch, height * 8, width * 8),
        tuple(range(4, 4 + batch)),
        torch.randn(batch, 1, height, width),
        tuple(range(10, 10 + batch)),
        **more,
    )


@pytest.mark.parametrize("method", ["bilinear", "bicubic", "area", "nearest"])
def test_resizing_is_torchs_interpolation(method):
    latent = full()
    mode = "nearest-exact" if method == "nearest" else method
    larger = resize_latent_by(latent, 1.5, method)
    assert torch.equal(larger.samples, F.interpolate(latent.samples, size=(9, 12), mode=mode))
    assert torch.equal(larger.beside, fit_beside(latent.beside, 9, 12, 4))
    assert larger.noise_mask is latent.noise_mask, "masks have any resolution"
    assert (larger.noise_index, larger.seed_offset) == (latent.noise_index, latent.seed_offset)


@pytest.mark.parametrize(
    ("width", "height", "cells"),
    [(128, 96, (12, 16)), (128, 0, (12, 16)), (0, 24, (3, 4)), (1, 1, (1, 1)), (0, 0, (6, 8))],
)
def test_sizes_are_pixels_and_0_follows_from_the_other_side(width, height, cells):
    assert resize_latent(full(), width, height).samples.shape[2:] == cells


def test_resizing_can_cut_to_the_new_proportions_first():
    latent = full()
    square = resize_latent(latent, 96, 96, "nearest", "center")
    cut = F.interpolate(latent.samples[..., 1:7], size=(12, 12), mode="nearest-exact")
    assert torch.equal(square.samples, cut)
    assert torch.equal(square.noise_mask, latent.noise_mask[..., 8:56])


def test_the_mask_of_an_inpainting_model_stays_black_and_white():
    beside = torch.cat([(torch.rand(1, 1, 8, 8) > 0.5).float(), torch.randn(1, 4, 8, 8)], 1)
    fitted = fit_beside(beside, 11, 13, channels=4)
    assert set(fitted[:, 0].unique().tolist()) == {0.0, 1.0}
    assert torch.equal(fitted[:, 1:], F.interpolate(beside[:, 1:], size=(11, 13), mode="bilinear"))
    assert fit_beside(beside, 8, 8, channels=4) is beside


def test_cropping_cuts_everything_at_the_same_place():
    latent = full()
    cut = crop_latent(latent, x=16, y=8, width=32, height=1000)
    assert torch.equal(cut.samples, latent.samples[..., 1:, 2:6])
    assert torch.equal(cut.beside, latent.beside[..., 1:, 2:6])
    assert torch.equal(cut.noise_mask, latent.noise_mask[:, 8:, 16:48])
    odd = crop_latent(replace(latent, noise_mask=torch.ones(1, 7, 11)), 16, 8, 32, 16)
    assert odd.noise_mask.shape == (1, 2, 4)
    with pytest.raises(ModelError, match="hold nothing of a latent for 64 x 48 pixels"):
        crop_latent(latent, 64, 0, 8, 8)


def test_flipping_and_turning_move_everything_alike():
    latent = full()
    for one, other in (
        (flip_latent(latent, True), [2]),
        (flip_latent(latent, False), [1]),
        (turn_latent(latent, "180"), [1, 2]),
    ):
        assert torch.equal(one.samples, latent.samples.flip([axis + 1 for axis in other]))
        assert torch.equal(one.beside, latent.beside.flip([axis + 1 for axis in other]))
        assert torch.equal(one.noise_mask, latent.noise_mask.flip(other))
    clockwise = turn_latent(Latent(torch.tensor([[[[1.0, 2.0], [3.0, 4.0]]]])), "90").samples
    assert clockwise[0, 0].tolist() == [[3.0, 1.0], [4.0, 2.0]]
    assert turn_latent(latent, "none") is latent
    assert torch.equal(turn_latent(turn_latent(latent, "90"), "270").samples, latent.samples)


def test_compositing_mixes_by_the_mask():
    below, above = full(), Latent(torch.randn(1, 4, 2, 3), beside=torch.randn(1, 1, 2, 3))
    mask = torch.rand(1, 2, 3)
    put = composite_latents(below, above, x=16, y=8, mask=mask)
    wanted, company = below.samples.clone(), below.beside.clone()
    wanted[..., 1:3, 2:5] = below.samples[..., 1:3, 2:5] * (1 - mask) + above.samples * mask
    company[..., 1:3, 2:5] = below.beside[..., 1:3, 2:5] * (1 - mask) + above.beside * mask
    torch.testing.assert_close(put.samples, wanted)
    torch.testing.assert_close(put.beside, company)
    assert put.noise_mask is below.noise_mask and put.noise_index == below.noise_index


def test_compositing_feathers_inner_edges_and_leaves_out_what_does_not_fit():
    below, above = Latent(torch.zeros(1, 1, 4, 8)), Latent(torch.ones(1, 1, 4, 8))
    put = composite_latents(below, above, x=32, feather=16).samples[0, 0]
    assert put.tolist() == [[0, 0, 0, 0, 0.5, 1, 1, 1]] * 4
    assert composite_latents(below, above, x=64) is below
    left = composite_latents(below, above, x=-48).samples[0, 0, 0].tolist()
    assert left == [1, 1, 0, 0, 0, 0, 0, 0]
    with pytest.raises(ModelError, match="2 latents of 1 channels can't be put onto 3 of 4"):
        composite_latents(full(), Latent(torch.zeros(2, 1, 4, 4)))


def test_repeating_gives_new_noise_each_time():
    latent = full(2)
    twice = repeat_latents(latent, 2)
    assert twice.noise_index == (4, 5, 6, 7)
    assert twice.seed_offset == (10, 11, 10, 11)
    for name in ("samples", "noise_mask", "beside"):
        assert torch.equal(getattr(twice, name), torch.cat([getattr(latent, name)] * 2))
    shared = replace(latent, noise_mask=torch.rand(1, 4, 4), noise_index=None)
    assert repeat_latents(shared, 3).noise_mask is shared.noise_mask
    assert repeat_latents(shared, 3).noise_index is None
    with pytest.raises(ValueError, match="at least once"):
        repeat_latents(latent, 0)


def test_selecting_keeps_what_belongs_to_an_item():
    latent = full()
    one = select_latents(latent, 1)
    for name in ("samples", "noise_mask", "beside"):
        assert torch.equal(getattr(one, name), getattr(latent, name)[1:2])
    assert (one.noise_index, one.seed_offset) == ((5,), (11,))
    assert len(select_latents(latent, 1, 10).samples) == 2
    assert select_latents(Latent(latent.samples), 2).noise_index == (2,)
    with pytest.raises(ModelError, match="a batch of 3 has no 1 items from number 3"):
        select_latents(latent, 3)


def test_joining_is_the_reverse_of_selecting():
    latent = full()
    again = join_latents([select_latents(latent, 0, 2), select_latents(latent, 2)])
    for name in ("samples", "noise_mask", "beside"):
        assert torch.equal(getattr(again, name), getattr(latent, name))
    assert (again.noise_index, again.seed_offset) == (latent.noise_index, latent.seed_offset)


def test_joining_fills_in_what_some_lack():
    plain, masked = Latent(torch.zeros(2, 4, 6, 8)), Latent(torch.ones(1, 4, 6, 8))
    assert join_latents([plain, masked]).noise_index is None
    both = join_latents([plain, replace(masked, noise_mask=torch.zeros(1, 3, 4))])
    assert both.noise_mask.mean(dim=(1, 2)).tolist() == [1, 1, 0]
    offset = join_latents([plain, replace(masked, seed_offset=(5,))])
    assert offset.seed_offset == (0, 0, 5)
    with pytest.raises(ModelError, match="others not so"):
        join_latents([plain, full(1)])
    with pytest.raises(ModelError, match="4 x 6 x 8 and 4 x 7 x 8"):
        join_latents([plain, full(1, 7)])
    with pytest.raises(ModelError, match="no latents"):
        join_latents([])


@pytest.fixture
def draw(checkpoint, memory, prompts):
    def run(latent, seed=3):
        given = {"memory": memory, **SETTINGS, "seed": seed}
        return ksampler(checkpoint.model, *prompts, latent, **given).samples

    return run


def test_next_seeds_are_the_pictures_of_runs_of_their_own(draw):
    empty = Latent(torch.zeros(1, 4, 6, 6))
    batch = draw(seed_noise(repeat_latents(empty, 3), "next seeds"), seed=2**64 - 2)
    for place in range(3):
        assert torch.equal(batch[place : place + 1], draw(empty, seed=(2**64 - 2 + place) % 2**64))
    taken = select_latents(seed_noise(repeat_latents(empty, 3), "next seeds"), 2)
    assert torch.equal(draw(taken, seed=7), draw(empty, seed=9))


def test_the_same_noise_for_all_and_the_usual_one_again(draw):
    batch = Latent(torch.zeros(3, 4, 6, 6))
    usual, same = draw(batch), draw(seed_noise(batch, "same"))
    assert torch.equal(same, usual[:1].expand_as(same))
    numbered = seed_noise(seed_noise(batch, "next seeds"), "numbered")
    assert torch.equal(draw(numbered), usual)


def test_a_selected_item_is_drawn_as_in_its_batch(draw):
    batch = Latent(torch.zeros(3, 4, 6, 6))
    assert torch.equal(draw(select_latents(batch, 1)), draw(batch)[1:2])
