"""Several texts in one picture: each part of a conditioning is asked for, and the answers are mixed
cell by cell.

    D = sum(D_i * m_i) / sum(m_i)      m_i = strength * (mask, or the area with soft edges)

A part with an area is shown the cells of its area alone, as a picture of its own; one with a mask
the whole latent. Multi-area composition was described as MultiDiffusion (Bar-Tal et al. 2023,
arXiv:2302.08113). Guidance is applied to the mixtures of the two sides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from graphengine.diffusion.denoiser import Predict, guided, same_length
from graphengine.diffusion.samplers import GuidedDenoiser
from graphengine.diffusion.schedules import NoiseTable
from graphengine.diffusion.types import Area, Conditioning

FEATHER = 8
"""An area's edges inside the picture rise over at most so many cells, and at most a quarter of the
area.
"""


@dataclass(frozen=True)
class Cells:
    """A rectangle of a latent."""

    top: int
    left: int
    height: int
    width: int

    @property
    def place(self) -> tuple[slice, slice]:
        """For indexing the last two axes, behind an Ellipsis."""
        return (
            slice(self.top, self.top + self.height),
            slice(self.left, self.left + self.width),
        )

    def encloses(self, other: Cells) -> bool:
        return (
            self.top <= other.top
            and self.left <= other.left
            and self.top + self.height >= other.top + other.height
            and self.left + self.width >= other.left + other.width
        )


@dataclass(frozen=True, eq=False)
class Entry:
    """One part, ready for the latent of one item: its tokens, what it is shown (None is all), how
    much it counts in each of these cells [1, 1, height, width], and the levels it is used at.
    """

    tokens: Tensor
    cells: Cells | None
    weight: Tensor
    highest: float
    lowest: float

    def is_used(self, sigma: float) -> bool:
        return self.lowest <= sigma <= self.highest


PredictAt = Callable[[Cells | None], Predict]
"""The prediction for a rectangle of the latent: x there [1, channels, height, width] -> clean."""


@dataclass(frozen=True)
class Frame:
    """What parts are laid out on: a latent of `size` (height, width) in cells of `factor` pixels,
    and the noise table that tells fractions of the schedule.
    """

    table: NoiseTable
    size: tuple[int, int]
    factor: int = 8
    device: torch.device | str = "cpu"


def conditioned(
    predict_at: PredictAt,
    frame: Frame,
    item: int,
    positive: Conditioning,
    negative: Conditioning,
    cfg: float,
    together: bool = True,
) -> GuidedDenoiser:
    """The denoiser of one item of a batch for two conditionings, of one part or many.

    `together`: two texts in one call of the network where their lengths allow, else one after the
    other, which takes less memory.
    """
    if positive.is_plain and negative.is_plain:
        towards, away = (side.tokens.to(frame.device) for side in (positive, negative))
        return guided(predict_at(None), towards, away, cfg, together)
    wanted, unwanted = (entries(side, frame, item) for side in (positive, negative))
    return regional(predict_at, wanted, unwanted, cfg, together)


def entries(conditioning: Conditioning, frame: Frame, item: int) -> list[Entry]:
    """The parts of a conditioning for one item of a batch."""
    made = []
    for part in conditioning.parts:
        cells = None if part.area is None else cells_of(part.area, *frame.size, frame.factor)
        weight = weight_of(part, item, cells, frame.size).to(frame.device)
        highest, lowest = level_at(frame.table, part.start), level_at(frame.table, part.end)
        made.append(Entry(part.tokens.to(frame.device), cells, weight, highest, lowest))
    return made


def level_at(table: NoiseTable, fraction: float) -> float:
    """The noise level at a fraction of the trained timesteps: 0 is above all levels, 1 below."""
    if fraction <= 0:
        return math.inf
    return 0.0 if fraction >= 1 else table.sigma((1 - fraction) * table.last)


def cells_of(area: Area, height: int, width: int, factor: int) -> Cells:
    """An area in whole cells, cut at the border of the latent; at least one cell."""
    if area.unit == "fraction":
        across = (round(area.x * width), round(area.width * width))
        down = (round(area.y * height), round(area.height * height))
    else:
        across = (int(area.x // factor), int(area.width // factor))
        down = (int(area.y // factor), int(area.height // factor))
    (top, tall), (left, wide) = (
        (min(start, whole - 1), max(1, min(length, whole - min(start, whole - 1))))
        for (start, length), whole in ((down, height), (across, width))
    )
    return Cells(top, left, tall, wide)


def weight_of(part: Conditioning, item: int, cells: Cells | None, size: tuple[int, int]) -> Tensor:
    """How much a part counts in the cells it is shown, [1, 1, height, width]."""
    if part.mask is not None:
        mask = part.mask[item if len(part.mask) > 1 else 0].float()[None, None]
        if mask.shape[2:] != size:
            mask = torch.nn.functional.interpolate(mask, size=size, mode="bilinear")
        return part.strength * part_of(mask, cells)
    if cells is None:
        return torch.full((1, 1, *size), part.strength)
    down = edge(cells.top, cells.height, size[0])
    across = edge(cells.left, cells.width, size[1])
    return part.strength * (down[:, None] * across)[None, None]


def edge(start: int, length: int, whole: int) -> Tensor:
    """Weights along one side of an area: rising from its edges, but not at the picture's."""
    rise = min(FEATHER, length // 4)
    weights = torch.ones(length)
    if rise:
        ramp = torch.arange(1, rise + 1) / rise
        if start > 0:
            weights[:rise] *= ramp
        if start + length < whole:
            weights[-rise:] *= ramp.flip(0)
    return weights


def with_areas_of(side: Sequence[Entry], other: Sequence[Entry]) -> list[Entry]:
    """One side with each area of the other too, so that guidance compares like with like.

    Such an entry has the text of the smallest entry here that encloses the area; if there is none,
    or the same area is there already, nothing is added.
    """
    found = [*side]
    for theirs in other:
        if theirs.cells is None or any(entry.cells == theirs.cells for entry in found):
            continue
        around = [
            entry for entry in side if entry.cells is None or entry.cells.encloses(theirs.cells)
        ]
        if around:
            smallest = min(around, key=_size)
            found.append(replace(theirs, tokens=smallest.tokens))
    return found


def _size(entry: Entry) -> float:
    return math.inf if entry.cells is None else entry.cells.height * entry.cells.width


def regional(
    predict_at: PredictAt,
    positive: Sequence[Entry],
    negative: Sequence[Entry],
    cfg: float,
    together: bool = True,
) -> GuidedDenoiser:
    """Guidance between two sides of several entries each: D = Dn + (Dp - Dn) * cfg, with the
    mixture of its entries on each side.

    Cells that nothing on a side covers are drawn as the first text of `negative` has them: without
    guidance, if that is so on the positive side only. At cfg 1 the negative side is not asked for
    anything else, unless a sampler wants its own answer. `together`: two texts in one call of the network, where their lengths allow.
    """
    alone = math.isclose(cfg, 1.0, rel_tol=1e-9)
    towards, away = with_areas_of(positive, negative), with_areas_of(negative, positive)
    blank = replace(negative[0], cells=None, highest=math.inf, lowest=0.0)

    def answer(x: Tensor, sigma: float, wants_unguided: bool) -> tuple[Tensor, Tensor | None]:
        one_sided = alone and not wants_unguided
        sides = [
            _covered([entry for entry in side if entry.is_used(sigma)], blank, x)
            for side in ([positive] if one_sided else [away, towards])
        ]
        answers = _ask(predict_at, x, sigma, [entry for side in sides for entry in side], together)
        mixed = [_mix(side, answers, x) for side in sides]
        clean = mixed[-1] if alone else mixed[0] + (mixed[1] - mixed[0]) * cfg
        return clean, None if one_sided else mixed[0]

    return GuidedDenoiser(answer)


def _covered(used: list[Entry], blank: Entry, x: Tensor) -> list[Entry]:
    """These entries, and one more for cells that none of them covers."""
    bare = (_total(used, x) == 0).to(x)
    return [*used, replace(blank, weight=bare)] if bool(bare.any()) else used


def _total(used: Iterable[Entry], x: Tensor) -> Tensor:
    total = x.new_zeros(1, 1, *x.shape[2:])
    for entry in used:
        part_of(total, entry.cells).add_(entry.weight)
    return total


def part_of(x: Tensor, cells: Cells | None) -> Tensor:
    """A view of these cells."""
    return x if cells is None else x[(..., *cells.place)]


Answers = dict[tuple[Cells | None, int], Tensor]
"""Clean latents by what was shown and the identity of the tokens."""


def _ask(
    predict_at: PredictAt, x: Tensor, sigma: float, asked: Sequence[Entry], together: bool
) -> Answers:
    """The clean latent for each distinct pair of cells and text, two texts at a time."""
    texts: dict[Cells | None, dict[int, Tensor]] = {}
    for entry in asked:
        texts.setdefault(entry.cells, {})[id(entry.tokens)] = entry.tokens
    answers: Answers = {}
    for cells, wanted in texts.items():
        seen, predict, keys = part_of(x, cells), predict_at(cells), list(wanted)
        while keys:
            pair = same_length(*(wanted[key] for key in keys[:2])) if keys[1:] else None
            if together and pair is not None:
                both = predict(seen, sigma, pair)
                answers[cells, keys[0]], answers[cells, keys[1]] = both[:1], both[1:]
                keys = keys[2:]
            else:
                answers[cells, keys[0]] = predict(seen, sigma, wanted[keys[0]])
                keys = keys[1:]
    return answers


def _mix(side: Sequence[Entry], answers: Answers, x: Tensor) -> Tensor:
    """The average of the entries' answers, weighted cell by cell."""
    mixed = torch.zeros_like(x)
    for entry in side:
        answer = answers[entry.cells, id(entry.tokens)]
        part_of(mixed, entry.cells).add_(answer * entry.weight)
    return mixed / _total(side, x)
