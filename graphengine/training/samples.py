"""What a network draws while it learns: the same prompts from the same noise, again and again."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.generation import ksampler
from graphengine.diffusion.images import png_bytes, read_image, to_pillow
from graphengine.diffusion.latents import from_model
from graphengine.diffusion.loader import Checkpoint
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.text import encode_text
from graphengine.diffusion.types import Conditioning, Latent, Model
from graphengine.diffusion.vae import decode_latent
from graphengine.training.examples import LatentSet


@dataclass(frozen=True)
class Drawing:
    """How sample pictures are drawn. Prompt number k starts from the noise of `seed` + k."""

    prompts: tuple[str, ...]
    steps: int = 15
    cfg: float = 5.0
    seed: int = 1


@torch.no_grad()
def draw(
    network: Any, model: Model, base: Checkpoint, data: LatentSet, how: Drawing, memory: Memory
) -> Tensor:
    """A picture for each prompt, [n, H, W, 3], in the size of the examples, by a live network.

    A network with conditions is shown those of the first examples.
    """
    live = Memory(memory.device, load=lambda weights, dtype: network)
    with memory.use(base.text_encoder) as clip:
        read = [encode_text(clip, text, base.text_encoder.skip) for text in (*how.prompts, "")]
    conditions = [Conditioning(tokens) for tokens in read]
    empty = torch.zeros(1, *data.latents.shape[1:])
    pictures = []
    for k, positive in enumerate(conditions[:-1]):
        beside = None if data.conditions is None else data.conditions[k : k + 1].float()
        latent = ksampler(
            replace(model, vae=None),
            positive,
            conditions[-1],
            Latent(empty, beside=beside),
            seed=how.seed + k,
            steps=how.steps,
            cfg=how.cfg,
            sampler="dpmpp_2m",
            schedule="karras",
            memory=live,
        )
        pictures.append(decode_latent(base.vae, latent, memory=memory))
    return torch.cat(pictures)


def shown_conditions(data: LatentSet, count: int, base: Checkpoint, memory: Memory) -> Tensor:
    """What the first examples' conditions look like, [n, H, W, 3]: what a mask leaves of the
    picture, or depth in grey.
    """
    assert data.conditions is not None, "only asked for where there are some"
    extra = data.conditions[:count].float()
    factor = base.vae.factor
    if extra.shape[1] == 1:
        grey = torch.nn.functional.interpolate((extra + 1) / 2, scale_factor=factor, mode="bicubic")
        return grey.clamp(0, 1)[:, 0, :, :, None].repeat(1, 1, 1, 3)
    left = from_model(base.model, extra[:, 1:])
    pictures = decode_latent(base.vae, Latent(left), memory=memory)
    masks = torch.nn.functional.interpolate(extra[:, :1], scale_factor=factor, mode="nearest")
    return pictures * (1 - masks[:, 0, :, :, None]) + 0.88 * masks[:, 0, :, :, None]


class Snapshots:
    """Sample pictures of a training, kept as files `step_000100.png` while it goes on."""

    PATTERN = re.compile(r"step_(\d+)\.png")

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.last: Any = None

    def keep(self, step: int, pictures: Tensor) -> None:
        """Writes the pictures of one step side by side."""
        strip = torch.cat(list(pictures), 1)
        self.last = to_pillow(strip)
        self.folder.mkdir(parents=True, exist_ok=True)
        partial = self.folder / f"step_{step:06}.partial"
        partial.write_bytes(png_bytes(strip))
        partial.rename(self.folder / f"step_{step:06}.png")

    def forget(self) -> None:
        """Deletes what an earlier training of the same name left."""
        for step in self.steps():
            (self.folder / f"step_{step:06}.png").unlink()

    def steps(self) -> list[int]:
        """The steps of which pictures are kept, rising."""
        if not self.folder.is_dir():
            return []
        found = (self.PATTERN.fullmatch(file.name) for file in self.folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def read(self, step: int, count: int) -> list[Tensor]:
        """The pictures of one step, each [H, W, 3]."""
        strip, _ = read_image(self.folder / f"step_{step:06}.png")
        return list(strip[0].chunk(count, 1))


def spaced(steps: Sequence[int], most: int) -> list[int]:
    """At most so many of the steps, evenly spaced, with the first and the last."""
    if len(steps) <= most:
        return list(steps)
    places = torch.linspace(0, len(steps) - 1, most).round().int().tolist()
    return [steps[place] for place in places]
