"""Painting a part of a picture anew: what an ordinary and an inpainting model need, and putting the
painted part back.

A mask says where: 1 is painted anew. It is stretched over the picture if its size differs. A
picture whose sides are no multiples of the VAE's factor is cut evenly on both ends, and its mask
with it; `paste_painted` puts the result back to where it was cut from.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from graphengine.diffusion.choices import Under
from graphengine.diffusion.editing import GREY, composite_images, same_count, stretched
from graphengine.diffusion.latents import to_model
from graphengine.diffusion.masks import grow_mask, soften_mask
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.types import Latent, Model, Tiling, Vae
from graphengine.diffusion.vae import encode_image
from graphengine.errors import GraphEngineError, ModelError
from graphengine.resource import Progress

MOST_CUT = 64
"""Pictures lose fewer pixels than this when they are cut to whole cells."""


def encode_for_inpainting(
    vae: Vae,
    image: Tensor,
    mask: Tensor,
    *,
    grow: int = 6,
    under: Under = "picture",
    memory: Memory,
    tiling: Tiling = "auto",
    progress: Progress | None = None,
) -> Latent:
    """Pictures and their mask as a latent in which an ordinary model paints under the mask.

    `image` [batch, H, W, 3 or 4], `mask` [1 or batch, any, any]. The latent's mask is the given one,
    grown by `grow` pixels so that no cell with an edge of the old part is left. A run at full noise
    (denoise 1) forgets what is under it; a weaker one changes it somewhat. `under="grey"` makes it
    mid-grey (where the mask is 0.5 or more) before it is encoded, as other tools do that start from
    the latent too; cells beside the mask then turn a little grey. Raises `ModelError` for a picture
    of less than one cell.
    """
    pixels, fitted = _fitted(vae, image, mask)
    seen = hidden(pixels, fitted) if under == "grey" else pixels
    latent = encode_image(vae, seen, memory=memory, tiling=tiling, progress=progress)
    return Latent(latent.samples, noise_mask=grow_mask(fitted, grow, tapered=False))


def prepare_inpainting(
    model: Model,
    vae: Vae,
    image: Tensor,
    mask: Tensor,
    *,
    keep: bool = True,
    memory: Memory,
    tiling: Tiling = "auto",
    progress: Progress | None = None,
) -> Latent:
    """Pictures and their mask as an inpainting model reads them (Rombach et al. 2022,
    arXiv:2112.10752, section 4.5).

    The latent's `samples` are the encoded pictures. `beside` [batch, 1 + channels, h, w] is what
    the model reads with every call: the mask, 0 or 1, with the nearest pixel's value in each cell;
    and the latent of the pictures with mid-grey under the mask, in the numbers of `model`, which
    alone knows its scale. Greys of the mask count as 1 from 0.5 on there. With `keep` sampling also
    leaves the latent outside of the mask as it is; without, the model paints all of it and keeps
    that part only as well as it has learnt to.

    Raises `ModelError` for a model that does not read a mask, and for a picture of less than one
    cell.
    """
    if model.extra_channels != model.channels + 1:
        raise ModelError(
            f"{model.folder.parent.name} is {model.kind}, which reads no mask beside the latent",
            f"load an inpainting checkpoint ({2 * model.channels + 1} channels), or give an "
            "ordinary one the mask by inpaint.encode or latent.set_mask",
        )
    pixels, fitted = _fitted(vae, image, mask)
    samples, left = (
        encode_image(vae, seen, memory=memory, tiling=tiling, progress=progress).samples
        for seen in (pixels, hidden(pixels, fitted))
    )
    small = F.interpolate((fitted >= 0.5).float()[:, None], samples.shape[2:], mode="nearest")
    small = small.expand(len(left), *small.shape[1:])
    beside = torch.cat([small, to_model(model, left)], 1)
    return Latent(samples, noise_mask=fitted if keep else None, beside=beside)


def hidden(image: Tensor, mask: Tensor) -> Tensor:
    """Pictures with mid-grey where a mask of their size is 0.5 or more."""
    return torch.where(mask[..., None] >= 0.5, torch.tensor(GREY), image)


def paste_painted(image: Tensor, painted: Tensor, mask: Tensor, soft: int = 8) -> Tensor:
    """Pictures with the painted part put in: where the mask is 0 they stay bit for bit.

    `painted` has the size of `image`, or that size cut to whole cells; a border that was cut off
    stays as it was. The mask's edge is made to rise over `soft` pixels inwards, so that no seam is
    seen. Raises `GraphEngineError` for a painted picture of another size.
    """
    (height, width), (new_height, new_width) = image.shape[1:3], painted.shape[1:3]
    cut = (height - new_height, width - new_width)
    if not all(0 <= part < MOST_CUT for part in cut):
        raise GraphEngineError(
            f"a painted picture of {new_width} x {new_height} was not made from one of "
            f"{width} x {height}",
            "link the picture that was encoded, or give both one size with image.resize",
        )
    top, left = cut[0] // 2, cut[1] // 2
    edge = soften_mask(stretched(mask, image), soft)
    part = edge[:, top : top + new_height, left : left + new_width]
    return composite_images(image, painted, part, left, top)


def _fitted(vae: Vae, image: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Pictures and mask, of one size and count, cut to the whole cells that a VAE encodes."""
    wide = stretched(mask, image)
    if len(wide) > 1:
        image, wide = same_count(image, wide)
    height, width = (side // vae.factor * vae.factor for side in image.shape[1:3])
    if not height or not width:  # told by the one who encodes it
        return image[..., :3], wide
    top, left = (side % vae.factor // 2 for side in image.shape[1:3])
    here = (slice(None), slice(top, top + height), slice(left, left + width))
    return image[here][..., :3], wide[here]
