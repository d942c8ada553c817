"""Latents: what a model works on instead of pixels."""

from typing import Annotated

from pydantic import Field

from graphengine import Seed, diffusion, node
from graphengine.diffusion import (
    Crop,
    Latent,
    LatentMethod,
    LatentTurn,
    Mask,
    Model,
    NoiseOf,
    Vae,
)

Side = Annotated[int, Field(ge=1, le=16384, description="pixels, rounded down to whole cells")]

NewSide = Annotated[int, Field(ge=0, le=16384, description="pixels; 0 follows from the other side")]
Place = Annotated[int, Field(ge=0, le=16384, description="pixels, rounded down to whole cells")]
Filter = Annotated[LatentMethod, Field(description="how cells are interpolated")]
Autoencoder = Annotated[
    Vae | None, Field(description="tells how many pixels a cell is; 8 without it")
]


def _factor(vae: Vae | None) -> int:
    return 8 if vae is None else vae.factor


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


@node(category="latent", title="Resize latent", aliases=("LatentUpscale",))
def resize(
    latent: Latent,
    width: NewSide = 512,
    height: NewSide = 512,
    method: Filter = "bilinear",
    crop: Annotated[Crop, Field(description="center cuts to the new proportions first")] = "none",
    vae: Autoencoder = None,
) -> Latent:
    """A latent for pictures of another size. Sample it again to get the details."""
    return diffusion.resize_latent(latent, width, height, method, crop, _factor(vae))


@node(category="latent", title="Resize latent by", aliases=("LatentUpscaleBy",))
def resize_by(
    latent: Latent,
    by: Annotated[float, Field(gt=0, le=8, description="how many times as large a side is")] = 1.5,
    method: Filter = "bilinear",
) -> Latent:
    """A latent so many times as large. Sample it again to get the details."""
    return diffusion.resize_latent_by(latent, by, method)


@node(category="latent", title="Crop latent", aliases=("LatentCrop",))
def crop(
    latent: Latent,
    x: Place = 0,
    y: Place = 0,
    width: Side = 512,
    height: Side = 512,
    vae: Autoencoder = None,
) -> Latent:
    """A rectangle of a latent."""
    return diffusion.crop_latent(latent, x, y, width, height, _factor(vae))


@node(
    category="latent",
    title="Composite latents",
    aliases=("LatentComposite", "LatentCompositeMasked"),
)
def composite(
    below: Latent,
    above: Latent,
    x: Place = 0,
    y: Place = 0,
    feather: Annotated[
        int, Field(ge=0, le=16384, description="pixels over which inner edges are blended")
    ] = 0,
    mask: Annotated[Mask | None, Field(description="white is the latent above")] = None,
    vae: Autoencoder = None,
) -> Latent:
    """Put one latent onto another."""
    return diffusion.composite_latents(below, above, x, y, mask, feather, _factor(vae))


@node(category="latent", title="Flip latent", aliases=("LatentFlip",))
def flip(
    latent: Latent,
    across: Annotated[bool, Field(description="left and right; off is above and below")] = True,
) -> Latent:
    """The mirror image of a latent."""
    return diffusion.flip_latent(latent, across)


@node(category="latent", title="Rotate latent", aliases=("LatentRotate",))
def rotate(
    latent: Latent, degrees: Annotated[LatentTurn, Field(description="clockwise")] = "90"
) -> Latent:
    """Turn a latent by quarters."""
    return diffusion.turn_latent(latent, degrees)


@node(category="latent", title="Repeat latent", aliases=("RepeatLatentBatch",))
def repeat(
    latent: Latent,
    times: Annotated[int, Field(ge=1, le=4096, description="each time with other noise")] = 2,
) -> Latent:
    """The same latents several times in a batch."""
    return diffusion.repeat_latents(latent, times)


@node(category="latent", title="Select latents", aliases=("LatentFromBatch",))
def select(
    latent: Latent,
    first: Annotated[int, Field(ge=0, le=4095, description="the first of a batch is 0")] = 0,
    count: Annotated[int, Field(ge=1, le=4096, description="how many; fewer at the end")] = 1,
) -> Latent:
    """Items of a batch. Drawn again, each is the picture it was in the batch."""
    return diffusion.select_latents(latent, first, count)


@node(category="latent", title="Join latents", aliases=("LatentBatch",))
def join(**latents: Latent) -> Latent:
    """Several latents of one size as one batch."""
    return diffusion.join_latents(list(latents.values()))


@node(category="latent", title="Noise of a batch", aliases=("LatentBatchSeedBehavior",))
def seed_noise(
    latent: Latent,
    noise: Annotated[
        NoiseOf,
        Field(
            description="numbered: each the next noise of the seed; next seeds: each that of the "
            "next seed, as runs of their own have it; same: all the same"
        ),
    ] = "next seeds",
) -> Latent:
    """Which noise the pictures of a batch start from."""
    return diffusion.seed_noise(latent, noise)
