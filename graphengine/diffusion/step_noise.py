"""The noise that a sampler adds in its steps: which kind, of which item, drawn how."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from graphengine.diffusion.brownian import brownian_noise
from graphengine.diffusion.noise import checked, seed_of_item, step_noise, step_noise_of_batch
from graphengine.diffusion.samplers import Noise, NoiseKind


@dataclass(frozen=True)
class StepNoise:
    """Noise of one kind for a run down these levels. `shape`: of an item, [channels, h, w]."""

    kind: NoiseKind
    seed: int
    shape: Sequence[int]
    sigmas: Sequence[float]

    def of_item(self, index: int) -> Noise:
        """A stream of the item's own, [1, *shape]: by its number, whatever its batch."""
        if self.kind == "brownian":
            return brownian_noise(seed_of_item(self.seed, index), (1, *self.shape), self.sigmas)
        stream = step_noise(self.seed, self.shape, index)
        return lambda sigma, sigma_next: next(stream)

    def of_batch(self, place: int, size: int) -> Noise:
        """The item's part of what is drawn for the whole batch, [1, *shape]."""
        if self.kind == "brownian":
            whole = brownian_noise(checked(self.seed), (size, *self.shape), self.sigmas)
            return lambda sigma, sigma_next: whole(sigma, sigma_next)[place : place + 1]
        stream = step_noise_of_batch(self.seed, self.shape, place, size)
        return lambda sigma, sigma_next: next(stream)
