"""What a model shall show, put together from several texts with places, strengths and times."""

from typing import Annotated

from pydantic import Field

from graphengine import diffusion, node
from graphengine.diffusion import Area, Conditioning, Mask

Strength = Annotated[
    float, Field(ge=0, le=10, description="how much it counts beside others; alone it is all")
]
Share = Annotated[float, Field(ge=0, le=1, description="a fraction of the picture's side")]
Pixels = Annotated[int, Field(ge=0, le=16384, description="pixels, rounded down to cells")]
Time = Annotated[
    float, Field(ge=0, le=1, description="0 is the beginning of the schedule, 1 its end")
]


@node(category="conditioning", title="Combine conditionings", aliases=("ConditioningCombine",))
def combine(one: Conditioning, other: Conditioning) -> Conditioning:
    """Show both in one picture. Where both cover a place, the model's answers are averaged."""
    return diffusion.combine_conditioning(one, other)


@node(
    category="conditioning",
    title="Set conditioning area",
    aliases=("ConditioningSetAreaPercentage",),
)
def set_area(
    conditioning: Conditioning,
    x: Share = 0.0,
    y: Share = 0.0,
    width: Share = 0.5,
    height: Share = 1.0,
    strength: Strength = 1.0,
) -> Conditioning:
    """Show it in a rectangle only. The model sees that rectangle as a picture of its own."""
    return diffusion.limit_to_area(conditioning, Area(x, y, width, height), strength)


@node(
    category="conditioning",
    title="Set conditioning area (pixels)",
    aliases=("ConditioningSetArea",),
)
def set_area_in_pixels(
    conditioning: Conditioning,
    x: Pixels = 0,
    y: Pixels = 0,
    width: Pixels = 64,
    height: Pixels = 64,
    strength: Strength = 1.0,
) -> Conditioning:
    """Show it in a rectangle only, given in pixels."""
    return diffusion.limit_to_area(conditioning, Area(x, y, width, height, "pixels"), strength)


@node(category="conditioning", title="Set conditioning mask", aliases=("ConditioningSetMask",))
def set_mask(
    conditioning: Conditioning,
    mask: Mask,
    strength: Strength = 1.0,
    bounds: Annotated[
        bool, Field(description="the model sees only the rectangle around the mask")
    ] = False,
) -> Conditioning:
    """Show it where a mask is white. The model sees the whole picture all the same."""
    return diffusion.limit_to_mask(conditioning, mask, strength, bounds)


@node(
    category="conditioning",
    title="Set conditioning strength",
    aliases=("ConditioningSetAreaStrength",),
)
def set_strength(conditioning: Conditioning, strength: Strength = 1.0) -> Conditioning:
    """How much it counts where other conditionings cover the same place."""
    return diffusion.set_strength(conditioning, strength)


@node(
    category="conditioning",
    title="Set conditioning range",
    aliases=("ConditioningSetTimestepRange",),
)
def set_range(conditioning: Conditioning, start: Time = 0.0, end: Time = 1.0) -> Conditioning:
    """Show it in a part of the schedule only. The beginning decides the composition, the end the
    details.
    """
    return diffusion.limit_to_range(conditioning, start, end)


@node(category="conditioning", title="Average conditionings", aliases=("ConditioningAverage",))
def average(
    one: Conditioning,
    other: Conditioning,
    strength: Annotated[float, Field(ge=0, le=1, description="1 is the one, 0 the other")] = 0.5,
) -> Conditioning:
    """A text between two texts, number by number."""
    return diffusion.average_conditioning(one, other, strength)


@node(category="conditioning", title="Concat conditionings", aliases=("ConditioningConcat",))
def concat(one: Conditioning, other: Conditioning) -> Conditioning:
    """Two texts one behind the other, read by the model as one long text."""
    return diffusion.concat_conditioning(one, other)


@node(category="conditioning", title="Zero out conditioning", aliases=("ConditioningZeroOut",))
def zero_out(conditioning: Conditioning) -> Conditioning:
    """Zeros in place of the text. That is not the same as an empty text."""
    return diffusion.zero_out(conditioning)
