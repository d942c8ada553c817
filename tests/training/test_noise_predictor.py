"""What a noise predictor is asked, what widening does, and how conditions are made."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from graphengine import ModelError, diffusion
from graphengine.diffusion.depth import depth_condition
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.schedules import noise_table
from graphengine.diffusion.types import Betas
from graphengine.diffusion.weights import load_weights
from graphengine.postcard.dataset import World
from graphengine.training import examples_table, latent_set
from graphengine.training.examples import random_masks
from graphengine.training.noise_predictor import (
    Recipe,
    goal,
    holding,
    loss_weights,
    noised,
    signal,
    text_reader,
    widen_input,
)
from graphengine.training.noising import noised_examples


def scheduler(prediction: str) -> DDPMScheduler:
    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
    )


def test_forward_diffusion_is_diffusers() -> None:
    clean, noise = start_noise(1, (4, 8, 8), range(3)), start_noise(2, (4, 8, 8), range(3))
    t = torch.tensor([0, 400, 999])
    abar = signal(noise_table(Betas()))[t]
    reference = scheduler("epsilon")
    assert torch.allclose(
        noised(clean, noise, abar), reference.add_noise(clean, noise, t), atol=1e-5
    )
    assert torch.equal(goal(clean, noise, abar, "epsilon"), noise)
    velocity = scheduler("v_prediction").get_velocity(clean, noise, t)
    assert torch.allclose(goal(clean, noise, abar, "v_prediction"), velocity, atol=1e-5)
    with pytest.raises(ModelError, match="'sample' can't be taught"):
        goal(clean, noise, abar, "sample")


def test_loss_weights_are_those_of_the_paper() -> None:
    abar = torch.tensor([0.999, 0.5, 0.01])
    ratio = abar / (1 - abar)
    five = torch.full_like(ratio, 5.0)
    assert torch.allclose(loss_weights(abar, Recipe()), torch.minimum(ratio, five) / ratio)
    velocity = Recipe(prediction="v_prediction")
    assert torch.allclose(loss_weights(abar, velocity), torch.minimum(ratio, five) / (ratio + 1))
    assert torch.equal(loss_weights(abar, Recipe(snr_limit=0)), torch.ones(3))


@pytest.mark.parametrize("channels", [5, 9])
def test_a_widened_network_answers_as_before_whatever_is_beside(base, channels: int) -> None:
    old = load_weights(base.model, torch.float32)
    wide = widen_input(copy.deepcopy(old), channels)
    x, text = start_noise(3, (4, 8, 8), range(2)), start_noise(4, (5, 32), range(2))
    t = torch.tensor([10, 700])
    before = old(x, t, text).sample
    for scale in (0.0, 1.0, 100.0):
        extra = start_noise(5, (channels - 4, 8, 8), range(2)) * scale
        after = wide(torch.cat([x, extra], 1), t, text).sample
        assert torch.allclose(before, after, atol=1e-6)
    assert wide.config.in_channels == channels
    with torch.no_grad():
        wide.conv_in.weight[:, 4:] += 0.1
    assert not torch.allclose(before, wide(torch.cat([x, extra], 1), t, text).sample, atol=1e-3)
    with pytest.raises(ModelError, match="can't be cut to 3"):
        widen_input(wide, 3)


def test_a_widened_network_can_be_saved_and_loaded(base, tmp_path) -> None:
    wide = widen_input(load_weights(base.model, torch.float32), 9)
    wide.save_pretrained(tmp_path)
    again = UNet2DConditionModel.from_pretrained(tmp_path)
    assert torch.equal(again.conv_in.weight, wide.conv_in.weight)


def test_captions_are_read_as_prompts_are(base, memory) -> None:
    texts = ["a cat", "", "a cat by the sea"]
    with memory.use(base.text_encoder) as clip:
        got = text_reader(clip.tokenizer, clip.model)(texts)
        skipped = text_reader(clip.tokenizer, clip.model, 1)(texts)
        for place, text in enumerate(texts):
            wanted = diffusion.encode_text(clip, text)[0]
            assert torch.allclose(got[place], wanted, atol=0.05), "bfloat16 is good for 2 digits"
            assert torch.allclose(
                skipped[place], diffusion.encode_text(clip, text, 1)[0], atol=0.05
            )
        assert not torch.allclose(got[0], got[2], atol=0.05)
        assert text_reader(clip.tokenizer, clip.model)(["cat " * 500]).shape == (1, 77, 32)


def test_latents_are_those_of_the_vae_in_the_model_s_numbers(base, memory) -> None:
    world = World(64, 5, 2)
    data = latent_set(world, base.vae, base.model, memory=memory)
    alone = diffusion.encode_image(base.vae, world.pictures([3]), memory=memory).samples
    assert torch.allclose(data.latents[3:4], alone * base.model.latent_scale, atol=1e-5)
    assert data.captions[3] == world.captions(3) and data.extra_channels == 0
    again = latent_set(world, base.vae, base.model, memory=memory)
    other = latent_set(World(64, 5, 3), base.vae, base.model, memory=memory)
    assert data.digest == again.digest != other.digest


def test_conditions_beside_latents(base, memory) -> None:
    world = World(64, 6, 2)
    masks = latent_set(world, base.vae, base.model, "masks", seed=1, memory=memory).conditions
    assert masks is not None and masks.shape == (6, 5, 16, 16)
    assert set(masks[:, 0].unique().tolist()) <= {0.0, 1.0}
    whole = random_masks(6, 64, 64, np.random.default_rng([1, 9]))
    pixels = world.pictures(range(6)) * 2 - 1
    left = (pixels * (whole[..., None] < 0.5) + 1) / 2  # grey, 0 in the model's range
    wanted = diffusion.encode_image(base.vae, left, memory=memory).samples * base.model.latent_scale
    assert torch.allclose(masks[:, 1:], wanted, atol=1e-5)
    near = latent_set(world, base.vae, base.model, "depth", memory=memory).conditions
    assert near is not None
    assert torch.equal(near, depth_condition(world.depth(range(6)), 16, 16))


def test_masks_are_of_all_kinds() -> None:
    masks = random_masks(200, 32, 32, np.random.default_rng(0))
    share = masks.mean((1, 2))
    assert set(masks.unique().tolist()) == {0.0, 1.0}
    assert 10 < int((share == 1).sum()) < 40 and share.min() < 0.1


def test_examples_are_picture_and_noise_in_known_amounts(base, memory) -> None:
    data = latent_set(World(64, 4, 2), base.vae, base.model, memory=memory)
    noise, noisy, t = noised_examples(data, base.model, 3, 7, [0, 999])
    assert t.tolist() == [0, 999, 0]
    alpha = (1 / (1 + torch.tensor(noise_table(base.model.betas).sigmas)[t] ** 2)).view(-1, 1, 1, 1)
    assert torch.allclose(noisy, alpha.sqrt() * data.latents[:3] + (1 - alpha).sqrt() * noise)
    assert torch.equal(noise, start_noise(7, data.latents.shape[1:], range(3)))
    assert noised_examples(data, base.model, 4, 7)[2].unique().numel() > 1
    with pytest.raises(ModelError, match="no timestep 1000"):
        noised_examples(data, base.model, 2, 7, [1000])
    with pytest.raises(ModelError, match="9 examples of a set of 4"):
        noised_examples(data, base.model, 9, 7)
    table = examples_table(data, base.model, base.vae, 2, 1, memory=memory)
    assert table.shape[3] == 3 and torch.isfinite(table).all()


def test_borrowed_weights_are_given_back() -> None:
    one, other = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
    own = one.weight.clone()
    with holding(one, other):
        assert torch.equal(one.weight, other.weight)
    assert torch.equal(one.weight, own)
