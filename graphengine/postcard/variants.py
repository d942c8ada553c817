"""postcard's two relatives: a U-Net that fills in masks (9 channels), one that follows depth (5).

Both as Stable Diffusion has them: the noisy latent, and beside it what the picture shall keep to.
The inpainting network is the ordinary one, given more input channels that say nothing at first, and
taught on. The depth network has the same shape with fewer channels, and learns from nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import UNet2DConditionModel

from graphengine.diffusion.depth import depth_condition
from graphengine.diffusion.schedules import noise_table
from graphengine.postcard.config import Config
from graphengine.postcard.data import Array, render_set, to_tensor
from graphengine.postcard.unet import captions, latents
from graphengine.resource import Progress
from graphengine.training import loop
from graphengine.training.examples import LatentSet, random_masks
from graphengine.training.noise_predictor import (
    Recipe,
    text_reader,
    train_noise_predictor,
    widen_input,
)


@torch.no_grad()
def inpainting_examples(config: Config, vae: Any, out: Path) -> LatentSet:
    """The training set, each picture with one mask and the latent of what the mask leaves."""
    pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
    pictures = pictures[: config.variant_scenes]
    clean = latents(config, vae, out)[: len(pictures)]
    rng = np.random.default_rng([config.seed, 9])
    parts = []
    for i in range(0, len(pictures), 64):
        pixels = to_tensor(pictures[i : i + 64])
        height, width = pixels.shape[2:]
        masks = random_masks(len(pixels), height, width, rng)[:, None]
        with loop.autocast(torch.device(config.device)):
            left = vae.encode((pixels * (masks < 0.5)).to(config.device)).latent_dist.mean
        small = F.interpolate(masks, clean.shape[2:], mode="nearest")
        parts.append(torch.cat([small, left.float().cpu() * vae.config.scaling_factor], 1))
    return LatentSet(
        clean * vae.config.scaling_factor, captions(config, len(clean)), torch.cat(parts)
    )


def depth_examples(config: Config, vae: Any, disparity: Array, out: Path) -> LatentSet:
    """Part of the training set, each picture with its exact inverse depth."""
    clean = latents(config, vae, out)[: len(disparity)]
    parts = [
        depth_condition(torch.from_numpy(np.array(disparity[i : i + 256])), *clean.shape[2:])
        for i in range(0, len(disparity), 256)
    ]
    told = captions(config, len(clean))
    return LatentSet(clean * vae.config.scaling_factor, told, torch.cat(parts))


def build_depth(config: Config) -> Any:
    """An untrained depth network: the ordinary one's shape, narrower, and one more channel."""
    channels = config.depth_channels
    make: Any = UNet2DConditionModel
    return make(
        sample_size=16,
        in_channels=5,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        norm_num_groups=16,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(channels) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(channels) - 1), "UpBlock2D"),
        cross_attention_dim=config.text_width,
        attention_head_dim=4,  # despite its name the number of heads,
    )


def train_inpaint(
    config: Config, pipe: Any, out: Path, progress: Progress, stop_at: int | None = None
) -> Any:
    """The ordinary U-Net, taught to fill in masks."""
    data = inpainting_examples(config, pipe.vae, out)
    unet = widen_input(pipe.unet.requires_grad_(True), 9)
    recipe = Recipe(batch=config.inpaint_batch, rate=config.inpaint_rate, warmup=100, ema=0.998)
    run = loop.Run("inpaint", out, config.inpaint_steps, config.seed, 100, stop_at)
    read = text_reader(pipe.tokenizer, pipe.text_encoder)
    model, _ = train_noise_predictor(
        unet, read, data, noise_table(), recipe, run, progress=progress
    )
    return model


def train_depth(
    config: Config,
    pipe: Any,
    disparity: Array,
    out: Path,
    progress: Progress,
    stop_at: int | None = None,
) -> Any:
    """The depth network, from nothing."""
    data = depth_examples(config, pipe.vae, disparity, out)
    torch.manual_seed(config.seed)
    unet = build_depth(config)
    recipe = Recipe(batch=config.depth_batch, rate=config.depth_rate, warmup=150, ema=0.998)
    run = loop.Run("depth", out, config.depth_steps, config.seed, 100, stop_at)
    read = text_reader(pipe.tokenizer, pipe.text_encoder)
    model, _ = train_noise_predictor(
        unet, read, data, noise_table(), recipe, run, progress=progress
    )
    return model
