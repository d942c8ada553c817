"""Methods that predict, and correct the prediction with the model's answer there.

x as it is handed from step to step is the prediction; the corrected x is in the history.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

from graphengine.diffusion.samplers.step import Denoiser, History, Noise, Stage, towards

if TYPE_CHECKING:
    from torch import Tensor

    from graphengine.diffusion.schedules import NoiseTable

UNIPC_ORDER = 3
UNIPC_END = 0.001


def uni_pc(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    history: History,
    noise: Noise,
    *,
    order: int,
    is_bh2: bool,
) -> tuple[Tensor, History]:
    """UniPC on the clean latent: Zhao et al. 2023 (arXiv:2302.04867), algorithms 5 to 8, with
    B(h) = h or, `is_bh2`, exp(h) - 1. History: (x before, order before, (level, clean latent) of
    earlier steps).
    """
    clean = denoise(x, sigma)
    known: tuple[tuple[float, Tensor], ...] = ()
    if history:
        before, order_before, known = history
        x = unipc_update(before, known, sigma, clean, order_before, is_bh2)
    known = (*known, (sigma, clean))[-UNIPC_ORDER:]
    return unipc_update(x, known, sigma_next, None, order, is_bh2), (x, order, known)


def unipc_update(
    x: Tensor,
    known: Sequence[tuple[float, Tensor]],
    sigma_next: float,
    answer: Tensor | None,
    order: int,
    is_bh2: bool,
) -> Tensor:
    """From the last known level to the next. Without the model's answer there a prediction, with it
    a correction.
    """
    import numpy as np

    sigma, clean = known[-1]
    moved = towards(x, clean, sigma_next / sigma)
    h = math.log(sigma / sigma_next) if sigma_next else math.inf
    ratios = [math.log(sigma / level) / h for level, _ in known[-order:-1]][::-1]
    changes = [other - clean for _, other in known[-order:-1]][::-1]
    if answer is not None:
        ratios, changes = [*ratios, 1.0], [*changes, answer - clean]
    if not ratios:
        return moved
    scale = math.expm1(-h) if is_bh2 else -h
    wanted, phi = [], math.expm1(-h) / -h - 1
    for power in range(1, len(ratios) + 1):
        wanted.append(phi * math.factorial(power) / scale)
        phi = phi / -h - 1 / math.factorial(power + 1)
    matrix = np.array([[ratio**power for ratio in ratios] for power in range(len(ratios))])
    weights = [0.5] if len(ratios) == 1 else np.linalg.solve(matrix, np.array(wanted)).tolist()
    for change, ratio, weight in zip(changes, ratios, weights):
        moved = moved - change * (scale * weight / ratio)
    return moved


def plan_unipc(is_bh2: bool, sigmas: Sequence[float], table: NoiseTable) -> list[Stage]:
    """Orders rise to 3 and fall again at the end. The last level is 0.001 instead of 0, if there
    are two steps at least.
    """
    steps = len(sigmas) - 1
    if steps > 1 and sigmas[-1] == 0:
        sigmas = [*sigmas[:-1], min(UNIPC_END, sigmas[-2] / 2)]
    most = max(min(UNIPC_ORDER, steps - 1), 1)
    orders = [min(i + 1, most, steps - i) for i in range(steps)]
    return [
        Stage(sigma, after, partial(uni_pc, order=order, is_bh2=is_bh2))
        for sigma, after, order in zip(sigmas, sigmas[1:], orders)
    ]


PREDICTOR_ORDER, CORRECTOR_ORDER = 3, 4


class Move(NamedTuple):
    """The last step of SA-Solver: where it began, how stochastic it was, the noise it added."""

    x: Tensor
    sigma: float
    tau: float
    noise: Tensor | None


def sa_solver(
    denoise: Denoiser,
    x: Tensor,
    sigma: float,
    sigma_next: float,
    history: History,
    noise: Noise,
    *,
    predictor_order: int,
    corrector_order: int,
    tau: float,
    evaluates_again: bool,
) -> tuple[Tensor, History]:
    """SA-Solver, stochastic Adams in -log sigma: Xue et al. 2023 (arXiv:2309.05019), algorithm 1.

    `tau`: how stochastic the step is; 0 is the ODE. `evaluates_again`: asks the model at the
    corrected x too (PECE). History: (the move before, (level, clean latent) of earlier steps).
    """
    clean = denoise(x, sigma)
    before, known = history or (None, ())
    known = (*known, (sigma, clean))[-CORRECTOR_ORDER:]
    if before is not None and corrector_order:
        x = stochastic_adams(Move(*before), known[-corrector_order:], sigma)
        if evaluates_again:
            clean = denoise(x, sigma)
            known = (*known[:-1], (sigma, clean))
    if sigma_next == 0:
        return clean, ()
    added = None
    if tau:
        way = math.log(sigma / sigma_next)
        added = noise(sigma, sigma_next) * (sigma_next * math.sqrt(-math.expm1(-2 * tau**2 * way)))
    move = Move(x, sigma, tau, added)
    return stochastic_adams(move, known[-predictor_order:], sigma_next), (move, known)


def stochastic_adams(
    move: Move, known: Sequence[tuple[float, Tensor]], sigma_next: float
) -> Tensor:
    """x at `sigma_next`, with the polynomial through the known clean latents (equation 14): the
    linear part and the noise exactly, each clean latent by `adams_weights`.
    """
    h = math.log(move.sigma / sigma_next)
    x = move.x * (sigma_next / move.sigma * math.exp(-(move.tau**2) * h))
    places = [math.log(sigma_next / level) for level, _ in known]
    for (_, clean), weight in zip(known, adams_weights(places, h, 1 + move.tau**2)):
        x = x + clean * weight
    return x if move.noise is None else x + move.noise


def adams_weights(places: Sequence[float], h: float, rate: float) -> list[float]:
    """For each place the integral over u from 0 to h of rate * exp(-rate u) * l(-u), where l is the
    polynomial that is 1 at this place and 0 at the others. They add up to 1 - exp(-rate h).
    """
    import numpy as np

    moments: list[float] = []
    powers = range(len(places))
    for power in powers:
        before = power / rate * moments[-1] if power else 1.0
        moments.append(before - h**power * math.exp(-rate * h))
    weights = []
    for place, here in enumerate(places):
        others = [other for at, other in enumerate(places) if at != place]
        scale = math.prod(here - other for other in others)
        terms = np.atleast_1d(np.poly(others))[::-1] / scale
        weights.append(
            float(sum(term * (-1) ** power * moments[power] for power, term in zip(powers, terms)))
        )
    return weights


def plan_sa_solver(
    evaluates_again: bool, sigmas: Sequence[float], table: NoiseTable
) -> list[Stage]:
    """Orders fall at the end. Stochastic between 20% and 80% of the trained timesteps."""
    highest, lowest = (table.sigma(share * table.last) for share in (0.8, 0.2))
    steps, to_zero = len(sigmas) - 1, sigmas[-1] == 0
    stages = []
    for i, (sigma, after) in enumerate(zip(sigmas, sigmas[1:])):
        predictor, corrector = min(PREDICTOR_ORDER, i + 1), min(CORRECTOR_ORDER, i + 1)
        if to_zero:
            predictor = max(min(predictor, steps - 1 - i), 1)
            corrector = min(corrector, steps - i)
        if after == 0 and not evaluates_again:
            corrector = 0
        step = partial(
            sa_solver,
            predictor_order=predictor,
            corrector_order=corrector,
            tau=1.0 if highest >= after >= lowest else 0.0,
            evaluates_again=evaluates_again,
        )
        stages.append(Stage(sigma, after, step))
    return stages
