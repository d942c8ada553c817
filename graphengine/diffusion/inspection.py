"""A look inside: the levels of a schedule, every step of a run, a picture on its way into noise."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.generation import ksampler
from graphengine.diffusion.latents import from_model, to_model
from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.schedules import NoiseTable, levels, noise_table
from graphengine.diffusion.trace import Levels, Trace
from graphengine.diffusion.types import Conditioning, Latent, Model
from graphengine.errors import GraphEngineError, ModelError


def noise_levels(model: Model, schedule: str, steps: int, denoise: float = 1.0) -> Levels:
    """The levels of a run with a model, and their timesteps.

    The published table of 15 steps (14.6146, 9.6826, 6.6780, ...) is that of `linear`. Raises
    `GraphEngineError` at denoise 0, where there are no steps.
    """
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

    result = ksampler(model, positive, negative, first_of(latent), watch=watch, **settings)
    if not sigmas:
        raise GraphEngineError("at denoise 0 there are no steps", "give more than 0")
    name = str(settings["sampler"])
    return result, Trace(name, tuple(sigmas), torch.cat(noisy), torch.cat(clean))


def first_of(latent: Latent) -> Latent:
    """The first picture of a batch of latents, with all that belongs to it."""
    return replace(
        latent,
        samples=latent.samples[:1],
        noise_mask=None if latent.noise_mask is None else latent.noise_mask[:1],
        beside=None if latent.beside is None else latent.beside[:1],
        noise_index=latent.noise_index[:1] if latent.noise_index else None,
        seed_offset=latent.seed_offset[:1] if latent.seed_offset else None,
    )


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


def plane_of(traces: Sequence[Trace]) -> list[tuple[Tensor, Tensor]]:
    """Runs from one noise in the plane where they spread most (principal components of all their
    steps): for each the points of the noisy latents and of the clean ones, [steps, 2].

    Noisy latents count as the model reads them, so that noise and picture are of one scale. The
    axes point from the noise to the first run's picture.
    """
    noisy = [
        (trace.noisy / torch.tensor(trace.scales).reshape(-1, 1, 1, 1)).flatten(1).double()
        for trace in traces
    ]
    clean = [trace.clean.flatten(1).double() for trace in traces]
    ends = [seen[-1:] for seen in clean]
    points = torch.cat([*noisy, *ends])
    middle = points.mean(dim=0)
    axes = torch.linalg.svd(points - middle, full_matrices=False).Vh[:2]
    if len(axes) < 2:
        axes = torch.cat([axes, torch.zeros_like(axes)])
    way = axes @ (ends[0][0] - noisy[0][0])
    axes[way < 0] *= -1
    return [
        ((path - middle) @ axes.T, (seen - middle) @ axes.T) for path, seen in zip(noisy, clean)
    ]
