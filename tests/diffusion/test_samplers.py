import inspect
import json
import textwrap
from pathlib import Path

import pytest
import torch

from graphengine.diffusion import SAMPLERS, guided, levels, noise_table, predictor, sample
from graphengine.diffusion.noise import step_noise
from graphengine.diffusion.samplers import lagrange_integral
from graphengine.errors import Cancelled, ModelError
from graphengine.resource import Progress
from tests.diffusion import mixture

VECTORS = json.loads((Path(__file__).parent / "vectors.json").read_text())["cases"]
BY_ID = {case["id"]: case for case in VECTORS}
TABLE = noise_table()
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}


def start_of(case):
    start = case["start"]
    batch = case.get("batch", 1)
    if start == "mu1":
        return torch.from_numpy(mixture.MEANS[True][0]).float()[None]
    if start.startswith("result:"):
        return torch.tensor(BY_ID[start.removeprefix("result:")]["latent"]).reshape(1, 4, 8, 8)
    return torch.zeros(batch, 4, 8, 8)


def sigmas_of(case):
    sigmas = levels(TABLE, case["scheduler"], case["steps"], case["denoise"])
    assert sigmas == pytest.approx(case["sigmas"], rel=1e-5)
    last = case.get("last_step", 10000)
    if last < len(sigmas) - 1:
        sigmas = sigmas[: last + 1]
        if case["force_full_denoise"]:
            sigmas[-1] = 0.0
    return sigmas[case.get("start_step", 0) :]


def run(case, together=True, **changed):
    predict = mixture.predict
    if case["level"] == "unet":
        kind = PREDICTIONS[case["prediction"]]
        predict = predictor(mixture.network(TABLE, kind), TABLE, kind)
    given = {
        "sampler": case["sampler"],
        "seed": case["seed"],
        "sigma_max": TABLE.sigma_max,
        "noise_index": case.get("batch_index"),
        "noise_mask": mixture.MASKS.get(case.get("mask")),
        "add_noise": not case.get("disable_noise"),
        "step_noise_from": "batch",
    }
    denoise = guided(predict, mixture.POSITIVE, mixture.NEGATIVE, case["cfg"], together)
    return sample(denoise, start_of(case), sigmas_of(case), **{**given, **changed})


@pytest.mark.parametrize("case", VECTORS, ids=lambda case: case["id"])
def test_results_are_those_of_the_field(case):
    """Within the rounding of the file, 5e-5 for values above 10, and of float32."""
    result = run(case) / case.get("latent_scale", 1)
    wanted = torch.tensor(case["latent"]).reshape(result.shape)
    torch.testing.assert_close(result, wanted, rtol=0, atol=1e-4)


def test_the_example_of_the_docstring_draws_what_it_says():
    example = inspect.getdoc(sample).split("\n\n", 1)[1].split("`denoise(x, sigma)`")[0]
    names = {"sample": sample, "levels": levels, "noise_table": noise_table, "torch": torch}
    exec(textwrap.dedent(example), names)
    assert names["data"].std() == pytest.approx(1, abs=0.02)
    assert names["data"].mean() == pytest.approx(0, abs=0.02)


def test_every_sampler_is_among_the_vectors():
    assert {case["sampler"] for case in VECTORS} == set(SAMPLERS)


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_any_item_is_the_same_bits_in_any_batch(sampler):
    sigmas = levels(TABLE, "karras", 6)
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
    import numpy as np

    points = [9.0, 6.5, 4.0, 2.5]
    for place in range(4):
        others = [point for i, point in enumerate(points) if i != place]
        line = np.poly1d(np.poly(others)) / np.prod([points[place] - point for point in others])
        whole = line.integ()
        assert lagrange_integral(points, place, 2.5, 1.0) == pytest.approx(whole(1.0) - whole(2.5))
