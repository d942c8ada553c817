"""Guidance as a value: which texts a model is asked for, and how its answers are put together.

A `Guider` is a small frozen description; `steered` makes a denoiser of it. All of it is arithmetic on
clean latents, x [1, channels, h, w], so it works with any sampler. Imports without torch.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from graphengine.diffusion.samplers import GuidedDenoiser
from graphengine.diffusion.types import Conditioning
from graphengine.errors import GraphEngineError

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


@dataclass(frozen=True)
class Dual:
    """Guidance by two texts: by `cfg` from `middle` to the positive one, and from the negative to
    both.

    With D1, D2 and Dn for positive, middle and negative, w2 = `middle_cfg`:
    D = Dn + (D2 - Dn) * w2 + (D1 - D2) * cfg; `nested`: D = Dn + (D2 + (D1 - D2) * cfg - Dn) * w2.
    The first is what InstructPix2Pix does with text and picture (Brooks et al. 2023,
    arXiv:2211.09800, equation 3).
    """

    middle: Conditioning
    middle_cfg: float
    nested: bool = False


@dataclass(frozen=True)
class Perpendicular:
    """What is unwanted takes nothing away from what is wanted: Perp-Neg (Armandpour et al. 2023,
    arXiv:2304.04968).

    With p = Dp - D0 and n = `unwanted` - D0, where D0 is the answer to the negative side, an empty
    text: D = D0 + (p - (n - p <n, p> / <p, p>) * scale) * cfg.
    """

    unwanted: Conditioning
    scale: float


@dataclass(frozen=True)
class Projected:
    """Adaptive projected guidance (APG, Sadat et al. 2024, arXiv:2410.02416).

    d = Dp - Dn, plus `momentum` times the d of the call before; shortened to length `limit` (0 is no
    limit); then only `along` of its part along Dp is kept: D = Dp + (d across Dp + d along Dp *
    `along`) * (cfg - 1). 1, 0 and 0 are plain guidance. `momentum` is below 0 in the paper.
    """

    along: float
    limit: float
    momentum: float = 0.0


@dataclass(frozen=True)
class Guider:
    """How texts guide a model: D = Dn + (Dp - Dn) * cfg, classifier-free guidance (Ho and Salimans
    2022, arXiv:2207.12598), or by another rule.

    `rescale`, 0 to 1: how far the result's contrast is led back to that of the positive answer (Lin
    et al. 2023, arXiv:2305.08891, section 3.4), with every rule. Samplers named cfg_pp get the
    negative side's answer as the unguided one.
    """

    positive: Conditioning
    negative: Conditioning
    cfg: float
    rule: Dual | Perpendicular | Projected | None = None
    rescale: float = 0.0

    @property
    def is_plain(self) -> bool:
        """Whether it is classifier-free guidance and nothing else."""
        return self.rule is None and self.rescale == 0

    @property
    def third(self) -> Conditioning | None:
        """A text beside positive and negative."""
        if isinstance(self.rule, Dual):
            return self.rule.middle
        return self.rule.unwanted if isinstance(self.rule, Perpendicular) else None

    @property
    def sides(self) -> tuple[tuple[str, Conditioning], ...]:
        """Every text, under the name that errors call it."""
        pair = (("positive", self.positive), ("negative", self.negative))
        return pair if self.third is None else (*pair, ("third", self.third))


def cfg_guider(positive: Conditioning, negative: Conditioning, cfg: float) -> Guider:
    """Classifier-free guidance, the same bits as `ksampler` with these."""
    return Guider(positive, negative, cfg)


def dual_guider(
    first: Conditioning,
    second: Conditioning,
    negative: Conditioning,
    cfg: float,
    second_cfg: float,
    nested: bool = False,
) -> Guider:
    """Guidance by two texts; see `Dual`, where the second is the middle."""
    return Guider(first, negative, cfg, Dual(second, second_cfg, nested))


def perp_neg_guider(
    positive: Conditioning,
    negative: Conditioning,
    empty: Conditioning,
    cfg: float,
    negative_scale: float = 1.0,
) -> Guider:
    """A negative that takes nothing away from the positive; see `Perpendicular`."""
    return Guider(positive, empty, cfg, Perpendicular(negative, negative_scale))


def rescaled(guider: Guider, amount: float) -> Guider:
    """A guider whose results keep the contrast of the positive answer, by `amount`, 0 to 1.

    Raises `GraphEngineError` for an amount outside.
    """
    if not 0 <= amount <= 1:
        raise GraphEngineError(f"rescaling by {amount:g}", "give 0 (none) to 1 (all)")
    return replace(guider, rescale=amount)


def projected(guider: Guider, along: float, limit: float, momentum: float = 0.0) -> Guider:
    """A guider that goes on by adaptive projected guidance; see `Projected`.

    Raises `GraphEngineError` if it follows another rule than plain guidance already.
    """
    if not isinstance(guider.rule, Projected | None):
        raise GraphEngineError(
            f"adaptive projected guidance of a guider with the rule {type(guider.rule).__name__}",
            "it changes plain guidance between a positive and a negative text: link such a guider",
        )
    return replace(guider, rule=Projected(along, limit, momentum))


class Past:
    """The guidance of the call before, for momentum: one for each picture of a run."""

    def __init__(self) -> None:
        self.direction: Tensor | None = None


def steered(
    guider: Guider, pair: GuidedDenoiser, third: GuidedDenoiser | None, past: Past
) -> GuidedDenoiser:
    """The denoiser of a guider. `pair` answers the positive side and, as unguided, the negative one;
    `third` the third text, for rules that have one.
    """

    def answer(x: Tensor, sigma: float, wants_unguided: bool) -> tuple[Tensor, Tensor | None]:
        towards, away = pair.answer(x, sigma, True)
        assert away is not None
        other = towards if third is None else third(x, sigma)
        clean = _combined(guider, towards, away, other, past)
        if guider.rescale:
            clean = _rescaled(clean, towards, x, sigma, guider.rescale)
        return clean, away

    return GuidedDenoiser(answer)


def _combined(guider: Guider, towards: Tensor, away: Tensor, third: Tensor, past: Past) -> Tensor:
    cfg, rule = guider.cfg, guider.rule
    if rule is None:
        return away + (towards - away) * cfg
    if isinstance(rule, Dual):
        if rule.nested:
            return away + (third + (towards - third) * cfg - away) * rule.middle_cfg
        return away + (third - away) * rule.middle_cfg + (towards - third) * cfg
    if isinstance(rule, Perpendicular):
        wanted, unwanted = towards - away, third - away
        across = unwanted - _along(unwanted, wanted)
        return away + (wanted - across * rule.scale) * cfg
    direction = towards - away
    if rule.momentum and past.direction is not None:
        direction = direction + past.direction * rule.momentum
    past.direction = direction
    length = float(direction.norm())
    if 0 < rule.limit < length:
        direction = direction * (rule.limit / length)
    kept = _along(direction, towards)
    return towards + (direction - kept + kept * rule.along) * (cfg - 1)


def _along(vector: Tensor, axis: Tensor) -> Tensor:
    """The part of a vector along another, over all numbers of a latent; 0 along nothing."""
    square = float((axis.double() ** 2).sum())
    if square == 0:
        return axis * 0
    return axis * (float((vector.double() * axis.double()).sum()) / square)


def _rescaled(clean: Tensor, towards: Tensor, x: Tensor, sigma: float, amount: float) -> Tensor:
    """A clean latent led back to the standard deviation of the positive answer, both as velocities,
    which is what the paper's models answer.
    """
    base, unit = x / (sigma**2 + 1), sigma / math.sqrt(sigma**2 + 1)
    speed, wanted = (base - clean) / unit, (base - towards) / unit
    spread = float(speed.std())
    if spread == 0:
        return clean
    ratio = float(wanted.std()) / spread
    return base - speed * (unit * (amount * ratio + (1 - amount)))
