"""Noise levels: the table a model was trained with, and the levels that a run steps through.

A schedule is a function `(table, steps) -> levels`: falling, `steps` of them (some have a few more
or fewer, and say so) and then 0. Adding one is one function and one line in `SCHEDULES`. Levels are the standard deviation sigma of the noise,
as Python floats, where the signal has scale 1 (Karras et al. 2022, arXiv:2206.00364).
This module imports without torch.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import accumulate
from operator import mul
from typing import TYPE_CHECKING

from graphengine.diffusion.samplers import sampler_named
from graphengine.diffusion.types import Betas
from graphengine.errors import ModelError, nearest

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoiseTable:
    """The noise levels of the trained timesteps, rising: `sigmas[t]` belongs to timestep t.

    They are those of `exact`, rounded to single precision as the field keeps them. `single` is the
    same table computed in single precision, as diffusers does it: it differs by up to 1e-5
    (relative), and published lists come from it.
    """

    sigmas: tuple[float, ...]
    exact: tuple[float, ...]
    single: tuple[float, ...]

    @property
    def sigma_min(self) -> float:
        return self.sigmas[0]

    @property
    def sigma_max(self) -> float:
        return self.sigmas[-1]

    @property
    def last(self) -> int:
        """The largest timestep."""
        return len(self.sigmas) - 1

    @cached_property
    def _logs(self) -> Tensor:
        import torch

        return torch.tensor(self.exact, dtype=torch.float64).log().float()

    def timestep(self, sigma: float) -> int:
        """The whole timestep whose level is nearest to `sigma` in the logarithm.

        In single precision, as the field does it: that decides for levels halfway between two.
        """
        import torch

        return int((torch.tensor(sigma).log() - self._logs).abs().argmin())

    def sigma(self, timestep: float) -> float:
        """The level of a timestep; the logarithm is interpolated between whole ones."""
        import torch

        low, share = self._place(timestep)
        logs = self._logs
        part = torch.tensor(share)
        return float(((1 - part) * logs[low] + part * logs[min(low + 1, self.last)]).exp())

    def sigma_linear(self, timestep: float) -> float:
        """The level of a timestep, from `single`; the level is interpolated between whole ones."""
        low, share = self._place(timestep)
        return (1 - share) * self.single[low] + share * self.single[min(low + 1, self.last)]

    def _place(self, timestep: float) -> tuple[int, float]:
        inside = min(max(timestep, 0.0), float(self.last))
        low = math.floor(inside)
        return low, inside - low


@lru_cache(maxsize=16)
def noise_table(betas: Betas = Betas()) -> NoiseTable:  # noqa: B008 - frozen
    """The table of a noise schedule: abar = product of (1 - beta), sigma = sqrt((1 - abar) / abar).

    `scaled_linear` takes the square roots of the betas evenly, `linear` the betas. Raises
    `ModelError` for other kinds.
    """
    exact = _sigmas(betas, float)
    return NoiseTable(tuple(map(_single, exact)), exact, _sigmas(betas, _single))


def _sigmas(betas: Betas, rounded: Callable[[float], float]) -> tuple[float, ...]:
    if betas.kind == "scaled_linear":
        ends = (rounded(math.sqrt(betas.start)), rounded(math.sqrt(betas.end)))
        values = [rounded(rounded(root) ** 2) for root in linspace(*ends, betas.count)]
    elif betas.kind == "linear":
        values = [rounded(beta) for beta in linspace(betas.start, betas.end, betas.count)]
    else:
        remedy = "known are scaled_linear and linear"
        raise ModelError(f"noise schedule {betas.kind!r} is not known", remedy)
    abars = map(rounded, accumulate((rounded(1 - beta) for beta in values), mul))
    return tuple(rounded(math.sqrt(rounded(rounded(1 - abar) / abar))) for abar in abars)


def _single(number: float) -> float:
    """The nearest number of single precision."""
    nearest: float = struct.unpack("f", struct.pack("f", number))[0]
    return nearest


def linspace(first: float, last: float, count: int) -> list[float]:
    """`count` evenly spaced numbers, both ends included."""
    if count == 1:
        return [first]
    return [first + (last - first) * i / (count - 1) for i in range(count)]


def normal(table: NoiseTable, steps: int) -> list[float]:
    """Timesteps evenly from last to first."""
    import torch

    return [*map(table.sigma, torch.linspace(table.last, 0, steps).tolist()), 0.0]


def linear(table: NoiseTable, steps: int) -> list[float]:
    """As `normal`, with the level interpolated, not its logarithm: diffusers' "linspace" lists."""
    return [*(table.sigma_linear(t) for t in linspace(table.last, 0, steps)), 0.0]


def sgm_uniform(table: NoiseTable, steps: int) -> list[float]:
    """Timesteps evenly from last to first, the first left out: "trailing" in Lin et al. 2023
    (arXiv:2305.08891), as Stability's models are sampled.
    """
    import torch

    return [*map(table.sigma, torch.linspace(table.last, 0, steps + 1).tolist()[:-1]), 0.0]


def simple(table: NoiseTable, steps: int) -> list[float]:
    """Entries of the table itself, evenly from the last; no more of them than it has."""
    stride = len(table.sigmas) / steps
    return _looked_up(table, [table.last - int(i * stride) for i in range(steps)])


def ddim_uniform(table: NoiseTable, steps: int) -> list[float]:
    """Every k-th entry of the table from the second on, with k = entries // steps: DDIM's spacing
    (Song et al. 2020, arXiv:2010.02502). Where the division leaves a rest there can be more levels
    than steps; the last trained level is not among them.
    """
    stride = max(len(table.sigmas) // steps, 1)
    return _looked_up(table, [*range(1, len(table.sigmas), stride)][::-1] or [table.last])


def beta(table: NoiseTable, steps: int, alpha: float = 0.6) -> list[float]:
    """Timesteps at even quantiles of Beta(0.6, 0.6), so denser at both ends: Lee et al. 2024
    (arXiv:2407.12173). Whole timesteps; repeated ones count once, so many steps give fewer levels.
    """
    from scipy.special import betaincinv

    shares = [float(betaincinv(alpha, alpha, 1 - i / steps)) for i in range(steps)]
    return _looked_up(table, [round(share * table.last) for share in shares])


def _looked_up(table: NoiseTable, timesteps: list[int]) -> list[float]:
    """The levels of falling timesteps, each once, and 0."""
    return [*(table.sigmas[timestep] for timestep in dict.fromkeys(timesteps)), 0.0]


def linear_quadratic(table: NoiseTable, steps: int, slope: float = 0.025) -> list[float]:
    """Small even steps for the first half, then growing ones: Polyak et al. 2024
    (arXiv:2410.13720), section 3.4.2. `slope`: how far a whole run of even steps would come.
    """
    even = steps // 2
    if not even:
        return [table.sigma_max, 0.0]
    rest, gap = steps - even, even - slope * steps
    square = gap / (even * rest**2)
    line = slope / even - 2 * gap / rest**2
    falls = [
        slope * i / even if i < even else square * i**2 + line * i + square * even**2
        for i in range(steps)
    ]
    return [*((1 - fall) * table.sigma_max for fall in falls), 0.0]


def karras(table: NoiseTable, steps: int, rho: float = 7.0) -> list[float]:
    """Evenly in sigma^(1/rho), denser at low noise: Karras et al. 2022, equation 5."""
    import torch

    high, low = table.sigma_max ** (1 / rho), table.sigma_min ** (1 / rho)
    sigmas: list[float] = ((high + torch.linspace(0, 1, steps) * (low - high)) ** rho).tolist()
    return [*sigmas, 0.0]


def exponential(table: NoiseTable, steps: int) -> list[float]:
    """Evenly in log sigma."""
    import torch

    ends = math.log(table.sigma_max), math.log(table.sigma_min)
    sigmas: list[float] = torch.linspace(*ends, steps).exp().tolist()
    return [*sigmas, 0.0]


def kl_optimal(table: NoiseTable, steps: int) -> list[float]:
    """Evenly in the angle arctan(sigma), which bounds the Kullback-Leibler divergence: Sabour et al.
    2024 (arXiv:2404.14507), equation 17. One step starts at the largest level.
    """
    import torch

    share = torch.arange(steps) / max(steps - 1, 1)
    angles = share * math.atan(table.sigma_min) + (1 - share) * math.atan(table.sigma_max)
    sigmas: list[float] = (angles.sin() / angles.cos()).tolist()
    return [*sigmas, 0.0]


Schedule = Callable[[NoiseTable, int], list[float]]
SCHEDULES: dict[str, Schedule] = {
    "normal": normal,
    "karras": karras,
    "exponential": exponential,
    "sgm_uniform": sgm_uniform,
    "simple": simple,
    "ddim_uniform": ddim_uniform,
    "beta": beta,
    "linear_quadratic": linear_quadratic,
    "kl_optimal": kl_optimal,
    "linear": linear,
}


def levels(
    table: NoiseTable,
    schedule: str,
    steps: int,
    denoise: float = 1.0,
    *,
    sampler: str | None = None,
) -> list[float]:
    """The noise levels of one run, falling and ending in 0: `steps` steps, or as many as the
    schedule makes of it.

    `sampler`: the name of the sampler that will go down them. A few (dpm_2, dpm_2_ancestral, uni_pc,
    uni_pc_bh2) take the list for one step more without its last level above 0, so always say which
    one it is; without a name nothing is dropped. `denoise` below 1 starts at less noise, so that
    something of the latent stays: the end of the list for int(steps / denoise) steps is taken. At 0
    or below there is nothing to do and the list is empty.

    One step is [largest level, 0] for every schedule but ddim_uniform, which is [table.sigmas[1], 0],
    or the level halfway for a sampler that drops one. Raises `ModelError` for less than one step and
    for an unknown schedule or sampler.
    """
    if steps < 1:
        raise ModelError(f"{steps} steps", "take at least 1, or denoise 0 to change nothing")
    chosen = SCHEDULES.get(schedule)
    if chosen is None:
        hint = nearest(schedule, SCHEDULES) or f"known: {', '.join(SCHEDULES)}"
        raise ModelError(f"there is no schedule {schedule!r}", hint)
    drops_a_level = sampler is not None and sampler_named(sampler).drops_a_level
    if denoise <= 0:
        return []
    total = steps if denoise > 0.9999 else int(steps / denoise)
    sigmas = chosen(table, total + drops_a_level)
    if drops_a_level and len(sigmas) > 2:
        sigmas = [*sigmas[:-2], 0.0]
    return sigmas if denoise > 0.9999 else sigmas[-(steps + 1) :]
