"""Solvers of the reverse stochastic equation beyond DPM-Solver++."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from graphengine.diffusion.samplers.step import Denoiser, History, Noise, towards

if TYPE_CHECKING:
    from torch import Tensor

PARTS = 200


def er_sde(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Extended reverse-time SDE solver of order 3: Cui et al. 2023 (arXiv:2309.06169), algorithm 3,
    with the noise scale `er_scale`. History: (level, clean latent, its slope over the level) of two
    steps before.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    keep = er_scale(sigma_next) / er_scale(sigma)
    moved, slope = towards(x, clean, keep), None
    if history:
        sigma_1, clean_1, slope_1 = history[-1]
        way, (plain, weighted) = sigma_next - sigma, er_integrals(sigma, sigma_next)
        slope = (clean - clean_1) / (sigma - sigma_1)
        moved = moved + slope * (way + plain * er_scale(sigma_next))
        if slope_1 is not None:
            bend = (slope - slope_1) / ((sigma - history[-2][0]) / 2)
            moved = moved + bend * (way**2 / 2 + weighted * er_scale(sigma_next))
    up = math.sqrt(max(sigma_next**2 - (sigma * keep) ** 2, 0.0))
    return moved + noise(sigma, sigma_next) * up, (*history, (sigma, clean, slope))[-2:]


def er_scale(sigma: float) -> float:
    """The paper's fifth noise scale: sigma * (exp(sigma^0.3) + 10)."""
    return float(sigma * (math.exp(sigma**0.3) + 10))


def er_integrals(sigma: float, sigma_next: float) -> tuple[float, float]:
    """The integrals from sigma_next to sigma of 1 / scale and of (level - sigma) / scale, as sums
    of 200 parts.
    """
    part = (sigma - sigma_next) / PARTS
    known = [sigma_next + i * part for i in range(PARTS)]
    return (
        sum(part / er_scale(level) for level in known),
        sum((level - sigma) * part / er_scale(level) for level in known),
    )


def seeds_2(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """SEEDS-2 on the clean latent, its second point in the middle: Gonzalez et al. 2023
    (arXiv:2305.14267), algorithm 2. Two model calls, one path of noise.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    middle = math.sqrt(sigma * sigma_next)
    path = _further(None, sigma, middle, noise)
    halfway = towards(x, clean, (middle / sigma) ** 2) + path
    clean = denoise(halfway, middle)
    path = _further(path, middle, sigma_next, noise)
    return towards(x, clean, (sigma_next / sigma) ** 2) + path, history


def seeds_3(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """SEEDS-3 on the clean latent, its points at 1/3 and 2/3 of the way: Gonzalez et al. 2023
    (arXiv:2305.14267), algorithm 3. Three model calls, one path of noise.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    ratio = sigma_next / sigma
    one, two = sigma * ratio ** (1 / 3), sigma * ratio ** (2 / 3)
    path = _further(None, sigma, one, noise)
    clean_1 = denoise(towards(x, clean, (one / sigma) ** 2) + path, one)
    path = _further(path, one, two, noise)
    seen = towards(x, clean, (two / sigma) ** 2) + path
    clean_2 = denoise(seen + (clean_1 - clean) * (2 * _phi2(sigma, two)), two)
    path = _further(path, two, sigma_next, noise)
    x = towards(x, clean, ratio**2) + (clean_2 - clean) * (1.5 * _phi2(sigma, sigma_next))
    return x + path, history


def _phi2(sigma: float, sigma_next: float) -> float:
    """The weight of a clean latent's rise over a step, in twice the logarithm of the level."""
    h = 2 * math.log(sigma / sigma_next)
    return math.expm1(-h) / h + 1


def _further(path: Tensor | None, sigma: float, sigma_next: float, noise: Noise) -> Tensor:
    """The noise of a path that had come to `sigma`, or starts there, at `sigma_next`."""
    keep = (sigma_next / sigma) ** 2
    fresh = noise(sigma, sigma_next) * (sigma_next * math.sqrt(1 - (sigma_next / sigma) ** 2))
    return fresh if path is None else path * keep + fresh
