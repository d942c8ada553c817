"""What a model shall show, put together from parts: texts with a place, a strength and a time.

Every function answers a new `Conditioning`; those that take one change each of its parts. How the
parts are shown together is told in regions.py.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from graphengine.diffusion.types import Area, Conditioning
from graphengine.errors import ModelError


def of_parts(parts: tuple[Conditioning, ...]) -> Conditioning:
    """Several parts as one conditioning."""
    first, *others = parts
    return replace(first, also=tuple(others))


def combine_conditioning(one: Conditioning, other: Conditioning) -> Conditioning:
    """The parts of both. Where several parts cover a cell, the model's answers are averaged."""
    return of_parts(one.parts + other.parts)


def limit_to_area(conditioning: Conditioning, area: Area, strength: float = 1.0) -> Conditioning:
    """Show it in a rectangle only, which the model sees as a picture of its own.

    Raises `ModelError` for a rectangle of no size or one that begins outside the picture.
    """
    most = 1 if area.unit == "fraction" else float("inf")
    if not (area.width > 0 and area.height > 0 and 0 <= area.x < most and 0 <= area.y < most):
        raise ModelError(
            f"an area of {area.width:g} x {area.height:g} at {area.x:g}, {area.y:g} "
            f"({area.unit}) holds nothing of the picture",
            "give it a width and a height, and begin inside the picture",
        )
    parts = (replace(part, area=area, strength=strength) for part in conditioning.parts)
    return of_parts(tuple(parts))


def set_strength(conditioning: Conditioning, strength: float) -> Conditioning:
    """How much it counts where other parts cover the same cells. Alone it counts in full."""
    return of_parts(tuple(replace(part, strength=strength) for part in conditioning.parts))


def limit_to_mask(
    conditioning: Conditioning, mask: Tensor, strength: float = 1.0, bounds: bool = False
) -> Conditioning:
    """Show it where a mask [1 or batch, height, width], any resolution, is above 0, as much as the
    mask says.

    `bounds`: the model sees only the rectangle around the mask, else the whole picture.
    """
    area = bounds_of(mask) if bounds else None
    weighted = mask * strength if strength != 1 else mask
    return of_parts(
        tuple(replace(part, mask=weighted, area=area or part.area) for part in conditioning.parts)
    )


def bounds_of(mask: Tensor) -> Area | None:
    """The smallest rectangle around all that is above 0, of all masks together; None if there is
    nothing.
    """
    found = (mask > 0).any(dim=0)
    if not bool(found.any()):
        return None
    rows, columns = (torch.nonzero(found.any(dim=axis)).flatten() for axis in (1, 0))
    height, width = found.shape
    left, top = int(columns[0]), int(rows[0])
    right, bottom = int(columns[-1]) + 1, int(rows[-1]) + 1
    return Area(left / width, top / height, (right - left) / width, (bottom - top) / height)


def limit_to_range(conditioning: Conditioning, start: float, end: float) -> Conditioning:
    """Show it in a part of the schedule only: 0 is its beginning (all noise), 1 its end.

    Fractions are of the timesteps the model was trained with, not of the steps of a run. Raises
    `ModelError` where the end comes before the start.
    """
    if end < start:
        raise ModelError(
            f"a range from {start:g} to {end:g} holds nothing", "let it end after its start"
        )
    return of_parts(tuple(replace(part, start=start, end=end) for part in conditioning.parts))


def average_conditioning(one: Conditioning, other: Conditioning, strength: float) -> Conditioning:
    """Between two texts: one * strength + other * (1 - strength), number by number.

    The tokens of `other` (its first part) are cut, or followed by zeros, to the length of `one`.
    Raises `ModelError` for texts of different widths.
    """
    check_widths(one, other)

    def mixed(tokens: Tensor) -> Tensor:
        fitted = torch.zeros_like(tokens)
        length = min(tokens.shape[1], other.tokens.shape[1])
        fitted[:, :length] = other.tokens[:, :length]
        return tokens * strength + fitted * (1 - strength)

    return of_parts(tuple(replace(part, tokens=mixed(part.tokens)) for part in one.parts))


def concat_conditioning(one: Conditioning, other: Conditioning) -> Conditioning:
    """The tokens of `other` (its first part) behind those of each part of `one`, as if it were all
    one long text. Raises `ModelError` for texts of different widths.
    """
    check_widths(one, other)
    return of_parts(
        tuple(
            replace(part, tokens=torch.cat([part.tokens, other.tokens], dim=1))
            for part in one.parts
        )
    )


def zero_out(conditioning: Conditioning) -> Conditioning:
    """Zeros in place of the text, which is not the same as an empty text."""
    parts = (replace(part, tokens=torch.zeros_like(part.tokens)) for part in conditioning.parts)
    return of_parts(tuple(parts))


def check_widths(one: Conditioning, other: Conditioning) -> None:
    """Whether two texts come from encoders of one width. Raises `ModelError`."""
    if one.width != other.width:
        raise ModelError(
            f"a text of {one.family} ({one.width} wide) and one of {other.family} "
            f"({other.width} wide) don't go together",
            "encode both with the text encoder of one checkpoint",
        )
