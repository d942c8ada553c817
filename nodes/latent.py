"""Latents: what a model works on instead of pixels."""

from typing import Annotated

from pydantic import Field

from graphengine import Seed, diffusion, node
from graphengine.diffusion import Latent, Mask, Model, Vae

Side = Annotated[int, Field(ge=1, le=16384, description="pixels, rounded down to whole cells")]


@node(category="latent", title="Empty latent", aliases=("EmptyLatentImage",))
def empty(
    vae: Vae,
    width: Side = 512,
    height: Side = 512,
    batch: Annotated[int, Field(ge=1, le=4096, description="how many pictures")] = 1,
) -> Latent:
    """A latent of the given size with nothing in it, to start from noise alone."""
    return diffusion.empty_latent(vae, width, height, batch)


@node(category="latent", title="Set latent mask", aliases=("SetLatentNoiseMask",))
def set_mask(latent: Latent, mask: Mask) -> Latent:
    """Sample only where the mask is white; the rest of the picture stays."""
    return diffusion.set_mask(latent, mask)


@node(category="latent", title="Add noise to latent", aliases=("AddNoise",))
def add_noise(
    model: Model,
    latent: Latent,
    seed: Annotated[int, Seed()] = 0,
    sigma: Annotated[float, Field(ge=0, le=1000, description="standard deviation")] = 1.0,
) -> Latent:
    """Put noise on a latent, at the scale the model works in."""
    return diffusion.add_noise(model, latent, sigma, seed)
