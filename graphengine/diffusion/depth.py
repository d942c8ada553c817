"""Depth of pictures, and what a depth model reads of it beside the noisy latent."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from graphengine.diffusion.depth_loader import (
    DepthColours,
    DepthEstimator,
    DepthMap,
    Preprocessing,
)
from graphengine.diffusion.images import LUMA, to_pillow
from graphengine.diffusion.memory import Memory
from graphengine.diffusion.types import Latent
from graphengine.errors import ModelError
from graphengine.resource import Progress

BYTES_PER_PIXEL = 2048
"""Working memory of a depth network, roughly, for one pixel of what it reads."""


def prepare(image: Tensor, how: Preprocessing) -> Tensor:
    """Pictures [batch, H, W, 3 or 4] as a network reads them, float32 [batch, 3, h, w].

    Resized by Pillow in 8 bits, as DPT's own image processor does it, to the same numbers.
    """
    return torch.stack([_prepared(picture[..., :3], how) for picture in image])


def _prepared(picture: Tensor, how: Preprocessing) -> Tensor:
    seen = to_pillow(picture)
    if how.size is not None:
        height, width = prepared_size(picture.shape[0], picture.shape[1], how)
        seen = seen.resize((width, height), Image.Resampling(how.resample))
    values = (np.asarray(seen).astype(np.float64) * how.scale).astype(np.float32)
    mean, std = (np.array(numbers, dtype=np.float32) for numbers in (how.mean, how.std))
    return torch.from_numpy((values - mean) / std).permute(2, 0, 1)


def prepared_size(height: int, width: int, how: Preprocessing) -> tuple[int, int]:
    """Height and width in which a picture is read."""
    if how.size is None:
        return height, width
    scales = (how.size[0] / height, how.size[1] / width)
    if how.keep_aspect_ratio:  # both sides alike, by what changes the picture less
        nearer = 1 if abs(1 - scales[1]) < abs(1 - scales[0]) else 0
        scales = (scales[nearer], scales[nearer])
    tall, wide = (
        _whole(side * scale, how.multiple)
        for side, scale in zip((height, width), scales, strict=True)
    )
    return tall, wide


def _whole(side: float, multiple: int) -> int:
    return round(side / multiple) * multiple or math.ceil(side / multiple) * multiple


@torch.no_grad()
def estimate_depth(
    estimator: DepthEstimator,
    image: Tensor,
    *,
    memory: Memory,
    progress: Progress | None = None,
) -> DepthMap:
    """How near everything in pictures [batch, H, W, 3 or 4] is.

    Raises `ModelError` for pictures without three channels and for NaN.
    """
    progress = progress or Progress()
    batch, height, width, channels = image.shape
    if channels < 3 or not batch:
        raise ModelError(
            f"the depth of a picture of {channels} channels can't be estimated", "give it colours"
        )
    tall, wide = prepared_size(height, width, estimator.preprocessing)
    maps = []
    with memory.use(estimator, working=tall * wide * BYTES_PER_PIXEL, progress=progress) as network:
        weight = next(network.parameters())
        for place in range(batch):
            progress.report(place, batch)
            pixels = prepare(image[place : place + 1], estimator.preprocessing)
            maps.append(network(pixels.to(weight)).predicted_depth.float().cpu())
    progress.report(batch, batch)
    values = torch.cat(maps)
    if not bool(torch.isfinite(values).all()):
        raise ModelError(
            "the depth model answered NaN or infinity",
            "run it in float32 (GRAPHENGINE_DTYPE=float32); else its weights are damaged",
        )
    return DepthMap(values, height, width)


def depth_from_image(image: Tensor) -> DepthMap:
    """Pictures of depth, near things bright, as depth maps: painted, rendered, or made elsewhere."""
    values = (image[..., :3] * torch.tensor(LUMA)).sum(-1)
    return DepthMap(values, *image.shape[1:3])


def spread(values: Tensor) -> Tensor:
    """Each item's own range, [batch, ...], spread over 0 to 1. Of a flat item all is 0."""
    sides = tuple(range(1, values.ndim))
    low, high = values.amin(sides, keepdim=True), values.amax(sides, keepdim=True)
    return torch.where(high > low, (values - low) / (high - low).clamp_min(1e-30), 0.0)


def depth_mask(depth: DepthMap) -> Tensor:
    """Depth as a mask [batch, height, width] of the pictures' size: 1 is nearest, 0 farthest."""
    return spread(_resized(depth.values, depth.height, depth.width)[:, 0])


def depth_picture(depth: DepthMap, colours: DepthColours = "grey") -> Tensor:
    """Depth as pictures [batch, height, width, 3] of the pictures' size, near things bright."""
    near = depth_mask(depth)
    if colours == "grey":
        return near[..., None].repeat(1, 1, 1, 3)
    import matplotlib

    table = matplotlib.colormaps[colours]
    return torch.from_numpy(np.asarray(table(near.numpy())[..., :3], dtype=np.float32))


def depth_condition(inverse_depth: Tensor, height: int, width: int) -> Tensor:
    """Inverse depth [n, H, W] as a depth model reads it, [n, 1, height, width]: resized (bicubic),
    and each picture's own range spread over -1 to 1. What is flat is 0: it tells nothing.
    """
    small = _resized(inverse_depth, height, width)
    low, high = small.amin((1, 2, 3), keepdim=True), small.amax((1, 2, 3), keepdim=True)
    return torch.where(high > low, 2 * (small - low) / (high - low) - 1, 0.0)


def condition_on_depth(latent: Latent, depth: DepthMap) -> Latent:
    """The latent with depth beside it, for a depth model to follow.

    Raises `ModelError` if there are several depth maps, but not one for each item of the latent.
    """
    batch, many = len(latent.samples), len(depth.values)
    if many not in (1, batch):
        raise ModelError(
            f"{many} depth maps for a latent of {batch} pictures",
            "give one depth map, or one for each",
        )
    height, width = latent.samples.shape[2:]
    return replace(latent, beside=depth_condition(depth.values, height, width))


def _resized(values: Tensor, height: int, width: int) -> Tensor:
    return F.interpolate(values[:, None].float(), (height, width), mode="bicubic")
