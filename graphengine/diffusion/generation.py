"""A whole sampling run with a model's description: checks, weights, guidance, and the loop."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.denoiser import guided, predictor
from graphengine.diffusion.latents import from_model, to_model
from graphengine.diffusion.memory import Memory, Remarks
from graphengine.diffusion.previews import fit_colors, latent_picture
from graphengine.diffusion.sampling import Preview, sample
from graphengine.diffusion.schedules import levels, noise_table
from graphengine.diffusion.types import Conditioning, Latent, Model
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
) -> Latent:
    """Sample a latent with a model, guided towards `positive` and away from `negative`.

    `denoise` below 1 keeps something of the latent: it starts at less noise. The latent's mask says
    where to sample. The same arguments give the same bits on one machine, item by item, whatever
    the batch. Raises `ModelError` before any weights are loaded if text, latent and model don't go
    together.
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

        def network(x: Tensor, timesteps: Tensor, tokens: Tensor) -> Tensor:
            remarks.check()
            answer: Tensor = unet(
                x.to(weight), timesteps, encoder_hidden_states=tokens.to(weight), return_dict=False
            )[0]
            return answer

        predict = predictor(network, table, model.prediction)
        towards, away = (side.tokens.to(weight.device) for side in (positive, negative))
        rungs = [
            (name, guided(predict, towards, away, cfg, together))
            for name, together in (
                ("both prompts at once", True),
                ("one prompt after the other", False),
            )
        ]
        result = sample(
            memory.ladder(rungs, remarks.remark),
            samples.to(weight.device),
            sigmas,
            sampler=sampler,
            seed=seed,
            sigma_max=table.sigma_max,
            noise_index=latent.noise_index,
            noise_mask=latent.noise_mask,
            progress=remarks,
            preview=_preview(model, memory),
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
