"""The one loop that drives every sampler: start noise, masks, progress, previews, cancelling, and
the check for NaN.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

import torch
from torch import Tensor

from graphengine.diffusion.denoiser import masked
from graphengine.diffusion.noise import start_noise, step_noise, step_noise_of_batch
from graphengine.diffusion.samplers import FRESH_MASK_NOISE, SAMPLERS, Denoiser, History
from graphengine.errors import ModelError
from graphengine.resource import Progress

Preview = Callable[[Tensor], Any]
"""A clean latent [1, channels, h, w] -> a small Pillow image."""

Watch = Callable[[int, float, Tensor, Tensor], None]
"""(step, sigma, noisy latent, the clean latent the model saw in it), both [1, channels, h, w]."""


@torch.no_grad()
def sample(
    denoise: Denoiser | Sequence[Denoiser],
    latent: Tensor,
    sigmas: Sequence[float],
    *,
    sampler: str,
    seed: int | Sequence[int],
    sigma_max: float,
    noise_index: Sequence[int] | None = None,
    noise_mask: Tensor | None = None,
    add_noise: bool = True,
    from_noise: bool = False,
    step_noise_from: Literal["item", "batch"] = "item",
    progress: Progress | None = None,
    preview: Preview | None = None,
    watch: Watch | None = None,
) -> Tensor:
    """Noise a batch of latents and denoise it along `sigmas`. The only model it needs is `denoise`:

        table = noise_table()                  # Stable Diffusion's 1000 levels
        sigmas = levels(table, "karras", 20)   # 21 falling levels, the last is 0

        def denoise(x, sigma):                 # exact, for data that are normal with variance 1
            return x / (1 + sigma**2)

        data = sample(denoise, torch.zeros(1, 4, 64, 64), sigmas, sampler="dpmpp_2m", seed=42,
                      sigma_max=table.sigma_max)

    `denoise(x, sigma)` answers the clean latent in x [1, channels, h, w], float32, at noise level
    sigma, a float; one for all, or a list with one for each item. `latent`: float32 [batch,
    channels, h, w], in the model's numbers; zeros to start from noise alone. Every item of the
    batch is run by itself: a network's last bits change with the size of a batch, and an item shall
    be the same wherever it stands. (They change with the number of CPU threads too; that is for the
    caller to keep.)

    `sigma_max`: the largest level of the model. A run that starts there begins with
    latent + noise * sqrt(1 + sigma^2), or, with `from_noise`, the noise alone; any other with
    latent + noise * sigma. `seed`: one for all or one for each item. `noise_index`: the number of
    each item's noise, its position if not given. `noise_mask`: [1 or batch, height, width], any
    resolution; 1 is sampled, 0 keeps the latent. `add_noise=False` starts from the latent as it is
    (the rest of a run that was cut in two). `step_noise_from`: "item" gives each item its own
    stream for the noise that ancestral samplers add; "batch" draws it for the whole batch at once,
    as some other tools do, and then an item depends on the size of its batch. `watch` is told every
    step of every item, one item after the other.

    Returns the result, [batch, channels, h, w]; with fewer than two levels the latent itself.
    Raises `ModelError` when the model answers NaN or infinity, `Cancelled` out of `progress`,
    `KeyError` for an unknown sampler.
    """
    step = SAMPLERS[sampler]
    if len(sigmas) < 2 or not len(latent):
        return latent
    progress = progress or Progress()
    batch, shape = len(latent), latent.shape[1:]
    indices = list(range(batch)) if noise_index is None else list(noise_index)
    seeds = [seed] * batch if isinstance(seed, int) else list(seed)
    denoisers = [denoise] * batch if callable(denoise) else list(denoise)
    for given, what in ((indices, "noise indices"), (seeds, "seeds"), (denoisers, "denoisers")):
        if len(given) != batch:
            raise ValueError(f"{len(given)} {what} for a batch of {batch}")
    noise = noise_of(seeds, shape, indices).to(latent) if add_noise else torch.zeros_like(latent)
    if noise_mask is not None:
        keep_noise = noise
        if sampler in FRESH_MASK_NOISE:
            keep_noise = noise_of([own + 1 for own in seeds], shape, indices).to(latent)
        fitted = fit_mask(noise_mask, latent)
        items = [slice(place, place + 1) for place in range(batch)]
        denoisers = [
            masked(own, latent[here], keep_noise[here], fitted[here])
            for own, here in zip(denoisers, items)
        ]
    start = noised(latent, noise, sigmas[0], sigma_max, from_noise and add_noise)
    steps = len(sigmas) - 1
    clock = _Clock(progress, batch * steps, preview)
    results = []
    for place, index in enumerate(indices):
        if step_noise_from == "item":
            stream = step_noise(seeds[place], shape, index)
        else:
            stream = step_noise_of_batch(seeds[place], shape, place, batch)
        x = start[place : place + 1]
        history: History = ()
        for i in range(steps):
            watched = _Watched(denoisers[place], i, steps)
            noisy = x
            x, history = step(watched, x, sigmas[i], sigmas[i + 1], history, _draw(stream, x))
            if watch is not None and watched.first is not None:
                watch(i, sigmas[i], noisy, watched.first)
            clock.tick(sigmas[i], watched.clean)
        results.append(x)
    return torch.cat(results)


def noise_of(seeds: Sequence[int], shape: Sequence[int], indices: Sequence[int]) -> Tensor:
    """The start noise of items that have a seed and a number each, [batch, *shape]."""
    if len(set(seeds)) == 1:
        return start_noise(seeds[0], shape, indices)
    parts = [start_noise(seed, shape, [index]) for seed, index in zip(seeds, indices, strict=True)]
    return torch.cat(parts)


def noised(
    latent: Tensor, noise: Tensor, sigma: float, sigma_max: float, from_noise: bool
) -> Tensor:
    """A latent at the level where a run starts; with `from_noise` the noise alone at the largest."""
    scaled = noise * start_scale(sigma, sigma_max)
    return scaled if from_noise and is_full(sigma, sigma_max) else latent + scaled


def is_full(sigma: float, sigma_max: float) -> bool:
    """Whether a level is the model's largest, or more."""
    return sigma > sigma_max or math.isclose(sigma, sigma_max, rel_tol=1e-5)


def start_scale(sigma: float, sigma_max: float) -> float:
    """How much noise a run starts with: at the model's largest level the signal's own variance is
    added.
    """
    return math.sqrt(1 + sigma**2) if is_full(sigma, sigma_max) else sigma


def fit_mask(mask: Tensor, latent: Tensor) -> Tensor:
    """A mask [1 or batch, height, width] as [batch, 1, h, w] for a latent, bilinear. Raises
    `ValueError` for another batch.
    """
    if len(mask) not in (1, len(latent)):
        raise ValueError(
            f"{len(mask)} masks for a batch of {len(latent)}: give one, or one for each"
        )
    fitted = mask.to(latent).unsqueeze(1)
    if fitted.shape[2:] != latent.shape[2:]:
        fitted = torch.nn.functional.interpolate(fitted, size=latent.shape[2:], mode="bilinear")
    return fitted.expand(len(latent), 1, *latent.shape[2:])


def _draw(stream: Iterator[Tensor], like: Tensor) -> Callable[[], Tensor]:
    return lambda: next(stream).to(like)


class _Watched:
    """A denoiser that remembers its first answer of a step and its last one, and refuses
    nonsense.
    """

    def __init__(self, denoise: Denoiser, step: int, steps: int) -> None:
        self.denoise, self.step, self.steps = denoise, step, steps
        self.first: Tensor | None = None
        self.clean: Tensor | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        self.clean = self.denoise(x, sigma)
        if not bool(torch.isfinite(self.clean).all()):
            raise ModelError(
                f"the model answered NaN or infinity at step {self.step + 1} of {self.steps} "
                f"(sigma {sigma:.4g})",
                "run it in float32 (GRAPHENGINE_DTYPE=float32); if it still happens the weights are damaged or of another kind",
            )
        self.first = self.clean if self.first is None else self.first
        return self.clean


class _Clock:
    """Counts steps over the whole batch and tells them."""

    def __init__(self, progress: Progress, total: int, preview: Preview | None) -> None:
        self.progress, self.total, self.preview = progress, total, preview
        self.done, self.start = 0, time.monotonic()
        progress.report(0, total)

    def tick(self, sigma: float, clean: Tensor | None) -> None:
        self.done += 1
        speed = self.done / max(time.monotonic() - self.start, 1e-9)
        picture = self.preview
        show = None if picture is None or clean is None else (lambda: picture(clean))
        self.progress.report(
            self.done, self.total, preview=show, sigma=sigma, steps_per_second=speed
        )
