"""A generative adversarial network, the older way to draw: one step from noise, and no prompt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple

from pydantic import Field

from graphengine import Files, GraphEngineError, Progress, Seed, diffusion, figures, node
from graphengine.diffusion import Image
from graphengine.training import Dataset


@dataclass(frozen=True)
class Generator:
    """A small trained network that draws pictures of `side` pixels; its weights are data here."""

    weights: dict[str, Any]
    side: int
    width: int


class Trained(NamedTuple):
    """The network, its losses step by step, and a sheet of what it drew as it learnt."""

    generator: Generator
    losses: dict[str, list[float]]
    growth: Image


@node(category="gan", title="Train GAN")
def train(
    dataset: Dataset,
    steps: Annotated[int, Field(ge=1, le=1_000_000)] = 3000,
    batch: Annotated[int, Field(ge=2, le=1024, description="pictures a step")] = 32,
    rate: Annotated[float, Field(gt=0, le=1, description="learning rate of both networks")] = 3e-3,
    width: Annotated[
        int, Field(ge=4, le=256, multiple_of=4, description="channels at full size")
    ] = 16,
    seed: Annotated[int, Seed()] = 0,
    *,
    files: Files,
    progress: Progress,
) -> Trained:
    """Teach two networks against each other: one draws, one tells drawn pictures from real ones.

    The data set's pictures are 16, 32, 64 or 128 pixels a side. Stopped, it keeps its state among
    the temporary files; the same settings go on from there.
    """
    from graphengine.training.gan import GanRecipe, pixels_of, run_for, train_gan

    recipe = GanRecipe(batch=batch, width=width, rate=rate)
    run = run_for(files.folder("temp") / "training", dataset, recipe, steps, seed)
    made = train_gan(pixels_of(dataset), recipe, run, progress=progress)
    return Trained(
        Generator(made.weights, dataset.size, width),
        made.losses,
        figures.labelled_grid(
            made.looks,
            columns=recipe.shown,
            title="The same noises, as the GAN learns",
            row_labels=[f"{moment} step{'s' * (moment > 1)}" for moment in made.moments],
        ),
    )


@node(category="gan", title="Draw with GAN")
def draw(
    generator: Generator,
    count: Annotated[int, Field(ge=1, le=4096, description="how many pictures")] = 6,
    seed: Annotated[int, Seed(), Field(description="the same seed gives the same pictures")] = 0,
) -> Image:
    """Draw pictures from noise, each in one step."""
    from graphengine.training.gan import draw_pictures

    return draw_pictures(generator.weights, generator.side, generator.width, count, seed)


@node(category="gan", title="Compare sets of pictures")
def compare(
    real: list[Image],
    gan: list[Image],
    diffusion: list[Image],
    title: str = "Two ways to draw",
    note: Annotated[str, Field(description="a line under the title")] = "",
) -> Image:
    """Show pictures of the world, of a GAN and of a diffusion model in three rows."""
    rows = {
        "The world itself": real,
        "A GAN, from noise": gan,
        "Diffusion, from words": diffusion,
    }
    shown = {name: [one for batch in images for one in batch] for name, images in rows.items()}
    columns = min(len(pictures) for pictures in shown.values())
    if not columns:
        raise GraphEngineError("one of the rows has no picture", "link pictures to all three")
    side = max(one.shape[0] for pictures in shown.values() for one in pictures)
    return figures.labelled_grid(
        [_enlarged(one, side) for pictures in shown.values() for one in pictures[:columns]],
        columns=columns,
        title=title,
        note=note,
        row_labels=list(shown),
    )


def _enlarged(picture: Image, side: int) -> Image:
    return diffusion.resize(picture[None, ..., :3], 0, side, "bicubic")
