"""Noise, drawn on the CPU for one item of a batch at a time, so that a seed means the same noise on
every device.

Item k of a batch starts from the k-th draw of a generator with the seed; only an item's number
counts, not the size of the batch or its place in it. Where an item has a multiple of 16 numbers
this is what one draw for the whole batch gives.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor

SEEDS = 2**64


def start_noise(seed: int, shape: Sequence[int], indices: Sequence[int]) -> Tensor:
    """Standard normal noise [len(indices), *shape], float32: one draw for each index, earlier ones
    thrown away.
    """
    generator = torch.Generator().manual_seed(seed % SEEDS)
    wanted = set(indices)
    drawn: dict[int, Tensor] = {}
    for index in range(max(indices) + 1):
        item = torch.randn(*shape, generator=generator)
        if index in wanted:
            drawn[index] = item
    return torch.stack([drawn[index] for index in indices])


def step_noise(seed: int, shape: Sequence[int], index: int) -> Iterator[Tensor]:
    """The noise that a sampler draws for one item, step by step, [1, *shape].

    Item 0 has a generator with the run's seed (its first draw is the start noise again, as other
    tools have it); every other item has a generator of its own, seeded from the seed and the item's
    number.
    """
    own = seed % SEEDS
    if index:
        digest = hashlib.sha256(f"{own}/{index}".encode()).digest()
        own = int.from_bytes(digest[:8], "big")
    generator = torch.Generator().manual_seed(own)
    while True:
        yield torch.randn(1, *shape, generator=generator)


def step_noise_of_batch(seed: int, shape: Sequence[int], index: int, size: int) -> Iterator[Tensor]:
    """As `step_noise`, but drawn from one generator for a whole batch of `size` together: depends
    on the size.
    """
    generator = torch.Generator().manual_seed(seed % SEEDS)
    while True:
        yield torch.randn(size, *shape, generator=generator)[index : index + 1]
