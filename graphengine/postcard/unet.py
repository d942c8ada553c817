"""The denoiser: a small conditional U-Net taught to predict noise in latents."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from torch import Tensor

from graphengine.diffusion.schedules import noise_table
from graphengine.postcard import text
from graphengine.postcard.caption import describe
from graphengine.postcard.config import Config
from graphengine.postcard.data import kept, render_set, scene
from graphengine.postcard.vae import encode
from graphengine.training import loop
from graphengine.training.examples import LatentSet
from graphengine.training.noise_predictor import ReadText, Recipe, train_noise_predictor


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
    """An untrained U-Net on 16x16 latents; it attends to the text at 8x8 and at 4x4."""
    channels = config.unet_channels
    make: Any = UNet2DConditionModel
    unet = make(
        sample_size=16,
        in_channels=4,
        out_channels=4,
        block_out_channels=channels,
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(channels) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(channels) - 1), "UpBlock2D"),
        cross_attention_dim=config.text_width,
        # Despite its name this is the number of heads, which are 32 wide.
        attention_head_dim=tuple(c // 32 for c in channels),
    )
    return unet


def latents(config: Config, vae: Any, out: Path) -> Tensor:
    """The training set's latents [n, 4, 16, 16], unscaled, encoded once and then read from disk."""

    def make() -> dict[str, Tensor]:
        pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
        return {"latents": encode(vae, pictures, config.device).half()}

    return kept(out / "latents.safetensors", make)["latents"].float()


def captions(config: Config, count: int) -> tuple[tuple[str, ...], ...]:
    """A few captions for each scene of the training set."""
    told = []
    for index in range(count):
        rng = np.random.default_rng([config.seed, index, 1])
        here = scene(config.seed, index)
        said = (text.disturb(describe(here, rng).text, rng) for _ in range(config.captions))
        told.append(tuple(said))
    return tuple(told)


def reader(tokenizer: Any, encoder: Any) -> ReadText:
    """Captions to text states, with the text encoder fixed."""

    @torch.no_grad()
    def read(texts: list[str]) -> Tensor:
        ids = text.tokenize(tokenizer, texts).to(encoder.device)
        with loop.autocast(encoder.device):
            states: Tensor = encoder(ids).last_hidden_state
        return states.float()

    return read


def train(config: Config, vae: Any, encoder: Any, out: Path, *, stop_at: int | None = None) -> Any:
    """Trains the U-Net with the autoencoder and the text encoder fixed; gives the average weights."""
    torch.manual_seed(config.seed)
    unet = build(config).to(config.device)
    clean = latents(config, vae, out) * vae.config.scaling_factor
    recipe = Recipe(config.unet_batch, config.unet_rate, 200, ema=config.ema)
    model, _ = train_noise_predictor(
        unet,
        reader(text.load_tokenizer(out / "tokenizer"), encoder),
        LatentSet(clean, captions(config, len(clean))),
        noise_table(),
        recipe,
        config.run("unet", out, config.unet_steps, stop_at),
        progress=loop.Lines("unet"),
    )
    return model
