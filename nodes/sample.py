"""Sampling: from noise to a clean latent."""

from typing import Annotated

from pydantic import Field

from graphengine import Choice, Progress, Seed, diffusion, node
from graphengine.diffusion import SAMPLERS, SCHEDULES, Conditioning, Latent, Memory, Model


@node(category="sample", title="KSampler", aliases=("KSampler",))
def ksampler(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: Annotated[int, Seed(), Field(description="the same seed gives the same picture")] = 0,
    steps: Annotated[int, Field(ge=1, le=10000)] = 20,
    cfg: Annotated[
        float, Field(ge=0, le=100, description="how closely the prompt is followed; 1 is off")
    ] = 7.0,
    sampler: Annotated[str, Choice(tuple(SAMPLERS))] = "euler",
    schedule: Annotated[
        str, Choice(tuple(SCHEDULES)), Field(description="how the noise levels are spread")
    ] = "normal",
    denoise: Annotated[
        float, Field(ge=0, le=1, description="below 1 keeps something of the latent")
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
