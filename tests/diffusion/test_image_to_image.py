"""Image to image: what the strength means, and diffusers' pipeline as the oracle."""

from pathlib import Path

import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionImg2ImgPipeline

import graphengine.postcard
from graphengine.diffusion import (
    Latent,
    Memory,
    decode_latent,
    empty_latent,
    encode_image,
    encode_prompt,
    ksampler,
    levels,
    load_checkpoint,
    noise_table,
    read_image,
    sample,
)
from graphengine.diffusion.latents import to_model
from graphengine.diffusion.noise import start_noise

POSTCARD = Path(graphengine.postcard.__file__).parent / "checkpoints" / "postcard"
INPUTS = Path(__file__).parents[2] / "workflows" / "input"
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}
TABLE = noise_table()
EULER = {"cfg": 5.0, "sampler": "euler", "schedule": "linear"}


@pytest.fixture(scope="module")
def postcard():
    return load_checkpoint(POSTCARD)


@pytest.fixture(scope="module")
def castle(postcard, memory):
    return encode_image(postcard.vae, read_image(INPUTS / "castle.png")[0], memory=memory)


@pytest.fixture(scope="module")
def texts(postcard, memory):
    encoder = postcard.text_encoder
    return [encode_prompt(encoder, text, memory=memory) for text in ("a red tree at night", "")]


def theirs(pipeline, prompt, negative, latent, strength, steps, seed):
    """diffusers' answer for a latent in the model's numbers. It takes a picture of four channels for
    an encoded one, and draws its noise from the generator as we do.
    """
    parts = dict(pipeline.components)
    parts["scheduler"] = EulerDiscreteScheduler(**BETAS, timestep_spacing="linspace")
    parts["safety_checker"] = parts["feature_extractor"] = parts["image_encoder"] = None
    made = StableDiffusionImg2ImgPipeline(**parts, requires_safety_checker=False)
    made.set_progress_bar_config(disable=True)
    return made(
        prompt,
        latent,
        strength,
        steps,
        guidance_scale=EULER["cfg"],
        negative_prompt=negative,
        generator=torch.Generator().manual_seed(seed),
        output_type="latent",
    ).images


@pytest.mark.parametrize(("strength", "steps"), [(0.5, 10), (0.3, 10), (0.7, 4)])
def test_a_tiny_model_draws_what_diffusers_draws(
    checkpoint, memory, prompts, pipeline, strength, steps
):
    """diffusers counts its steps: of n, the last int(n * strength) are run, which is a part of the
    schedule here. (`denoise` runs n steps of a longer schedule instead. At strength 1 diffusers
    adds noise * sigma to the latent, where we start from noise alone.)
    """
    latent = Latent(torch.randn(1, 4, 12, 8))
    wanted = theirs(
        pipeline,
        "a cat by the sea",
        "rain",
        to_model(checkpoint.model, latent.samples),
        strength,
        steps,
        seed=3,
    )
    start = steps - int(steps * strength)
    options = {"seed": 3, "steps": steps, "start_step": start, "memory": memory, **EULER}
    ours = ksampler(checkpoint.model, *prompts, latent, **options)
    ours = to_model(checkpoint.model, ours.samples)
    assert (ours - to_model(checkpoint.model, latent.samples)).abs().mean() > 0.01
    torch.testing.assert_close(ours, wanted, rtol=0, atol=2e-5)


def test_postcard_draws_what_diffusers_draws(postcard, castle, texts, memory):
    from diffusers import StableDiffusionPipeline

    pipeline = StableDiffusionPipeline.from_pretrained(
        POSTCARD, torch_dtype=torch.float32, safety_checker=None, local_files_only=True
    )
    start = to_model(postcard.model, castle.samples)
    wanted = theirs(pipeline, "a red tree at night", "", start, 0.7, 10, seed=5)
    options = {"seed": 5, "steps": 10, "start_step": 3, "memory": memory, **EULER}
    ours = ksampler(postcard.model, *texts, castle, **options)
    ours = to_model(postcard.model, ours.samples)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-4)


SETTINGS = {"seed": 4, "steps": 5, "cfg": 4.0, "sampler": "dpmpp_2m", "schedule": "karras"}


def test_strength_goes_from_the_picture_to_the_prompt(postcard, castle, texts, memory):
    draw = {"memory": memory, **SETTINGS}
    results = [
        ksampler(postcard.model, *texts, castle, denoise=strength, **draw)
        for strength in (0.0, 0.2, 0.5, 0.8, 1.0)
    ]
    assert results[0] is castle
    drawn = ksampler(postcard.model, *texts, empty_latent(postcard.vae, 128, 128), **draw)
    assert torch.equal(results[-1].samples, drawn.samples)
    away = [float((each.samples - castle.samples).square().mean()) for each in results]
    assert away == sorted(away)
    assert all(after > before * 1.1 for before, after in zip(away[1:], away[2:]))


def test_the_latent_can_be_left_in_the_noise_at_full_strength(checkpoint, memory, prompts):
    """As other tools have it: latent + noise * sqrt(1 + sigma^2)."""
    latent = Latent(torch.randn(1, 4, 6, 6))
    draw = {"memory": memory, "watch": None, **SETTINGS}
    seen = []

    def watch(step, sigma, noisy, clean):
        seen.append(noisy)

    for from_noise in (True, False):
        given = {**draw, "watch": watch, "steps": 1}
        ksampler(checkpoint.model, *prompts, latent, from_noise=from_noise, **given)
    noise = start_noise(4, (4, 6, 6), [0]) * (1 + TABLE.sigma_max**2) ** 0.5
    torch.testing.assert_close(seen[0], noise)
    torch.testing.assert_close(seen[1], noise + to_model(checkpoint.model, latent.samples))


@pytest.mark.parametrize(
    ("size", "channels", "cells"),
    [((131, 77), 4, (32, 19)), ((4, 9), 3, (1, 2)), ((33, 128), 4, (8, 32))],
)
def test_pictures_of_any_size_and_with_transparency_go_in(
    checkpoint, memory, prompts, size, channels, cells
):
    """Sides that are no multiple of the factor (4 here) are cut; transparency is left out."""
    picture = torch.rand(1, *size, channels)
    latent = encode_image(checkpoint.vae, picture, memory=memory)
    assert latent.samples.shape[2:] == cells
    plain = encode_image(checkpoint.vae, picture[..., :3], memory=memory)
    assert torch.equal(latent.samples, plain.samples)
    drawn = ksampler(
        checkpoint.model, *prompts, latent, denoise=0.5, **{**SETTINGS, "steps": 1}, memory=memory
    )
    image = decode_latent(checkpoint.vae, drawn, memory=memory)
    assert image.shape == (1, cells[0] * 4, cells[1] * 4, 3)


def test_levels_can_be_anything_for_the_library():
    """`sample` alone is enough for another tool's schedule: here exact denoising of one number."""
    sigmas = [2.0, 0.5, 0.0]
    latent = torch.full((1, 4, 4, 4), 3.0)
    result = sample(
        lambda x, sigma: torch.ones_like(x),
        latent,
        sigmas,
        sampler="euler",
        seed=0,
        sigma_max=TABLE.sigma_max,
    )
    assert torch.equal(result, torch.ones_like(latent))
    assert levels(TABLE, "linear", 4, 0.0) == []


@pytest.mark.parametrize(
    "prompt", ["", "a red house by the sea " * 400], ids=["empty", "2,000 words"]
)
def test_prompts_of_any_length_are_drawn(postcard, texts, memory, prompt):
    positive = encode_prompt(postcard.text_encoder, prompt, memory=memory)
    small = empty_latent(postcard.vae, 64, 64)
    drawn = ksampler(
        postcard.model, positive, texts[1], small, **{**SETTINGS, "steps": 1}, memory=Memory()
    )
    assert torch.isfinite(drawn.samples).all()
    assert drawn.samples.std() > 0.1
