"""Pictures to latents and back, whole or in tiles. Everything follows from the autoencoder's own
factor and channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from graphengine.diffusion.memory import Memory, Remarks
from graphengine.diffusion.types import Latent, Tiling, Vae
from graphengine.errors import ModelError
from graphengine.resource import Progress

TILE = 64
"""Side of a tile in latent cells, 512 pixels at factor 8."""

WHOLE_CELLS = (2 * TILE) ** 2
"""Latents of more cells are worked in tiles unless told otherwise."""

BYTES_PER_PIXEL = 2048
"""Working memory of an autoencoder, roughly: four maps of 128 channels in float32."""


def encode_image(
    vae: Vae,
    image: Tensor,
    *,
    memory: Memory,
    tiling: Tiling = "auto",
    progress: Progress | None = None,
) -> Latent:
    """Pictures [batch, H, W, channels] as a latent, [batch, vae.channels, H / factor, W / factor].

    The mean of the distribution that the VAE answers is taken, so there is no chance in it. A side
    that is no multiple of the factor is cut, evenly on both ends; of four channels the first three
    count. Raises `ModelError` for pictures smaller than one cell and for NaN.
    """
    height, width = (side // vae.factor for side in image.shape[1:3])
    if not height or not width or image.shape[3] < 3:
        wanted = f"at least {vae.factor} pixels a side and three channels"
        raise ModelError(
            f"a picture of {tuple(image.shape[1:])} can't be encoded", f"give {wanted}"
        )
    top, left = ((side % vae.factor) // 2 for side in image.shape[1:3])
    cut = image[:, top : top + height * vae.factor, left : left + width * vae.factor, :3]

    def work(module: Any, pixels: Tensor) -> Tensor:
        mean: Tensor = module.encode(pixels).latent_dist.mode()
        return mean

    pixels = cut.permute(0, 3, 1, 2) * 2 - 1
    shape = (vae.channels, vae.factor, 1)
    return Latent(_convert(vae, work, pixels, shape, memory, tiling, progress))


def decode_latent(
    vae: Vae,
    latent: Latent,
    *,
    memory: Memory,
    tiling: Tiling = "auto",
    progress: Progress | None = None,
) -> Tensor:
    """A latent as pictures, float32 [batch, h * factor, w * factor, 3], 0 to 1. Raises `ModelError`
    for NaN.
    """
    if latent.samples.shape[1] != vae.channels:
        raise ModelError(
            f"the latent has {latent.samples.shape[1]} channels but the VAE has {vae.channels}",
            "use the VAE that goes with the model",
        )

    def work(module: Any, samples: Tensor) -> Tensor:
        pixels: Tensor = module.decode(samples, return_dict=False)[0]
        return pixels

    shape = (3, 1, vae.factor)
    pixels = _convert(vae, work, latent.samples, shape, memory, tiling, progress)
    return ((pixels + 1) / 2).clamp(0, 1).permute(0, 2, 3, 1).contiguous()


def _convert(
    vae: Vae,
    work: Callable[[Any, Tensor], Tensor],
    batch: Tensor,
    shape: tuple[int, int, int],
    memory: Memory,
    tiling: Tiling,
    progress: Progress | None,
) -> Tensor:
    """Items one by one, down the ladder from whole to small tiles when memory runs out."""
    channels, unit_in, unit_out = shape
    remarks = Remarks(progress or Progress())
    cells = batch.shape[2] * batch.shape[3] // unit_in**2
    tiles = tiling == "always" or (tiling == "auto" and cells > WHOLE_CELLS)
    working = min(cells, TILE**2 if tiles else cells) * vae.factor**2 * BYTES_PER_PIXEL
    with memory.use(vae, working=working, progress=remarks) as module, torch.no_grad():
        weight = next(module.parameters())

        def whole(item: Tensor) -> Tensor:
            return work(module, item.to(weight)).float().cpu()

        def tiled(side: int) -> Callable[[Tensor], Tensor]:
            return lambda item: in_tiles(
                whole, item, channels, unit_in, unit_out, side, side // 4, remarks
            )

        rungs = [(f"tiles of {side} cells", tiled(side)) for side in (TILE, TILE // 2, TILE // 4)]
        run = memory.ladder(rungs if tiles else [("whole pictures", whole), *rungs], remarks.remark)
        results = []
        for place in range(len(batch)):
            remarks.report(place, len(batch))
            results.append(run(batch[place : place + 1]))
    remarks.report(len(batch), len(batch))
    result = torch.cat(results)
    if not bool(torch.isfinite(result).all()):
        raise ModelError(
            "the VAE answered NaN or infinity", "run it in float32; else its weights are damaged"
        )
    return result


def in_tiles(
    work: Callable[[Tensor], Tensor],
    item: Tensor,
    channels: int,
    unit_in: int,
    unit_out: int,
    tile: int,
    overlap: int,
    progress: Progress | None = None,
) -> Tensor:
    """Work on [1, c, h, w] in overlapping tiles and blend the results with linear ramps.

    `tile` and `overlap` count cells; a cell is `unit_in` pixels a side of the input and `unit_out`
    of the result.
    """
    height, width = (side // unit_in for side in item.shape[2:])
    total = torch.zeros(1, channels, height * unit_out, width * unit_out)
    weight = torch.zeros(1, 1, height * unit_out, width * unit_out)
    for top in tile_starts(height, tile, overlap):
        for left in tile_starts(width, tile, overlap):
            if progress:
                progress.check()
            rows, columns = (
                slice(top, min(top + tile, height)),
                slice(left, min(left + tile, width)),
            )
            piece = item[:, :, _scaled(rows, unit_in), _scaled(columns, unit_in)]
            ramp = _ramp(rows, height, overlap, unit_out)[:, None] * _ramp(
                columns, width, overlap, unit_out
            )
            place = (..., _scaled(rows, unit_out), _scaled(columns, unit_out))
            total[place] += work(piece) * ramp
            weight[place] += ramp
    return total / weight


def tile_starts(length: int, tile: int, overlap: int) -> list[int]:
    """Where tiles begin so that they cover `length` and overlap by at least `overlap`; the last
    ends at the end.
    """
    if length <= tile:
        return [0]
    return [*range(0, length - tile, tile - overlap), length - tile]


def _scaled(cells: slice, unit: int) -> slice:
    return slice(cells.start * unit, cells.stop * unit)


def _ramp(cells: slice, length: int, overlap: int, unit: int) -> Tensor:
    """Weights along one side of a tile: rising over the overlap, but not at the picture's edge."""
    size, edge = (cells.stop - cells.start) * unit, overlap * unit + 1
    rising = torch.arange(1, size + 1, dtype=torch.float32) / edge
    ramp = torch.ones(size)
    if cells.start > 0:
        ramp = torch.minimum(ramp, rising)
    if cells.stop < length:
        ramp = torch.minimum(ramp, rising.flip(0))
    return ramp
