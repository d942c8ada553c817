"""Inpainting: painting a part of a picture anew."""

from typing import Annotated

from pydantic import Field

from graphengine import Progress, diffusion, node
from graphengine.diffusion import Image, Latent, Mask, Memory, Model, Tiling, Under, Vae

Tiles = Annotated[Tiling, Field(description="auto works in tiles when the picture is large")]


@node(category="inpaint", title="Encode for inpainting", aliases=("VAEEncodeForInpaint",))
def encode(
    vae: Vae,
    image: Image,
    mask: Mask,
    grow: Annotated[
        int,
        Field(ge=0, le=256, description="pixels by which the mask grows, so no old edge is left"),
    ] = 6,
    under: Annotated[
        Under,
        Field(description="what is encoded under the mask: the picture, or mid-grey"),
    ] = "picture",
    tiling: Tiles = "auto",
    *,
    memory: Memory,
    progress: Progress,
) -> Latent:
    """Turn pictures into a latent in which any ordinary model paints under the mask only.

    White is painted anew, black stays, grey is mixed. The mask is stretched over the picture.
    """
    return diffusion.encode_for_inpainting(
        vae, image, mask, grow=grow, under=under, memory=memory, tiling=tiling, progress=progress
    )


@node(category="inpaint", title="Prepare inpainting model", aliases=("InpaintModelConditioning",))
def prepare(
    model: Model,
    vae: Vae,
    image: Image,
    mask: Mask,
    keep: Annotated[
        bool, Field(description="leave the latent outside of the mask exactly as it is")
    ] = True,
    tiling: Tiles = "auto",
    *,
    memory: Memory,
    progress: Progress,
) -> Latent:
    """Make what an inpainting model (9 channels) reads: mask and masked picture beside the latent.

    White is painted anew. The mask is stretched over the picture.
    """
    return diffusion.prepare_inpainting(
        model, vae, image, mask, keep=keep, memory=memory, tiling=tiling, progress=progress
    )


@node(category="inpaint", title="Paste painted part")
def paste(
    image: Image,
    painted: Image,
    mask: Mask,
    soft: Annotated[
        int, Field(ge=0, le=256, description="pixels over which the mask's edge fades, inwards")
    ] = 8,
    restore: Annotated[
        bool, Field(description="off shows the painted picture as the model gave it")
    ] = True,
) -> Image:
    """Put the painted part into the picture it was made for: the rest stays bit for bit."""
    return diffusion.paste_painted(image, painted, mask, soft) if restore else painted
