"""Batches of latents: items repeated, taken out and joined, and the noise each of them gets.

Everything that belongs to an item stays with it: its mask, what is read beside it, and the number of
its noise, so that an item drawn alone is the same picture as in its batch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from graphengine.diffusion.types import Latent, NoiseOf
from graphengine.errors import ModelError


def repeat_latents(latent: Latent, times: int) -> Latent:
    """The whole batch again and again, each time with the next numbers of noise. Raises
    `ValueError` for less than once.
    """
    if times < 1:
        raise ValueError(f"repeat at least once, not {times} times")
    numbers = latent.noise_index
    if numbers is not None:
        span = max(numbers) - min(numbers) + 1
        numbers = tuple(number + span * turn for turn in range(times) for number in numbers)
    return Latent(
        latent.samples.repeat(times, 1, 1, 1),
        _repeated(latent.noise_mask, times),
        numbers,
        _repeated(latent.beside, times),
        None if latent.seed_offset is None else latent.seed_offset * times,
    )


def _repeated(part: Tensor | None, times: int) -> Tensor | None:
    """One for all stays one for all."""
    if part is None or len(part) == 1:
        return part
    return part.repeat(times, *[1] * (part.dim() - 1))


def select_latents(latent: Latent, start: int, count: int = 1) -> Latent:
    """Some items of a batch, from number `start` (the first is 0). They keep the numbers of their
    noise. Raises `ModelError` when the batch has no such item.
    """
    size = len(latent.samples)
    if not 0 <= start < size or count < 1:
        raise ModelError(
            f"a batch of {size} has no {count} items from number {start}",
            f"the first is 0, the last {size - 1}",
        )
    here = slice(start, start + count)
    return Latent(
        latent.samples[here],
        _selected(latent.noise_mask, here),
        noise_numbers(latent)[here],
        _selected(latent.beside, here),
        None if latent.seed_offset is None else latent.seed_offset[here],
    )


def _selected(part: Tensor | None, here: slice) -> Tensor | None:
    return part if part is None or len(part) == 1 else part[here]


def noise_numbers(latent: Latent) -> tuple[int, ...]:
    """Which item of a batch of noise each item gets."""
    return latent.noise_index or tuple(range(len(latent.samples)))


def join_latents(latents: Sequence[Latent]) -> Latent:
    """Several batches as one. Items whose noise has a number keep it; if none has, they are
    numbered anew, so that no two are alike.

    Masks are brought to the largest of their sizes; an item without one is sampled everywhere.
    Raises `ModelError` for latents of different sizes, for none, and when some of them bring
    something to be read beside and others don't.
    """
    if not latents:
        raise ModelError("there are no latents to join", "link one at least")
    sizes = {tuple(latent.samples.shape[1:]) for latent in latents}
    if len(sizes) > 1:
        told = " and ".join(f"{c} x {h} x {w}" for c, h, w in sorted(sizes))
        raise ModelError(f"latents of {told} can't be joined", "resize them to the same size first")
    numbered = any(latent.noise_index is not None for latent in latents)
    offset = any(latent.seed_offset is not None for latent in latents)
    numbers = tuple(number for latent in latents for number in noise_numbers(latent))
    offsets = tuple(
        each for latent in latents for each in latent.seed_offset or (0,) * len(latent.samples)
    )
    return Latent(
        torch.cat([latent.samples for latent in latents]),
        _joined_masks(latents),
        numbers if numbered else None,
        _joined_beside(latents),
        offsets if offset else None,
    )


def _joined_masks(latents: Sequence[Latent]) -> Tensor | None:
    masks = [latent.noise_mask for latent in latents if latent.noise_mask is not None]
    if not masks:
        return None
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    fitted = []
    for latent in latents:
        mask = latent.noise_mask
        mask = torch.ones(1, height, width) if mask is None else mask.float()
        if mask.shape[1:] != (height, width):
            mask = torch.nn.functional.interpolate(
                mask[:, None], size=(height, width), mode="bilinear"
            )[:, 0]
        fitted.append(mask.expand(len(latent.samples), height, width))
    return torch.cat(fitted)


def _joined_beside(latents: Sequence[Latent]) -> Tensor | None:
    brought = [latent.beside for latent in latents if latent.beside is not None]
    if not brought:
        return None
    if len(brought) < len(latents) or len({part.shape[1:] for part in brought}) > 1:
        raise ModelError(
            "some of the latents were prepared for an inpainting or depth model, others not so",
            "prepare all of them in the same way, or prepare them after joining",
        )
    parts = zip(brought, latents, strict=True)
    return torch.cat([part.expand(len(latent.samples), -1, -1, -1) for part, latent in parts])


def seed_noise(latent: Latent, noise: NoiseOf) -> Latent:
    """Which noise the items of a batch get from a run's seed.

    "numbered": item k the k-th draw of the seed, as everywhere. "next seeds": item k the noise of
    seed + k, so that it is the picture that a run of its own with that seed gives. "same": all get
    the noise of the first.
    """
    size = len(latent.samples)
    if noise == "numbered":
        return replace(latent, noise_index=None, seed_offset=None)
    if noise == "same":
        first = latent.seed_offset and latent.seed_offset[:1] * size
        return replace(latent, noise_index=noise_numbers(latent)[:1] * size, seed_offset=first)
    return replace(latent, noise_index=(0,) * size, seed_offset=tuple(range(size)))
