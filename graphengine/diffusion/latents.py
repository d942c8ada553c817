"""Latents before and after sampling: empty ones, masks, noise, and the model's numbers against the
VAE's.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graphengine.diffusion.noise import start_noise
from graphengine.diffusion.types import Latent, Model, Vae


def empty_latent(vae: Vae, width: int, height: int, batch: int = 1) -> Latent:
    """A latent of zeros for pictures of `width` by `height` pixels, rounded down to the VAE's
    factor.

    Raises `ValueError` for less than one cell.
    """
    cells = (height // vae.factor, width // vae.factor)
    if min(*cells, batch) < 1:
        raise ValueError(
            f"{batch} pictures of {width} x {height}: a side needs {vae.factor} pixels at least"
        )
    return Latent(torch.zeros(batch, vae.channels, *cells))


def set_mask(latent: Latent, mask: Tensor) -> Latent:
    """The latent with a mask [1 or batch, height, width], any resolution: 1 is sampled, 0 stays."""
    return replace(latent, noise_mask=mask)


def add_noise(model: Model, latent: Latent, sigma: float, seed: int) -> Latent:
    """Noise of standard deviation `sigma` (in the model's numbers) on top of a latent."""
    indices = latent.noise_index or range(len(latent.samples))
    noise = start_noise(seed, latent.samples.shape[1:], indices)
    return replace(
        latent, samples=from_model(model, to_model(model, latent.samples) + noise * sigma)
    )


def fit_beside(beside: Tensor, height: int, width: int, channels: int) -> Tensor:
    """What is read beside a latent of `channels`, at another size, bilinear. The mask of an
    inpainting model, its first channel, stays 0 or 1.
    """
    if beside.shape[2:] == (height, width):
        return beside
    fitted = torch.nn.functional.interpolate(beside, size=(height, width), mode="bilinear")
    if beside.shape[1] == channels + 1:
        fitted[:, :1] = fitted[:, :1].round()
    return fitted


def to_model(model: Model, samples: Tensor) -> Tensor:
    """The VAE's numbers as the model's. Of a batch, an empty latent (all zeros) stays empty."""
    full = samples.flatten(1).any(dim=1).reshape(-1, 1, 1, 1)
    return torch.where(full, (samples - model.latent_shift) * model.latent_scale, samples)


def from_model(model: Model, samples: Tensor) -> Tensor:
    """The model's numbers as the VAE's."""
    return samples / model.latent_scale + model.latent_shift
