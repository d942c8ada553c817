"""Noise schedules: which levels of noise a run steps through, drawn and in numbers."""

from typing import Annotated

from pydantic import Field

from graphengine import Artifact, Files, diffusion, figures, node
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
