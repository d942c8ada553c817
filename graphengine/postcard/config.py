"""The settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from graphengine.training import loop


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
    vae_rate: float = 1.2e-3

    text_width: int = 128
    text_layers: int = 3
    text_steps: int = 1_200
    text_batch: int = 64
    text_rate: float = 1.5e-3

    unet_channels: tuple[int, ...] = (64, 128, 192)
    unet_steps: int = 2_500
    unet_batch: int = 64
    unet_rate: float = 1e-3
    ema: float = 0.999
    captions: int = 3

    decoder_steps: int = 600
    decoder_batch: int = 4
    decoder_rate: float = 8e-4

    variant_scenes: int = 12_000

    inpaint_steps: int = 2_000
    inpaint_batch: int = 48
    inpaint_rate: float = 1.2e-3

    depth_channels: tuple[int, ...] = (48, 96, 112)
    depth_steps: int = 2_400
    depth_batch: int = 48
    depth_rate: float = 1.2e-3

    estimator_steps: int = 900
    estimator_batch: int = 16
    estimator_rate: float = 2e-3

    def run(self, stage: str, out: Path, steps: int, stop_at: int | None = None) -> loop.Run:
        """How a stage is driven; its state lies in the folder `out`."""
        return loop.Run(stage, out, steps, self.seed, self.save_every, stop_at)
