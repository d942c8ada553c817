"""Pictures into the latents that a noise predictor learns from."""

from __future__ import annotations

import hashlib
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from graphengine.diffusion.depth import depth_condition
from graphengine.diffusion.latents import to_model
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.types import Model, Vae
from graphengine.errors import ModelError
from graphengine.resource import Progress
from graphengine.training.datasets import Dataset
from graphengine.training.examples import LatentSet, random_masks

Conditions = Literal["none", "masks", "depth"]
BATCH = 16


@torch.no_grad()
def latent_set(
    dataset: Dataset,
    vae: Vae,
    model: Model,
    conditions: Conditions = "none",
    *,
    seed: int = 0,
    memory: Memory,
    progress: Progress | None = None,
) -> LatentSet:
    """All pictures of a data set as latents in the numbers of `model`.

    `conditions`: what a network shall be shown beside the noisy latent. "masks" is a random mask
    (drawn from `seed`) and the latent of what it leaves of the picture, as inpainting models read
    them; "depth" the exact depth, where the data set knows it. Raises `ModelError` for pictures
    smaller than a cell, or without depth.
    """
    if dataset.size < vae.factor:
        raise ModelError(
            f"pictures of {dataset.size} pixels a side are smaller than a cell of the VAE",
            f"take {vae.factor} pixels at least",
        )
    progress = progress or Progress()
    rng = np.random.default_rng([seed, 9])
    clean, beside = list[Tensor](), list[Tensor]()
    with memory.use(vae, working=2**30, progress=progress) as encoder:
        weight = next(encoder.parameters())

        def encode(pixels: Tensor) -> Tensor:
            mean: Tensor = encoder.encode(pixels.to(weight)).latent_dist.mode()
            return to_model(model, mean.float().cpu())

        for part in dataset.parts(BATCH):
            progress.report(part.start, len(dataset), "pictures into latents")
            pixels = dataset.pictures(part).permute(0, 3, 1, 2) * 2 - 1
            clean.append(encode(pixels))
            cells = clean[-1].shape[2:]
            if conditions == "masks":
                height, width = pixels.shape[2:]
                masks = random_masks(len(pixels), height, width, rng)[:, None]
                left = encode(pixels * (masks < 0.5))
                beside.append(torch.cat([interpolate(masks, cells, mode="nearest"), left], 1))
            elif conditions == "depth":
                beside.append(depth_condition(dataset.depth(part), *cells))
    progress.report(len(dataset), len(dataset))
    captions = tuple(dataset.captions(index) for index in range(len(dataset)))
    # In one memory layout, whatever the VAE's: so that they are the same bits from a cache, and what
    # is learnt from them too.
    latents = torch.cat(clean).contiguous()
    extra = torch.cat(beside).contiguous() if beside else None
    return LatentSet(latents, captions, extra, _digest(latents, captions, extra))


def _digest(latents: Tensor, captions: tuple[tuple[str, ...], ...], extra: Tensor | None) -> str:
    digest = hashlib.sha256(repr(captions).encode())
    for tensor in (latents, extra):
        if tensor is not None:
            digest.update(repr(tuple(tensor.shape)).encode())
            digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()
