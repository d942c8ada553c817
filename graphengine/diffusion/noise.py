"""Noise, drawn on the CPU for one item of a batch at a time, so that a seed means the same noise on
every device.

Item k of a batch starts from the k-th draw of a generator with the seed; only an item's number
counts, not the size of the batch or its place in it. Where an item has a multiple of 16 numbers
this is what one draw for the whole batch gives.

A seed is a whole number from 0 to 2^64 - 1. torch's generator on the CPU takes its low 32 bits, so
seeds that differ by a multiple of 2^32 give the same independent noise, here as in other tools;
Brownian noise takes all 64.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

from graphengine.errors import ModelError

SEEDS = 2**64


def checked(seed: int) -> int:
    """The seed itself. Raises `ModelError` if it is not from 0 to 2^64 - 1."""
    if not 0 <= seed < SEEDS:
        raise ModelError(f"seed {seed} is out of range", f"take one from 0 to {SEEDS - 1}")
    return seed


def start_noise(seed: int, shape: Sequence[int], indices: Sequence[int]) -> Tensor:
    """Standard normal noise [len(indices), *shape], float32: one draw for each index, earlier ones
    thrown away.
    """
    generator = torch.Generator().manual_seed(checked(seed))
    wanted = set(indices)
    drawn: dict[int, Tensor] = {}
    for index in range(max(indices) + 1):
        item = torch.randn(*shape, generator=generator)
        if index in wanted:
            drawn[index] = item
    return torch.stack([drawn[index] for index in indices])


def seed_of_item(seed: int, index: int) -> int:
    """The seed of the noise that a sampler draws for one item: the run's own for item 0, for every
    other one made from the seed and the item's number.
    """
    if index == 0:
        return checked(seed)
    digest = hashlib.sha256(f"{checked(seed)}/{index}".encode()).digest()
    return int.from_bytes(digest[:8], "big")


def step_noise(seed: int, shape: Sequence[int], index: int) -> Iterator[Tensor]:
    """The noise that a sampler draws for one item, step by step, [1, *shape].

    Item 0 has a generator with the run's seed (its first draw is the start noise again, as other
    tools have it); every other item has a generator of its own, seeded by `seed_of_item`.
    """
    generator = torch.Generator().manual_seed(seed_of_item(seed, index))
    while True:
        yield torch.randn(1, *shape, generator=generator)


def step_noise_of_batch(seed: int, shape: Sequence[int], index: int, size: int) -> Iterator[Tensor]:
    """As `step_noise`, but drawn from one generator for a whole batch of `size` together: depends
    on the size.
    """
    generator = torch.Generator().manual_seed(checked(seed))
    while True:
        yield torch.randn(size, *shape, generator=generator)[index : index + 1]
