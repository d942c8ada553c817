"""Masks: float32 [batch, height, width], 0 to 1; 1 means "change here".

A mask belongs to a whole picture. Where the two differ in size the mask is stretched over the
picture, bilinearly.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
import torch.nn.functional as F
from PIL import Image, ImageColor, ImageDraw
from torch import Tensor

from graphengine.diffusion.choices import Combination, Shape
from graphengine.diffusion.editing import blur_image, overlap, same_count
from graphengine.diffusion.images import from_pillow, mask_from_image, read_frames, resize
from graphengine.diffusion.types import Channel

FINER = 4
"""Shapes are drawn so many times larger and scaled down, for smooth edges."""

COMBINATIONS: dict[Combination, Callable[[Tensor, Tensor], Tensor]] = {
    "add": lambda one, other: one + other,
    "subtract": lambda one, other: one - other,
    "multiply": lambda one, other: one * other,
    "and": lambda one, other: one.round() * other.round(),
    "or": lambda one, other: torch.maximum(one.round(), other.round()),
    "xor": lambda one, other: (one.round() - other.round()).abs(),
}


def solid_mask(width: int, height: int, value: float = 1.0) -> Tensor:
    """One mask of one value."""
    return torch.full((1, height, width), value)


def shape_mask(
    shape: Shape,
    width: int,
    height: int,
    left: float,
    top: float,
    right: float,
    bottom: float,
) -> Tensor:
    """One mask with a shape in it. The sides of its box are fractions of the picture, in any order."""
    picture = Image.new("L", (width * FINER, height * FINER))
    across, down = sorted((left, right)), sorted((top, bottom))
    # Pillow counts the last pixel in
    box = [
        round(across[0] * width) * FINER,
        round(down[0] * height) * FINER,
        round(across[1] * width) * FINER - 1,
        round(down[1] * height) * FINER - 1,
    ]
    if box[2] > box[0] and box[3] > box[1]:
        draw = ImageDraw.Draw(picture)
        (draw.ellipse if shape == "ellipse" else draw.rectangle)(box, fill=255)
    small = picture.resize((width, height), Image.Resampling.BOX)
    return from_pillow(small)[..., 0]


def read_mask(path: Path, channel: Channel = "brightness") -> Tensor:
    """A picture file as masks, one for each frame. `alpha` is 1 where it is transparent."""
    return mask_from_image(read_frames(path), channel)


def color_mask(image: Tensor, color: str, tolerance: float = 0.0) -> Tensor:
    """Where pictures have a colour, `#rrggbb`, in 8 bits; `tolerance`: how far each channel may be
    off, 0 to 1.
    """
    wanted = torch.tensor(ImageColor.getrgb(color), dtype=torch.float32)
    distance = ((image[..., :3] * 255).round() - wanted).abs().amax(-1)
    return (distance <= tolerance * 255 + 1e-3).float()


def resize_mask(mask: Tensor, width: int, height: int) -> Tensor:
    """Masks in another size, bilinear; a side of 0 follows from the other one."""
    return resize(mask[..., None], width, height, "bilinear")[..., 0]


def grow_mask(mask: Tensor, pixels: int, tapered: bool = True) -> Tensor:
    """Masks whose white grows by so many pixels a side, or shrinks if below 0; greys move along.

    `tapered` grows along a cross, so that corners become slanted; else along a square.
    """
    if pixels < 0:
        return -grow_mask(-mask, -pixels, tapered)
    planes = mask[:, None]
    if not tapered and pixels:
        for kernel in ((2 * pixels + 1, 1), (1, 2 * pixels + 1)):
            planes = F.max_pool2d(planes, kernel, 1, (kernel[0] // 2, kernel[1] // 2))
    elif pixels:
        for _ in range(pixels):
            planes = torch.maximum(
                F.max_pool2d(planes, (3, 1), 1, (1, 0)), F.max_pool2d(planes, (1, 3), 1, (0, 1))
            )
    return planes[:, 0]


def blur_mask(mask: Tensor, radius: float) -> Tensor:
    """Masks with soft edges, half of each outside of where it was; `radius` is the standard
    deviation in pixels.
    """
    return blur_image(mask[..., None], radius)[..., 0]


def soften_mask(mask: Tensor, pixels: int) -> Tensor:
    """Masks whose edges rise over so many pixels inwards: what was 0 stays 0."""
    if pixels < 1:
        return mask
    half = (pixels + 1) // 2
    planes = grow_mask(mask, -half, tapered=False)[:, None]
    for reach in ((half + 1) // 2, half // 2):
        padded = F.pad(planes, (reach,) * 4, mode="replicate")
        planes = F.avg_pool2d(padded, 2 * reach + 1, 1)
    return torch.minimum(planes[:, 0].clamp(0, 1), mask)


def feather_mask(mask: Tensor, left: int, top: int, right: int, bottom: int) -> Tensor:
    """Masks that fade towards the borders of the picture, over so many pixels at each."""
    height, width = mask.shape[1:]
    across, down = (torch.arange(1, side + 1, dtype=torch.float32) for side in (width, height))
    result = mask
    for pixels, ramp in (
        (left, across),
        (right, across.flip(0)),
        (top, down[:, None]),
        (bottom, down.flip(0)[:, None]),
    ):
        result = result * (ramp / pixels).clamp(max=1) if pixels else result
    return result


def threshold_mask(mask: Tensor, value: float = 0.5) -> Tensor:
    """1 where masks are above a value, else 0."""
    return (mask > value).float()


def combine_masks(
    mask: Tensor,
    other: Tensor,
    operation: Combination = "add",
    left: int = 0,
    top: int = 0,
    stretch: bool = False,
) -> Tensor:
    """A mask joined with another whose upper left corner lies at `left`, `top`; what hangs over is
    cut, and where it does not reach nothing changes. `and`, `or` and `xor` round both to 0 and 1
    there. `stretch` first gives the other the first one's size.
    """
    if stretch:
        other = resize_mask(other, mask.shape[2], mask.shape[1])
    mask, other = same_count(mask, other)
    rows, other_rows = overlap(top, other.shape[1], mask.shape[1])
    columns, other_columns = overlap(left, other.shape[2], mask.shape[2])
    result = mask.clone()
    joined = COMBINATIONS[operation](mask[:, rows, columns], other[:, other_rows, other_columns])
    result[:, rows, columns] = joined.clamp(0, 1)
    return result


def image_from_mask(mask: Tensor) -> Tensor:
    """Masks as grey pictures [batch, H, W, 3]."""
    return mask[..., None].expand(*mask.shape, 3).clamp(0, 1).contiguous()
