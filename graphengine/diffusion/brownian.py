"""Noise along one Brownian path, so that the noise of a long step is the sum of the noise of the
short ones within it.

The path is torchsde's Brownian tree over the noise levels of a run, on the CPU: any two levels give
the same values whatever was asked before. Kidger et al. 2021 (arXiv:2105.13493) describe such trees.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

Noise = Callable[[float, float], Tensor]


def brownian_noise(seed: int, shape: Sequence[int], sigmas: Sequence[float]) -> Noise:
    """Noise for the way between two levels, standard normal, of this shape, float32.

    `sigmas`: the run's levels; the path goes from the smallest above 0 to the largest. All 64 bits
    of the seed count. Levels are taken in single precision, as the field does: the tree answers
    otherwise for a level that differs in its last bit.
    """
    from torchsde import BrownianTree

    levels = [_digits(sigma) for sigma in sigmas if sigma > 0]
    low, high = min(levels), max(levels)
    trees: list[BrownianTree] = []

    def noise(sigma: float, sigma_next: float) -> Tensor:
        if not trees:
            trees.append(BrownianTree(low, torch.zeros(*shape), high, entropy=seed))
        one, other = sorted(min(max(_digits(level), low), high) for level in (sigma, sigma_next))
        way: Tensor = trees[0](one, other)
        drawn: Tensor = way * ((1 if sigma < sigma_next else -1) / (other - one) ** 0.5)
        return drawn

    return noise


def _digits(number: float) -> float:
    """The nearest number of single precision, to the six digits that the tree tells apart."""
    nearest: float = struct.unpack("f", struct.pack("f", number))[0]
    return round(nearest, 6)
