"""The denoiser: a small conditional U-Net taught to predict noise in latents (Ho et al. 2020).

Classifier-free guidance (Ho and Salimans 2022) comes from dropping a tenth of the captions; the
loss is weighted by Min-SNR-5 (Hang et al. 2023).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import DDIMScheduler, UNet2DConditionModel
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from graphengine.postcard import loop, text
from graphengine.postcard.caption import describe
from graphengine.postcard.config import Config
from graphengine.postcard.data import render_set, scene
from graphengine.postcard.vae import encode

SNR_LIMIT = 5.0


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
    """The training set's latents [n, 4, 16, 16], encoded once and then read from disk."""
    path = out / "latents.pt"
    if not path.exists():
        pictures = render_set(out / "pictures.npy", config.seed, config.scenes, config.workers)
        loop.save(path, {"latents": encode(vae, pictures, config.device).half()})
    found: Tensor = torch.load(path, weights_only=True)["latents"]
    return found.float()


def loss_terms(
    unet: Any, noisy: Tensor, noise: Tensor, steps: Tensor, states: Tensor, weight: Tensor
) -> tuple[Tensor, Tensor]:
    """The weighted loss and the plain mean squared error of the predicted noise."""
    with torch.autocast(noisy.device.type, torch.bfloat16):
        predicted = unet(noisy, steps, states, return_dict=False)[0]
    error = (predicted.float() - noise).square().mean((1, 2, 3))
    return (error * weight).mean(), error.mean()


def train(config: Config, vae: Any, encoder: Any, out: Path, *, stop_at: int | None = None) -> Any:
    """Trains the U-Net with the autoencoder and the text encoder fixed; gives the average weights."""
    torch.manual_seed(config.seed)
    unet = build(config).to(config.device).train()
    if config.device == "cpu":  # plain attention has the faster backward pass there
        unet.set_attn_processor(AttnProcessor())
    optimizer = loop.adamw(unet, config.unet_lr)
    ema = loop.Ema(unet, config.ema)
    clean = latents(config, vae, out) * vae.config.scaling_factor
    tokenizer = text.load_tokenizer(out / "tokenizer")
    signal = scheduler().alphas_cumprod
    ratio = signal / (1 - signal)
    weights = ratio.clamp(max=SNR_LIMIT) / ratio
    steps = config.unet_steps

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(config.seed, "unet-data", step)
        chosen = rng.choice(len(clean), config.unet_batch, replace=False)
        said = [
            "" if rng.random() < config.caption_drop
            else text.disturb(describe(scene(config.seed, int(i)), rng).text, rng)
            for i in chosen
        ]  # fmt: skip
        ids = text.tokenize(tokenizer, said).to(config.device)
        with torch.no_grad(), torch.autocast(ids.device.type, torch.bfloat16):
            states = encoder(ids).last_hidden_state
        x = clean[torch.from_numpy(chosen)]
        t = torch.randint(0, 1000, (len(x),))
        noise = torch.randn_like(x)
        a = signal[t].view(-1, 1, 1, 1)
        noisy = a.sqrt() * x + (1 - a).sqrt() * noise
        noisy, noise, weight = (v.to(config.device) for v in (noisy, noise, weights[t]))
        loss, mse = loss_terms(unet, noisy, noise, t.to(config.device), states.float(), weight)
        loop.set_lr(optimizer, loop.cosine(step, steps, config.unet_lr, min(200, steps), 0.01))
        loop.descend(optimizer, loss)
        ema.update(unet, step)
        return {"loss": loss, "mse": mse}

    loop.run(
        "unet", out, steps, {"model": unet, "optimizer": optimizer, "ema": ema}, step_fn,
        seed=config.seed, save_every=config.save_every, stop_at=stop_at,
    )  # fmt: skip
    return ema.model
