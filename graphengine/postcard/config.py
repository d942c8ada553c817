"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Config:
    """Sizes, steps and rates of every stage; the defaults are those of the shipped model."""

    seed: int = 7
    device: str = "cpu"
    workers: int = 2
    scenes: int = 28_000
    save_every: int = 500

    vae_channels: tuple[int, ...] = (16, 32, 64, 96)
    vae_steps: int = 3_300
    vae_batch: int = 16
    vae_lr: float = 1.2e-3

    text_width: int = 128
    text_layers: int = 3
    text_steps: int = 1_200
    text_batch: int = 64
    text_lr: float = 1.5e-3

    unet_channels: tuple[int, ...] = (64, 128, 192)
    unet_steps: int = 2_500
    unet_batch: int = 64
    unet_lr: float = 1e-3
    ema: float = 0.999
    caption_drop: float = 0.1

    decoder_steps: int = 600
    decoder_batch: int = 4
    decoder_lr: float = 8e-4
