"""From a network that answers in its own terms to a denoiser, `(noisy x, sigma) -> clean x`, by
wrapping.

x is [1, channels, h, w] float32; sigma a float. Prediction kinds, guidance and masks are each one
wrapper, so any sampler works with any of them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from graphengine.diffusion.samplers import Denoiser, GuidedDenoiser, ask
from graphengine.diffusion.schedules import NoiseTable
from graphengine.errors import ModelError

Network = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(scaled x [n, channels, h, w], timesteps [n], tokens [n, length, width]) -> prediction [n,
channels, h, w].
"""

Predict = Callable[[Tensor, float, Tensor], Tensor]
"""(x [1, channels, h, w], sigma, tokens [n, length, width]) -> clean x [n, channels, h, w], one for
each of the tokens.
"""

MOST_REPEATS = 4
"""Shorter text is repeated up to so often to match longer text; beyond that the two are run in
turn.
"""


def epsilon(x: Tensor, sigma: float, answer: Tensor) -> Tensor:
    """The answer is the noise in x, at scale 1: Ho et al. 2020 (arXiv:2006.11239)."""
    return x - answer * sigma


def v_prediction(x: Tensor, sigma: float, answer: Tensor) -> Tensor:
    """The answer is velocity: Salimans and Ho 2022 (arXiv:2202.00512), appendix D."""
    return x / (sigma**2 + 1) - answer * (sigma / math.sqrt(sigma**2 + 1))


PREDICTIONS: dict[str, Callable[[Tensor, float, Tensor], Tensor]] = {
    "epsilon": epsilon,
    "v_prediction": v_prediction,
}


def predictor(network: Network, table: NoiseTable, prediction: str = "epsilon") -> Predict:
    """A network trained on the whole timesteps of `table` as a function that answers the clean
    latent.

    x is divided by sqrt(sigma^2 + 1); the network is told the whole timestep nearest to sigma.
    Raises `ModelError` for an unknown kind of prediction.
    """
    clean = PREDICTIONS.get(prediction)
    if clean is None:
        raise ModelError(
            f"prediction kind {prediction!r} is not known", f"known: {', '.join(PREDICTIONS)}"
        )

    def predict(x: Tensor, sigma: float, tokens: Tensor) -> Tensor:
        many = x.expand(len(tokens), *x.shape[1:])
        timesteps = torch.full(
            (len(tokens),), table.timestep(sigma), dtype=torch.long, device=x.device
        )
        answer = network(many / math.sqrt(sigma**2 + 1), timesteps, tokens)
        return clean(many, sigma, answer.to(x.dtype))

    return predict


def joined(network: Network, extra: Tensor) -> Network:
    """A network that reads `extra` [1, more channels, h, w] behind the channels of the noisy latent,
    as inpainting and depth models do, for both prompts alike.
    """

    def inner(x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        seen = torch.cat([x, extra.to(x).expand(len(x), *extra.shape[1:])], dim=1)
        return network(seen, timesteps, tokens)

    return inner


def guided(
    predict: Predict, positive: Tensor, negative: Tensor, cfg: float, together: bool = True
) -> GuidedDenoiser:
    """Classifier-free guidance (Ho and Salimans 2022, arXiv:2207.12598): D = Dn + (Dp - Dn) * cfg.

    `positive`, `negative`: [1, tokens, width]. At cfg 1 the negative side is not asked, unless a
    sampler needs its own answer (those named cfg_pp). `together`: both sides in one call of the network where their lengths allow, else one after the other, which
    takes less memory.
    """
    pair = same_length(negative, positive) if together else None
    alone = math.isclose(cfg, 1.0, rel_tol=1e-9)

    def answer(x: Tensor, sigma: float, wants_unguided: bool) -> tuple[Tensor, Tensor | None]:
        if alone and not wants_unguided:
            return predict(x, sigma, positive), None
        if pair is not None:
            away, towards = predict(x, sigma, pair).chunk(2)
        else:
            away, towards = predict(x, sigma, negative), predict(x, sigma, positive)
        return towards if alone else away + (towards - away) * cfg, away

    return GuidedDenoiser(answer)


def guide(positive: Denoiser, negative: Denoiser, cfg: float) -> GuidedDenoiser:
    """Classifier-free guidance (arXiv:2207.12598) between two denoisers, the conditional and the
    unconditional model: D = Dn + (Dp - Dn) * cfg.

    What comes out is a denoiser for `sample`, and the only kind that the cfg_pp samplers take: they
    need the negative side's own answer too. At cfg 1 nobody else asks the negative side.
    """
    alone = math.isclose(cfg, 1.0, rel_tol=1e-9)

    def answer(x: Tensor, sigma: float, wants_unguided: bool) -> tuple[Tensor, Tensor | None]:
        if alone and not wants_unguided:
            return positive(x, sigma), None
        away, towards = negative(x, sigma), positive(x, sigma)
        return towards if alone else away + (towards - away) * cfg, away

    return GuidedDenoiser(answer)


def same_length(one: Tensor, other: Tensor) -> Tensor | None:
    """Both texts, [2, tokens, width], repeated to a common length; None if that takes too many
    repeats.

    Repeating all tokens equally often leaves cross-attention as it was.
    """
    length = math.lcm(one.shape[1], other.shape[1])
    repeats = [length // text.shape[1] for text in (one, other)]
    if max(repeats) > MOST_REPEATS:
        return None
    return torch.cat([one.repeat(1, repeats[0], 1), other.repeat(1, repeats[1], 1)])


def masked(denoise: Denoiser, latent: Tensor, noise: Tensor, mask: Tensor) -> GuidedDenoiser:
    """Sample where `mask` is 1 and keep `latent` where it is 0; between, mix.

    Before each call the kept part is given the noise of the level, after it the clean latent
    itself. All [1, channels or 1, h, w]. The answer without guidance, if one is wanted, is the
    model's own.
    """

    def answer(x: Tensor, sigma: float, wants_unguided: bool) -> tuple[Tensor, Tensor | None]:
        x = x * mask + (latent + noise * sigma) * (1 - mask)
        clean, unguided = ask(denoise, x, sigma, wants_unguided)
        return clean * mask + latent * (1 - mask), unguided

    return GuidedDenoiser(answer)
