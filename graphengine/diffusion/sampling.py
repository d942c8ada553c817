"""The one loop that drives every sampler: start noise, masks, progress, previews, cancelling,
snapshots, and the check for NaN.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor

from graphengine.diffusion.denoiser import masked
from graphengine.diffusion.noise import SEEDS, start_noise
from graphengine.diffusion.samplers import Denoiser, Noise, Stage, both, sampler_named
from graphengine.diffusion.schedules import NoiseTable, noise_table
from graphengine.diffusion.snapshots import Snapshots, State, run_digest
from graphengine.diffusion.step_noise import StepNoise
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
    table: NoiseTable | None = None,
    noise_index: Sequence[int] | None = None,
    noise_mask: Tensor | None = None,
    add_noise: bool = True,
    from_noise: bool = False,
    step_seed: int | Sequence[int] | None = None,
    step_noise_from: Literal["item", "batch"] = "item",
    progress: Progress | None = None,
    preview: Preview | None = None,
    watch: Watch | None = None,
    snapshots: Snapshots | None = None,
) -> Tensor:
    """Noise a batch of latents and denoise it along `sigmas`. The only model it needs is `denoise`:

        table = noise_table()                  # Stable Diffusion's 1000 levels
        sigmas = levels(table, "karras", 20, sampler="dpmpp_2m")  # 21 falling levels, the last is 0

        def denoise(x, sigma):                 # exact, for data that are normal with variance 1
            return x / (1 + sigma**2)

        data = sample(denoise, torch.zeros(1, 4, 64, 64), sigmas, sampler="dpmpp_2m", seed=42,
                      sigma_max=table.sigma_max)

    `denoise(x, sigma)` answers the clean latent in x [1, channels, h, w], float32, at noise level
    sigma, a float; one for all, or a list with one for each item. With guidance it is made of two:
    `guide(positive, negative, cfg)`. Samplers named cfg_pp take only such a one, since they need
    the negative side's own answer. A network that predicts noise or velocity for a whole timestep
    becomes a denoiser by `predictor`.

    `latent`: float32 [batch, channels, h, w], in the model's numbers (times the scale factor of its
    VAE, and so is the result); zeros to start from noise alone. Every item of the batch is run by
    itself: a network's last bits change with the size of a batch, and an item shall be the same
    wherever it stands. (They change with the number of CPU threads too; that is for the caller to
    keep.)

    `sampler`: a name of `SAMPLERS`. `sigmas`: falling, from `levels(table, schedule, steps, denoise,
    sampler=sampler)` or your own. A part of a run is a part of the list: sigmas[:9] leaves its
    noise in the result, [*sigmas[:8], 0] stops there and removes it, sigmas[8:] with
    `add_noise=False` goes on. One step into 0 is the clean latent for every sampler. dpm_fast and
    dpm_adaptive take from a list its ends and its length (dpm_adaptive its ends only), and stop at
    the last level above 0; uni_pc and uni_pc_bh2 stop at 0.001. dpm_adaptive's steps are those that
    an item needs by itself, not its batch.

    `sigma_max`: the largest level of the model. A run that starts there begins with
    latent + noise * sqrt(1 + sigma^2), or, with `from_noise`, the noise alone; any other with
    latent + noise * sigma. `table`: the model's levels, Stable Diffusion's if not given; only
    sa_solver looks at them. `noise_mask`: [1 or batch, height, width], any resolution; 1 is
    sampled, 0 keeps the latent.

    Noise is drawn on the CPU, whatever the device. `seed`, 0 to 2^64 - 1: one for all or one for
    each item. `noise_index`: the number of each item's noise, its position if not given.
    `add_noise=False` starts from the latent as it is. What a sampler adds itself is independent
    draws or, for the dpmpp_*sde samplers, the ways of one Brownian path from the largest level to
    the smallest above 0; `SAMPLERS[name].noise` says which. Its seed is `step_seed`, or `seed`
    again (then the first draw is the start noise once more; some versions of other tools take
    seed + 1). `step_noise_from`: "item" gives each item its own stream of that; "batch" draws it
    for the whole batch at once, as other tools do, and then an item depends on the size of its
    batch. Item 0 of a batch of one is the same with both.

    `watch` is told every step of every item, one item after the other. `snapshots` is told the state
    after every step; if it holds one of the same run (latent, levels, sampler, seeds, mask and all
    else that is given here but the denoiser), the run goes on from there to the same bits, and the
    steps before are not watched again. dpm_adaptive's whole way is one step. Returns the result, [batch,
    channels, h, w]; with fewer than two levels the latent itself. Raises `ModelError` for an
    unknown sampler, levels that don't fall, a seed out of range, a denoiser without what the sampler
    needs, and when the model answers NaN or infinity; `Cancelled` out of `progress`.
    """
    chosen = sampler_named(sampler)
    check_falling(sigmas)
    if len(sigmas) < 2 or not len(latent):
        return latent
    batch, shape = len(latent), latent.shape[1:]
    indices = _one_each(
        range(batch) if noise_index is None else noise_index, batch, "noise indices"
    )
    seeds = _one_each([seed] * batch if isinstance(seed, int) else seed, batch, "seeds")
    later = seeds if step_seed is None else step_seed
    later = _one_each([later] * batch if isinstance(later, int) else later, batch, "step seeds")
    denoisers = _one_each([denoise] * batch if callable(denoise) else denoise, batch, "denoisers")
    noise = noise_of(seeds, shape, indices).to(latent) if add_noise else torch.zeros_like(latent)
    if noise_mask is not None:
        keep_noise = noise
        if chosen.fresh_mask_noise:
            others = [(own + 1) % SEEDS for own in seeds]
            keep_noise = noise_of(others, shape, indices).to(latent)
        fitted = fit_mask(noise_mask, latent)
        items = [slice(place, place + 1) for place in range(batch)]
        denoisers = [
            masked(own, latent[here], keep_noise[here], fitted[here])
            for own, here in zip(denoisers, items)
        ]
    start = noised(latent, noise, sigmas[0], sigma_max, from_noise and add_noise)
    stages = chosen.plan(list(sigmas), table or noise_table())
    facts = {
        "sampler": sampler,
        "sigmas": list(sigmas),
        "sigma_max": sigma_max,
        "table": None if table is None else [table.sigma(step) for step in range(table.last + 1)],
        "noise": [add_noise, from_noise, step_noise_from, seeds, later, indices],
    }
    run = "" if snapshots is None else run_digest(facts, [latent, start, noise_mask])
    kept = None if snapshots is None else snapshots.load()
    kept = None if kept is None or kept.run != run else kept.to(latent.device)
    done = latent[:0] if kept is None else kept.done
    told = 0 if kept is None else len(done) * len(stages) + kept.step
    clock = _Clock(progress or Progress(), batch * len(stages), preview, told)
    for place in range(len(done), batch):
        drawn = StepNoise(chosen.noise, later[place], shape, sigmas)
        own = drawn.of_item(indices[place])
        stream = _Stream(own if step_noise_from == "item" else drawn.of_batch(place, batch), latent)
        state = kept or State(run, done, 0, start[place : place + 1], (), 0)
        if chosen.noise == "independent":  # ways along a Brownian path are known by their ends
            stream.skip(state.draws)
        x = _descend(denoisers[place], state, stages, stream, clock, watch, snapshots)
        done, kept = torch.cat([done, x]), None
    return done


def _descend(
    denoise: Denoiser,
    state: State,
    stages: Sequence[Stage],
    noise: _Stream,
    clock: _Clock,
    watch: Watch | None,
    snapshots: Snapshots | None,
) -> Tensor:
    """One item, [1, channels, h, w], down all stages that are left."""
    x, history = state.x, state.history
    for i, stage in enumerate(stages[state.step :], state.step):
        watched = _Watched(denoise, i, len(stages))
        noisy = x
        x, history = stage.step(watched, x, stage.sigma, stage.sigma_next, history, noise)
        if watch is not None and watched.first is not None:
            watch(i, stage.sigma, noisy, watched.first)
        if snapshots is not None:
            snapshots.save(State(state.run, state.done, i + 1, x, history, noise.draws))
        clock.tick(stage.sigma, watched.clean)
    return x


T = TypeVar("T")


def _one_each(given: Sequence[T], batch: int, what: str) -> list[T]:
    if len(given) != batch:
        raise ValueError(f"{len(given)} {what} for a batch of {batch}")
    return list(given)


def check_falling(sigmas: Sequence[float]) -> None:
    """Raises `ModelError` naming the first place where levels don't fall, or one is no level."""
    for place, sigma in enumerate(sigmas):
        if not (math.isfinite(sigma) and sigma >= 0):
            raise ModelError(f"noise level {place} is {sigma}", "levels are finite and not below 0")
        if place and sigma >= sigmas[place - 1]:
            raise ModelError(
                f"noise level {place} is {sigma:.6g} after {sigmas[place - 1]:.6g}",
                "levels have to fall from each to the next",
            )


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


class _Stream:
    """A stream of noise on the device of `like`, that counts how often it was drawn from."""

    def __init__(self, noise: Noise, like: Tensor) -> None:
        self.noise, self.like, self.draws = noise, like, 0

    def __call__(self, sigma: float, sigma_next: float) -> Tensor:
        self.draws += 1
        return self.noise(sigma, sigma_next).to(self.like)

    def skip(self, draws: int) -> None:
        """Throw away what was drawn before."""
        while self.draws < draws:
            self(0.0, 0.0)


class _Watched:
    """A denoiser that remembers its first answer of a step and its last one, and refuses
    nonsense.
    """

    def __init__(self, denoise: Denoiser, step: int, steps: int) -> None:
        self.denoise, self.step, self.steps = denoise, step, steps
        self.first: Tensor | None = None
        self.clean: Tensor | None = None

    def __call__(self, x: Tensor, sigma: float) -> Tensor:
        return self._seen(self.denoise(x, sigma), sigma)

    def both(self, x: Tensor, sigma: float) -> tuple[Tensor, Tensor]:
        """With guidance and without, for samplers that need the two."""
        clean, unguided = both(self.denoise, x, sigma)
        return self._seen(clean, sigma), unguided

    def _seen(self, clean: Tensor, sigma: float) -> Tensor:
        if not bool(torch.isfinite(clean).all()):
            raise ModelError(
                f"the model answered NaN or infinity at step {self.step + 1} of {self.steps} "
                f"(sigma {sigma:.4g})",
                "run it in float32 (GRAPHENGINE_DTYPE=float32); if it still happens the weights are damaged or of another kind",
            )
        self.clean = clean
        self.first = clean if self.first is None else self.first
        return clean


class _Clock:
    """Counts steps over the whole batch and tells them; `done` of them were taken before."""

    def __init__(
        self, progress: Progress, total: int, preview: Preview | None, done: int = 0
    ) -> None:
        self.progress, self.total, self.preview = progress, total, preview
        self.before, self.done, self.start = done, done, time.monotonic()
        progress.report(done, total)

    def tick(self, sigma: float, clean: Tensor | None) -> None:
        self.done += 1
        speed = (self.done - self.before) / max(time.monotonic() - self.start, 1e-9)
        picture = self.preview
        show = None if picture is None or clean is None else (lambda: picture(clean))
        self.progress.report(
            self.done,
            self.total,
            preview=show,
            sigma=sigma,
            steps_per_second=speed,
            seconds_left=(self.total - self.done) / speed,
        )
