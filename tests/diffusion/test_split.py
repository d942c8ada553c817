"""A part of a schedule, noise left over, and what is read beside the latent."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from graphengine.diffusion import Latent, Memory, empty_latent, ksampler, levels, noise_table
from graphengine.diffusion.generation import cut
from graphengine.diffusion.latents import fit_beside
from graphengine.errors import ModelError

SETTINGS = {"seed": 3, "steps": 6, "cfg": 5.0, "sampler": "euler", "schedule": "karras"}
TABLE = noise_table()
HALF = {"end_step": 3, "leftover_noise": True}
REST = {"start_step": 3, "add_noise": False}


@pytest.fixture
def draw(checkpoint, memory, prompts):
    def run(latent, **changed):
        given = {"memory": memory, **SETTINGS, **changed}
        return ksampler(given.pop("model", checkpoint.model), *prompts, latent, **given)

    return run


@pytest.mark.parametrize(
    ("start", "end", "leftover", "wanted"),
    [
        (0, None, False, [3, 2, 1, 0]),
        (0, 10000, False, [3, 2, 1, 0]),
        (0, 2, False, [3, 2, 0]),
        (0, 2, True, [3, 2, 1]),
        (1, 2, True, [2, 1]),
        (1, None, True, [2, 1, 0]),
        (2, 2, True, [1]),
        (3, None, False, [0]),
        (7, None, False, []),
        (2, 1, False, []),
        (0, 0, False, [0]),
    ],
)
def test_a_part_of_a_schedule(start, end, leftover, wanted):
    sigmas = [3.0, 2.0, 1.0, 0.0]
    assert cut(sigmas, start, end, leftover) == wanted
    assert sigmas == [3, 2, 1, 0]


@pytest.mark.parametrize("scale", [0.5, 0.18215, 0.13025, 1.3])
@pytest.mark.parametrize("sampler", ["euler", "ddim", "heun"])
def test_two_runs_are_the_same_bits_as_one(checkpoint, draw, sampler, scale):
    """Also where the model's numbers are not the VAE's, and through every step."""
    given = {"model": replace(checkpoint.model, latent_scale=scale), "sampler": sampler}
    empty = empty_latent(checkpoint.vae, 20, 28, 2)
    whole = draw(empty, **given)
    for at in (0, 1, 3, 5, 6):
        half = draw(empty, **given, end_step=at, leftover_noise=True)
        assert half.samples.dtype == (torch.float32 if at == 6 else torch.float64)
        rest = draw(half, **given, start_step=at, add_noise=False)
        assert rest.samples.dtype == torch.float32
        assert torch.equal(rest.samples, whole.samples)


def test_single_precision_would_lose_bits(checkpoint, draw):
    """What the wider numbers between two runs are for."""
    given = {"model": replace(checkpoint.model, latent_scale=0.18215)}
    empty = empty_latent(checkpoint.vae, 64, 64)
    half = draw(empty, **given, **HALF)
    cut_short = replace(half, samples=half.samples.float())
    assert not torch.equal(draw(cut_short, **given, **REST).samples, draw(empty, **given).samples)


@pytest.mark.parametrize("sampler", ["dpmpp_2m", "lms"])
def test_samplers_that_remember_begin_anew(checkpoint, draw, sampler):
    empty = empty_latent(checkpoint.vae, 20, 28)
    rest = draw(draw(empty, sampler=sampler, **HALF), sampler=sampler, **REST)
    whole = draw(empty, sampler=sampler)
    assert not torch.equal(rest.samples, whole.samples)
    assert (rest.samples - whole.samples).abs().mean() < whole.samples.std()


def test_an_early_end_removes_all_noise_unless_told_otherwise(checkpoint, draw):
    """The last of the steps goes to no noise at all: its answer is what the model saw as clean."""
    empty, seen = empty_latent(checkpoint.vae, 20, 28), []
    short = draw(empty, end_step=3, watch=lambda *told: seen.append(told))
    scale = checkpoint.model.latent_scale
    _, sigma, noisy, clean = seen[-1]
    torch.testing.assert_close(short.samples, clean / scale)
    left = draw(empty, **HALF)
    wanted = clean + (noisy - clean) * (levels(TABLE, "karras", 6)[3] / sigma)
    torch.testing.assert_close(left.samples.float(), wanted / scale)


@pytest.mark.parametrize("part", [{"start_step": 6}, {"start_step": 4, "end_step": 4}])
def test_no_step_left_is_the_latent_itself(draw, part):
    latent = Latent(torch.randn(1, 4, 6, 6))
    assert draw(latent, **part) is latent


def test_every_step_is_told_to_a_watcher(checkpoint, draw):
    told = []
    result = draw(empty_latent(checkpoint.vae, 16, 16, 2), watch=lambda *step: told.append(step))
    assert [step for step, *_ in told] == [*range(6)] * 2
    assert [sigma for _, sigma, *_ in told[:6]] == levels(TABLE, "karras", 6)[:-1]
    final = torch.cat([told[5][3], told[11][3]]) / checkpoint.model.latent_scale
    torch.testing.assert_close(result.samples, final)
    _, sigma, noisy, clean = told[2]
    torch.testing.assert_close(
        told[3][2], clean + (noisy - clean) * (told[3][1] / sigma), rtol=1e-5, atol=1e-5
    )


class Reader(nn.Module):
    """Notes what it reads; answers half of the latent's channels."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(0.5))
        self.read = []

    def forward(self, x, timesteps, encoder_hidden_states, return_dict):
        self.read.append(x.clone())
        return (x[:, :4] * self.weight,)


@pytest.mark.parametrize("extra", [1, 5])
@pytest.mark.parametrize("many", [1, 2])
def test_what_is_beside_is_read_behind_the_scaled_latent(checkpoint, draw, extra, many):
    """By both prompts alike, each item its own, at the latent's size."""
    reader, seen = Reader(), []
    beside = torch.randn(many, extra, 12, 12)
    beside[:, :1] = (beside[:, :1] > 0).float()
    draw(
        Latent(torch.randn(2, 4, 6, 6), beside=beside),
        model=replace(checkpoint.model, extra_channels=extra, vae=None),
        memory=Memory(load=lambda *_: reader),
        steps=1,
        watch=lambda *told: seen.append(told),
    )
    fitted = fit_beside(beside, 6, 6, 4)
    assert len(reader.read) == 2
    for place, read in enumerate(reader.read):
        _, sigma, noisy, _ = seen[place]
        scaled = (noisy / (sigma**2 + 1) ** 0.5).expand(2, 4, 6, 6)
        assert torch.equal(read[:, :4], scaled)
        assert torch.equal(read[:, 4:], fitted[place % many].expand(2, extra, 6, 6))


@pytest.mark.parametrize(
    ("extra", "brought", "words"),
    [
        (
            0,
            5,
            r"tiny is an ordinary model \(4 channels\), but .* an inpainting model \(9.*set_mask",
        ),
        (0, 1, r"tiny is an ordinary model .* a depth model \(5.*leave out .*depth.condition"),
        (5, 0, r"tiny is an inpainting model \(9 channels\), but .*inpaint.prepare.*ordinary"),
        (1, 0, r"tiny is a depth model \(5 channels\), but .*depth.condition.*ordinary"),
        (1, 5, r"a depth model .* prepared for an inpainting model .*depth.condition"),
        (5, 1, r"an inpainting model .* prepared for a depth model .*inpaint.prepare"),
        (0, 3, r"an ordinary model .* another kind of model \(7 channels\)"),
    ],
)
def test_models_and_latents_of_other_kinds_are_told_before_weights_are_loaded(
    checkpoint, draw, extra, brought, words
):
    def load(*_):
        raise AssertionError("weights were loaded")

    beside = torch.zeros(1, brought, 6, 6) if brought else None
    with pytest.raises(ModelError, match=words):
        draw(
            Latent(torch.zeros(1, 4, 6, 6), beside=beside),
            model=replace(checkpoint.model, extra_channels=extra),
            memory=Memory(load=load),
        )


def test_one_beside_for_all_or_one_for_each(checkpoint, draw):
    latent = Latent(torch.zeros(3, 4, 6, 6), beside=torch.zeros(2, 1, 6, 6))
    with pytest.raises(ModelError, match="3 latents with 2 conditions"):
        draw(latent, model=replace(checkpoint.model, extra_channels=1))
