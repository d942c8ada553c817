"""What a sampler is made of: steps over noise levels, and a plan of them. Imports without torch.

    step(denoise, x, sigma, sigma_next, history, noise) -> (x, history)

`denoise(x, sigma)` is the clean latent the model sees in x; `history` is what a sampler remembers
of earlier steps (a tuple, empty at first); `noise(sigma, sigma_next)` draws standard normal noise of
x's shape for the way between two levels. A step into level 0 gives the clean latent itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from graphengine.errors import ModelError

if TYPE_CHECKING:
    from torch import Tensor

    from graphengine.diffusion.schedules import NoiseTable

Denoiser = Callable[["Tensor", float], "Tensor"]
History = tuple[Any, ...]
Noise = Callable[[float, float], "Tensor"]
NoiseKind = Literal["none", "independent", "brownian"]
Step = Callable[["Denoiser", "Tensor", float, float, History, Noise], tuple["Tensor", History]]


@dataclass(frozen=True)
class Stage:
    """One step of a run: from a level to a lower one."""

    sigma: float
    sigma_next: float
    step: Step


Plan = Callable[[Sequence[float], "NoiseTable"], list[Stage]]
"""The steps over falling levels. The table is the model's; few samplers look at it."""


@dataclass(frozen=True)
class Sampler:
    """How to go down a list of noise levels.

    `noise`: what its own noise is: none, independent draws, or the ways of one Brownian path.
    `unguided`: it asks for the model's answer without guidance too. `drops_a_level`: its list is
    made for one step more and the last level above 0 is left out. `fresh_mask_noise`: the part
    under a mask gets noise of its own (seed + 1), not the start noise.
    """

    plan: Plan
    noise: NoiseKind = "none"
    unguided: bool = False
    drops_a_level: bool = False
    fresh_mask_noise: bool = False


def each(step: Step) -> Plan:
    """The same step from each level to the next."""
    return lambda sigmas, table: [
        Stage(sigma, after, step) for sigma, after in zip(sigmas, sigmas[1:])
    ]


class GuidedDenoiser:
    """A denoiser that can also answer what the model sees without guidance.

    `answer(x, sigma, wants_unguided)` -> (clean, unguided or None). Called as any denoiser it gives
    the clean latent alone.
    """

    def __init__(self, answer: Callable[[Tensor, float, bool], tuple[Tensor, Tensor | None]]):
        self.answer = answer

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return self.answer(x, sigma, False)[0]

    def both(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        clean, unguided = self.answer(x, sigma, True)
        if unguided is None:
            raise ModelError("the denoiser has no answer without guidance", NO_UNGUIDED)
        return clean, unguided


NO_UNGUIDED = (
    "samplers named cfg_pp need it: make the denoiser with graphengine.diffusion.guide(positive, "
    "negative, cfg), or take a sampler without cfg_pp"
)


def ask(
    denoise: Denoiser, x: Tensor, sigma: float, wants_unguided: bool
) -> tuple[Tensor, Tensor | None]:
    """The clean latent, and the unguided one if it is wanted. Raises `ModelError` if the denoiser
    has none.
    """
    return both(denoise, x, sigma) if wants_unguided else (denoise(x, sigma), None)


def both(denoise: Denoiser, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
    """The clean latent with guidance and without. Raises `ModelError` if the denoiser has no answer
    without.
    """
    answer = getattr(denoise, "both", None)
    if answer is None:
        raise ModelError("the denoiser has no answer without guidance", NO_UNGUIDED)
    pair: tuple[Tensor, Tensor] = answer(x, sigma)
    return pair


def ancestral(sigma: float, sigma_next: float) -> tuple[float, float]:
    """How far down a step goes, and how much noise it adds to end at `sigma_next`: the posterior of
    DDPM (Ho et al. 2020, arXiv:2006.11239, equation 7) in sigma. down^2 + up^2 = sigma_next^2.
    """
    down = sigma_next**2 / sigma
    return down, math.sqrt(max(sigma_next**2 - down**2, 0.0))


def towards(x: Tensor, clean: Tensor, keep: float) -> Tensor:
    """`keep` of the way from the clean latent to x remains: the exact flow for a constant clean
    latent, with keep = sigma_next / sigma.
    """
    return clean + (x - clean) * keep
