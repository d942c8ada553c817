"""Noise levels as a list that can be read, written, cut, joined and turned round."""

from __future__ import annotations

import math

from graphengine.diffusion.inspection import timestep_of
from graphengine.diffusion.schedules import noise_table
from graphengine.diffusion.trace import Levels
from graphengine.diffusion.types import Betas, Model
from graphengine.errors import GraphEngineError

NEARLY_NONE = 1e-4
"""What a level of 0 becomes when a list is turned round, for noise can't grow out of none."""


def levels_from_text(text: str, model: Model | None = None, name: str = "custom") -> Levels:
    """Levels from numbers with commas, blanks or line breaks between, the largest first.

    `model`: whose timesteps they are told with, Stable Diffusion's if not given. Raises
    `GraphEngineError` for what is no number or below 0, and for an empty text.
    """
    words = text.replace(",", " ").replace(";", " ").split()
    sigmas = []
    for place, word in enumerate(words):
        try:
            sigma = float(word)
        except ValueError:
            sigma = math.nan
        if not (math.isfinite(sigma) and sigma >= 0):
            raise GraphEngineError(
                f"noise level {place} is {word!r}", "write numbers from 0 up, with commas between"
            )
        sigmas.append(sigma)
    if not sigmas:
        raise GraphEngineError("there are no noise levels", 'write some, such as "14.6, 3, 1, 0"')
    table = noise_table(Betas() if model is None else model.betas)
    return Levels(name, tuple(sigmas), tuple(timestep_of(table, sigma) for sigma in sigmas[:-1]))


def levels_as_text(levels: Levels) -> str:
    """All digits of the levels, with commas between: `levels_from_text` gives the same back."""
    return ", ".join(map(repr, levels.sigmas))


def split_levels(levels: Levels, step: int) -> tuple[Levels, Levels]:
    """The levels before a step and those from there on; the level of the step is in both.

    Raises `GraphEngineError` for a step that there is not.
    """
    steps = len(levels.timesteps)
    if not 0 <= step <= steps:
        raise GraphEngineError(
            f"{levels.name} has {steps} steps and can't be split at step {step}",
            f"give 0 to {steps}",
        )
    high = Levels(f"{levels.name} to {step}", levels.sigmas[: step + 1], levels.timesteps[:step])
    return high, Levels(f"{levels.name} from {step}", levels.sigmas[step:], levels.timesteps[step:])


def split_by_denoise(levels: Levels, denoise: float) -> tuple[Levels, Levels]:
    """The same, with this fraction of the steps, rounded, in the second part. 0 to 1."""
    steps = len(levels.timesteps)
    return split_levels(levels, steps - round(steps * denoise))


def join_levels(first: Levels, second: Levels) -> Levels:
    """One list after the other. The last level of the first gives way to the first level of the
    second, so that the parts of a split make the whole again.

    Raises `GraphEngineError` if the second starts above the last step of the first.
    """
    kept = first.sigmas[:-1]
    if kept and second.sigmas and second.sigmas[0] >= kept[-1]:
        raise GraphEngineError(
            f"{second.name} starts at {second.sigmas[0]:.6g}, "
            f"above the last step of {first.name} at {kept[-1]:.6g}",
            "join the larger levels first, and split off what overlaps",
        )
    name = first.name if first.name == second.name else f"{first.name} + {second.name}"
    return Levels(name, kept + second.sigmas, first.timesteps + second.timesteps)


def flip_levels(levels: Levels, model: Model | None = None) -> Levels:
    """The levels from the smallest to the largest; a 0 in front becomes 0.0001.

    Twice is the same levels again but for that. They are for looking at and for flipping back: a
    run needs levels that fall, and `sample` says so.
    """
    turned = levels.sigmas[::-1]
    if turned and turned[0] == 0:
        turned = (NEARLY_NONE, *turned[1:])
    table = noise_table(Betas() if model is None else model.betas)
    times = tuple(timestep_of(table, sigma) for sigma in turned[:-1])
    return Levels(f"{levels.name} flipped", turned, times)
