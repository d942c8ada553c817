"""Stable Diffusion as plain functions over tensors, usable without a graph.

A name loads its module when it is first used, so importing this package loads no torch.

    from graphengine import diffusion

    memory = diffusion.Memory()
    model, text_encoder, vae = diffusion.load_checkpoint(folder)
    positive = diffusion.encode_prompt(text_encoder, "a house", memory=memory)
    negative = diffusion.encode_prompt(text_encoder, "", memory=memory)
    empty = diffusion.empty_latent(vae, width=512, height=512)
    latent = diffusion.ksampler(
        model, positive, negative, empty, seed=1, steps=20, cfg=7,
        sampler="dpmpp_2m", schedule="karras", memory=memory,
    )
    image = diffusion.decode_latent(vae, latent, memory=memory)  # [1, 512, 512, 3], 0 to 1
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphengine.diffusion.denoiser import guided as guided
    from graphengine.diffusion.denoiser import masked as masked
    from graphengine.diffusion.denoiser import predictor as predictor
    from graphengine.diffusion.generation import ksampler as ksampler
    from graphengine.diffusion.images import mask_from_image as mask_from_image
    from graphengine.diffusion.images import png_bytes as png_bytes
    from graphengine.diffusion.images import read_image as read_image
    from graphengine.diffusion.images import resize as resize
    from graphengine.diffusion.images import to_pillow as to_pillow
    from graphengine.diffusion.latents import add_noise as add_noise
    from graphengine.diffusion.latents import empty_latent as empty_latent
    from graphengine.diffusion.latents import set_mask as set_mask
    from graphengine.diffusion.loader import Checkpoint as Checkpoint
    from graphengine.diffusion.loader import load_checkpoint as load_checkpoint
    from graphengine.diffusion.memory import Memory as Memory
    from graphengine.diffusion.samplers import SAMPLERS as SAMPLERS
    from graphengine.diffusion.sampling import sample as sample
    from graphengine.diffusion.schedules import SCHEDULES as SCHEDULES
    from graphengine.diffusion.schedules import NoiseTable as NoiseTable
    from graphengine.diffusion.schedules import levels as levels
    from graphengine.diffusion.schedules import noise_table as noise_table
    from graphengine.diffusion.text import encode_prompt as encode_prompt
    from graphengine.diffusion.text import encode_text as encode_text
    from graphengine.diffusion.types import Betas as Betas
    from graphengine.diffusion.types import Channel as Channel
    from graphengine.diffusion.types import Conditioning as Conditioning
    from graphengine.diffusion.types import Crop as Crop
    from graphengine.diffusion.types import Image as Image
    from graphengine.diffusion.types import Latent as Latent
    from graphengine.diffusion.types import Mask as Mask
    from graphengine.diffusion.types import Method as Method
    from graphengine.diffusion.types import Model as Model
    from graphengine.diffusion.types import TextEncoder as TextEncoder
    from graphengine.diffusion.types import Tiling as Tiling
    from graphengine.diffusion.types import Vae as Vae
    from graphengine.diffusion.vae import decode_latent as decode_latent
    from graphengine.diffusion.vae import encode_image as encode_image

_HOMES = {
    "denoiser": ("guided", "masked", "predictor"),
    "images": ("mask_from_image", "png_bytes", "read_image", "resize", "to_pillow"),
    "generation": ("ksampler",),
    "latents": ("add_noise", "empty_latent", "set_mask"),
    "loader": ("Checkpoint", "load_checkpoint"),
    "memory": ("Memory",),
    "samplers": ("SAMPLERS",),
    "sampling": ("sample",),
    "schedules": ("SCHEDULES", "NoiseTable", "levels", "noise_table"),
    "text": ("encode_prompt", "encode_text"),
    "types": (
        "Betas",
        "Channel",
        "Conditioning",
        "Crop",
        "Image",
        "Latent",
        "Mask",
        "Method",
        "Model",
        "TextEncoder",
        "Tiling",
        "Vae",
    ),
    "vae": ("decode_latent", "encode_image"),
}
_HOME = {name: module for module, names in _HOMES.items() for name in names}
__all__ = sorted(_HOME)  # noqa: PLE0605 - derived, so that it can't disagree


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted(_HOME)
