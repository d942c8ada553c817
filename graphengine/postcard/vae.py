"""The autoencoder: 128x128x3 pictures to 16x16x4 latents and back (Rombach et al. 2022)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from graphengine.postcard.config import Config
from graphengine.postcard.data import Array, kept, render_set, to_tensor
from graphengine.training import loop
from graphengine.training.autoencoder import VaeRecipe, edges, new_autoencoder, train_autoencoder

CROP = 64


def build(config: Config) -> Any:
    """An untrained autoencoder of factor 8 with four latent channels."""
    return new_autoencoder(config.vae_channels)


def train(config: Config, out: Path, *, stop_at: int | None = None) -> Any:
    """Trains on random crops (the network is convolutional), lastly on whole pictures."""
    torch.manual_seed(config.seed)
    pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
    whole_from = int(config.vae_steps * 0.94)

    def batch(step: int, rng: np.random.Generator) -> Tensor:
        count = config.vae_batch if step < whole_from else max(1, config.vae_batch // 4)
        chosen = np.sort(rng.choice(len(pictures), count, replace=False))
        return to_tensor(_crops(pictures, chosen, rng) if step < whole_from else pictures[chosen])

    recipe = VaeRecipe(config.vae_channels, rate=config.vae_rate, warmup=100, ema=0.999)
    model, _ = train_autoencoder(
        build(config).to(config.device),
        batch,
        recipe,
        config.run("vae", out, config.vae_steps, stop_at),
        progress=loop.Lines("vae"),
    )
    return model


def polish(
    config: Config, vae: Any, latents: Tensor, out: Path, *, stop_at: int | None = None
) -> Any:
    """Trains the decoder on, by itself, on whole pictures: the latents [n, 4, 16, 16] stay as they are.

    Whatever was trained on those latents keeps its meaning, and half of the work is saved.
    """
    pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
    decoder = nn.ModuleDict({"outer": vae.post_quant_conv, "decoder": vae.decoder}).train()
    decoder.requires_grad_(True)
    optimizer = loop.adamw(decoder, config.decoder_rate, 0.0)
    ema = loop.Ema(decoder, 0.998)
    steps = config.decoder_steps

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(config.seed, "decoder-data", step)
        chosen = np.sort(rng.choice(len(pictures), config.decoder_batch, replace=False))
        x = to_tensor(pictures[chosen]).to(config.device)
        z = latents[torch.from_numpy(chosen)].to(config.device)
        z = z.contiguous(memory_format=torch.channels_last)
        with torch.autocast(x.device.type, torch.bfloat16):
            y = decoder["decoder"](decoder["outer"](z))
        mse, sharp = F.mse_loss(y.float(), x), F.l1_loss(edges(y.float()), edges(x))
        rate = loop.cosine(step, steps, config.decoder_rate, min(50, steps))
        loop.descend(optimizer, 10 * mse + F.l1_loss(y.float(), x) + 0.5 * sharp, rate)
        ema.update(decoder, step)
        return {"psnr": 10 * torch.log10(4 / mse.detach()), "sharp": sharp}

    loop.train(
        config.run("decoder", out, steps, stop_at),
        {"model": decoder, "optimizer": optimizer, "ema": ema},
        step_fn,
        progress=loop.Lines("decoder"),
    )
    decoder.load_state_dict(ema.model.state_dict())
    return vae.eval().requires_grad_(False)


def _crops(pictures: Array, chosen: Array, rng: np.random.Generator) -> Array:
    corners = rng.integers(0, (128 - CROP) // 8 + 1, (len(chosen), 2)) * 8
    return np.stack(
        [pictures[i, y : y + CROP, x : x + CROP] for i, (y, x) in zip(chosen, corners, strict=True)]
    )


@torch.no_grad()
def encode(vae: Any, pictures: Array, device: str, batch: int = 64) -> Tensor:
    """Latent means of pictures, unscaled: uint8 [n, 128, 128, 3] -> float32 [n, 4, 16, 16]."""
    parts = []
    for i in range(0, len(pictures), batch):
        with torch.autocast(device.split(":")[0], torch.bfloat16):
            parts.append(vae.encode(to_tensor(pictures[i : i + batch]).to(device)).latent_dist.mean)
    return torch.cat(parts).float().cpu()


@torch.no_grad()
def psnr(vae: Any, pictures: Array, device: str = "cpu", batch: int = 32) -> float:
    """Mean peak signal-to-noise ratio, in dB, of pictures encoded and decoded in full precision."""
    values = []
    for i in range(0, len(pictures), batch):
        x = to_tensor(pictures[i : i + batch]).to(device)
        y = vae.decode(vae.encode(x).latent_dist.mode()).sample.clamp(-1, 1)
        mse = (y - x).square().mean((1, 2, 3))
        values += (10 * torch.log10(4 / mse)).tolist()
    return float(np.mean(values))


@torch.no_grad()
def standardize(vae: Any, mean: Tensor, std: Tensor) -> None:
    """Folds the latents' mean and deviation [4] into the 1x1 convolutions about them.

    Afterwards latents have zero mean and unit variance in each channel, the pictures are the same,
    and the scaling factor is 1.
    """
    inner, outer = vae.quant_conv, vae.post_quant_conv
    outer.bias += outer.weight[:, :, 0, 0] @ mean.to(outer.weight)
    outer.weight *= std.to(outer.weight).view(1, 4, 1, 1)
    inner.bias[:4] -= mean.to(inner.bias)
    inner.weight[:4] /= std.to(inner.weight).view(4, 1, 1, 1)
    inner.bias[:4] /= std.to(inner.bias)
    inner.bias[4:] -= 2 * std.log().to(inner.bias)  # logarithms of variances
    vae.register_to_config(scaling_factor=1.0)


def finish(config: Config, vae: Any, out: Path) -> Any:
    """Standardizes a trained autoencoder by the latents of a tenth of the training pictures."""

    def measure() -> dict[str, Tensor]:
        pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
        sample = encode(vae, pictures[: max(8, config.scenes // 10)], config.device)
        return {"mean": sample.mean((0, 2, 3)), "std": sample.std((0, 2, 3))}

    found = kept(out / "standard.safetensors", measure)
    standardize(vae, found["mean"], found["std"])
    return vae.eval().requires_grad_(False)
