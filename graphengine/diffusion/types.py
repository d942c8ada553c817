"""What travels on links between diffusion nodes: tensors told apart by name, and small frozen
descriptions.

No weights in here. A `Model`, `TextEncoder` or `Vae` says where its weights lie and what they are;
`Memory.use` turns one into a live module where it is needed. This module imports without torch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from graphengine.sockets import Socket

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any

Image = Annotated[Tensor, Socket("image")]
"""Pictures: float32 [batch, height, width, channels], 0 to 1, three channels (four with
transparency).
"""

Mask = Annotated[Tensor, Socket("mask")]
"""Masks: float32 [batch, height, width], 0 to 1. 1 means "change here"."""

Method = Literal["lanczos", "bicubic", "bilinear", "area", "nearest"]
"""Filters for resizing, by Pillow's names (area is its box)."""

Crop = Literal["none", "center"]
LatentMethod = Literal["bilinear", "bicubic", "area", "nearest"]
"""Interpolations for latents, by PyTorch's names (nearest is its nearest-exact)."""

LatentTurn = Literal["none", "90", "180", "270"]
NoiseOf = Literal["numbered", "next seeds", "same"]
Channel = Literal["alpha", "red", "green", "blue", "brightness"]
Tiling = Literal["auto", "always", "never"]

FAMILIES = {768: "Stable Diffusion 1.x", 1024: "Stable Diffusion 2.x", 2048: "SDXL"}
"""Families by the width of the text that their model reads."""


def family_of(width: int) -> str:
    """The family of a text width, for people to read."""
    return FAMILIES.get(width, f"custom {width}-wide")


def kind_of(channels: int, extra: int) -> str:
    """What people call a model that reads `extra` channels beside a latent of `channels`."""
    kinds = {0: "an ordinary", 1: "a depth", channels + 1: "an inpainting"}
    return f"{kinds.get(extra, 'another kind of')} model ({channels + extra} channels)"


@dataclass(frozen=True)
class Latent:
    """A batch of latents in the VAE's own numbers (the model's scaling is applied inside sampling
    only).

    `samples`: float32 [batch, channels, h, w]. `noise_mask`: [1 or batch, height, width] of any
    resolution; 1 is sampled, 0 stays. `noise_index`: which item of a batch of noise each item gets,
    if not its own position: an item taken out of a batch keeps its number and so its noise.
    `beside`: [1 or batch, channels, h, w], what an inpainting or depth model reads beside the noisy
    latent, in the model's numbers: mask and masked picture (1 + channels), or a depth map (1).
    `seed_offset`: what is added to the run's seed for each item. Latents with noise left over from
    a run that stopped early are float64, so that the next run starts from the very same bits.
    """

    samples: Tensor
    noise_mask: Tensor | None = None
    noise_index: tuple[int, ...] | None = None
    beside: Tensor | None = None
    seed_offset: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Area:
    """A rectangle of a picture: fractions of its sides, or pixels."""

    x: float
    y: float
    width: float
    height: float
    unit: Literal["fraction", "pixels"] = "fraction"


@dataclass(frozen=True)
class Conditioning:
    """What a model shall show: encoded text, `tokens` float32 [1, tokens, width].

    It may be shown in an `area` or where a `mask` [1 or batch, height, width] is above 0, and from
    `start` to `end` of the schedule, both fractions (0 is all noise). `strength` is how much it
    counts beside others. `also` holds further parts, which have no parts themselves.
    """

    tokens: Tensor
    area: Area | None = None
    mask: Tensor | None = None
    strength: float = 1.0
    start: float = 0.0
    end: float = 1.0
    also: tuple[Conditioning, ...] = ()

    @property
    def parts(self) -> tuple[Conditioning, ...]:
        """Each part by itself; one, if there is no more to it."""
        return (replace(self, also=()), *self.also) if self.also else (self,)

    @property
    def is_plain(self) -> bool:
        """Whether it is one text for the whole picture all the time."""
        whole = self.area is None and self.mask is None and self.start <= 0 and self.end >= 1
        return whole and not self.also and self.strength > 0

    @property
    def width(self) -> int:
        return int(self.tokens.shape[-1])

    @property
    def family(self) -> str:
        return family_of(self.width)


@dataclass(frozen=True)
class Attention:
    """Where a prompt was looked at. `maps`: float32 [batch, tokens, h, w] in latent cells, the
    prompt's chunks one behind the other; over the tokens of a cell they sum to 1.
    """

    maps: Tensor


@dataclass(frozen=True)
class Betas:
    """The noise a model was trained with: `count` betas from `start` to `end`, `kind` as diffusers
    names them.
    """

    kind: str = "scaled_linear"
    start: float = 0.00085
    end: float = 0.012
    count: int = 1000


@dataclass(frozen=True)
class Weights:
    """Where weights lie (a folder in the diffusers layout) and the digest that says when two are
    the same.
    """

    folder: Path
    digest: str


@dataclass(frozen=True)
class Vae(Weights):
    """An autoencoder: one cell of `channels` numbers stands for `factor` by `factor` pixels."""

    channels: int
    factor: int


@dataclass(frozen=True)
class Lora:
    """A small addition to a model's weights: its file, the digest of that, and how much of it."""

    file: Path
    digest: str
    strength: float = 1.0


@dataclass(frozen=True)
class Model(Weights):
    """A UNet and how to use it.

    `width`: of the text it reads. `channels`: of the latent it works on. `extra_channels`: what it
    reads beside the noisy latent, 5 in an inpainting model (mask and masked picture), 1 in a depth
    model. `prediction`: what it answers, "epsilon" or "v_prediction". `latent_scale` and
    `latent_shift` lead from the VAE's numbers to the model's: (z - shift) * scale. `vae` is the
    autoencoder it came with, for previews. `loras`: what is added to its weights; the digest tells
    of them.
    """

    width: int
    channels: int
    prediction: str = "epsilon"
    betas: Betas = Betas()
    latent_scale: float = 1.0
    latent_shift: float = 0.0
    vae: Vae | None = None
    extra_channels: int = 0
    loras: tuple[Lora, ...] = ()

    @property
    def kind(self) -> str:
        """What people call such a model."""
        return kind_of(self.channels, self.extra_channels)

    @property
    def family(self) -> str:
        return family_of(self.width)


@dataclass(frozen=True)
class TextEncoder(Weights):
    """A CLIP text model and its tokenizer. `skip`: how many of its last layers are left out.

    Its digest is of both folders, for the two are loaded together.
    """

    tokenizer: Path
    width: int
    layers: int
    length: int = 77
    skip: int = 0

    @property
    def family(self) -> str:
        return family_of(self.width)
