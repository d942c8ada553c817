"""A whole sampling run with a model's description: checks, weights, guidance, and the loop."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.denoiser import Predict, guided, predictor
from graphengine.diffusion.latents import fit_beside, from_model, to_model
from graphengine.diffusion.memory import Memory, Remarks
from graphengine.diffusion.previews import fit_colors, latent_picture
from graphengine.diffusion.sampling import Preview, Watch, sample
from graphengine.diffusion.schedules import levels, noise_table
from graphengine.diffusion.types import Conditioning, Latent, Model, kind_of
from graphengine.errors import ModelError
from graphengine.resource import Progress

BYTES_PER_CELL = 2**17
"""Working memory of a UNet for one latent cell, roughly, with guidance."""


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
    memory: Memory,
    progress: Progress | None = None,
    watch: Watch | None = None,
) -> Latent:
    """Sample a latent with a model, guided towards `positive` and away from `negative`.

    `denoise` below 1 keeps something of the latent: it starts at less noise. The latent's mask says
    where to sample. The same arguments give the same bits on one machine, item by item, whatever
    the batch. What an inpainting or depth model reads beside the latent is taken from
    `latent.beside`. `watch` is told every step, as in `sample`. Raises `ModelError` before any
    weights are loaded if text, latent and model don't go together.
    """
    check_fit(model, positive, negative, latent)
    table = noise_table(model.betas)
    sigmas = levels(table, schedule, steps, denoise)
    if not sigmas:
        return latent
    remarks = Remarks(progress or Progress())
    samples = to_model(model, latent.samples)
    cells = samples.shape[2] * samples.shape[3]
    with (
        memory.use(model, working=cells * BYTES_PER_CELL, progress=remarks) as unet,
        torch.no_grad(),
    ):
        weight = next(unet.parameters())
        beside = _beside(latent, weight)

        def predict_for(extra: Tensor | None) -> Predict:
            def network(x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
                remarks.check()
                seen = x if extra is None else torch.cat([x, extra.expand(len(x), -1, -1, -1)], 1)
                answer: Tensor = unet(
                    seen.to(weight),
                    timesteps,
                    encoder_hidden_states=tokens.to(weight),
                    return_dict=False,
                )[0]
                return answer

            return predictor(network, table, model.prediction)

        towards, away = (side.tokens.to(weight.device) for side in (positive, negative))

        def rung(together: bool) -> Callable[[int, Tensor, float], Tensor]:
            def denoise(place: int, x: Tensor, sigma: float) -> Tensor:
                predict = predict_for(beside[place])
                return guided(predict, towards, away, cfg, together)(x, sigma)

            return denoise

        rungs = [
            ("both prompts at once", rung(together=True)),
            ("one prompt after the other", rung(together=False)),
        ]
        ladder = memory.ladder(rungs, remarks.remark)
        result = sample(
            [partial(ladder, place) for place in range(len(samples))],
            samples.to(weight.device),
            sigmas,
            sampler=sampler,
            seed=[seed + offset for offset in latent.seed_offset or [0] * len(samples)],
            sigma_max=table.sigma_max,
            noise_index=latent.noise_index,
            noise_mask=latent.noise_mask,
            progress=remarks,
            preview=_preview(model, memory),
            watch=watch,
        )
    return replace(latent, samples=from_model(model, result.float().cpu()))


def check_fit(model: Model, positive: Conditioning, negative: Conditioning, latent: Latent) -> None:
    """Whether text and latent are what the model was trained for. Raises `ModelError` that names
    both families.
    """
    for side, text in (("positive", positive), ("negative", negative)):
        if text.width != model.width:
            raise ModelError(
                f"the text encoder of the {side} text is {text.family}-sized ({text.width} wide) "
                f"but the model is {model.family} ({model.width})",
                "use the text encoder of the model's own checkpoint",
            )
    channels = latent.samples.shape[1]
    if channels != model.channels:
        raise ModelError(
            f"the latent has {channels} channels but the model works with {model.channels}",
            "make it with the VAE of the model's own checkpoint",
        )
    check_beside(model, latent)


def check_beside(model: Model, latent: Latent) -> None:
    """Whether a latent brings what an inpainting or depth model reads beside it, and nothing that
    an ordinary one can't read. Raises `ModelError`.
    """
    brought = 0 if latent.beside is None else latent.beside.shape[1]
    name = model.folder.parent.name
    if brought != model.extra_channels:
        other = kind_of(model.channels, brought)
        given = f"the latent was prepared for {other}" if brought else "the latent brings no more"
        raise ModelError(
            f"{name} is {model.kind}, but {given}",
            f"{_remedy(model, brought)}, or take {other.rsplit(' (')[0]}",
        )
    if latent.beside is not None and len(latent.beside) not in (1, len(latent.samples)):
        raise ModelError(
            f"a batch of {len(latent.samples)} latents with {len(latent.beside)} conditions beside",
            "prepare one for all, or one for each",
        )


def _remedy(model: Model, brought: int) -> str:
    """How a latent for a model of this kind is made."""
    if model.extra_channels == 1:
        return 'prepare the latent with the node "depth.condition"'
    if model.extra_channels:
        return 'prepare the latent with the node "inpaint.prepare"'
    if brought == 1:
        return 'leave out the node "depth.condition"'
    return 'mark what shall change with the node "latent.set_mask" instead'


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
