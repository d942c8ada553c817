"""Pictures changed and put together: cut, turned, padded, blended, laid on one another.

Pictures are float32 [batch, height, width, channels], 0 to 1. Where two batches meet, each has one
item for all or one for each.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from PIL import ImageColor
from torch import Tensor

from graphengine.diffusion.choices import Blend, Fill, Turn
from graphengine.diffusion.images import LUMA, resize
from graphengine.errors import GraphEngineError

GREY = 0.5
"""Mid-grey, which is 0 in the numbers a VAE reads."""

BLENDS: dict[Blend, Callable[[Tensor, Tensor], Tensor]] = {
    "normal": lambda below, above: above,
    "multiply": lambda below, above: below * above,
    "screen": lambda below, above: 1 - (1 - below) * (1 - above),
    "overlay": lambda below, above: torch.where(
        below <= 0.5, 2 * below * above, 1 - 2 * (1 - below) * (1 - above)
    ),
    "difference": lambda below, above: (below - above).abs(),
    "lighten": torch.maximum,
    "darken": torch.minimum,
}
PADDING: dict[Fill, str] = {"edge": "replicate", "mirror": "reflect"}


def same_count(*batches: Tensor) -> list[Tensor]:
    """Batches of one length: those of one item are repeated. Raises `GraphEngineError` for others."""
    count = max(map(len, batches))
    if wrong := [len(batch) for batch in batches if len(batch) not in (1, count)]:
        raise GraphEngineError(
            f"{wrong[0]} pictures or masks can't be matched with {count}",
            "give one for all, or one for each",
        )
    return [batch.expand(count, *batch.shape[1:]) for batch in batches]


def crop_image(pictures: Tensor, left: int, top: int, width: int, height: int) -> Tensor:
    """A part of pictures [batch, H, W, ...], cut at their borders. Raises `GraphEngineError` if
    nothing is left.
    """
    old_height, old_width = pictures.shape[1:3]
    if left >= old_width or top >= old_height:
        raise GraphEngineError(
            f"a cut that starts at {left}, {top} lies outside of {old_width} x {old_height} pixels",
            "start inside of the picture",
        )
    return pictures[:, top : top + height, left : left + width].clone()


def flip_image(pictures: Tensor, vertical: bool = False) -> Tensor:
    """Pictures [batch, H, W, ...] mirrored: left for right, or top for bottom."""
    return pictures.flip(1 if vertical else 2)


def turn_image(pictures: Tensor, angle: Turn) -> Tensor:
    """Pictures [batch, H, W, ...] turned clockwise by quarters."""
    return pictures.rot90(-(int(angle) // 90), (1, 2)).contiguous()


def invert_image(image: Tensor) -> Tensor:
    """The negative; transparency stays."""
    return torch.cat([1 - image[..., :3], image[..., 3:]], -1)


def grayscale_image(image: Tensor) -> Tensor:
    """Without colour, by brightness; three equal channels, transparency stays."""
    grey = (image[..., :3] * torch.tensor(LUMA)).sum(-1, keepdim=True)
    return torch.cat([grey.expand(*grey.shape[:-1], 3), image[..., 3:]], -1)


def blur_image(image: Tensor, radius: float) -> Tensor:
    """Pictures [batch, H, W, channels] under a Gaussian of standard deviation `radius`, pixels."""
    if radius <= 0:
        return image
    planes = image.permute(0, 3, 1, 2)
    reach = max(1, round(4 * radius))
    steps = torch.arange(-reach, reach + 1, dtype=torch.float32)
    weights = torch.exp(-0.5 * (steps / radius) ** 2)
    weights = (weights / weights.sum()).reshape(1, 1, -1, 1)
    flat = planes.reshape(-1, 1, *planes.shape[2:])
    for weight, pad in (
        (weights, (0, 0, reach, reach)),
        (weights.transpose(2, 3), (reach, reach, 0, 0)),
    ):
        flat = F.conv2d(F.pad(flat, pad, mode="replicate"), weight)
    return flat.reshape(planes.shape).permute(0, 2, 3, 1).clamp(0, 1).contiguous()


def sharpen_image(image: Tensor, radius: float, strength: float) -> Tensor:
    """Unsharp masking: what a blur would take away is added, `strength` times."""
    return (image + (image - blur_image(image, radius)) * strength).clamp(0, 1)


def blend_images(below: Tensor, above: Tensor, amount: float, mode: Blend = "normal") -> Tensor:
    """Two pictures mixed by a rule, `amount` of it; `above` is resized to `below`."""
    base, top = _same_size(below, above)
    return torch.lerp(base, BLENDS[mode](base, top).clamp(0, 1), amount)


def join_images(images: list[Tensor]) -> Tensor:
    """Pictures as one batch, resized to the first and cut to its proportions where they differ."""
    if not images:
        raise GraphEngineError("there are no pictures to join", "link one at least")
    height, width = images[0].shape[1:3]
    fitted = [
        image
        if image.shape[1:3] == images[0].shape[1:3]
        else resize(image, width, height, crop="center")
        for image in images
    ]
    channels = max(image.shape[3] for image in fitted)
    return torch.cat([with_channels(image, channels) for image in fitted])


def select_images(pictures: Tensor, index: int, count: int) -> Tensor:
    """`count` items of a batch from `index` on; fewer at its end. Raises `GraphEngineError` past it."""
    if index >= len(pictures):
        raise GraphEngineError(
            f"there is no picture {index} in a batch of {len(pictures)}", "counting starts at 0"
        )
    return pictures[index : index + count].clone()


def with_channels(image: Tensor, channels: int) -> Tensor:
    """Pictures of three or four channels with as many as asked; what is added is opaque."""
    if image.shape[3] >= channels:
        return image[..., :channels]
    return torch.cat([image, torch.ones(*image.shape[:3], channels - image.shape[3])], -1)


def pad_image(
    image: Tensor,
    left: int,
    top: int,
    right: int,
    bottom: int,
    feather: int = 40,
    fill: Fill = "grey",
) -> tuple[Tensor, Tensor]:
    """Pictures with borders of so many pixels, and the mask [batch, H, W] of what is new.

    The border is mid-grey, or continues the picture: its outermost pixels, or the picture mirrored.
    The mask is 1 there and falls to 0 over `feather` pixels of the picture, as (1 - d / feather)^2
    at the distance d from a border; over half of the picture at most.
    """
    height, width = image.shape[1:3]
    planes = image.permute(0, 3, 1, 2)
    if fill == "grey":
        padded = F.pad(planes, (left, right, top, bottom), value=GREY)
        if image.shape[3] > 3:
            padded[:, 3:] = F.pad(planes[:, 3:], (left, right, top, bottom), value=1.0)
    else:
        padded = _continued(planes, (left, right, top, bottom), PADDING[fill])
    feather = min(feather, (min(height, width) - 1) // 2)
    inside = torch.zeros(height, width)
    if feather > 0:
        rows, columns = (torch.arange(side, dtype=torch.float32) for side in (height, width))
        far = torch.full((height, width), torch.inf)
        for border, distance in (
            (left, columns.expand(height, width)),
            (right, columns.flip(0).expand(height, width)),
            (top, rows[:, None].expand(height, width)),
            (bottom, rows.flip(0)[:, None].expand(height, width)),
        ):
            far = torch.minimum(far, distance) if border else far
        inside = (1 - far / feather).clamp(min=0) ** 2
    mask = F.pad(inside, (left, right, top, bottom), value=1.0)
    return (
        padded.permute(0, 2, 3, 1).contiguous(),
        mask.expand(len(image), *mask.shape).contiguous(),
    )


def _continued(planes: Tensor, borders: tuple[int, int, int, int], mode: Any) -> Tensor:
    """Padding by reflection reaches no farther than the picture, so it goes on in several steps."""
    while any(borders):
        height, width = planes.shape[2:]
        most = (width - 1, width - 1, height - 1, height - 1)
        now = [min(b, m) if mode == "reflect" else b for b, m in zip(borders, most)]
        if not any(now):
            mode = "replicate"
            continue
        planes = F.pad(planes, now, mode=mode)
        left, right, top, bottom = (b - n for b, n in zip(borders, now))
        borders = (left, right, top, bottom)
    return planes


def composite_images(
    image: Tensor,
    source: Tensor,
    mask: Tensor | None = None,
    left: int = 0,
    top: int = 0,
    stretch: bool = False,
) -> Tensor:
    """`source` laid on `image` with its upper left corner at `left`, `top`; what hangs over is cut.

    `mask` [batch, any height, any width] belongs to the source and is stretched over it: 1 shows
    the source, 0 keeps the picture bit for bit. `stretch` first gives the source the picture's size.
    """
    height, width = image.shape[1:3]
    if stretch:
        source = resize(source, width, height)
    mask = torch.ones(source.shape[:3]) if mask is None else stretched(mask, source)
    image, source, mask = same_count(image, with_channels(source, image.shape[3]), mask)
    rows, source_rows = overlap(top, source.shape[1], height)
    columns, source_columns = overlap(left, source.shape[2], width)
    result = image.clone()
    result[:, rows, columns] = torch.lerp(
        image[:, rows, columns],
        source[:, source_rows, source_columns],
        mask[:, source_rows, source_columns, None],
    )
    return result


def stretched(mask: Tensor, pictures: Tensor) -> Tensor:
    """A mask [batch, h, w] at the size of pictures [batch, H, W, ...], stretched over them."""
    height, width = pictures.shape[1:3]
    if mask.shape[1:3] == (height, width):
        return mask
    return resize(mask[..., None], width, height, "bilinear")[..., 0]


def solid_image(color: str, width: int, height: int, batch: int = 1) -> Tensor:
    """Pictures of one colour, `#rrggbb`."""
    values = torch.tensor(ImageColor.getrgb(color), dtype=torch.float32) / 255
    return values.expand(batch, height, width, 3).contiguous()


def split_alpha(image: Tensor) -> tuple[Tensor, Tensor]:
    """Colours [batch, H, W, 3], and the mask [batch, H, W] that is 1 where pictures are transparent."""
    opaque = with_channels(image, 4)
    return opaque[..., :3].contiguous(), 1 - opaque[..., 3]


def join_alpha(image: Tensor, mask: Tensor) -> Tensor:
    """Pictures of four channels, transparent where a mask is 1; it is stretched over them."""
    colours, opacity = same_count(image[..., :3], 1 - stretched(mask, image))
    return torch.cat([colours, opacity[..., None]], -1)


def overlap(start: int, length: int, room: int) -> tuple[slice, slice]:
    """Where a line of `length` from `start` meets one of `room` from 0: the part of each."""
    first, last = max(start, 0), max(min(start + length, room), start, 0)
    return slice(first, last), slice(first - start, last - start)


def _same_size(one: Tensor, other: Tensor) -> tuple[Tensor, Tensor]:
    """Two batches with the first one's size, one count and the channels of the one that has fewer."""
    if one.shape[1:3] != other.shape[1:3]:
        other = resize(other, one.shape[2], one.shape[1])
    channels = min(one.shape[3], other.shape[3])
    first, second = same_count(one[..., :channels], other[..., :channels])
    return first, second
