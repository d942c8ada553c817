"""The denoiser: a small conditional U-Net taught to predict noise in latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler
from torch import Tensor

from graphengine.diffusion.schedules import noise_table
from graphengine.postcard import text
from graphengine.postcard.config import Config
from graphengine.postcard.data import kept, render_set
from graphengine.postcard.dataset import World
from graphengine.postcard.vae import encode
from graphengine.postcard.world import SIZE
from graphengine.training import loop
from graphengine.training.examples import LatentSet
from graphengine.training.noise_predictor import (
    Recipe,
    new_network,
    text_reader,
    train_noise_predictor,
)


def scheduler() -> Any:
    """Stable Diffusion's noise: 1000 steps, 'scaled linear' from 0.00085 to 0.012."""
    make: Any = DDIMScheduler
    return make(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def build(config: Config) -> Any:
    """An untrained U-Net on 16x16 latents."""
    return new_network(config.unet_channels, 4, 0, config.text_width, 16)


def latents(config: Config, vae: Any, out: Path) -> Tensor:
    """The training set's latents [n, 4, 16, 16], unscaled, encoded once and then read from disk."""

    def make() -> dict[str, Tensor]:
        pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
        return {"latents": encode(vae, pictures, config.device).half()}

    return kept(out / "latents.safetensors", make)["latents"].float()


def captions(config: Config, count: int) -> tuple[tuple[str, ...], ...]:
    """A few captions for each scene of the training set."""
    world = World(SIZE, count, config.seed, told=config.captions, slips=True)
    return tuple(map(world.captions, range(count)))


def train(config: Config, vae: Any, encoder: Any, out: Path, *, stop_at: int | None = None) -> Any:
    """Trains the U-Net with the autoencoder and the text encoder fixed; gives the average weights."""
    torch.manual_seed(config.seed)
    unet = build(config).to(config.device)
    clean = latents(config, vae, out) * vae.config.scaling_factor
    recipe = Recipe(config.unet_batch, config.unet_rate, 200, ema=config.ema)
    model, _ = train_noise_predictor(
        unet,
        text_reader(text.load_tokenizer(out / "tokenizer"), encoder),
        LatentSet(clean, captions(config, len(clean))),
        noise_table(),
        recipe,
        config.run("unet", out, config.unet_steps, stop_at),
        progress=loop.Lines("unet"),
    )
    return model
