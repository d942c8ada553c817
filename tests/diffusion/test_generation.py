import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler
from torch import nn

from graphengine.diffusion import (
    Conditioning,
    Latent,
    Memory,
    add_noise,
    decode_latent,
    empty_latent,
    encode_image,
    ksampler,
    levels,
    load_checkpoint,
    noise_table,
    set_mask,
)
from graphengine.diffusion.latents import to_model
from graphengine.diffusion.noise import start_noise
from graphengine.errors import Cancelled, ModelError
from graphengine.resource import Progress
from tests.diffusion import tiny

SETTINGS = {"seed": 3, "steps": 6, "cfg": 5.0, "sampler": "dpmpp_2m", "schedule": "karras"}
TABLE = noise_table()
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.fixture
def draw(checkpoint, memory, prompts):
    def run(latent, **changed):
        given = {"memory": memory, **SETTINGS, **changed}
        return ksampler(given.pop("model", checkpoint.model), *prompts, latent, **given)

    return run


@pytest.mark.parametrize("kind", ["epsilon", "v_prediction"])
@pytest.mark.parametrize("cfg", [1.0, 5.0])
@pytest.mark.parametrize(
    ("sampler", "schedule", "scheduler"),
    [
        ("dpmpp_2m", "karras", partial(DPMSolverMultistepScheduler, use_karras_sigmas=True)),
        ("euler", "linear", partial(EulerDiscreteScheduler, timestep_spacing="linspace")),
    ],
)
def test_a_picture_is_that_of_diffusers(
    checkpoint, memory, prompts, pipeline, draw, sampler, schedule, scheduler, cfg, kind
):
    """Text, UNet, guidance, sampler and VAE together, on the same noise.

    10 steps, so that diffusers too gives the UNet whole timesteps.
    """
    kept = scheduler(**BETAS, prediction_type=kind)
    sigmas = levels(TABLE, schedule, 10)
    kept.set_timesteps(10)
    start = start_noise(3, (4, 12, 8), [0])
    if isinstance(kept, EulerDiscreteScheduler):
        start = start * (1 + sigmas[0] ** 2) ** 0.5 / float(kept.init_noise_sigma)
    pipeline.scheduler = kept
    asked = {"height": 48, "width": 32, "num_inference_steps": 10, "guidance_scale": cfg}
    theirs = pipeline(
        "a cat by the sea", negative_prompt="rain", latents=start, output_type="pt", **asked
    ).images.permute(0, 2, 3, 1)
    ours = draw(
        empty_latent(checkpoint.vae, 32, 48),
        model=replace(checkpoint.model, prediction=kind),
        steps=10,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
    )
    image = decode_latent(checkpoint.vae, ours, memory=memory)
    assert image.std() > 0.05
    torch.testing.assert_close(image, theirs, rtol=0, atol=1e-5)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "euler_ancestral"])
def test_an_item_is_the_same_bits_alone_and_in_a_batch(checkpoint, draw, sampler):
    three = draw(empty_latent(checkpoint.vae, 20, 28, 3), sampler=sampler).samples
    alone = empty_latent(checkpoint.vae, 20, 28)
    for index in range(3):
        picked = replace(alone, noise_index=(index,))
        assert torch.equal(draw(picked, sampler=sampler).samples[0], three[index])


SCRIPT = """
import sys, torch
from pathlib import Path
from graphengine.diffusion import *
from graphengine.diffusion import load_checkpoint, Memory, encode_prompt, ksampler, empty_latent
torch.set_num_threads(1)
model, text, vae = load_checkpoint(Path(sys.argv[1]))
memory = Memory()
prompts = [encode_prompt(text, words, memory=memory) for words in ("a cat by the sea", "rain")]
settings = dict(seed=3, steps=6, cfg=5.0, sampler="euler_ancestral", schedule="karras")
result = ksampler(model, *prompts, empty_latent(vae, 20, 28), memory=memory, **settings)
sys.stdout.buffer.write(result.samples.numpy().tobytes())
"""


def test_another_process_gives_the_same_bits(folder, checkpoint, draw):
    command = [sys.executable, "-c", SCRIPT, str(folder)]
    theirs = subprocess.run(command, capture_output=True, check=True).stdout
    ours = draw(empty_latent(checkpoint.vae, 20, 28), sampler="euler_ancestral").samples
    assert theirs == ours.numpy().tobytes()


def test_inputs_are_left_alone(checkpoint, memory, prompts, draw):
    latent = Latent(torch.randn(1, 4, 6, 6))
    kept = latent.samples.clone(), prompts[0].tokens.clone()
    draw(latent, denoise=0.5)
    assert torch.equal(latent.samples, kept[0])
    assert torch.equal(prompts[0].tokens, kept[1])


def test_denoise_keeps_something_and_none_keeps_all(checkpoint, draw):
    latent = Latent(torch.randn(1, 4, 6, 6))
    assert draw(latent, denoise=0.0) is latent
    little, much = (draw(latent, denoise=d).samples - latent.samples for d in (0.1, 0.9))
    assert 0 < little.abs().mean() < much.abs().mean()


def test_a_mask_keeps_the_rest(checkpoint, memory, draw):
    latent = encode_image(checkpoint.vae, torch.rand(1, 32, 32, 3), memory=memory)
    mask = torch.zeros(1, 32, 32)
    mask[:, :, 16:] = 1
    result = draw(set_mask(latent, mask))
    torch.testing.assert_close(result.samples[..., :4], latent.samples[..., :4], rtol=0, atol=1e-5)
    assert (result.samples[..., 4:] - latent.samples[..., 4:]).abs().mean() > 0.1
    assert result.noise_mask is mask


def test_families_that_do_not_go_together_are_told_before_weights_are_loaded(checkpoint):
    def load(*_):
        raise AssertionError("weights were loaded")

    memory = Memory(load=load)
    narrow = replace(checkpoint.model, width=768)
    sides = Conditioning(torch.zeros(1, 77, 768)), Conditioning(torch.zeros(1, 77, 2048))
    words = (
        r"negative text is SDXL-sized \(2048 wide\) but the model is Stable Diffusion 1.x \(768\)"
    )
    with pytest.raises(ModelError, match=words):
        ksampler(narrow, *sides, Latent(torch.zeros(1, 4, 8, 8)), memory=memory, **SETTINGS)
    with pytest.raises(ModelError, match="latent has 16 channels but the model works with 4"):
        ksampler(
            narrow, sides[0], sides[0], Latent(torch.zeros(1, 16, 8, 8)), memory=memory, **SETTINGS
        )


class FakeUnet(nn.Module):
    """Answers its input times a factor; out of memory for more than `most` at once."""

    def __init__(self, factor=1.0, most=2):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(factor))
        self.most, self.calls = most, []

    def forward(self, x, timesteps, encoder_hidden_states, return_dict):
        self.calls.append(len(x))
        if len(x) > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return (x * self.weight,)


def test_a_model_that_answers_nan_is_named(checkpoint, draw):
    memory = Memory(load=lambda *_: FakeUnet(torch.nan))
    with pytest.raises(ModelError, match=r"step 1 of 6.*float32"):
        draw(empty_latent(checkpoint.vae, 16, 16), memory=memory)


class Listener(Progress):
    def __init__(self):
        self.notes, self.pictures = [], []

    def report(self, done, total, note="", preview=None, **figures):
        self.notes.append(note)
        if preview:
            self.pictures.append(preview())


def test_cancelling_is_noticed_before_each_call_of_the_model(checkpoint, draw):
    class Impatient(Progress):
        def check(self):
            if len(unet.calls) == 2:
                raise Cancelled

    unet = FakeUnet()
    memory = Memory(load=lambda *_: unet)
    with pytest.raises(Cancelled):
        draw(
            empty_latent(checkpoint.vae, 16, 16),
            sampler="heun",
            memory=memory,
            progress=Impatient(),
        )
    assert len(unet.calls) == 2


def test_out_of_memory_runs_the_prompts_in_turn(checkpoint, draw):
    unet, listener = FakeUnet(most=1), Listener()
    memory = Memory(load=lambda *_: unet)
    model = replace(checkpoint.model, vae=None)
    draw(empty_latent(checkpoint.vae, 16, 16), model=model, memory=memory, progress=listener)
    assert unet.calls == [2, 2] + [1] * 12
    assert "one prompt after the other" in listener.notes[-1]


def test_previews_are_small_pictures_of_the_latent(checkpoint, memory, draw):
    listener = Listener()
    result = draw(empty_latent(checkpoint.vae, 16, 32), progress=listener)
    assert [picture.size for picture in listener.pictures] == [(4, 8)] * 6
    assert result.samples.shape == (1, 4, 8, 4)


def test_previews_fit_a_vae_that_is_a_line(checkpoint):
    from graphengine.diffusion.previews import fit_colors, latent_picture

    class Line(nn.Module):
        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.randn(3, 4) / 8)

        def decode(self, samples, return_dict):
            return (torch.einsum("rc,nchw->nrhw", self.weight, samples) + 0.1,)

    line = Line()
    samples = torch.randn(1, 4, 5, 7)
    shown = latent_picture(samples, fit_colors(line, 4, 2.0))
    wanted = (line.decode(samples, False)[0][0] / 2 + 0.5).clamp(0, 1) * 255
    ours = torch.from_numpy(np.array(shown)).permute(2, 0, 1)
    assert (ours - wanted).abs().max() < 0.51


def test_added_noise_has_the_models_scale(checkpoint):
    latent = Latent(torch.randn(2, 4, 32, 32))
    noised = add_noise(checkpoint.model, latent, 3.0, seed=1)
    added = (noised.samples - latent.samples) * checkpoint.model.latent_scale
    assert added.std() == pytest.approx(3.0, rel=0.05)
    torch.testing.assert_close(added / 3, start_noise(1, (4, 32, 32), [0, 1]), rtol=0, atol=1e-5)


def test_an_empty_latent_stays_empty_beside_others(checkpoint):
    model = replace(checkpoint.model, latent_scale=2.0, latent_shift=0.5)
    batch = to_model(model, torch.stack([torch.zeros(4, 2, 2), torch.ones(4, 2, 2)]))
    assert torch.equal(batch[0], torch.zeros(4, 2, 2))
    assert torch.equal(batch[1], torch.ones(4, 2, 2))


def test_half_precision_weights_work_on_any_device(folder, checkpoint, prompts):
    memory = Memory(dtype="bfloat16")
    result = ksampler(
        checkpoint.model, *prompts, empty_latent(checkpoint.vae, 16, 16), memory=memory, **SETTINGS
    )
    assert result.samples.dtype == torch.float32
    assert torch.isfinite(result.samples).all()


def test_parts_of_another_checkpoint_share_nothing(tmp_path, checkpoint):
    other = load_checkpoint(tiny.save(tmp_path / "wide", width=64))
    assert other.model.width == 64
    assert other.model.digest != checkpoint.model.digest


def test_an_empty_latent_has_the_vaes_shape(checkpoint):
    assert empty_latent(checkpoint.vae, 33, 18, 2).samples.shape == (2, 4, 4, 8)
    with pytest.raises(ValueError, match="4 pixels at least"):
        empty_latent(checkpoint.vae, 3, 18)
