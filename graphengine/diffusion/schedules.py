"""Noise levels: the table a model was trained with, and the levels that a run steps through.

A schedule is a function `(table, steps) -> levels`: falling, `steps` of them and then 0. Adding one
is one function and one line in `SCHEDULES`. Levels are the standard deviation sigma of the noise,
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

from graphengine.diffusion.types import Betas
from graphengine.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class NoiseTable:
    """The noise levels of the trained timesteps, rising: `sigmas[t]` belongs to timestep t.

    `single` is the same table in single precision, as diffusers computes it. It differs by up to
    1e-5 (relative); published lists come from it.
    """

    sigmas: tuple[float, ...]
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

        return torch.tensor(self.sigmas).log()

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
    return NoiseTable(_sigmas(betas, float), _sigmas(betas, _single))


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


def simple(table: NoiseTable, steps: int) -> list[float]:
    """Entries of the table itself, evenly from the last."""
    stride = len(table.sigmas) / steps
    return [*(table.sigmas[table.last - int(i * stride)] for i in range(steps)), 0.0]


def karras(table: NoiseTable, steps: int, rho: float = 7.0) -> list[float]:
    """Evenly in sigma^(1/rho), denser at low noise: Karras et al. 2022, equation 5."""
    roots = linspace(table.sigma_max ** (1 / rho), table.sigma_min ** (1 / rho), steps)
    return [*(root**rho for root in roots), 0.0]


def exponential(table: NoiseTable, steps: int) -> list[float]:
    """Evenly in log sigma."""
    logs = linspace(math.log(table.sigma_max), math.log(table.sigma_min), steps)
    return [*(math.exp(log) for log in logs), 0.0]


Schedule = Callable[[NoiseTable, int], list[float]]
SCHEDULES: dict[str, Schedule] = {
    "normal": normal,
    "karras": karras,
    "simple": simple,
    "exponential": exponential,
    "linear": linear,
}


def levels(table: NoiseTable, schedule: str, steps: int, denoise: float = 1.0) -> list[float]:
    """The noise levels of one run: at most `steps` steps, ending in 0.

    `denoise` below 1 starts at less noise, so that something of the latent stays: the end of a
    longer list is taken. At 0 or below there is nothing to do and the list is empty. Raises
    `KeyError` for an unknown schedule and `ValueError` for less than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    if denoise <= 0:
        return []
    if denoise > 0.9999:
        return SCHEDULES[schedule](table, steps)
    return SCHEDULES[schedule](table, int(steps / denoise))[-(steps + 1) :]
