"""The runs of vectors.json, through the public function."""

import json
from pathlib import Path

import torch

from graphengine.diffusion import SAMPLERS, guided, levels, noise_table, predictor, sample
from tests.diffusion import mixture

KNOWN = json.loads((Path(__file__).parent / "vectors.json").read_text())
CASES = KNOWN["cases"]
TOLERANCES = KNOWN["tolerances"]
BY_ID = {case["id"]: case for case in CASES}
TABLE = noise_table()
PREDICTIONS = {"eps": "epsilon", "v": "v_prediction"}


def start_of(case):
    start = case["start"]
    if start == "mu1":
        return torch.from_numpy(mixture.MEANS[True][0]).float()[None]
    if start.startswith("result:"):
        return torch.tensor(BY_ID[start.removeprefix("result:")]["latent"]).reshape(1, 4, 8, 8)
    return torch.zeros(case.get("batch", 1), 4, 8, 8)


def sigmas_of(case):
    sampler = case["sampler"]
    sigmas = levels(TABLE, case["scheduler"], case["steps"], case["denoise"], sampler=sampler)
    last = case.get("last_step", 10000)
    if last < len(sigmas) - 1:
        sigmas = sigmas[: last + 1]
        if case["force_full_denoise"]:
            sigmas[-1] = 0.0
    return sigmas[case.get("start_step", 0) :]


def run(case, together=True, **changed):
    """The result of a case, [batch, 4, 8, 8]."""
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
        "step_seed": case["seed"] + 1 if case.get("cpu_seed_plus_one") else None,
        "step_noise_from": "batch",
    }
    denoise = guided(predict, mixture.POSITIVE, mixture.NEGATIVE, case["cfg"], together)
    result = sample(denoise, start_of(case), sigmas_of(case), **{**given, **changed})
    return result / case.get("latent_scale", 1)


def error_of(case):
    """The largest difference from what is known."""
    result = run(case)
    return float((result - torch.tensor(case["latent"]).reshape(result.shape)).abs().max())


def tolerance_of(case):
    """What the file advises; more where a scaled latent makes the values larger."""
    return TOLERANCES[case["sampler"]] / case.get("latent_scale", 1)


assert set(TOLERANCES) <= set(SAMPLERS)
