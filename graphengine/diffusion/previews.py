"""Cheap pictures of a latent while it is being sampled: a straight line from channels to colours,
fitted to the VAE.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

SAMPLES, SIDE = 64, 4


def fit_colors(vae: Any, channels: int, spread: float) -> Tensor:
    """The line from latent to colour that fits a live VAE best, [channels + 1, 3]: the last row is
    the constant.

    Even latents drawn with standard deviation `spread` are decoded and their mean colour taken.
    """
    weight = next(vae.parameters())
    draws = torch.randn(SAMPLES, channels, generator=torch.Generator().manual_seed(0)) * spread
    flat = draws[:, :, None, None].expand(-1, -1, SIDE, SIDE)
    with torch.no_grad():
        colors = vae.decode(flat.to(weight), return_dict=False)[0].float().cpu().mean(dim=(2, 3))
    rows = torch.cat([draws, torch.ones(SAMPLES, 1)], dim=1)
    fitted: Tensor = torch.linalg.lstsq(rows, (colors + 1) / 2).solution
    return fitted


def latent_picture(samples: Tensor, colors: Tensor) -> Picture:
    """A latent [1, channels, h, w] in the VAE's numbers as a Pillow image of h by w pixels."""
    from PIL import Image

    cells = samples[0].float().cpu().permute(1, 2, 0)
    picture = (cells @ colors[:-1] + colors[-1]).clamp(0, 1)
    return Image.fromarray((picture * 255).round().to(torch.uint8).numpy())
