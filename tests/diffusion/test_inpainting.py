"""Inpainting with ordinary and with inpainting models, against diffusers' own pipeline."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import EulerDiscreteScheduler, StableDiffusionInpaintPipeline, UNet2DConditionModel
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from PIL import Image

import graphengine.postcard
from graphengine.diffusion import (
    Latent,
    decode_latent,
    empty_latent,
    encode_for_inpainting,
    encode_image,
    encode_prompt,
    ksampler,
    load_checkpoint,
    paste_painted,
    prepare_inpainting,
    set_mask,
    shape_mask,
)
from graphengine.diffusion.inpainting import hidden
from graphengine.diffusion.latents import to_model
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.schedules import levels, noise_table
from graphengine.errors import GraphEngineError, ModelError
from graphengine.training.noise_predictor import widen_input
from tests.diffusion import tiny

SETTINGS = {"seed": 3, "cfg": 5.0, "sampler": "euler", "schedule": "linear"}
INPUTS = Path(__file__).parents[2] / "workflows" / "input"
CHECKPOINTS = Path(graphengine.postcard.__file__).parent / "checkpoints"


def inpainting_pipeline(parts, unet):
    """diffusers' pipeline with the same parts, Euler's method and the linear schedule."""
    made = StableDiffusionInpaintPipeline(
        parts.vae, parts.text_encoder, parts.tokenizer, unet, parts.scheduler,
        None, None, requires_safety_checker=False,
    )  # fmt: skip
    made.scheduler = EulerDiscreteScheduler(
        beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear",
        timestep_spacing="linspace",
    )  # fmt: skip
    made.set_progress_bar_config(disable=True)
    return made


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """Nine channels, where all of them count: diffusers' pipeline, and its folder as our parts."""
    parts = tiny.pipeline(tmp_path_factory.mktemp("tokens"))
    unet = widen_input(parts.unet, 9)
    torch.manual_seed(1)
    torch.nn.init.normal_(unet.conv_in.weight[:, 4:], std=0.2)
    made = inpainting_pipeline(parts, unet)
    folder = tmp_path_factory.mktemp("wide") / "tiny-inpaint"
    made.save_pretrained(folder)
    return made, load_checkpoint(folder)


@pytest.fixture
def no_chance(monkeypatch):
    """diffusers draws from the VAE's distribution; we take its middle, and now it does too."""
    monkeypatch.setattr(
        DiagonalGaussianDistribution, "sample", lambda self, generator=None: self.mode()
    )


@pytest.fixture(scope="module")
def picture():
    pixels = np.random.default_rng(0).integers(0, 256, (12, 8, 3), dtype=np.uint8)
    return Image.fromarray(pixels).resize((32, 48), Image.Resampling.BICUBIC)


def image_of(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def grey_mask():
    """Every grey, with edges that lie anywhere in a cell."""
    pixels = np.random.default_rng(1).integers(0, 256, (6, 4), dtype=np.uint8)
    return Image.fromarray(pixels).resize((32, 48), Image.Resampling.BICUBIC)


def cell_mask():
    """Black and white along the borders of cells."""
    mask = np.zeros((48, 32), np.uint8)
    mask[8:36, 12:28] = 255
    return Image.fromarray(mask)


def mask_of(mask):
    return torch.from_numpy(np.asarray(mask, dtype=np.float32) / 255)[None]


def theirs(pipeline, picture, mask, strength, shape, prompts=("a cat by the sea", "rain")):
    """What diffusers draws from the noise of seed 3, [1, H, W, 3], of ten steps before the strength."""
    given = {"generator": torch.Generator().manual_seed(3)}
    if strength == 1:
        sigma = levels(noise_table(), "linear", 10)[0]
        pipeline.scheduler.set_timesteps(10)
        scale = (1 + sigma**2) ** 0.5 / float(pipeline.scheduler.init_noise_sigma)
        given = {"latents": start_noise(3, shape, [0]) * scale}
    return pipeline(
        prompts[0], picture, mask, negative_prompt=prompts[1],
        height=picture.height, width=picture.width, strength=strength,
        num_inference_steps=10, guidance_scale=5.0, output_type="pt", **given,
    ).images.permute(0, 2, 3, 1)  # fmt: skip


def steps_of(strength):
    """Our steps are those that are made, diffusers' those of the whole schedule."""
    return {"steps": round(10 * strength), "denoise": strength}


@pytest.mark.parametrize("strength", [1.0, 0.5])
@pytest.mark.parametrize("make_mask", [grey_mask, cell_mask])
def test_an_inpainting_model_draws_what_diffusers_draws(
    wide, memory, prompts, picture, no_chance, strength, make_mask
):
    pipeline, (model, _, vae) = wide
    mask = make_mask()
    image = image_of(picture)
    latent = prepare_inpainting(model, vae, image, mask_of(mask), keep=False, memory=memory)
    ours = ksampler(model, *prompts, latent, memory=memory, **SETTINGS, **steps_of(strength))
    ours = decode_latent(vae, ours, memory=memory)
    wanted = theirs(pipeline, picture, mask, strength, (4, 12, 8))
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)
    blind = replace(latent, beside=torch.zeros_like(latent.beside))
    other = ksampler(model, *prompts, blind, memory=memory, **SETTINGS, **steps_of(strength))
    assert (decode_latent(vae, other, memory=memory) - wanted).abs().max() > 1e-3


def test_what_is_read_beside_is_what_diffusers_prepares(wide, memory, picture, no_chance):
    pipeline, (model, _, vae) = wide
    mask = grey_mask()
    latent = prepare_inpainting(model, vae, image_of(picture), mask_of(mask), memory=memory)
    whole = pipeline.mask_processor.preprocess(mask, height=48, width=32)
    left = pipeline.image_processor.preprocess(picture, height=48, width=32) * (whole < 0.5)
    with torch.no_grad():
        wanted = pipeline.prepare_mask_latents(
            whole, left, 1, 48, 32, torch.float32, torch.device("cpu"), None, False
        )
    torch.testing.assert_close(latent.beside, torch.cat(wanted, 1), rtol=0, atol=1e-5)
    assert set(latent.beside[:, 0].unique().tolist()) == {0.0, 1.0}


def test_an_ordinary_model_draws_what_diffusers_draws(
    checkpoint, memory, prompts, picture, pipeline, no_chance
):
    """Below full strength, with a mask along cells: diffusers starts from noise alone also outside
    of the mask at full strength, and takes the nearest pixel of the mask where we interpolate.
    """
    mask, vae = cell_mask(), checkpoint.vae
    latent = encode_for_inpainting(vae, image_of(picture), mask_of(mask), grow=0, memory=memory)
    ours = ksampler(checkpoint.model, *prompts, latent, memory=memory, **SETTINGS, **steps_of(0.5))
    wanted = theirs(inpainting_pipeline(pipeline, pipeline.unet), picture, mask, 0.5, (4, 12, 8))
    ours = decode_latent(vae, ours, memory=memory)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-5)


@pytest.mark.parametrize("strength", [1.0, 0.5])
def test_postcard_paints_what_diffusers_paints(memory, no_chance, strength):
    from graphengine.postcard import export

    model, encoder, vae = load_checkpoint(CHECKPOINTS / "postcard-inpaint")
    unet = UNet2DConditionModel.from_pretrained(model.folder, torch_dtype=torch.float32)
    pipeline = inpainting_pipeline(export.load(), unet)
    cottage = Image.open(INPUTS / "cottage.png")
    mask = Image.open(INPUTS / "cottage-mask.png")
    told = ("a big orange tent in the middle, on the grass, by day", "rain")
    texts = [encode_prompt(encoder, text, memory=memory) for text in told]
    latent = prepare_inpainting(
        model, vae, image_of(cottage), mask_of(mask), keep=False, memory=memory
    )
    ours = ksampler(model, *texts, latent, memory=memory, **SETTINGS, **steps_of(strength))
    ours = decode_latent(vae, ours, memory=memory)
    wanted = theirs(pipeline, cottage, mask, strength, (4, 16, 16), told)
    torch.testing.assert_close(ours, wanted, rtol=0, atol=1e-4)


@pytest.fixture
def draw(checkpoint, memory, prompts):
    def run(latent, **changed):
        given = {"steps": 6, **SETTINGS, "memory": memory, **changed}
        return ksampler(checkpoint.model, *prompts, latent, **given)

    return run


SAMPLERS = ["euler", "euler_ancestral", "dpmpp_2m", "ddim"]


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("denoise", [1.0, 0.6])
def test_an_empty_mask_changes_nothing(checkpoint, memory, draw, sampler, denoise):
    image = torch.rand(1, 24, 32, 3)
    before = encode_image(checkpoint.vae, image, memory=memory)
    latent = encode_for_inpainting(checkpoint.vae, image, torch.zeros(1, 24, 32), memory=memory)
    result = draw(latent, sampler=sampler, denoise=denoise)
    assert torch.equal(result.samples, before.samples)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_a_full_mask_is_sampling_without_a_picture(checkpoint, memory, draw, sampler):
    latent = encode_for_inpainting(
        checkpoint.vae, torch.rand(1, 24, 32, 3), torch.ones(1, 24, 32), memory=memory
    )
    free = draw(empty_latent(checkpoint.vae, 32, 24), sampler=sampler)
    torch.testing.assert_close(
        draw(latent, sampler=sampler).samples, free.samples, rtol=0, atol=1e-5
    )


def test_outside_of_the_mask_the_latent_stays_and_inside_it_is_new(checkpoint, memory, draw):
    image = torch.rand(1, 24, 32, 3)
    mask = shape_mask("rectangle", 32, 24, 0.5, 0, 1, 1)
    latent = encode_for_inpainting(checkpoint.vae, image, mask, grow=0, memory=memory)
    result = draw(latent)
    assert torch.equal(result.samples[..., :4], latent.samples[..., :4])
    assert (result.samples[..., 4:] - latent.samples[..., 4:]).abs().mean() > 0.1


def test_what_stays_is_not_rounded_by_the_scale_of_the_model(checkpoint, memory, prompts):
    model = replace(checkpoint.model, latent_scale=0.1321, latent_shift=0.0607)
    mask = shape_mask("rectangle", 32, 24, 0.5, 0, 1, 1)
    latent = Latent(torch.randn(1, 4, 6, 8), noise_mask=mask)
    result = ksampler(model, *prompts, latent, memory=memory, steps=3, **SETTINGS)
    assert torch.equal(result.samples[..., :4], latent.samples[..., :4])
    assert not torch.allclose(result.samples[..., 4:], latent.samples[..., 4:])


def test_soft_masks_mix(checkpoint, draw):
    latent = empty_latent(checkpoint.vae, 32, 32)
    latent = replace(latent, samples=torch.randn(1, 4, 8, 8))
    change = [
        (draw(set_mask(latent, torch.full((1, 8, 8), grey))).samples - latent.samples).abs().mean()
        for grey in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    assert change == sorted(change)
    assert change[0] < 1e-5 < change[1]


def test_the_mask_grows_by_pixels(checkpoint, memory):
    mask = shape_mask("rectangle", 32, 32, 0.25, 0.25, 0.75, 0.75)
    latent = encode_for_inpainting(
        checkpoint.vae, torch.rand(1, 32, 32, 3), mask, grow=3, memory=memory
    )
    assert latent.noise_mask[0, :, 16].nonzero().flatten().tolist() == list(range(5, 27))


def test_what_is_hidden_does_not_reach_the_latent(checkpoint, memory):
    """Only the picture's rest is encoded: what lies under the mask makes no difference."""
    image, other = torch.rand(2, 1, 32, 32, 3)
    mask = shape_mask("rectangle", 32, 32, 0.25, 0.25, 0.75, 0.75)
    mixed = torch.where(mask[..., None] > 0.5, other, image)
    both = [
        encode_for_inpainting(checkpoint.vae, each, mask, under="grey", memory=memory).samples
        for each in (image, mixed)
    ]
    assert torch.equal(*both)
    seen = encode_for_inpainting(checkpoint.vae, image, mask, memory=memory).samples
    assert torch.equal(seen, encode_image(checkpoint.vae, image, memory=memory).samples)
    assert hidden(image, mask)[0, 16, 16].tolist() == [0.5] * 3


@pytest.mark.parametrize("size", [(31, 45), (33, 26)])
def test_sides_that_are_no_multiple_of_a_cell(wide, checkpoint, memory, size):
    """Picture and mask are cut at the same places, and the result goes back to where it was."""
    width, height = size
    _, (model, _, vae) = wide
    image, mask = torch.rand(1, height, width, 3), torch.zeros(1, height, width)
    mask[:, :, : width // 2] = 1
    top, left = height % 4 // 2, width % 4 // 2
    cut = (slice(None), slice(top, top + height // 4 * 4), slice(left, left + width // 4 * 4))
    for made, wanted in (
        (
            prepare_inpainting(model, vae, image, mask, memory=memory),
            prepare_inpainting(model, vae, image[cut], mask[cut], memory=memory),
        ),
        (
            encode_for_inpainting(vae, image, mask, memory=memory),
            encode_for_inpainting(vae, image[cut], mask[cut], memory=memory),
        ),
    ):
        assert made.samples.shape[2:] == (height // 4, width // 4)
        assert torch.equal(made.samples, wanted.samples)
        assert torch.equal(made.noise_mask, wanted.noise_mask)
        assert made.beside is wanted.beside or torch.equal(made.beside, wanted.beside)
    white = torch.ones(1, height // 4 * 4, width // 4 * 4, 3)
    pasted = paste_painted(image, white, torch.ones(1, height, width), soft=0)
    assert torch.equal(pasted[cut], white)
    rest = pasted.clone()
    rest[cut] = image[cut]
    assert torch.equal(rest, image)


def test_a_mask_of_another_size_is_stretched_over_the_picture(wide, memory):
    _, (model, _, vae) = wide
    image = torch.rand(1, 32, 48, 3)
    mask = shape_mask("rectangle", 12, 32, 0.5, 0, 1, 1)
    latent = prepare_inpainting(model, vae, image, mask, memory=memory)
    assert latent.beside.shape == (1, 5, 8, 12)
    assert latent.beside[0, 0].tolist() == [[0.0] * 6 + [1.0] * 6] * 8
    assert latent.noise_mask.shape == (1, 32, 48)


def test_batches(wide, memory):
    """Many pictures with one mask, and one picture with many masks; others are told."""
    _, (model, _, vae) = wide
    image, mask = torch.rand(3, 16, 16, 3), torch.zeros(3, 16, 16)
    mask[1] = 1
    for given in ((image, mask[:1]), (image[:1], mask), (image, mask)):
        latent = prepare_inpainting(model, vae, *given, memory=memory)
        assert latent.samples.shape == (3, 4, 4, 4)
        assert latent.beside.shape == (3, 5, 4, 4)
        single = [part[1 % len(part) :][:1] for part in given]
        alone = prepare_inpainting(model, vae, *single, memory=memory)
        assert torch.equal(alone.beside[0], latent.beside[1])
    with pytest.raises(GraphEngineError, match="2 pictures or masks can't be matched with 3"):
        prepare_inpainting(model, vae, image, mask[:2], memory=memory)


def test_the_scale_is_the_models(wide, memory):
    """A latent is in the VAE's numbers, what is read beside it in the model's."""
    _, (model, _, vae) = wide
    image, mask = torch.rand(1, 16, 16, 3), torch.zeros(1, 16, 16)
    other = replace(model, latent_scale=3.0, latent_shift=0.25)
    latent = prepare_inpainting(other, vae, image, mask, memory=memory)
    assert torch.equal(latent.samples, encode_image(vae, image, memory=memory).samples)
    assert torch.equal(latent.beside[:, 1:], to_model(other, latent.samples))


def test_four_channels_and_inputs_left_alone(wide, memory):
    _, (model, _, vae) = wide
    image, mask = torch.rand(1, 16, 16, 4), torch.rand(1, 8, 8)
    kept = image.clone(), mask.clone()
    latent = prepare_inpainting(model, vae, image, mask, memory=memory)
    three = prepare_inpainting(model, vae, image[..., :3], mask, memory=memory)
    assert torch.equal(latent.beside, three.beside)
    paste_painted(image, torch.rand(1, 16, 16, 3), mask)
    assert torch.equal(image, kept[0]) and torch.equal(mask, kept[1])


def test_models_of_another_kind_are_told(wide, checkpoint, memory, draw):
    image, mask = torch.rand(1, 16, 16, 3), torch.ones(1, 16, 16)
    with pytest.raises(ModelError, match=r"tiny is an ordinary model \(4 channels\).*9 channels"):
        prepare_inpainting(checkpoint.model, checkpoint.vae, image, mask, memory=memory)
    depth = replace(checkpoint.model, extra_channels=1)
    with pytest.raises(ModelError, match=r"depth model \(5 channels\).*inpainting checkpoint"):
        prepare_inpainting(depth, checkpoint.vae, image, mask, memory=memory)
    _, (model, _, vae) = wide
    latent = prepare_inpainting(model, vae, image, mask, memory=memory)
    with pytest.raises(ModelError, match=r"tiny is an ordinary model.*latent\.set_mask"):
        draw(latent)


def test_a_picture_of_less_than_a_cell(wide, memory):
    _, (model, _, vae) = wide
    with pytest.raises(ModelError, match=r"\(3, 16, 3\) can't be encoded"):
        prepare_inpainting(model, vae, torch.rand(1, 3, 16, 3), torch.ones(1, 3, 16), memory=memory)


def test_pasting_keeps_the_rest_to_the_bit():
    image, painted = torch.rand(2, 1, 60, 60, 3)
    mask = shape_mask("ellipse", 60, 60, 0.2, 0.2, 0.8, 0.8)
    for soft in (0, 1, 4, 7):
        result = paste_painted(image, painted, mask, soft)
        assert torch.equal(result[mask == 0], image[mask == 0])
        assert torch.equal(result[:, 30, 30], painted[:, 30, 30])
    assert torch.equal(paste_painted(image, painted, torch.ones(1, 4, 4)), painted)
    assert torch.equal(paste_painted(image, painted, torch.zeros(1, 4, 4)), image)


@pytest.mark.parametrize("size", [(41, 40), (104, 40)])
def test_pasting_something_else_is_told(size):
    with pytest.raises(GraphEngineError, match=r"was not made from one of 40 x 40.*image\.resize"):
        paste_painted(torch.rand(1, 40, 40, 3), torch.rand(1, *size, 3), torch.ones(1, 40, 40))
