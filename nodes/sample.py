"""Sampling: from noise to a clean latent."""

from typing import Annotated

from pydantic import Field

from graphengine import Choice, Progress, Seed, diffusion, node
from graphengine.diffusion import (
    SAMPLERS,
    SCHEDULES,
    Conditioning,
    Guider,
    Latent,
    Levels,
    Memory,
    Model,
)

NoiseSeed = Annotated[int, Seed(), Field(description="the same seed gives the same picture")]
Steps = Annotated[int, Field(ge=1, le=10000)]
Cfg = Annotated[
    float, Field(ge=0, le=100, description="how closely the prompt is followed; 1 is off")
]
Sampler = Annotated[str, Choice(tuple(SAMPLERS))]
ScheduleName = Annotated[
    str, Choice(tuple(SCHEDULES)), Field(description="how the noise levels are spread")
]


@node(category="sample", title="KSampler", aliases=("KSampler",))
def ksampler(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: NoiseSeed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: Sampler = "euler",
    schedule: ScheduleName = "normal",
    denoise: Annotated[
        float,
        Field(ge=0, le=1, description="0 keeps the latent, 1 nothing of it; between, something"),
    ] = 1.0,
    *,
    memory: Memory,
    progress: Progress,
) -> Latent:
    """Draw: remove noise from a latent step by step, towards one prompt and away from another."""
    return diffusion.ksampler(
        model,
        positive,
        negative,
        latent,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        denoise=denoise,
        memory=memory,
        progress=progress,
    )


@node(category="sample", title="KSampler (advanced)", aliases=("KSamplerAdvanced",))
def ksampler_advanced(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    add_noise: Annotated[
        bool, Field(description="off goes on with the noise that a run before left over")
    ] = True,
    seed: NoiseSeed = 0,
    steps: Annotated[int, Field(ge=1, le=10000, description="of the whole schedule")] = 20,
    cfg: Cfg = 7.0,
    sampler: Sampler = "euler",
    schedule: ScheduleName = "normal",
    start_step: Annotated[int, Field(ge=0, le=10000, description="steps before are left out")] = 0,
    end_step: Annotated[
        int, Field(ge=0, le=10000, description="steps from here on are left out")
    ] = 10000,
    leftover_noise: Annotated[
        bool,
        Field(description="leave the noise of an early end to a next run; off removes all of it"),
    ] = False,
    *,
    memory: Memory,
    progress: Progress,
) -> Latent:
    """Draw in a part of a schedule, so that two runs can share one.

    Where no step lies between start and end, the latent stays as it is.
    """
    return diffusion.ksampler(
        model,
        positive,
        negative,
        latent,
        seed=seed,
        steps=steps,
        cfg=cfg,
        sampler=sampler,
        schedule=schedule,
        start_step=start_step,
        end_step=end_step,
        add_noise=add_noise,
        leftover_noise=leftover_noise,
        memory=memory,
        progress=progress,
    )


@node(
    category="sample", title="Sample (custom)", aliases=("SamplerCustomAdvanced", "SamplerCustom")
)
def custom(
    model: Model,
    guider: Guider,
    levels: Levels,
    latent: Latent,
    sampler: Sampler = "euler",
    seed: NoiseSeed = 0,
    add_noise: Annotated[
        bool, Field(description="off goes on with the noise that a run before left over")
    ] = True,
    *,
    memory: Memory,
    progress: Progress,
) -> Latent:
    """Draw with any guidance, along any falling noise levels.

    Levels that end above 0 leave their noise in the latent, for a next run that goes on with it.
    """
    return diffusion.sample_custom(
        model,
        guider,
        latent,
        levels,
        seed=seed,
        sampler=sampler,
        add_noise=add_noise,
        memory=memory,
        progress=progress,
    )
