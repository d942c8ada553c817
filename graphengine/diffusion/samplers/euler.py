"""First-order steps and the Runge-Kutta methods on the slope d = (x - clean) / sigma."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from graphengine.diffusion.samplers.step import (
    Denoiser,
    History,
    Noise,
    Stage,
    ancestral,
    both,
    towards,
)

if TYPE_CHECKING:
    from torch import Tensor

    from graphengine.diffusion.schedules import NoiseTable


def euler(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """One Euler step of the probability flow: Karras et al. 2022 (arXiv:2206.00364), algorithm 2
    without churn. It is also deterministic DDIM (Song et al. 2020, arXiv:2010.02502) in sigma.
    """
    return towards(x, denoise(x, sigma), sigma_next / sigma), history


def euler_ancestral(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """An Euler step to less noise than asked, and fresh noise up to it: DDPM's sampling with the
    smaller variance (Ho et al. 2020, arXiv:2006.11239) in sigma.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    down, up = ancestral(sigma, sigma_next)
    return towards(x, clean, down / sigma) + noise(sigma, sigma_next) * up, history


def euler_cfg_pp(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """CFG++ (Chung et al. 2024, arXiv:2406.08070), algorithm 2: the guided clean latent, noised
    again with the unguided noise.
    """
    clean, unguided = both(denoise, x, sigma)
    return clean + (x - unguided) * (sigma_next / sigma), history


def euler_ancestral_cfg_pp(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """CFG++ (arXiv:2406.08070) in ancestral form: less of the unguided noise, the rest fresh."""
    clean, unguided = both(denoise, x, sigma)
    if sigma_next == 0:
        return clean, history
    down, up = ancestral(sigma, sigma_next)
    x = clean + (x - unguided) * (down / sigma) + noise(sigma, sigma_next) * up
    return x, history


def lcm(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Multistep consistency sampling: Luo et al. 2023 (arXiv:2310.04378), algorithm 3. The clean
    latent, noised afresh.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    return clean + noise(sigma, sigma_next) * sigma_next, history


def heun(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Heun's second-order step, two model calls: Karras et al. 2022 (arXiv:2206.00364), algorithm
    1.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    slope = (x - clean) / sigma
    ahead = x + slope * (sigma_next - sigma)
    slope_ahead = (ahead - denoise(ahead, sigma_next)) / sigma_next
    return x + (slope + slope_ahead) * ((sigma_next - sigma) / 2), history


def heunpp2(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    history: History,
    noise: Noise,
    *,
    first: float,
    ahead: Sequence[float],
) -> tuple[Tensor, History]:
    """Heun++: Heun's step (arXiv:2206.00364) that looks up to two levels ahead, up to three model
    calls.

    A slope seen ahead counts with its level's share of `first`, the run's first level; the slope
    here counts with the rest. `ahead`: those levels.
    """
    clean = denoise(x, sigma)
    if not ahead:
        return towards(x, clean, sigma_next / sigma), history
    here = (x - clean) / sigma
    mean = slope = here
    seen, level = x, sigma
    for level_next in ahead:
        seen, level = seen + slope * (level_next - level), level_next
        slope = (seen - denoise(seen, level)) / level
        mean = mean + (slope - here) * (level / first / (len(ahead) + 1))
    return x + mean * (sigma_next - sigma), history


def plan_heunpp2(sigmas: Sequence[float], table: NoiseTable) -> list[Stage]:
    """Each step looks at up to two levels ahead, but never at the last one."""
    return [
        Stage(sigma, after, partial(heunpp2, first=sigmas[0], ahead=sigmas[i + 1 : -1][:2]))
        for i, (sigma, after) in enumerate(zip(sigmas, sigmas[1:]))
    ]


def dpm_2(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Midpoint step with the middle taken in log sigma: DPM-Solver-2 (Lu et al. 2022,
    arXiv:2206.00927) in the form of Karras et al. 2022 (arXiv:2206.00364), two model calls.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    return _over_the_middle(denoise, x, clean, sigma, sigma_next), history


def dpm_2_ancestral(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """`dpm_2` to less noise than asked, and fresh noise up to it."""
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    down, up = ancestral(sigma, sigma_next)
    x = _over_the_middle(denoise, x, clean, sigma, down)
    return x + noise(sigma, sigma_next) * up, history


def _over_the_middle(
    denoise: Denoiser, x: Tensor, clean: Tensor, sigma: float, sigma_next: float
) -> Tensor:
    """From one level to another with the slope in their geometric mean."""
    middle = math.sqrt(sigma * sigma_next)
    halfway = towards(x, clean, middle / sigma)
    slope = (halfway - denoise(halfway, middle)) / middle
    return x + slope * (sigma_next - sigma)
