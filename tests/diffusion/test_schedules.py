import json
import math
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from graphengine.diffusion import SCHEDULES, Betas, levels, noise_table
from graphengine.errors import ModelError

KNOWN = json.loads((Path(__file__).parent / "levels.json").read_text())
TABLE = noise_table()


@pytest.mark.parametrize(
    ("schedule", "steps", "denoise", "drops_a_level", "sigmas", "timesteps"), KNOWN["schedules"]
)
def test_levels_are_those_of_the_field(schedule, steps, denoise, drops_a_level, sigmas, timesteps):
    sampler = "dpm_2" if drops_a_level else "euler"
    ours = levels(TABLE, schedule, steps, denoise, sampler=sampler)
    assert len(ours) == len(sigmas)
    assert ours == pytest.approx(sigmas, rel=1e-5)
    assert [TABLE.timestep(sigma) for sigma in ours[:-1]] == timesteps


def test_linear_gives_the_published_lms_list():
    ours = levels(TABLE, "linear", 15)
    assert [round(sigma, 4) for sigma in ours] == KNOWN["lms15"]


def test_linear_gives_the_lists_of_diffusers():
    from diffusers import EulerDiscreteScheduler

    theirs = EulerDiscreteScheduler(1000, 0.00085, 0.012, "scaled_linear")
    theirs.set_timesteps(20)
    assert levels(TABLE, "linear", 20) == pytest.approx(theirs.sigmas.tolist(), rel=1e-6)


def test_table_converts_both_ways():
    for sigma, timestep in KNOWN["sigma_to_timestep"]:
        assert TABLE.timestep(sigma) == timestep
    for timestep, sigma in KNOWN["timestep_to_sigma"]:
        assert TABLE.sigma(timestep) == pytest.approx(sigma, rel=1e-5)
    assert all(TABLE.timestep(sigma) == t for t, sigma in enumerate(TABLE.sigmas))


def test_linear_betas_are_those_of_diffusers():
    from diffusers import DDPMScheduler

    kept = DDPMScheduler(500, 0.0001, 0.02, "linear").alphas_cumprod.double()
    table = noise_table(Betas("linear", 0.0001, 0.02, 500))
    assert table.sigmas == pytest.approx(((1 - kept) / kept).sqrt().tolist(), rel=1e-4)


COUNTS = {"ddim_uniform": {7: 8, 15: 16}, "beta": {1000: 605}}
"""Where a schedule doesn't give as many steps as it is asked for."""


@pytest.mark.parametrize("schedule", SCHEDULES)
@pytest.mark.parametrize("steps", [1, 2, 7, 15, 200, 1000, 3000])
def test_levels_fall_to_zero(schedule, steps):
    ours = levels(TABLE, schedule, steps)
    if steps <= 15:
        assert len(ours) == COUNTS.get(schedule, {}).get(steps, steps) + 1
    if schedule != "ddim_uniform":
        assert ours[0] == pytest.approx(TABLE.sigma_max, rel=1e-6)
    assert ours[-1] == 0
    assert all(after < before for before, after in pairwise(ours))


@settings(max_examples=100, deadline=None)
@given(
    st.sampled_from(sorted(SCHEDULES)),
    st.integers(1, 120),
    st.floats(0.05, 1),
    st.sampled_from(["euler", "dpm_2", "uni_pc"]),
)
def test_any_levels_fall_to_zero(schedule, steps, denoise, sampler):
    ours = levels(TABLE, schedule, steps, denoise, sampler=sampler)
    assert len(ours) >= 2
    assert ours[-1] == 0
    assert all(after < before for before, after in pairwise(ours))


def test_a_sampler_that_drops_a_level():
    whole = levels(TABLE, "normal", 6)
    assert levels(TABLE, "normal", 5, sampler="uni_pc") == [*whole[:-2], 0.0]
    assert levels(TABLE, "normal", 5, sampler="heun") == levels(TABLE, "normal", 5)


def test_denoise_takes_the_end_of_a_longer_list():
    assert levels(TABLE, "karras", 20, 0.75) == levels(TABLE, "karras", 26)[-21:]
    assert levels(TABLE, "karras", 20, 0.99995) == levels(TABLE, "karras", 20)
    assert levels(TABLE, "karras", 20, 0) == []
    assert math.isclose(levels(TABLE, "karras", 20, 0.5)[0], 1.181744, rel_tol=1e-5)


def test_refusals():
    with pytest.raises(ModelError, match="0 steps.*at least 1"):
        levels(TABLE, "karras", 0)
    with pytest.raises(ModelError, match="no schedule 'karas'.*'karras'"):
        levels(TABLE, "karas", 3)
    with pytest.raises(ModelError, match="no sampler 'eller'.*'euler'"):
        levels(TABLE, "karras", 3, sampler="eller")
    with pytest.raises(ModelError, match="cosine"):
        noise_table(Betas("cosine"))
