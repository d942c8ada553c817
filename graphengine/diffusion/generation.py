"""A whole sampling run with a model's description: weights, guidance, and the loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.denoiser import Network, Predict, joined, predictor
from graphengine.diffusion.fit import check_fit
from graphengine.diffusion.guidance import Guider, Past, steered
from graphengine.diffusion.latents import fit_beside, from_model, to_model
from graphengine.diffusion.memory import Memory, Remarks
from graphengine.diffusion.noise import SEEDS, checked
from graphengine.diffusion.previews import fit_colors, latent_picture
from graphengine.diffusion.regions import Cells, Frame, PredictAt, conditioned, part_of
from graphengine.diffusion.samplers import GuidedDenoiser
from graphengine.diffusion.sampling import (
    Preview,
    Watch,
    check_falling,
    fit_mask,
    noise_of,
    noised,
    sample,
)
from graphengine.diffusion.schedules import NoiseTable, levels, noise_table
from graphengine.diffusion.trace import Levels
from graphengine.diffusion.types import Conditioning, Latent, Model
from graphengine.resource import Progress

BYTES_PER_CELL = 2**17
"""Working memory of a UNet for one latent cell, roughly, with guidance."""

AnswerAt = Callable[[int, Tensor, float, bool], tuple[Tensor, Tensor | None]]
"""(place in the batch, x, sigma, is the unguided answer wanted) -> clean, unguided."""

FACTOR = 8
"""Pixels of a cell where the model came without its VAE."""


def ksampler(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    *,
    seed: int,
    steps: int,
    cfg: float,
    sampler: str,
    schedule: str,
    denoise: float = 1.0,
    start_step: int = 0,
    end_step: int | None = None,
    add_noise: bool = True,
    leftover_noise: bool = False,
    from_noise: bool = True,
    memory: Memory,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Latent:
    """Sample a latent with a model, guided towards `positive` and away from `negative`.

    `denoise` below 1 keeps something of the latent: it starts at less noise. At 1 nothing is kept:
    the run starts from noise alone, as if the latent were empty (`from_noise=False` adds the latent
    to that noise, as other tools do). The latent's mask says where to sample. The same arguments
    give the same bits on one machine, item by item, whatever the batch. What an inpainting or depth
    model reads beside the latent is taken from `latent.beside`.

    `start_step` and `end_step` run a part of the schedule. A run that stops early still removes all
    noise with its last step, unless `leftover_noise` is to be taken up by a next run with
    `add_noise=False`; two such runs give the same bits as one, if the sampler is euler or ddim.
    (Samplers that remember earlier steps, as dpmpp_2m and lms do, begin anew; heun gives the same
    bits too; those that add noise draw the same again, so give the second run another seed.) Where
    no step is left to do the latent itself is the answer, or, if noise is to be added and left
    over, the latent at the level of `start_step`.

    `watch` is told every step, as in `sample`. Raises `ModelError` before any weights are loaded if
    text, latent and model don't go together.
    """
    guider = Guider(positive, negative, cfg)
    check_fit(model, guider, latent)
    known = levels(noise_table(model.betas), schedule, steps, denoise, sampler=sampler)
    return _draw(
        model,
        guider,
        latent,
        cut(known, start_step, end_step, leftover_noise),
        seed=seed,
        sampler=sampler,
        add_noise=add_noise,
        from_noise=from_noise,
        memory=memory,
        progress=progress,
        watch=watch,
    )


def sample_custom(
    model: Model,
    guider: Guider,
    latent: Latent,
    levels: Levels,
    *,
    seed: int,
    sampler: str,
    add_noise: bool = True,
    from_noise: bool = True,
    memory: Memory,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Latent:
    """Sample a latent along any falling levels, with any guidance.

    With plain guidance and all levels of a schedule it gives the bits of `ksampler`. Levels that end
    above 0 leave their noise in the latent for a next run with `add_noise=False`: the two parts of
    a split give the same bits as the whole for samplers that neither remember earlier steps nor add
    noise (euler, ddim, heun), unless the guider has momentum, which begins anew. All levels are
    used as they are, by samplers too that leave one out of a schedule's. Other arguments as in
    `ksampler`. Raises `ModelError` before any weights are loaded if text, latent, levels and model
    don't go together.
    """
    check_fit(model, guider, latent)
    check_falling(levels.sigmas)
    return _draw(
        model,
        guider,
        latent,
        list(levels.sigmas),
        seed=seed,
        sampler=sampler,
        add_noise=add_noise,
        from_noise=from_noise,
        memory=memory,
        progress=progress,
        watch=watch,
    )


def _draw(
    model: Model,
    guider: Guider,
    latent: Latent,
    sigmas: list[float],
    *,
    seed: int,
    sampler: str,
    add_noise: bool,
    from_noise: bool,
    memory: Memory,
    progress: Progress | None,
    watch: Watch | None,
) -> Latent:
    """A run along these levels; what is left of their noise stays in the latent."""
    table = noise_table(model.betas)
    samples = to_model(model, latent.samples).float()
    count, _, height, width = samples.shape
    seeds = [(checked(seed) + offset) % SEEDS for offset in latent.seed_offset or [0] * count]
    if len(sigmas) < 2:
        if not (sigmas and sigmas[0] > 0 and add_noise):
            return latent
        noise = noise_of(seeds, samples.shape[1:], latent.noise_index or range(count))
        start = noised(samples, noise, sigmas[0], table.sigma_max, from_noise)
        return replace(latent, samples=from_model(model, start.double()))
    remarks = Remarks(progress or Progress())
    working = height * width * BYTES_PER_CELL
    with memory.use(model, working=working, progress=remarks) as unet, torch.no_grad():
        weight = next(unet.parameters())
        network = _network(unet, weight, remarks)
        beside = _beside(latent, weight)
        frame = Frame(table, (height, width), _factor(model), weight.device)
        pasts = [Past() for _ in range(count)]

        def denoisers(together: bool) -> list[GuidedDenoiser]:
            at = [_predict_at(network, table, model.prediction, extra) for extra in beside]
            return [
                _guided(guider, at[place], frame, place, together, pasts[place])
                for place in range(count)
            ]

        rungs = [
            ("both prompts at once", _by_place(denoisers(together=True))),
            ("one prompt after the other", _by_place(denoisers(together=False))),
        ]
        ladder = memory.ladder(rungs, remarks.remark)
        result = sample(
            [GuidedDenoiser(partial(ladder, place)) for place in range(count)],
            samples.to(weight.device),
            sigmas,
            sampler=sampler,
            seed=seeds,
            sigma_max=table.sigma_max,
            table=table,
            noise_index=latent.noise_index,
            noise_mask=latent.noise_mask,
            add_noise=add_noise,
            from_noise=from_noise,
            progress=remarks,
            preview=_preview(model, memory),
            watch=watch,
        )
    if sigmas[-1] > 0:
        return replace(latent, samples=from_model(model, result.double().cpu()))
    done = from_model(model, result.float().cpu())
    if latent.noise_mask is not None:  # what stays is the input's to the last bit, at any scale
        done = torch.where(fit_mask(latent.noise_mask, done) > 0, done, latent.samples)
    return replace(latent, samples=done)


def cut(sigmas: list[float], start: int, end: int | None, leftover: bool) -> list[float]:
    """The levels from step `start` up to step `end`; the last is 0 then, unless noise is to be left
    over. Fewer than two if no step is left.
    """
    if end is not None and end < len(sigmas) - 1:
        sigmas = sigmas[: max(end, 0) + 1]
        if not leftover:
            sigmas = [*sigmas[:-1], 0.0]
    return sigmas[start:]


def _network(unet: Any, weight: Tensor, progress: Progress) -> Network:
    """A U-Net of diffusers as a function; noticing a wish to cancel before each call."""

    def network(x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
        progress.check()
        states = tokens.to(weight)
        answer: Tensor = unet(
            x.to(weight), timesteps, encoder_hidden_states=states, return_dict=False
        )[0]
        return answer

    return network


def _predict_at(
    network: Network, table: NoiseTable, prediction: str, extra: Tensor | None
) -> PredictAt:
    """Predictions for rectangles of one item. `extra`: what is read beside it, [1, channels, h, w]."""

    def at(cells: Cells | None) -> Predict:
        seen = network if extra is None else joined(network, part_of(extra, cells))
        return predictor(seen, table, prediction)

    return at


def _guided(
    guider: Guider, at: PredictAt, frame: Frame, place: int, together: bool, past: Past
) -> GuidedDenoiser:
    """The denoiser of one item of a batch, for a guider."""
    wanted, unwanted, third = guider.positive, guider.negative, guider.third
    if guider.is_plain:
        return conditioned(at, frame, place, wanted, unwanted, guider.cfg, together)
    pair = conditioned(at, frame, place, wanted, unwanted, 1.0, together)
    if third is None:
        return steered(guider, pair, None, past)
    other = conditioned(at, frame, place, third, unwanted, 1.0, together)
    return steered(guider, pair, other, past)


def _by_place(denoisers: Sequence[GuidedDenoiser]) -> AnswerAt:
    return lambda place, x, sigma, wants_unguided: denoisers[place].answer(x, sigma, wants_unguided)


def _factor(model: Model) -> int:
    return FACTOR if model.vae is None else model.vae.factor


def _beside(latent: Latent, like: Tensor) -> list[Tensor | None]:
    """What is read beside each item, [1, channels, h, w], at the latent's size."""
    count, channels, height, width = latent.samples.shape
    if latent.beside is None:
        return [None] * count
    fitted = fit_beside(latent.beside, height, width, channels).to(like)
    fitted = fitted.expand(count, -1, -1, -1)
    return [fitted[place : place + 1] for place in range(count)]


def _preview(model: Model, memory: Memory) -> Preview | None:
    if model.vae is None:
        return None
    vae, fitted = model.vae, list[Tensor]()

    def show(clean: Tensor) -> Any:
        if not fitted:
            with memory.use(vae) as module:
                fitted.append(fit_colors(module, vae.channels, 1 / model.latent_scale))
        return latent_picture(from_model(model, clean), fitted[0])

    return show
