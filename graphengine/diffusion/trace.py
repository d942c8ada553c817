"""What a look inside of sampling finds. This module imports without torch."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor
else:
    Tensor = Any


@dataclass(frozen=True)
class Levels:
    """The noise levels that a run steps through, under a name.

    `sigmas`: falling, the last is 0. `timesteps`: where each but the last lies in the table of the
    model's training, with fractions.
    """

    name: str
    sigmas: tuple[float, ...]
    timesteps: tuple[float, ...]

    @property
    def alpha_bars(self) -> tuple[float, ...]:
        """The share of the signal's variance at each level, 1 / (1 + sigma^2)."""
        return tuple(1 / (1 + sigma**2) for sigma in self.sigmas)


@dataclass(frozen=True)
class Trace:
    """A sampling run of one picture, step by step, under the name of its sampler.

    `sigmas`: the level of each step. `noisy`: the latent before each step, and `clean`: the clean
    latent that the model saw in it, both [steps, channels, h, w] in the model's numbers. The last
    clean latent is the result.
    """

    name: str
    sigmas: tuple[float, ...]
    noisy: Tensor
    clean: Tensor

    def __len__(self) -> int:
        return len(self.sigmas)

    @property
    def scales(self) -> tuple[float, ...]:
        """What the model divides the noisy latent of each step by: sqrt(1 + sigma^2)."""
        return tuple(math.hypot(1, sigma) for sigma in self.sigmas)


def spread(count: int, most: int) -> list[int]:
    """At most `most` of `count` places, evenly, the first and the last among them."""
    if count <= most:
        return list(range(count))
    if most == 1:
        return [count - 1]
    return [round(place * (count - 1) / (most - 1)) for place in range(most)]
