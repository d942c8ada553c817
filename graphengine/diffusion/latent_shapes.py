"""Latents resized, cut, put into each other, flipped and turned.

Masks and what is read beside a latent go along. Places and sizes are pixels, rounded down to cells
of `factor` pixels; a latent doesn't know its VAE, so the caller tells.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.latents import fit_beside
from graphengine.diffusion.types import Crop, Latent, LatentMethod, LatentTurn
from graphengine.errors import ModelError

Change = Callable[[Tensor], Tensor]
"""The same change to the last two axes of any tensor [n, c, height, width]."""


def resize_latent(
    latent: Latent,
    width: int,
    height: int,
    method: LatentMethod = "bilinear",
    crop: Crop = "none",
    factor: int = 8,
) -> Latent:
    """A latent for pictures of another size, in pixels. 0 for one side follows from the other, 0 for
    both changes nothing. `crop` "center" cuts to the new proportions first. At least one cell.
    """
    rows, columns = latent.samples.shape[2:]
    if not width and not height:
        return latent
    wide = width // factor if width else round(columns * (height // factor) / rows)
    high = height // factor if height else round(rows * (width // factor) / columns)
    return resize_cells(latent, max(1, high), max(1, wide), method, crop)


def resize_latent_by(latent: Latent, by: float, method: LatentMethod = "bilinear") -> Latent:
    """A latent `by` times as large on both sides, rounded to cells; at least one."""
    high, wide = (max(1, round(side * by)) for side in latent.samples.shape[2:])
    return resize_cells(latent, high, wide, method)


def resize_cells(
    latent: Latent, height: int, width: int, method: LatentMethod, crop: Crop = "none"
) -> Latent:
    """A latent of `height` by `width` cells. The interpolation is PyTorch's, without smoothing."""
    rows, columns = latent.samples.shape[2:]
    if crop == "center":
        tall = min(rows, max(1, round(columns * height / width)))
        broad = min(columns, max(1, round(rows * width / height)))
        latent = crop_cells(latent, (rows - tall) // 2, (columns - broad) // 2, tall, broad)
    if latent.samples.shape[2:] == (height, width):
        return latent
    mode = "nearest-exact" if method == "nearest" else method
    samples = torch.nn.functional.interpolate(latent.samples, size=(height, width), mode=mode)
    beside = latent.beside
    if beside is not None:
        beside = fit_beside(beside, height, width, samples.shape[1])
    return replace(latent, samples=samples, beside=beside)


def crop_latent(latent: Latent, x: int, y: int, width: int, height: int, factor: int = 8) -> Latent:
    """A rectangle of a latent, in pixels; what lies outside is left out. Raises `ModelError` when
    nothing is left.
    """
    rows, columns = latent.samples.shape[2:]
    top, left = y // factor, x // factor
    high, wide = min(height // factor, rows - top), min(width // factor, columns - left)
    if min(high, wide) < 1:
        raise ModelError(
            f"{width} x {height} pixels at {x}, {y} hold nothing of a latent for "
            f"{columns * factor} x {rows * factor} pixels",
            f"begin inside, and take at least {factor} pixels a side",
        )
    return crop_cells(latent, top, left, high, wide)


def crop_cells(latent: Latent, top: int, left: int, height: int, width: int) -> Latent:
    """A rectangle of a latent, in cells that are there. The mask is cut in its own resolution if
    that is a whole multiple of the latent's, else it is brought to the latent's first.
    """
    size = latent.samples.shape[2:]

    def cut(part: Tensor) -> Tensor:
        down, across = part.shape[2] // size[0], part.shape[3] // size[1]
        rows = slice(top * down, (top + height) * down)
        columns = slice(left * across, (left + width) * across)
        return part[..., rows, columns].clone()

    return _changed(_even(latent), cut)


def _even(latent: Latent) -> Latent:
    """A latent whose mask and company have whole multiples of its own size."""
    rows, columns = latent.samples.shape[2:]
    mask, beside = latent.noise_mask, latent.beside
    if mask is not None and (mask.shape[1] % rows or mask.shape[2] % columns):
        mask = torch.nn.functional.interpolate(
            mask[:, None].float(), size=(rows, columns), mode="bilinear"
        )[:, 0]
    if beside is not None:
        beside = fit_beside(beside, rows, columns, latent.samples.shape[1])
    return replace(latent, noise_mask=mask, beside=beside)


def _changed(latent: Latent, change: Change) -> Latent:
    """The same change to samples, mask and company."""
    mask, beside = latent.noise_mask, latent.beside
    return replace(
        latent,
        samples=change(latent.samples),
        noise_mask=None if mask is None else change(mask[:, None])[:, 0],
        beside=None if beside is None else change(beside),
    )


def flip_latent(latent: Latent, across: bool) -> Latent:
    """A mirror image: left and right changed places, or (`across` false) above and below. The
    picture that a VAE makes of it is only nearly the mirror image.
    """
    return _changed(latent, lambda part: part.flip(3 if across else 2))


def turn_latent(latent: Latent, turn: LatentTurn) -> Latent:
    """Turned clockwise by quarters. The picture that a VAE makes of it is only nearly the turned
    one.
    """
    quarters = {"none": 0, "90": 1, "180": 2, "270": 3}[turn]
    return _changed(latent, lambda part: part.rot90(-quarters, (2, 3))) if quarters else latent


def composite_latents(
    below: Latent,
    above: Latent,
    x: int = 0,
    y: int = 0,
    mask: Tensor | None = None,
    feather: int = 0,
    factor: int = 8,
) -> Latent:
    """`above` put onto `below` with its corner at x, y (pixels; may lie outside). What does not fit
    is left out.

    `mask` [1 or batch, height, width] is of `above`: 1 is above, 0 below. `feather`: pixels over
    which edges inside of `below` become visible. What is read beside goes along where both have it;
    `below` keeps its mask. Raises `ModelError` for other channels or another batch.
    """
    shape, other = below.samples.shape, above.samples.shape
    if shape[1] != other[1] or other[0] not in (1, shape[0]):
        raise ModelError(
            f"{other[0]} latents of {other[1]} channels can't be put onto {shape[0]} of {shape[1]}",
            "put one onto all, or one onto each, from the same kind of VAE",
        )
    left, top = x // factor, y // factor
    down = _overlap(top, other[2], shape[2])
    across = _overlap(left, other[3], shape[3])
    if down is None or across is None:
        return below
    share = _share(above, mask, (top, left), shape[2:], feather // factor)

    def put(one: Tensor, two: Tensor) -> Tensor:
        result = one.clone()
        place, part = (..., down[0], across[0]), (..., down[1], across[1])
        kept, weight = one[place], share[part].to(one)
        result[place] = kept + (two[part].to(one) - kept) * weight
        return result

    beside = below.beside
    if beside is not None and above.beside is not None and beside.shape[1] == above.beside.shape[1]:
        one, two = _even(below).beside, _even(above).beside
        assert one is not None and two is not None
        many = max(len(one), len(two), len(share))
        beside = put(one.expand(many, -1, -1, -1), two)
    return replace(below, samples=put(below.samples, above.samples), beside=beside)


def _overlap(start: int, length: int, whole: int) -> tuple[slice, slice] | None:
    """Where a line of `length` from `start` meets one from 0 to `whole`: there, and on itself."""
    first, last = max(start, 0), min(start + length, whole)
    if first >= last:
        return None
    return slice(first, last), slice(first - start, last - start)


def _share(
    above: Latent, mask: Tensor | None, corner: tuple[int, int], size: Any, feather: int
) -> Tensor:
    """How much of the latent above is seen in each of its cells, [1 or batch, 1, h, w]."""
    height, width = above.samples.shape[2:]
    share = torch.ones(1, 1, height, width)
    if mask is not None:
        share = mask[:, None].float()
        if share.shape[2:] != (height, width):
            share = torch.nn.functional.interpolate(share, size=(height, width), mode="bilinear")
    down = _edge(corner[0], height, size[0], feather)
    across = _edge(corner[1], width, size[1], feather)
    return share * down[:, None] * across


def _edge(start: int, length: int, whole: int, feather: int) -> Tensor:
    """Weights along one side: rising over `feather` cells from an edge inside of what is below."""
    weights = torch.ones(length)
    rise = min(feather, length)
    if rise:
        ramp = torch.arange(1, rise + 1) / feather
        if start > 0:
            weights[:rise] = weights[:rise] * ramp
        if start + length < whole:
            weights[-rise:] = weights[-rise:] * ramp.flip(0)
    return weights
