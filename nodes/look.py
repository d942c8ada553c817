"""A look inside: what happens between noise and picture, drawn so that it can be seen."""

from typing import Annotated, Literal, NamedTuple

from pydantic import Field

from graphengine import Artifact, Files, Progress, diffusion, figures, node
from graphengine.diffusion import Conditioning, Image, Latent, Levels, Memory, Model, Trace

from .sample import Cfg, NoiseSeed, Sampler, ScheduleName, Steps

Shown = Annotated[int, Field(ge=1, le=24, description="how many steps are shown at most")]
Strength = Annotated[float, Field(gt=0, le=1, description="below 1 keeps something of the latent")]


class Run(NamedTuple):
    """The result, the latents of every step as the model sees them, and the run for figures."""

    latent: Latent
    noisy: Latent
    clean: Latent
    trace: Trace


@node(category="look", title="KSampler, every step")
def sample_steps(
    model: Model,
    positive: Conditioning,
    negative: Conditioning,
    latent: Latent,
    seed: NoiseSeed = 0,
    steps: Steps = 20,
    cfg: Cfg = 7.0,
    sampler: Sampler = "euler",
    schedule: ScheduleName = "normal",
    denoise: Strength = 1.0,
    *,
    memory: Memory,
    progress: Progress,
) -> Run:
    """Draw one picture and keep every step.

    Of each there is the noisy latent as the model sees it, and the clean one that it expects:
    x - sigma * predicted noise. Of a batch the first picture is drawn.
    """
    result, trace = diffusion.trace_run(
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
    return Run(result, *diffusion.seen_latents(model, trace), trace)


@node(category="look", title="Film strip")
def film_strip(noisy: Image, clean: Image, trace: Trace, shown: Shown = 6) -> Image:
    """Some steps of a run side by side: what the model was given, and what it saw in it."""
    return figures.film_strip(noisy, clean, trace, shown)


@node(category="look", title="Film frames")
def film_frames(noisy: Image, clean: Image, trace: Trace) -> Image:
    """Every step of a run as a frame of an animation."""
    return figures.film_frames(noisy, clean, trace)


@node(
    category="look",
    title="Save animation",
    aliases=("SaveAnimatedWEBP", "SaveAnimatedPNG"),
    sink=True,
)
def save_animation(
    image: Image,
    prefix: Annotated[str, Field(min_length=1, description="a number follows it")] = "animation",
    kind: Annotated[
        Literal["webp", "png"], Field(description="webp is small; png keeps every pixel")
    ] = "webp",
    fps: Annotated[float, Field(gt=0, le=60, description="pictures a second")] = 6.0,
    hold: Annotated[float, Field(ge=0, le=60, description="seconds that the last one stays")] = 2.0,
    *,
    files: Files,
) -> Artifact:
    """Save a batch of pictures as one animated file that plays over and over."""
    data = figures.animation_bytes(image, kind, fps, hold)
    return files.write("output", prefix, f".{kind}", data, f"image/{kind}")


@node(category="look", title="Paths of two runs")
def paths(
    start: Image,
    first: Trace,
    first_pictures: Image,
    second: Trace,
    second_pictures: Image,
    shown: Shown = 5,
) -> Image:
    """Two runs from one noise, in the plane through the noise and both pictures.

    The pictures are the runs' clean latents decoded; `start` is the first noisy latent decoded.
    """
    points = diffusion.plane_of(first, second)
    ways = (
        figures.Way(trace, path, pictures)
        for trace, path, pictures in zip(
            (first, second), points, (first_pictures, second_pictures), strict=True
        )
    )
    return figures.paths_figure(start, *ways, shown=shown)


class Noised(NamedTuple):
    """The latent at each timestep, and how much noise that is."""

    latent: Latent
    levels: Levels


@node(category="look", title="Forward diffusion")
def diffuse(
    model: Model,
    latent: Latent,
    timesteps: Annotated[
        list[Annotated[int, Field(ge=-1)]],
        Field(min_length=1, description="of training, rising noise; -1 is the picture itself"),
    ] = [-1, 50, 150, 300, 500, 700, 999],  # noqa: B006 - never changed
    seed: NoiseSeed = 0,
) -> Noised:
    """Mix a picture's latent with noise as training does, once for each timestep."""
    return Noised(*diffusion.diffuse(model, latent, timesteps, seed))


@node(category="look", title="Forward diffusion, drawn")
def forward(model: Model, pictures: Image, levels: Levels) -> Image:
    """The noised pictures in a row, over the curves of how much picture and noise there is."""
    table = diffusion.noise_table(model.betas)
    return figures.forward_figure(pictures, levels, table.sigmas)


@node(category="look", title="Latent space")
def latent_space(
    image: Image,
    latent: Latent,
    decoded: Image,
    amplify: Annotated[
        float, Field(ge=0, le=1000, description="of the difference; 0 chooses by itself")
    ] = 0.0,
) -> Image:
    """A picture, what the VAE makes of it, the difference, and the channels of its latent."""
    return figures.latent_figure(image, latent.samples, decoded, amplify)
