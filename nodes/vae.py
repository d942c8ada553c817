"""Pictures to latents and back."""

from typing import Annotated

from pydantic import Field

from graphengine import Progress, diffusion, node
from graphengine.diffusion import Image, Latent, Memory, Tiling, Vae

Tiles = Annotated[Tiling, Field(description="auto works in tiles when the picture is large")]


@node(category="vae", title="Encode image (VAE)", aliases=("VAEEncode", "VAEEncodeTiled"))
def encode(
    vae: Vae, image: Image, tiling: Tiles = "auto", *, memory: Memory, progress: Progress
) -> Latent:
    """Turn pictures into a latent. Sides are cut, evenly on both ends, to whole cells."""
    return diffusion.encode_image(vae, image, memory=memory, tiling=tiling, progress=progress)


@node(category="vae", title="Decode latent (VAE)", aliases=("VAEDecode", "VAEDecodeTiled"))
def decode(
    vae: Vae, latent: Latent, tiling: Tiles = "auto", *, memory: Memory, progress: Progress
) -> Image:
    """Turn a latent into pictures."""
    return diffusion.decode_latent(vae, latent, memory=memory, tiling=tiling, progress=progress)
