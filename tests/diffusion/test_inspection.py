"""What a look inside finds is what the sampler did, and what diffusers and the formulas say."""

from dataclasses import replace

import pytest
import torch
from diffusers import DDPMScheduler, LMSDiscreteScheduler

from graphengine import diffusion
from graphengine.diffusion import Betas, Latent, Trace
from graphengine.diffusion.inspection import timestep_of
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.trace import spread
from graphengine.errors import GraphEngineError, ModelError

SETTINGS = {"seed": 3, "steps": 6, "cfg": 5.0, "sampler": "euler", "schedule": "karras"}
BETAS = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear"}


@pytest.fixture
def look(checkpoint, memory, prompts):
    def run(**changed):
        given = {"memory": memory, **SETTINGS, **changed}
        model = given.pop("model", checkpoint.model)
        latent = given.pop("latent", diffusion.empty_latent(checkpoint.vae, 32, 32))
        return diffusion.trace_run(model, *prompts, latent, **given)

    return run


@pytest.mark.parametrize("sampler", ["euler", "euler_ancestral", "heun", "dpmpp_2m", "lms"])
def test_the_run_is_that_of_the_ksampler(checkpoint, memory, prompts, look, sampler):
    latent, trace = look(sampler=sampler)
    empty = diffusion.empty_latent(checkpoint.vae, 32, 32)
    asked = {**SETTINGS, "sampler": sampler}
    plain = diffusion.ksampler(checkpoint.model, *prompts, empty, memory=memory, **asked)
    _, clean = diffusion.seen_latents(checkpoint.model, trace)
    assert torch.equal(latent.samples, plain.samples)
    assert torch.equal(clean.samples[-1:], plain.samples)
    assert trace.noisy.shape == trace.clean.shape == (6, 4, 8, 8)
    table = diffusion.noise_table(checkpoint.model.betas)
    assert list(trace.sigmas) == diffusion.levels(table, "karras", 6)[:-1]


def test_noisy_less_sigma_times_the_predicted_noise_is_clean(checkpoint, prompts, pipeline, look):
    """The noise is predicted here by diffusers' own U-Net, without any of our denoiser."""
    _, trace = look()
    positive, negative = (side.tokens for side in prompts)
    table = diffusion.noise_table(checkpoint.model.betas)
    for sigma, scale, noisy, clean in zip(trace.sigmas, trace.scales, trace.noisy, trace.clean):
        seen, timestep = noisy[None] / scale, table.timestep(sigma)
        assert scale == pytest.approx((1 + sigma**2) ** 0.5)
        with torch.no_grad():
            towards, away = (
                pipeline.unet(seen, timestep, encoder_hidden_states=text).sample
                for text in (positive, negative)
            )
        noise = away + (towards - away) * 5.0
        torch.testing.assert_close(noisy - sigma * noise[0], clean, rtol=1e-4, atol=1e-4)


def test_steps_of_euler_lead_from_each_to_the_next(look):
    _, trace = look()
    for i in range(len(trace) - 1):
        keep = trace.sigmas[i + 1] / trace.sigmas[i]
        ahead = trace.clean[i] + (trace.noisy[i] - trace.clean[i]) * keep
        torch.testing.assert_close(ahead, trace.noisy[i + 1], rtol=1e-4, atol=1e-5)


def test_noisy_latents_are_shown_as_the_model_reads_them(checkpoint, look):
    """At first it is noise of variance 1, whatever sigma is."""
    _, trace = look()
    model = replace(checkpoint.model, latent_scale=0.5, latent_shift=0.25)
    noisy, clean = diffusion.seen_latents(model, trace)
    first = (noisy.samples[0] - 0.25) * 0.5
    torch.testing.assert_close(first, start_noise(3, (4, 8, 8), [0])[0])
    torch.testing.assert_close((clean.samples - 0.25) * 0.5, trace.clean)


def test_of_a_batch_the_first_picture_is_drawn(checkpoint, look):
    batch = diffusion.empty_latent(checkpoint.vae, 32, 32, batch=3)
    assert torch.equal(look(latent=batch)[1].noisy, look()[1].noisy)


def test_denoise_0_has_no_steps(checkpoint, look):
    with pytest.raises(GraphEngineError, match="no steps"):
        look(denoise=0.0)
    with pytest.raises(GraphEngineError, match="no steps"):
        diffusion.noise_levels(checkpoint.model, "karras", 5, denoise=0.0)


def test_the_15_step_table_is_that_of_diffusers(checkpoint):
    theirs = LMSDiscreteScheduler(**BETAS)
    theirs.set_timesteps(15)
    ours = diffusion.noise_levels(checkpoint.model, "linear", 15)
    assert ours.sigmas == pytest.approx(theirs.sigmas.tolist(), rel=1e-5)
    assert ours.timesteps == pytest.approx(theirs.timesteps.tolist(), abs=1e-3)
    assert [f"{sigma:.4f}" for sigma in ours.sigmas[:3]] == ["14.6146", "9.6826", "6.6780"]


@pytest.mark.parametrize("schedule", sorted(diffusion.SCHEDULES))
def test_levels_are_those_of_a_run(checkpoint, schedule):
    told = diffusion.noise_levels(checkpoint.model, schedule, 8, denoise=0.6)
    table = diffusion.noise_table(checkpoint.model.betas)
    assert list(told.sigmas) == diffusion.levels(table, schedule, 8, 0.6)
    assert len(told.timesteps) == len(told.sigmas) - 1
    assert all(abs(timestep_of(table, s) - table.timestep(s)) < 1 for s in told.sigmas[:-1])
    assert told.alpha_bars[-1] == 1


def test_an_unknown_schedule_is_told_with_a_likely_one(checkpoint):
    with pytest.raises(GraphEngineError, match="karras"):
        diffusion.noise_levels(checkpoint.model, "karas", 5)


def test_whole_timesteps_lie_where_they_are():
    table = diffusion.noise_table(Betas("linear", 0.0001, 0.02, 100))
    assert [timestep_of(table, s) for s in table.single] == pytest.approx(list(range(100)))
    assert timestep_of(table, 0.0) == 0
    assert timestep_of(table, 1e9) == 99


def test_a_picture_is_noised_as_by_diffusers(checkpoint):
    latent = Latent(torch.randn(2, 4, 6, 5, generator=torch.Generator().manual_seed(5)))
    times = [0, 10, 400, 999]
    noised, told = diffusion.diffuse(checkpoint.model, latent, [-1, *times], seed=9)
    scale = checkpoint.model.latent_scale
    noise = start_noise(9, (4, 6, 5), [0]).expand(4, -1, -1, -1)
    clean = (latent.samples[:1] * scale).expand(4, -1, -1, -1)
    theirs = DDPMScheduler(**BETAS).add_noise(clean, noise, torch.tensor(times))
    torch.testing.assert_close(noised.samples[1:] * scale, theirs, rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(noised.samples[:1], latent.samples[:1])
    abars = DDPMScheduler(**BETAS).alphas_cumprod[times]
    assert told.alpha_bars[1:] == pytest.approx(abars.tolist(), rel=1e-4)
    assert told.timesteps == (-1, 0, 10, 400, 999)


@pytest.mark.parametrize("timesteps", [[], [1000], [-2]])
def test_timesteps_that_there_are_not(checkpoint, timesteps):
    with pytest.raises(ModelError, match="from 0 to 999"):
        diffusion.diffuse(checkpoint.model, Latent(torch.zeros(1, 4, 4, 4)), timesteps, seed=0)


def test_a_latent_of_another_model_is_not_noised(checkpoint):
    with pytest.raises(ModelError, match="16 channels"):
        diffusion.diffuse(checkpoint.model, Latent(torch.zeros(1, 16, 4, 4)), [5], seed=0)


def test_psnr_is_that_of_the_formula():
    grey = torch.full((1, 4, 4, 3), 0.5)
    assert diffusion.psnr(grey, grey + 0.1) == pytest.approx(20, abs=1e-4)
    assert diffusion.psnr(grey, grey) == float("inf")


def trace_of(seed, ends, steps=5):
    """A made-up run along a line in sigma from one noise."""
    draws = torch.Generator().manual_seed(seed)
    sigmas = torch.linspace(8, 1, steps)
    noise = start_noise(0, (4, 3, 3), [0])
    clean = ends + torch.randn(steps, 4, 3, 3, generator=draws) * sigmas[:, None, None, None] / 8
    clean[-1] = ends
    noisy = noise * (1 + sigmas**2).sqrt()[:, None, None, None]
    noisy[1:] += clean[1:]
    return Trace("made", tuple(sigmas.tolist()), noisy, clean)


def test_distances_between_noise_and_pictures_are_kept_in_the_plane():
    one, two = trace_of(1, torch.full((4, 3, 3), 0.5)), trace_of(2, torch.randn(4, 3, 3))
    first, second = diffusion.plane_of(one, two)
    assert first.shape == second.shape == (6, 2)
    assert first[0].tolist() == [0, 0] == second[0].tolist()
    noise = one.noisy[0] / one.scales[0]
    corners = {"noise": (noise, first[0]), "one": (one.clean[-1], first[-1])}
    corners["two"] = (two.clean[-1], second[-1])
    for here, there in (("noise", "one"), ("noise", "two"), ("one", "two")):
        real = (corners[here][0] - corners[there][0]).double().norm()
        drawn = (corners[here][1] - corners[there][1]).norm()
        torch.testing.assert_close(drawn, real, rtol=1e-5, atol=1e-5)
    assert first[-1, 1] > second[-1, 1]
    assert first[-1, 0] > 0


def test_runs_to_the_same_picture_have_a_plane_too():
    end = torch.full((4, 3, 3), 0.5)
    first, second = diffusion.plane_of(trace_of(1, end), trace_of(2, end))
    assert torch.isfinite(first).all()
    torch.testing.assert_close(first[-1], second[-1])
    assert first[:, 1].abs().max() > 0.1


def test_some_places_of_many_are_even():
    assert spread(20, 6) == [0, 4, 8, 11, 15, 19]
    assert spread(3, 6) == [0, 1, 2]
    assert spread(9, 1) == [8]
