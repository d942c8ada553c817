"""Noise schedules: which levels of noise a run steps through, as lists, drawn and in numbers."""

from typing import Annotated, NamedTuple

from pydantic import Field

from graphengine import Artifact, Files, Multiline, diffusion, figures, node
from graphengine.diffusion import Image, Levels, Model

from .sample import Steps


@node(category="schedule", title="Noise levels", aliases=("BasicScheduler",))
def levels(
    model: Model,
    schedules: Annotated[
        str, Field(min_length=1, description="names of schedules, with commas between")
    ] = "normal, karras",
    steps: Steps = 20,
    denoise: Annotated[
        float, Field(gt=0, le=1, description="below 1 takes the end of a longer list")
    ] = 1.0,
) -> list[Levels]:
    """The noise levels of one or several schedules with a model, and their timesteps."""
    names = schedules.replace(",", " ").split()
    return [diffusion.noise_levels(model, name, steps, denoise) for name in names]


@node(category="schedule", title="Plot schedules")
def plot(levels: list[Levels]) -> Image:
    """Schedules over each other: levels and timesteps by step, and the numbers below."""
    return figures.schedule_figure({told.name: told for told in levels})


@node(category="schedule", title="Schedules as a table")
def table(levels: list[Levels]) -> str:
    """The numbers of schedules as text with aligned columns."""
    return figures.schedule_text({told.name: told for told in levels})


@node(category="schedule", title="Save schedules", sink=True)
def save(
    levels: list[Levels],
    prefix: Annotated[str, Field(min_length=1, description="a number follows it")] = "schedules",
    *,
    files: Files,
) -> Artifact:
    """Save the numbers of schedules, all digits, as a CSV file."""
    text = figures.schedule_csv({told.name: told for told in levels})
    return files.write("output", prefix, ".csv", text.encode(), "text/csv")


class Parts(NamedTuple):
    """The two parts of a split; the level between them is in both."""

    high: Levels
    low: Levels


@node(category="schedule", title="Noise levels from numbers", aliases=("ManualSigmas",))
def manual(
    sigmas: Annotated[
        str,
        Multiline(),
        Field(min_length=1, description="falling numbers with commas between; the last mostly 0"),
    ] = "14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152, 0",
    name: Annotated[str, Field(min_length=1, description="in plots and tables")] = "custom",
    model: Model | None = None,
) -> Levels:
    """Noise levels of your own. A model tells their timesteps, if it isn't Stable Diffusion's."""
    return diffusion.levels_from_text(sigmas, model, name)


@node(category="schedule", title="Noise levels as numbers")
def numbers(levels: Levels) -> str:
    """All digits of noise levels as text, to be edited and read again."""
    return diffusion.levels_as_text(levels)


@node(category="schedule", title="Split noise levels", aliases=("SplitSigmas",))
def split(
    levels: Levels,
    step: Annotated[
        int, Field(ge=0, le=10000, description="so many steps are in the first part")
    ] = 10,
) -> Parts:
    """Two parts of a schedule, for a run each."""
    return Parts(*diffusion.split_levels(levels, step))


@node(category="schedule", title="Split noise levels by denoise", aliases=("SplitSigmasDenoise",))
def split_by_denoise(
    levels: Levels,
    denoise: Annotated[
        float, Field(ge=0, le=1, description="this share of the steps is in the second part")
    ] = 0.5,
) -> Parts:
    """Two parts of a schedule, for a run each, by the share of the second."""
    return Parts(*diffusion.split_by_denoise(levels, denoise))


@node(category="schedule", title="Join noise levels")
def join(first: Levels, second: Levels) -> Levels:
    """One list after the other. The first one's last level gives way to the second one's first."""
    return diffusion.join_levels(first, second)


@node(category="schedule", title="Flip noise levels", aliases=("FlipSigmas",))
def flip(levels: Levels, model: Model | None = None) -> Levels:
    """Noise levels from the smallest up, to look at or flip back; runs need falling ones."""
    return diffusion.flip_levels(levels, model)
