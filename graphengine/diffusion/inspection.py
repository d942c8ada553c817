"""A look inside: the levels of a schedule, every step of a run, a picture on its way into noise."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.generation import ksampler
from graphengine.diffusion.latent_batches import select_latents
from graphengine.diffusion.latents import from_model, to_model
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.schedules import SCHEDULES, NoiseTable, levels, noise_table
from graphengine.diffusion.trace import Levels, Trace
from graphengine.diffusion.types import Conditioning, Latent, Model
from graphengine.errors import GraphEngineError, ModelError, nearest


def noise_levels(model: Model, schedule: str, steps: int, denoise: float = 1.0) -> Levels:
    """The levels of a run with a model, and their timesteps.

    The published table of 15 steps (14.6146, 9.6826, 6.6780, ...) is that of `linear`. Raises
    `GraphEngineError` for an unknown schedule, and at denoise 0, where there are no steps.
    """
    if schedule not in SCHEDULES:
        raise GraphEngineError(
            f"there is no schedule {schedule!r}",
            nearest(schedule, SCHEDULES) or f"there are {', '.join(SCHEDULES)}",
        )
    table = noise_table(model.betas)
    sigmas = levels(table, schedule, steps, denoise)
    if not sigmas:
        raise GraphEngineError("at denoise 0 there are no steps", "give more than 0")
    return Levels(schedule, tuple(sigmas), tuple(timestep_of(table, s) for s in sigmas[:-1]))


def timestep_of(table: NoiseTable, sigma: float) -> float:
    """Where a level lies in the table; levels between two timesteps are interpolated."""
    rising = table.single
    if sigma <= rising[0]:
        return 0.0
    if sigma >= rising[-1]:
        return float(table.last)
    low = bisect_right(rising, sigma) - 1
    return low + (sigma - rising[low]) / (rising[low + 1] - rising[low])


def trace_run(
    model: Model, positive: Conditioning, negative: Conditioning, latent: Latent, **settings: Any
) -> tuple[Latent, Trace]:
    """Sample as `ksampler` does, with its settings, and keep every step. Of a batch the first
    picture is drawn.

    Raises `GraphEngineError` at denoise 0, and what `ksampler` raises.
    """
    sigmas, noisy, clean = list[float](), list[Tensor](), list[Tensor]()

    def watch(step: int, sigma: float, x: Tensor, seen: Tensor) -> None:
        sigmas.append(sigma)
        noisy.append(x.float().cpu().clone())
        clean.append(seen.float().cpu().clone())

    result = ksampler(model, positive, negative, select_latents(latent, 0), watch=watch, **settings)
    if not sigmas:
        raise GraphEngineError("at denoise 0 there are no steps", "give more than 0")
    name = str(settings["sampler"])
    return result, Trace(name, tuple(sigmas), torch.cat(noisy), torch.cat(clean))


def seen_latents(model: Model, trace: Trace) -> tuple[Latent, Latent]:
    """The noisy latents of a run and the clean ones that the model saw in them, one for each step.

    The noisy ones as the model reads them, divided by sqrt(1 + sigma^2): only so can they be
    decoded.
    """
    scales = torch.tensor(trace.scales).reshape(-1, 1, 1, 1)
    return (
        Latent(from_model(model, trace.noisy / scales)),
        Latent(from_model(model, trace.clean)),
    )


def diffuse(
    model: Model, latent: Latent, timesteps: Sequence[int], seed: int
) -> tuple[Latent, Levels]:
    """The first picture of a batch of latents as training would noise it, once for each timestep:
    x_t = sqrt(abar) x_0 + sqrt(1 - abar) noise (Ho et al. 2020, arXiv:2006.11239, equation 4).

    The same noise at every timestep; timestep -1 is the picture itself. Raises `ModelError` for
    timesteps that the model wasn't trained with, or none, and for a latent of another model.
    """
    table = noise_table(model.betas)
    if not timesteps or not all(-1 <= t <= table.last for t in timesteps):
        raise ModelError(
            f"timesteps {list(timesteps)} are not those of the model",
            f"give some from 0 to {table.last}; -1 is the picture itself",
        )
    if latent.samples.shape[1] != model.channels:
        raise ModelError(
            f"the latent has {latent.samples.shape[1]} channels but the model {model.channels}",
            "make it with the VAE of the model's own checkpoint",
        )
    sigmas = tuple(0.0 if t < 0 else table.sigmas[t] for t in timesteps)
    told = Levels("forward", sigmas, tuple(map(float, timesteps)))
    clean = to_model(model, latent.samples[:1])
    index = (latent.noise_index or (0,))[0]
    noise = start_noise(seed, clean.shape[1:], [index])
    noised = [math.sqrt(abar) * clean + math.sqrt(1 - abar) * noise for abar in told.alpha_bars]
    return Latent(from_model(model, torch.cat(noised))), told


def psnr(picture: Tensor, other: Tensor) -> float:
    """Peak signal-to-noise ratio of pictures with values 0 to 1, in decibels; infinite if they are
    equal.
    """
    error = float(((picture.double() - other.double()) ** 2).mean())
    return -10 * math.log10(error) if error else math.inf


def plane_of(first: Trace, second: Trace) -> tuple[Tensor, Tensor]:
    """Two runs from one noise, seen in the plane through the noise and their two pictures: points
    [steps + 1, 2] of each, float64, the last being the picture.

    The noise is the origin; the first axis leads to the middle between the pictures, the second
    from the second picture to the first, so that distances between these three are as they are.
    Noisy latents count as the model reads them, so that noise and picture are of one scale. Should
    both pictures be the same, the second axis is the one along which the paths leave the first most.
    """
    paths = [_path_of(trace) for trace in (first, second)]
    start, ends = paths[0][0], [path[-1] for path in paths]
    apart, ahead = ends[0] - ends[1], (ends[0] + ends[1]) / 2 - start
    if float(apart.norm()) < 1e-6 * float(ahead.norm()):
        along = ahead / ahead.norm()
        beside = torch.cat(paths) - start
        beside = beside - (beside @ along)[:, None] * along
        apart = torch.linalg.svd(beside, full_matrices=False).Vh[0]
    up = apart / apart.norm()
    along = ahead - (ahead @ up) * up
    axes = torch.stack([along / along.norm(), up], dim=1)
    return (paths[0] - start) @ axes, (paths[1] - start) @ axes


def _path_of(trace: Trace) -> Tensor:
    """The latents of a run as the model reads them and then the result, [steps + 1, numbers]."""
    scales = torch.tensor(trace.scales).reshape(-1, 1, 1, 1)
    return torch.cat([trace.noisy / scales, trace.clean[-1:]]).flatten(1).double()
