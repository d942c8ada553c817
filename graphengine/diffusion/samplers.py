"""Samplers as step functions with explicit history. This module imports without torch.

    step(denoise, x, sigma, sigma_next, history, noise) -> (x, history)

`denoise(x, sigma)` is the clean latent the model sees in x; `history` is what a sampler remembers
of earlier steps (a tuple, empty at first); `noise()` draws noise of x's shape. A step into level 0
gives the clean latent itself. Adding a sampler is one function and one line in `SAMPLERS`. `sample`
in sampling.py drives them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

Denoiser = Callable[["Tensor", float], "Tensor"]
History = tuple[Any, ...]
Noise = Callable[[], "Tensor"]
Step = Callable[["Denoiser", "Tensor", float, float, History, Noise], tuple["Tensor", History]]


def euler(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """One Euler step of the probability flow: Karras et al. 2022 (arXiv:2206.00364), algorithm 2
    without churn.
    """
    clean = denoise(x, sigma)
    return clean + (x - clean) * (sigma_next / sigma), history


def euler_ancestral(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """An Euler step to less noise than asked, and fresh noise up to it: DDPM's sampling
    (arXiv:2006.11239) in sigma.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, history
    up = min(sigma_next, sigma_next / sigma * math.sqrt(sigma**2 - sigma_next**2))
    down = math.sqrt(sigma_next**2 - up**2)
    return clean + (x - clean) * (down / sigma) + noise() * up, history


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
    keep = sigma_next / sigma
    return x * keep + target * (1 - keep), (clean, sigma)


LMS_ORDER = 4


def lms(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Linear multistep (Adams-Bashforth on uneven levels), order 4. History: (level, slope) of
    earlier steps.

    As PLMS in Liu et al. 2022 (arXiv:2202.09778), but with coefficients for the levels as they are.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    history = (*history, (sigma, (x - clean) / sigma))[-LMS_ORDER:]
    known = [level for level, _ in history]
    for place, (_, slope) in enumerate(history):
        x = x + slope * lagrange_integral(known, place, sigma, sigma_next)
    return x, history


def lagrange_integral(points: list[float], place: int, start: float, end: float) -> float:
    """The integral from start to end of the polynomial that is 1 at points[place] and 0 at the
    other points.

    Two Gauss nodes are exact up to degree three, so for up to four points.
    """
    middle, half = (start + end) / 2, (end - start) / 2
    total = 0.0
    for node in (middle - half / math.sqrt(3), middle + half / math.sqrt(3)):
        value = 1.0
        for other, point in enumerate(points):
            if other != place:
                value *= (node - point) / (points[place] - point)
        total += value * half
    return total


SAMPLERS: dict[str, Step] = {
    "euler": euler,
    "euler_ancestral": euler_ancestral,
    "heun": heun,
    "dpmpp_2m": dpmpp_2m,
    "lms": lms,
    "ddim": euler,  # deterministic DDIM (arXiv:2010.02502) in sigma is Euler's step
}

FRESH_MASK_NOISE = frozenset({"ddim"})
"""Samplers for which the part under a mask gets noise of its own (seed + 1), not the start noise.
"""
