"""DPM-Solver++ in its forms: exact for what is linear, in the logarithm of the level.

Step sizes h are in -log sigma, which grows while the level falls.
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

from graphengine.diffusion.samplers.step import (
    Denoiser,
    History,
    Noise,
    ancestral,
    both,
    towards,
)

if TYPE_CHECKING:
    from torch import Tensor


def dpmpp_2m(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """DPM-Solver++(2M): Lu et al. 2022 (arXiv:2211.01095), algorithm 2. History: last clean latent
    and its level.
    """
    clean = denoise(x, sigma)
    target = clean
    if history and sigma_next > 0:
        clean_before, sigma_before = history
        ratio = math.log(sigma / sigma_next) / math.log(sigma_before / sigma) / 2
        target = clean * (1 + ratio) - clean_before * ratio
    return towards(x, target, sigma_next / sigma), (clean, sigma)


def dpmpp_2m_cfg_pp(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """`dpmpp_2m` where the guided clean latent is noised again with the unguided noise: CFG++
    (Chung et al. 2024, arXiv:2406.08070). History: last unguided clean latent and its level.
    """
    clean, unguided = both(denoise, x, sigma)
    keep = sigma_next / sigma
    x = clean + (x - unguided) * keep
    if history and sigma_next > 0:
        unguided_before, sigma_before = history
        ratio = math.log(sigma / sigma_next) / math.log(sigma_before / sigma) / 2
        x = x + (clean - unguided_before) * ((1 - keep) * ratio)
    return x, (unguided, sigma)


def dpmpp_2s_ancestral(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """DPM-Solver++(2S) (arXiv:2211.01095, algorithm 1, the second point in the middle) to less
    noise than asked, and fresh noise up to it. Two model calls.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    down, up = ancestral(sigma, sigma_next)
    middle = math.sqrt(sigma * down)
    clean = denoise(towards(x, clean, middle / sigma), middle)
    return towards(x, clean, down / sigma) + noise(sigma, sigma_next) * up, history


def dpmpp_2s_ancestral_cfg_pp(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """`dpmpp_2s_ancestral` with CFG++ (arXiv:2406.08070): what guidance adds to the clean latent is
    added to x before it is scaled down. The whole step takes the unguided answer in the middle from
    the guided one at its start, as the field has it.
    """
    clean, unguided = both(denoise, x, sigma)
    if sigma_next == 0:
        return clean, history
    down, up = ancestral(sigma, sigma_next)
    middle = math.sqrt(sigma * down)
    halfway = towards(x + (clean - unguided), clean, middle / sigma)
    clean_halfway, unguided = both(denoise, halfway, middle)
    x = towards(x + (clean - unguided), clean_halfway, down / sigma)
    return x + noise(sigma, sigma_next) * up, history


def dpmpp_sde(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Stochastic DPM-Solver++ with a second point in the middle (arXiv:2211.01095, appendix A):
    both halves go down to less noise and up again along one Brownian path. Two model calls.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    middle = math.sqrt(sigma * sigma_next)
    down, up = ancestral(sigma, middle)
    halfway = towards(x, clean, down / sigma) + noise(sigma, middle) * up
    clean = denoise(halfway, middle)
    down, up = ancestral(sigma, sigma_next)
    return towards(x, clean, down / sigma) + noise(sigma, sigma_next) * up, history


def dpmpp_2m_sde(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    history: History,
    noise: Noise,
    *,
    is_heun: bool = False,
) -> tuple[Tensor, History]:
    """SDE-DPM-Solver++(2M): Lu et al. 2022 (arXiv:2211.01095), appendix A, with the midpoint's or
    Heun's weight for the difference. History: last clean latent and its level.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    h = math.log(sigma / sigma_next)
    first = -math.expm1(-2 * h)
    moved = towards(x, clean, math.exp(-2 * h))
    if history:
        clean_before, sigma_before = history
        ratio = math.log(sigma_before / sigma) / h
        second = 1 - first / (2 * h) if is_heun else first / 2
        moved = moved + (clean - clean_before) * (second / ratio)
    return moved + noise(sigma, sigma_next) * (sigma_next * math.sqrt(first)), (clean, sigma)


dpmpp_2m_sde_heun = partial(dpmpp_2m_sde, is_heun=True)


def dpmpp_3m_sde(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """SDE-DPM-Solver++ of order 3 (arXiv:2211.01095), multistep: the exponential integral of the
    parabola through three clean latents. History: (clean latent, level) of two steps before.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    h = math.log(sigma / sigma_next)
    moved = towards(x, clean, math.exp(-2 * h))
    phi2 = math.expm1(-2 * h) / (2 * h) + 1
    phi3 = phi2 / (2 * h) - 0.5
    if history:
        clean_1, sigma_1 = history[-1]
        ratio_1 = math.log(sigma_1 / sigma) / h
        slope = (clean - clean_1) / ratio_1
        if len(history) > 1:
            clean_2, sigma_2 = history[-2]
            ratio_2 = math.log(sigma_2 / sigma_1) / h
            bend = (slope - (clean_1 - clean_2) / ratio_2) / (ratio_1 + ratio_2)
            slope = slope + bend * ratio_1
            moved = moved - bend * phi3
        moved = moved + slope * phi2
    up = sigma_next * math.sqrt(-math.expm1(-2 * h))
    return moved + noise(sigma, sigma_next) * up, (*history, (clean, sigma))[-2:]
