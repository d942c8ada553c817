"""Linear multistep methods on the slope d = (x - clean) / sigma: one model call a step.

Their history is (level, slope) of earlier steps, the newest last. The step into level 0 is the
clean latent, and forgets.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from graphengine.diffusion.samplers.step import Denoiser, History, Noise, ancestral, both

if TYPE_CHECKING:
    from torch import Tensor

LMS_ORDER = 4
DEIS_ORDER = 3
DEIS_PARTS = 10000


def lms(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Linear multistep (Adams-Bashforth on uneven levels), order 4.

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


def lagrange(points: Sequence[float], place: int, at: float) -> float:
    """The polynomial that is 1 at points[place] and 0 at the other points."""
    value = 1.0
    for other, point in enumerate(points):
        if other != place:
            value *= (at - point) / (points[place] - point)
    return value


def lagrange_integral(points: Sequence[float], place: int, start: float, end: float) -> float:
    """The integral of `lagrange` from start to end.

    Two Gauss nodes are exact up to degree three, so for up to four points.
    """
    middle, half = (start + end) / 2, (end - start) / 2
    nodes = (middle - half / math.sqrt(3), middle + half / math.sqrt(3))
    return sum(lagrange(points, place, node) * half for node in nodes)


ADAMS = ((1,), (3 / 2, -1 / 2), (23 / 12, -16 / 12, 5 / 12), (55 / 24, -59 / 24, 37 / 24, -9 / 24))
"""Adams-Bashforth for even steps, the newest slope first."""


def ipndm(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """iPNDM: Zhang and Chen 2022 (arXiv:2204.13902), section 3.3. Adams-Bashforth of order 4 with
    the coefficients for even steps, warmed up with lower orders.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    history = (*history, (sigma, (x - clean) / sigma))[-4:]
    for (_, slope), weight in zip(reversed(history), ADAMS[len(history) - 1]):
        x = x + slope * (weight * (sigma_next - sigma))
    return x, history


def ipndm_v(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """iPNDM with coefficients that follow the step sizes (Zhou et al. 2024, arXiv:2312.00094)."""
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    history = (*history, (sigma, (x - clean) / sigma))[-4:]
    known = [sigma_next, *(level for level, _ in reversed(history))]
    sizes = [after - before for after, before in zip(known, known[1:])]
    for (_, slope), weight in zip(reversed(history), adams_v(sizes)):
        x = x + slope * (weight * (sigma_next - sigma))
    return x, history


def adams_v(sizes: Sequence[float]) -> list[float]:
    """Weights of up to four slopes for step sizes, both the newest first.

    They are those the authors published with their paper, and tools everywhere compute them so: the
    third difference, and on uneven steps the second, weigh a little otherwise than integration would
    have it. Up to three even steps they are Adams-Bashforth's.
    """
    h, h1, h2, h3 = (*sizes, *(math.nan,) * 3)[:4]
    if len(sizes) == 1:
        return [1.0]
    weights = [1 + h / h1 / 2, -h / h1 / 2, 0.0, 0.0]
    if len(sizes) > 2:
        second = (1 - h * h / (3 * h1 * (h1 + h2))) / 2
        shares = (1.0, -1 - h1 / h2, h1 / h2, 0.0)
        weights = [weight + second * share for weight, share in zip(weights, shares)]
    if len(sizes) > 3:
        lag = h1 * (h1 + h2) / (h2 * (h2 + h3))
        third = (1 - h / (3 * (h + h1))) / 2
        third += (1 - h / (2 * (h + h1))) * h / (6 * (h + h1 + h2))
        third *= h * (h + h1) * (h + h1 + h2) / (h1 * (h1 + h2) * (h1 + h2 + h3))
        shares = (1.0, -1 - h1 / h2 - lag, h1 / h2 + lag * (1 + h2 / h3), -lag * h1 / h2)
        weights = [weight + third * share for weight, share in zip(weights, shares)]
    return weights[: len(sizes)]


def deis(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """DEIS with polynomials in time (tAB), order 3: Zhang and Chen 2022 (arXiv:2204.13902),
    equation 15. Time is that of the continuous process with linear betas that runs from level 0.002
    at 0.001 to level 80 at 1.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    history = (*history, (sigma, (x - clean) / sigma))[-DEIS_ORDER:]
    if len(history) == 1:
        return x + history[0][1] * (sigma_next - sigma), history
    known = [deis_time(level) for level, _ in history]
    start, end = known[-1], deis_time(sigma_next)
    for place, (_, slope) in enumerate(history):
        x = x + slope * deis_weight(known, place, start, end)
    return x, history


def _deis_betas() -> tuple[float, float]:
    low, high, first = math.log1p(0.002**2), math.log1p(80.0**2), 1e-3
    rise = 2 * (low / first - high) / (first - 1)
    return high - rise / 2, rise


def deis_time(sigma: float) -> float:
    """The time of a level: log(1 + sigma^2) = beta t + rise t^2 / 2, solved for t."""
    beta, rise = _deis_betas()
    return (math.sqrt(beta**2 + 2 * rise * math.log1p(sigma**2)) - beta) / rise


def deis_weight(known: Sequence[float], place: int, start: float, end: float) -> float:
    """The integral over sigma, from the level at time start to that at end, of a polynomial in
    time.
    """
    import numpy as np

    beta, rise = _deis_betas()
    times = np.linspace(start, end, DEIS_PARTS)
    log = beta * times + rise * times**2 / 2
    slope = (beta + rise * times) / 2 * np.exp(log) / np.sqrt(np.expm1(log))
    values = slope
    for other, point in enumerate(known):
        if other != place:
            values = values * (times - point) / (known[place] - point)
    return float(values.sum() * (end - start) / DEIS_PARTS)


def gradient_estimation(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """Gradient estimation with gamma 2: Permenter and Yuan 2023 (arXiv:2306.04848), algorithm 2. An
    Euler step along twice the slope less the one before. History: the slope before.
    """
    clean = denoise(x, sigma)
    if sigma_next == 0:
        return clean, ()
    slope = (x - clean) / sigma
    (before,) = history or (slope,)
    return x + (slope * 2 - before) * (sigma_next - sigma), (slope,)


def gradient_estimation_cfg_pp(
    denoise: Denoiser, x: Tensor, sigma: float, sigma_next: float, history: History, noise: Noise
) -> tuple[Tensor, History]:
    """`gradient_estimation` with the unguided slope, from the guided clean latent: CFG++ (Chung et
    al. 2024, arXiv:2406.08070).
    """
    clean, unguided = both(denoise, x, sigma)
    if sigma_next == 0:
        return clean, ()
    slope = (x - unguided) / sigma
    (before,) = history or (slope,)
    return clean + slope * sigma_next + (slope - before) * (sigma_next - sigma), (slope,)


def res_multistep(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    history: History,
    noise: Noise,
    *,
    is_ancestral: bool = False,
    is_plus_plus: bool = False,
) -> tuple[Tensor, History]:
    """RES multistep, second order: Zhang et al. 2023 (arXiv:2308.02157), equation 12.

    `is_ancestral`: to less noise than asked, and fresh noise up to it. `is_plus_plus`: the unguided
    clean latent leads and the guided one is where it starts, as CFG++ (arXiv:2406.08070) does.
    History: (level before, level it went down to, clean latent).
    """
    clean, leading = both(denoise, x, sigma) if is_plus_plus else (denoise(x, sigma),) * 2
    if sigma_next == 0:
        return clean, ()
    down, up = ancestral(sigma, sigma_next) if is_ancestral else (sigma_next, 0.0)
    h = math.log(sigma / down)
    first = -math.expm1(-h)
    if history:
        sigma_before, down_before, leading_before = history
        second = (1 - first / h) / (math.log(down_before / sigma_before) / h)
        moved = (x + (clean - leading)) * (down / sigma)
        moved = moved + leading * (first - second) + leading_before * second
    else:
        moved = clean + (x - leading) * (down / sigma)
    if up:
        moved = moved + noise(sigma, sigma_next) * up
    return moved, (sigma, down, leading)


res_multistep_cfg_pp = partial(res_multistep, is_plus_plus=True)
res_multistep_ancestral = partial(res_multistep, is_ancestral=True)
res_multistep_ancestral_cfg_pp = partial(res_multistep, is_ancestral=True, is_plus_plus=True)
