"""DPM-Solver on the noise in x, over the whole range of a run: steps of several orders, and steps of
its own choice.

Only the ends of the list of levels and its length matter. A run ends at the last level above 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from graphengine.diffusion.samplers.euler import euler
from graphengine.diffusion.samplers.step import Denoiser, History, Noise, Stage
from graphengine.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from graphengine.diffusion.schedules import NoiseTable


def solver_step(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    history: History,
    noise: Noise,
    *,
    order: int,
) -> tuple[Tensor, History]:
    """DPM-Solver-1, -2 (second point at 1/2) or -3 (at 1/3 and 2/3): Lu et al. 2022
    (arXiv:2206.00927), algorithms 1 and 2. As many model calls as the order.
    """
    slope = (x - denoise(x, sigma)) / sigma
    if order == 1:
        return x + slope * (sigma_next - sigma), history
    if order == 2:
        return _second(denoise, x, sigma, sigma_next, slope, 1 / 2)[0], history
    _, slope_1 = _second(denoise, x, sigma, sigma_next, slope, 1 / 3)
    return _third(denoise, x, sigma, sigma_next, slope, slope_1), history


def _second(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, slope: Tensor, share: float
) -> tuple[Tensor, Tensor]:
    """DPM-Solver-2 with its second point at a share of the way; and the slope there."""
    level: float = sigma * (sigma_next / sigma) ** share
    seen = x + slope * (level - sigma)
    other = (seen - denoise(seen, level)) / level
    return x + (slope + (other - slope) / (2 * share)) * (sigma_next - sigma), other


def _third(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, slope: Tensor, slope_1: Tensor
) -> Tensor:
    """DPM-Solver-3 with points at 1/3, where the slope is known, and 2/3."""
    h = math.log(sigma / sigma_next)
    level: float = sigma * (sigma_next / sigma) ** (2 / 3)
    seen = x + slope * (level - sigma)
    seen = seen - (slope_1 - slope) * (level * 2 * (math.expm1(2 / 3 * h) / (2 / 3 * h) - 1))
    other = (seen - denoise(seen, level)) / level
    x = x + slope * (sigma_next - sigma)
    return x - (other - slope) * (sigma_next * 3 / 2 * (math.expm1(h) / h - 1))


def plan_dpm_fast(sigmas: Sequence[float], table: NoiseTable) -> list[Stage]:
    """DPM-Solver-fast (arXiv:2206.00927, section 3.4): as many model calls as the list has steps,
    in steps of order 3 that are even in log sigma, the last ones of lower order.
    """
    start, end, calls = *ends(sigmas), len(sigmas) - 1
    if start == end:
        return [Stage(start, 0.0, euler)]
    rest = calls % 3
    orders = [3] * (calls // 3) + [rest] if rest else [3] * (calls // 3 - 1) + [2, 1]
    known = [start * (end / start) ** (i / len(orders)) for i in range(len(orders) + 1)]
    return [
        Stage(sigma, after, partial(solver_step, order=order))
        for sigma, after, order in zip(known, known[1:], orders)
    ]


def ends(sigmas: Sequence[float]) -> tuple[float, float]:
    """The first level and the last one above 0."""
    return sigmas[0], sigmas[-1] or sigmas[-2]


FIRST_STEP = 0.05
RELATIVE, ABSOLUTE = 0.05, 0.0078
ACCEPTED = 0.81
SMALLEST_STEP = 1e-6


def dpm_adaptive(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """DPM-Solver-23 with step sizes of its own (arXiv:2206.00927, appendix C.4), the whole way in
    one step.

    Orders 2 and 3 are compared; the next step follows from their difference, relative to 0.05 of
    the latent or 0.0078. Three model calls for each step that it tries.
    """
    size, before = FIRST_STEP, x
    while math.log(sigma / sigma_next) > 1e-5:
        after = max(sigma_next, sigma * math.exp(-size))
        slope = (x - denoise(x, sigma)) / sigma
        low, slope_1 = _second(denoise, x, sigma, after, slope, 1 / 3)
        high = _third(denoise, x, sigma, after, slope, slope_1)
        allowed = (RELATIVE * low.abs().maximum(before.abs())).clamp(min=ABSOLUTE)
        error = float(((low - high) / allowed).square().mean().sqrt())
        factor = 1 + math.atan((error + 1e-8) ** (-1 / 3) - 1)
        if factor >= ACCEPTED:
            x, before, sigma = high, low, after
        size *= factor
        if size < SMALLEST_STEP:
            raise ModelError(
                f"dpm_adaptive finds no step that is accurate enough at sigma {sigma:.4g}",
                "take a sampler with fixed steps, such as dpmpp_2m",
            )
    return x, history


def plan_dpm_adaptive(sigmas: Sequence[float], table: NoiseTable) -> list[Stage]:
    """One step from the first level to the last above 0; of one level, to its clean latent."""
    start, end = ends(sigmas)
    return [Stage(start, 0.0, euler) if start == end else Stage(start, end, dpm_adaptive)]
