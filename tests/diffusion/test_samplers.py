import inspect
import math
import textwrap

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from graphengine.diffusion import (
    SAMPLERS,
    SCHEDULES,
    Area,
    Betas,
    empty_latent,
    guide,
    guided,
    ksampler,
    levels,
    limit_to_area,
    noise_table,
    sample,
    set_mask,
)
from graphengine.diffusion.noise import step_noise
from graphengine.diffusion.samplers.multistep import ADAMS, adams_v, lagrange_integral
from graphengine.diffusion.samplers.predictor_corrector import adams_weights
from graphengine.diffusion.samplers.stochastic import er_integrals, er_scale, er_sde
from graphengine.errors import Cancelled, ModelError
from graphengine.resource import Progress
from tests.diffusion import mixture
from tests.diffusion.vectors import CASES, TABLE, error_of, tolerance_of

PLUS_PLUS = [name for name in SAMPLERS if name.endswith("cfg_pp")]
NOISY = [name for name in SAMPLERS if SAMPLERS[name].noise != "none"]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["id"])
def test_results_are_those_of_the_field(case):
    assert error_of(case) <= tolerance_of(case)


def start(sampler, schedule="karras", steps=20, denoise=1.0):
    """The levels of a run and what `sample` is told beside them."""
    sigmas = levels(TABLE, schedule, steps, denoise, sampler=sampler)
    return sigmas, {"sampler": sampler, "seed": 42, "sigma_max": TABLE.sigma_max}


def mixture_denoiser(cfg):
    return guided(mixture.predict, mixture.POSITIVE, mixture.NEGATIVE, cfg)


PUBLISHED = {
    "euler_cfg_pp": 68,
    "euler_ancestral_cfg_pp": 41,
    "dpmpp_2s_ancestral_cfg_pp": 30,
    "dpmpp_2m_cfg_pp": 95,
    "res_multistep_cfg_pp": 77,
    "res_multistep_ancestral_cfg_pp": 40,
    "gradient_estimation_cfg_pp": 68,
}
"""The largest value of each sampler's results in the field's runs, as published with the vectors."""


@pytest.mark.parametrize("sampler", PUBLISHED)
def test_guidance_without_noise_of_its_own_reaches_the_known_heights(sampler):
    """They stand out where guidance of 7.5 is far more than these samplers are made for."""
    sigmas, options = start(sampler, "normal", 20, 0.6)
    latent = torch.from_numpy(mixture.MEANS[True][0]).float()[None]
    made = sample(mixture_denoiser(7.5), latent, sigmas, **options)
    assert float(made.abs().max()) == pytest.approx(PUBLISHED[sampler], abs=0.51)


# The other one mixes answers of two places, and is another method even without guidance.
ONE_PLACE = [name for name in PLUS_PLUS if name != "dpmpp_2s_ancestral_cfg_pp"]


@pytest.mark.parametrize("sampler", ONE_PLACE)
def test_cfg_pp_is_the_plain_sampler_where_guidance_changes_nothing(sampler):
    def one_gaussian(x, sigma):
        return (x + sigma**2 * 0.3) / (1 + sigma**2)

    sigmas, options = start(sampler)
    plain = {**options, "sampler": sampler.removesuffix("_cfg_pp")}
    latent = torch.zeros(1, 4, 8, 8)
    same = guide(one_gaussian, one_gaussian, 3.0)
    ours, theirs = sample(same, latent, sigmas, **options), sample(same, latent, sigmas, **plain)
    torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("sampler", PLUS_PLUS)
def test_cfg_pp_asks_the_negative_side_at_cfg_one(sampler):
    asked = []

    def negative(x, sigma):
        asked.append(sigma)
        return x / (1 + sigma**2)

    sigmas, options = start(sampler, steps=4)
    sample(guide(lambda x, sigma: x * 0, negative, 1.0), torch.zeros(1, 4, 8, 8), sigmas, **options)
    assert len(asked) >= 4
    asked.clear()
    options["sampler"] = "euler"
    sample(guide(lambda x, sigma: x * 0, negative, 1.0), torch.zeros(1, 4, 8, 8), sigmas, **options)
    assert not asked


@pytest.mark.parametrize("sampler", PLUS_PLUS)
def test_cfg_pp_says_what_it_needs(sampler):
    sigmas, options = start(sampler, steps=2)
    with pytest.raises(ModelError, match=r"without guidance.*guide\(positive"):
        sample(lambda x, sigma: x, torch.zeros(1, 4, 8, 8), sigmas, **options)


MEAN, SPREAD = 0.7, 0.5


def gaussian(x, sigma):
    """Exact for data that are normal: mean 0.7, standard deviation 0.5."""
    return (SPREAD**2 * x + sigma**2 * MEAN) / (SPREAD**2 + sigma**2)


SHARES = {"euler_ancestral": 0.92, "ddpm": 0.92, "euler_ancestral_cfg_pp": 0.92, "er_sde": 1.1}
SHARES |= {"lcm": 0.67, "dpmpp_2s_ancestral_cfg_pp": 0.83}
"""How wide the results are for 40 steps, where it is not about as wide as the data: methods of first
order fall short, and two are no samplers of this distribution.
"""


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_draws_the_data(sampler):
    """4,096 numbers of a known distribution, in 40 steps."""
    sigmas, options = start(sampler, "karras", 40)
    denoise = guide(gaussian, gaussian, 1.0)
    made = sample(denoise, torch.full((1, 4, 32, 32), MEAN), sigmas, **options)
    assert made.mean() == pytest.approx(MEAN, abs=0.03)
    assert made.std() / SPREAD == pytest.approx(SHARES.get(sampler, 1), abs=0.05)


ORDERS = {"heun": 2, "heunpp2": 1, "dpm_2": 2, "lms": 3, "dpmpp_2m": 2, "ipndm": 1, "ipndm_v": 2}
ORDERS |= {"deis": 2, "res_multistep": 2, "gradient_estimation": 1, "uni_pc": 2, "uni_pc_bh2": 2}


@pytest.mark.parametrize("sampler", ORDERS)
def test_more_steps_come_closer_to_the_exact_way(sampler):
    """Down to a level where noise is left, from data at 1; the exact way of a Gaussian is known."""
    x = torch.full((1, 1, 4, 4), 1.0)
    high, low = 10.0, 0.5
    shrink = math.sqrt((SPREAD**2 + low**2) / (SPREAD**2 + high**2))
    exact = MEAN + (1.0 - MEAN) * shrink
    errors = []
    for steps in (16, 64):
        sigmas = [high * (low / high) ** (i / steps) for i in range(steps + 1)]
        options = {"sampler": sampler, "seed": 0, "sigma_max": 14.6, "add_noise": False}
        errors.append(abs(float(sample(gaussian, x, sigmas, **options).mean()) - exact))
    assert errors[1] <= max(errors[0] / 4 ** ORDERS[sampler] * 2, 1e-6)


def test_the_aliases_are_one():
    for one, other in (
        ("dpmpp_sde", "dpmpp_sde_gpu"),
        ("dpmpp_2m_sde", "dpmpp_2m_sde_gpu"),
        ("dpmpp_2m_sde_heun", "dpmpp_2m_sde_heun_gpu"),
        ("dpmpp_3m_sde", "dpmpp_3m_sde_gpu"),
        ("euler_ancestral", "ddpm"),
    ):
        assert SAMPLERS[one] == SAMPLERS[other]
    assert len(SAMPLERS) == 42


def library(made, sigmas, start, noise=None):
    """The run of a diffusers scheduler down our levels, with the Gaussian as its model."""
    made._convert_to_karras = lambda in_sigmas, num_inference_steps: np.array(sigmas[:-1])
    made.set_timesteps(len(sigmas) - 1)
    made.sigmas = torch.tensor(sigmas)
    scale = math.sqrt(1 + sigmas[0] ** 2)
    x = start / scale
    for i, timestep in enumerate(made.timesteps):
        sigma = sigmas[i]
        full = x * math.sqrt(1 + sigma**2)
        eps = (full - gaussian(full, sigma)) / sigma
        more = {} if noise is None else {"variance_noise": noise[i]}
        x = made.step(eps, timestep, x, **more, return_dict=False)[0]
    return x


@pytest.mark.parametrize(("sampler", "kind"), [("uni_pc", "bh1"), ("uni_pc_bh2", "bh2")])
def test_uni_pc_is_that_of_diffusers(sampler, kind):
    from diffusers import UniPCMultistepScheduler

    sigmas, options = start(sampler, "karras", 12)
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 14
    ours = sample(gaussian, x, sigmas, add_noise=False, **options)
    made = UniPCMultistepScheduler(solver_order=3, solver_type=kind, use_karras_sigmas=True)
    theirs = library(made, [*sigmas[:-1], 0.001], x) * math.sqrt(1 + 0.001**2)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-4)


@pytest.mark.parametrize(
    ("sampler", "kind"), [("dpmpp_2m_sde", "midpoint"), ("dpmpp_2m_sde_heun", "heun")]
)
def test_2m_sde_is_that_of_diffusers(sampler, kind, monkeypatch):
    from diffusers import DPMSolverMultistepScheduler

    sigmas, options = start(sampler, "karras", 12)
    drawn = list(torch.randn(12, 1, 4, 8, 8, generator=torch.Generator().manual_seed(2)))
    handed = iter(drawn)
    monkeypatch.setattr(
        "graphengine.diffusion.step_noise.brownian_noise",
        lambda *_: lambda sigma, sigma_next: next(handed),
    )
    x = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1)) * 14
    ours = sample(gaussian, x, sigmas, add_noise=False, **options)
    made = DPMSolverMultistepScheduler(
        algorithm_type="sde-dpmsolver++",
        solver_type=kind,
        use_karras_sigmas=True,
        final_sigmas_type="zero",
    )
    torch.testing.assert_close(ours, library(made, sigmas, x, drawn), rtol=0, atol=1e-4)


def test_the_example_of_the_docstring_draws_what_it_says():
    example = inspect.getdoc(sample).split("\n\n", 1)[1].split("`denoise(x, sigma)`")[0]
    names = {"sample": sample, "levels": levels, "noise_table": noise_table, "torch": torch}
    exec(textwrap.dedent(example), names)
    assert names["data"].std() == pytest.approx(1, abs=0.02)
    assert names["data"].mean() == pytest.approx(0, abs=0.02)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_item_is_the_same_bits_in_any_batch(sampler):
    sigmas = levels(TABLE, "karras", 4, sampler=sampler)
    denoise = guided(mixture.predict, mixture.POSITIVE, mixture.NEGATIVE, 7.5)

    def draw(indices):
        options = {"sampler": sampler, "seed": 5, "sigma_max": TABLE.sigma_max}
        return sample(
            denoise, torch.zeros(len(indices), 4, 8, 8), sigmas, noise_index=indices, **options
        )

    three = draw([0, 1, 2])
    assert torch.equal(draw([2, 0]), three[[2, 0]])
    assert torch.equal(draw([1]), three[[1]])
    assert not torch.equal(three[0], three[1])


def test_step_noise_of_items_differs():
    streams = [step_noise(42, (4, 8, 8), index) for index in (0, 1)]
    drawn = torch.cat([next(stream) for stream in streams for _ in range(3)])
    assert len(drawn.unique(dim=0)) == 6


def test_a_run_cut_in_two_is_the_whole_run():
    sigmas = levels(TABLE, "karras", 20)
    denoise = guided(mixture.predict, mixture.POSITIVE, mixture.NEGATIVE, 7.5)
    options = {"sampler": "euler", "seed": 42, "sigma_max": TABLE.sigma_max}
    half = sample(denoise, torch.zeros(1, 4, 8, 8), sigmas[:9], **options)
    rest = sample(denoise, half, sigmas[8:], add_noise=False, **options)
    assert torch.equal(rest, sample(denoise, torch.zeros(1, 4, 8, 8), sigmas, **options))


def test_guidance_one_never_asks_the_negative_side():
    asked = []

    def predict(x, sigma, tokens):
        asked.append(len(tokens))
        return mixture.predict(x, sigma, tokens)

    denoise = guided(predict, mixture.POSITIVE, torch.full((1, 2, 3), torch.nan), 1.0)
    sample(denoise, torch.zeros(1, 4, 8, 8), [1.0, 0.0], sampler="euler", seed=0, sigma_max=14.6)
    assert asked == [1]


def test_texts_of_other_lengths():
    """Repeated to a common length in one call, or in turn: the answer is the same."""

    def attend(x, sigma, tokens):
        return (tokens.softmax(dim=1) * tokens).sum(dim=(1, 2))[:, None, None, None] * x

    x = torch.rand(1, 4, 2, 2)
    for short, long, calls in ((2, 3, 1), (2, 11, 2)):
        asked = []
        positive, negative = torch.rand(1, long, 3), torch.rand(1, short, 3)

        def counted(x, sigma, tokens, asked=asked):
            asked.append(tokens.shape[1])
            return attend(x, sigma, tokens)

        together = guided(counted, positive, negative, 3.0)(x, 1.0)
        assert len(asked) == calls
        away, towards = attend(x, 1.0, negative), attend(x, 1.0, positive)
        torch.testing.assert_close(together, away + (towards - away) * 3.0)


def test_no_levels_change_nothing():
    latent = torch.rand(2, 4, 8, 8)
    assert sample(None, latent, [], sampler="euler", seed=0, sigma_max=1.0) is latent


def test_nonsense_names_the_step():
    def broken(x, sigma):
        return x / 0 * 0 if sigma < 3 else x

    sigmas = [10.0, 5.0, 2.0, 0.0]
    with pytest.raises(ModelError, match=r"step 3 of 3.*float32"):
        sample(broken, torch.ones(1, 4, 8, 8), sigmas, sampler="euler", seed=0, sigma_max=14.6)


def test_progress_tells_and_stops():
    class Impatient(Progress):
        def __init__(self):
            self.told = []

        def report(self, done, total, note="", preview=None, **figures):
            self.told.append(
                (done, total, round(figures.get("sigma", -1), 1), preview and preview())
            )
            if done == 3:
                raise Cancelled

    progress = Impatient()
    options = {
        "sampler": "euler",
        "seed": 0,
        "sigma_max": 14.6,
        "preview": lambda x: tuple(x.shape),
    }
    with pytest.raises(Cancelled):
        sample(
            lambda x, s: x, torch.zeros(2, 4, 8, 8), [4.0, 2.0, 0.0], progress=progress, **options
        )
    shape = (1, 4, 8, 8)
    assert progress.told == [
        (0, 4, -1, None),
        (1, 4, 4.0, shape),
        (2, 4, 2.0, shape),
        (3, 4, 4.0, shape),
    ]


def test_wrong_batches_are_refused():
    options = {"sampler": "euler", "seed": 0, "sigma_max": 14.6}
    latent = torch.zeros(3, 4, 8, 8)
    with pytest.raises(ValueError, match="2 noise indices for a batch of 3"):
        sample(lambda x, s: x, latent, [1.0, 0.0], noise_index=[0, 1], **options)
    with pytest.raises(ValueError, match="2 masks for a batch of 3"):
        sample(lambda x, s: x, latent, [1.0, 0.0], noise_mask=torch.ones(2, 64, 64), **options)


def test_lagrange_integral_is_exact_for_four_points():
    points = [9.0, 6.5, 4.0, 2.5]
    for place in range(4):
        others = [point for i, point in enumerate(points) if i != place]
        line = np.poly1d(np.poly(others)) / np.prod([points[place] - point for point in others])
        whole = line.integ()
        assert lagrange_integral(points, place, 2.5, 1.0) == pytest.approx(whole(1.0) - whole(2.5))


def test_weights_for_even_steps_are_those_of_adams_and_bashforth():
    for count in (1, 2, 3):
        assert adams_v([-0.3] * count) == pytest.approx(ADAMS[count - 1])
    third = 11 / 24 - 9 / 24  # as published
    wanted = [weight + third * share for weight, share in zip(ADAMS[3], (1, -3, 3, -1))]
    assert adams_v([-0.3] * 4) == pytest.approx(wanted)


def test_weights_of_stochastic_adams_are_integrals():
    from scipy.integrate import quad

    places, h, rate = [-1.3, -0.9, -0.4], 0.4, 2.0
    for place, weight in enumerate(adams_weights(places, h, rate)):
        others = [other for at, other in enumerate(places) if at != place]
        line = np.poly1d(np.poly(others)) / np.prod([places[place] - other for other in others])
        whole, _ = quad(lambda u, line=line: rate * math.exp(-rate * u) * line(-u), 0, h)
        assert weight == pytest.approx(whole, rel=1e-9)


def test_integrals_of_er_sde():
    from scipy.integrate import quad

    plain, weighted = er_integrals(2.0, 1.0)
    assert plain == pytest.approx(quad(lambda s: 1 / er_scale(s), 1.0, 2.0)[0], rel=0.005)
    assert weighted == pytest.approx(quad(lambda s: (s - 2) / er_scale(s), 1.0, 2.0)[0], rel=0.01)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_one_step_of_any_schedule_is_the_clean_latent(sampler):
    for schedule in SCHEDULES:
        sigmas, options = start(sampler, schedule, 1)
        assert len(sigmas) == 2
        seen = []

        def noted(x, sigma, seen=seen):
            seen.append((x, sigma))
            return gaussian(x, sigma)

        made = sample(guide(noted, noted, 1.0), torch.zeros(1, 4, 8, 8), sigmas, **options)
        x, sigma = seen[0]
        assert sigma == sigmas[0]
        torch.testing.assert_close(made, gaussian(x, sigma), rtol=0, atol=1e-6)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_two_steps_of_any_kind(sampler):
    for sigmas in ([5.0, 1.0, 0.0], [5.0, 1.0], [5.0, 1.0, 0.5]):
        options = {"sampler": sampler, "seed": 0, "sigma_max": 14.6}
        made = sample(guide(gaussian, gaussian, 1.0), torch.zeros(1, 4, 8, 8), sigmas, **options)
        assert torch.isfinite(made).all()


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(SAMPLERS)),
    st.lists(st.floats(0.02, 80), min_size=2, max_size=6, unique_by=lambda level: round(level, 2)),
    st.booleans(),
)
def test_any_falling_levels_do(sampler, known, to_zero):
    sigmas = [*sorted(known, reverse=True), *([0.0] if to_zero else [])]
    made = sample(
        guide(gaussian, gaussian, 1.0),
        torch.zeros(1, 1, 4, 4),
        sigmas,
        sampler=sampler,
        seed=3,
        sigma_max=14.6,
    )
    assert torch.isfinite(made).all()


@pytest.mark.parametrize("sampler", NOISY)
def test_the_noise_of_steps_has_a_seed_of_its_own(sampler):
    sigmas, options = start(sampler, steps=4)
    denoise, latent = guide(gaussian, gaussian, 1.0), torch.zeros(1, 4, 8, 8)
    plain = sample(denoise, latent, sigmas, **options)
    assert torch.equal(plain, sample(denoise, latent, sigmas, step_seed=42, **options))
    assert not torch.equal(plain, sample(denoise, latent, sigmas, step_seed=43, **options))


@pytest.mark.parametrize("sampler", NOISY)
def test_one_item_takes_the_same_noise_alone_and_from_its_batch(sampler):
    sigmas, options = start(sampler, steps=4)
    denoise, latent = guide(gaussian, gaussian, 1.0), torch.zeros(1, 4, 8, 8)
    one, other = (
        sample(denoise, latent, sigmas, step_noise_from=kind, **options)
        for kind in ("item", "batch")
    )
    assert torch.equal(one, other)


def test_masks_keep_the_unguided_answer():
    """A mask of ones changes nothing, of zeros everything back."""
    sigmas, options = start("euler_cfg_pp", steps=4)
    denoise, latent = mixture_denoiser(2.0), torch.rand(1, 4, 8, 8)
    plain = sample(denoise, latent, sigmas, **options)
    ones, zeros = torch.ones(1, 8, 8), torch.zeros(1, 8, 8)
    assert torch.equal(plain, sample(denoise, latent, sigmas, noise_mask=ones, **options))
    assert torch.equal(latent, sample(denoise, latent, sigmas, noise_mask=zeros, **options))


@pytest.mark.parametrize(
    ("sigmas", "message"),
    [
        ([5.0, 5.0, 0.0], "noise level 1 is 5 after 5"),
        ([5.0, 2.0, 3.0, 0.0], "noise level 2 is 3 after 2"),
        ([5.0, -1.0], "noise level 1 is -1.0"),
        ([math.nan, 0.0], "noise level 0 is nan"),
        ([math.inf, 0.0], "noise level 0 is inf"),
    ],
)
def test_levels_that_do_not_fall(sigmas, message):
    with pytest.raises(ModelError, match=message):
        sample(gaussian, torch.zeros(1, 4, 8, 8), sigmas, sampler="euler", seed=0, sigma_max=14.6)


def test_names_that_are_none():
    with pytest.raises(ModelError, match="no sampler 'dpmpp_2n'.*'dpmpp_2m'"):
        sample(
            gaussian,
            torch.zeros(1, 4, 8, 8),
            [1.0, 0.0],
            sampler="dpmpp_2n",
            seed=0,
            sigma_max=14.6,
        )


@pytest.mark.parametrize("seed", [-1, 2**64])
def test_seeds_out_of_range(seed):
    options = {"sigma_max": 14.6, "sigmas": [5.0, 1.0, 0.0], "latent": torch.zeros(1, 4, 8, 8)}
    with pytest.raises(ModelError, match="out of range"):
        sample(gaussian, sampler="euler", seed=seed, **options)
    with pytest.raises(ModelError, match="out of range"):
        sample(gaussian, sampler="euler_ancestral", seed=0, step_seed=seed, **options)


def test_the_largest_seed_does_for_ddim_under_a_mask():
    options = {"sampler": "ddim", "seed": 2**64 - 1, "sigma_max": 14.6}
    mask = torch.tensor([[[1.0, 0.0]]])
    made = sample(gaussian, torch.zeros(1, 4, 8, 8), [5.0, 1.0, 0.0], noise_mask=mask, **options)
    assert torch.isfinite(made).all()


def test_dpm_adaptive_gives_up_on_a_model_that_never_settles():
    generator = torch.Generator().manual_seed(0)

    def restless(x, sigma):
        return torch.randn(x.shape, generator=generator) * 1e6

    sigmas, options = start("dpm_adaptive", steps=4)
    with pytest.raises(ModelError, match="accurate enough at sigma 14.61.*dpmpp_2m"):
        sample(restless, torch.zeros(1, 4, 8, 8), sigmas, **options)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_every_sampler_runs_a_model(sampler, checkpoint, memory, prompts):
    """A U-Net of random weights, with a mask, whatever guidance the sampler asks for."""
    positive, negative = prompts
    empty = empty_latent(checkpoint.vae, width=64, height=64, batch=2)
    latent = set_mask(empty, torch.tensor([[[1.0, 0.0]]]))
    options = {"seed": 3, "steps": 3, "schedule": "karras", "memory": memory, "sampler": sampler}
    made = [
        ksampler(checkpoint.model, positive, negative, latent, cfg=cfg, **options).samples
        for cfg in (1.0, 2.0)
    ]
    assert torch.isfinite(made[0]).all()
    assert not torch.equal(*made)
    assert not torch.equal(made[0][:1], made[0][1:])


def test_cfg_pp_of_areas_is_that_of_the_whole(checkpoint, memory, prompts):
    """One text everywhere, once as it is and once as an area that covers everything."""
    positive, negative = prompts
    everywhere = limit_to_area(positive, Area(0, 0, 1, 1, "fraction"))
    latent = empty_latent(checkpoint.vae, width=64, height=64)
    for cfg in (1.0, 2.0):
        options = {"seed": 3, "steps": 3, "cfg": cfg, "schedule": "karras", "memory": memory}
        plain, regional = (
            ksampler(
                checkpoint.model, text, negative, latent, sampler="euler_cfg_pp", **options
            ).samples
            for text in (positive, everywhere)
        )
        torch.testing.assert_close(plain, regional, rtol=1e-4, atol=1e-4)


def test_heunpp2_weighs_what_it_sees_ahead_by_level():
    """With slopes that depend on the level alone, the sum can be written down."""
    sigmas = [4.0, 2.5, 1.0, 0.5]
    slope = {4.0: 1.0, 2.5: -2.0, 1.0: 5.0}
    options = {"sampler": "heunpp2", "seed": 0, "sigma_max": 14.6, "add_noise": False}
    made = sample(lambda x, s: x - s * slope[s], torch.zeros(1, 1, 1, 1), sigmas, **options)
    w1, w2 = 2.5 / 12, 1.0 / 12
    wanted = ((1 - w1 - w2) * 1.0 + w1 * -2.0 + w2 * 5.0) * -1.5
    wanted += ((1 - 1.0 / 8) * -2.0 + 1.0 / 8 * 5.0) * -1.5
    wanted += 5.0 * -0.5
    assert float(made) == pytest.approx(wanted, rel=1e-5)


def test_er_sde_weighs_slope_and_bend_by_their_integrals():
    from scipy.integrate import quad

    def weight(power):
        """scale(1.5) times the integral of (s - 2)^power / power! against -d(1 / scale)."""
        step = 1e-5
        return (
            er_scale(1.5)
            * quad(
                lambda s: (
                    (s - 2) ** power
                    / math.factorial(power)
                    * (1 / er_scale(s - step) - 1 / er_scale(s + step))
                    / (2 * step)
                ),
                1.5,
                2,
            )[0]
        )

    def step(history):
        x, clean = torch.zeros(1), torch.zeros(1)
        answer = er_sde(lambda *_: clean, x, 2.0, 1.5, history, lambda *_: torch.zeros(1))
        return float(answer[0])

    # A slope of 1, then a bend of 1.
    assert step(((3.0, torch.tensor([1.0]), None),)) == pytest.approx(weight(1), rel=0.02)
    bent = ((4.0, torch.zeros(1), None), (3.0, torch.zeros(1), torch.tensor([1.0])))
    assert step(bent) == pytest.approx(weight(2), rel=0.06)  # 200 parts


def test_sa_solver_is_stochastic_in_the_middle():
    """Where the step ends between 80% and 20% of the timesteps of the model."""
    sigmas = [14.6, 6.0, 5.0, 1.0, 0.58, 0.56, 0.1, 0.0]
    taus = [stage.step.keywords["tau"] for stage in SAMPLERS["sa_solver"].plan(sigmas, TABLE)]
    assert taus == [0, 1, 1, 1, 0, 0, 0]
    calm = noise_table(Betas("scaled_linear", 0.0001, 0.002))
    other = [stage.step.keywords["tau"] for stage in SAMPLERS["sa_solver"].plan(sigmas, calm)]
    assert other != taus
