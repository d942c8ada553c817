"""Two ways from one noise to a picture, as paths in a plane."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from graphengine.diffusion.images import to_pillow
from graphengine.diffusion.trace import Trace, spread
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.strip import check_pictures, level
from graphengine.figures.style import ACCENTS, INK, LINE, MUTED, SMALL, TEXT, type_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Points = NDArray[np.float64]

HEIGHT, END, THUMB = 536.0, 112.0, 76.0
"""Points: of the figure; of the sides of the pictures at the ends and on the way."""

LEFT, RIGHT, TOP, BOTTOM = 172.0, 628.0, 248.0, 368.0
"""Points: the part of the page that the paths are drawn in, measured from its upper left corner."""

ROWS = (150.0, 466.0)
"""Points: where the middles of the two rows of small pictures are."""

NOTE = (
    "The plane through the noise and both pictures. A dot is the latent before a step, as the\n"
    "model sees it; the small pictures are what the model expects at some of the dots."
)


@dataclass(frozen=True)
class Way:
    """One run to be drawn. `points`: [steps + 1, 2], the last being the result, as
    `diffusion.plane_of` gives them; `pictures`: its clean latents decoded, [steps, H, W, 3].
    """

    trace: Trace
    points: Tensor
    pictures: Tensor


def paths_figure(start: Tensor, first: Way, second: Way, shown: int = 5) -> Tensor:
    """Two runs from the same noise as paths in a plane, [1, H, W, 3], with the noise at one end, the
    pictures at the other, and what was expected on the way above and below.

    `start`: the noise decoded, [1 or more, H, W, 3]. `shown`: how many pictures on the way of each,
    evenly. Raises `GraphEngineError` when points or pictures don't belong to the runs.
    """
    ways = (first, second)
    for way in ways:
        check_pictures(way.trace, way.pictures)
        if way.points.shape != (len(way.trace) + 1, 2):
            raise GraphEngineError(
                f"{len(way.points)} points for a run of {len(way.trace)} steps",
                "give one for each step and one for the picture",
            )
    title = f"From one noise: {first.trace.name} and {second.trace.name}"
    figure = style.new_figure(style.PAGE, HEIGHT, title, NOTE)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    every = np.concatenate([way.points.numpy() for way in ways])
    for side, way in enumerate(ways):
        points, color = _on_page(way.points.numpy(), every), ACCENTS[side]
        _draw_thumbs(axes, way, points, ROWS[side], shown, color)
        _draw_path(axes, points, color)
        name = way.trace.name if first.trace.name != second.trace.name else ("one", "two")[side]
        _draw_end(axes, way.pictures[-1], points[-1], ROWS[side], name, color)
    _draw_start(axes, start[0], _on_page(first.points[:1].numpy(), every)[0])
    axes.set_xlim(0, style.PAGE)
    axes.set_ylim(HEIGHT, 0)
    return style.rendered(figure)


def _on_page(points: Points, every: Points) -> Points:
    """Points of the plane as points of the page, so that all of `every` have room. Each axis has a
    scale of its own, and the first run is above.
    """
    low, high = every.min(axis=0), every.max(axis=0)
    share = (points - low) / np.maximum(high - low, 1e-9)
    x = LEFT + share[:, 0] * (RIGHT - LEFT)
    y = BOTTOM - share[:, 1] * (BOTTOM - TOP)
    return np.stack([x, y], axis=1)


def _draw_path(axes: Axes, points: Points, color: str) -> None:
    """A line that grows stronger towards the picture, with a dot for each step."""
    from matplotlib.collections import LineCollection
    from matplotlib.colors import to_rgba

    strength = np.linspace(0.35, 1, len(points))
    colors = [to_rgba(color, share) for share in strength]
    pieces = np.stack([points[:-1], points[1:]], axis=1)
    axes.add_collection(LineCollection(list(pieces), colors=colors[1:], linewidths=2.2, zorder=3))
    axes.scatter(points[:-1, 0], points[:-1, 1], s=16, color=colors[:-1], edgecolors=style.PAPER,
                 linewidths=0.6, zorder=4)  # fmt: skip


def _draw_thumbs(
    axes: Axes, way: Way, points: Points, middle: float, shown: int, color: str
) -> None:
    """What was expected at some steps, in a row, each led to its dot."""
    above = middle < HEIGHT / 2
    places = spread(len(way.trace), shown + 1)[:-1] or [0]
    for place, x in zip(places, np.linspace(LEFT + 22, RIGHT - 22, len(places))):
        left, top, right, bottom = _draw_picture(axes, way.pictures[place], x, middle, THUMB)
        edge = bottom if above else top
        axes.plot([x, points[place, 0]], [edge, points[place, 1]], color=LINE, linewidth=1)
        axes.scatter(points[place, 0], points[place, 1], s=42, facecolors=style.PAPER, edgecolors=color,
                     linewidths=1.4, zorder=5)  # fmt: skip
        told = f"step {place + 1} · σ {level(way.trace.sigmas[place])}"
        _write(axes, x, top - 9 if above else bottom + 9, told, MUTED, SMALL)


def _draw_end(
    axes: Axes, picture: Tensor, point: Points, middle: float, name: str, color: str
) -> None:
    x = style.PAGE - style.MARGIN - END / 2
    above = middle < HEIGHT / 2
    middle += (END - THUMB) / 2 * (1 if above else -1)
    left, top, right, bottom = _draw_picture(axes, picture, x, middle, END, color)
    corner = bottom if above else top
    axes.plot([point[0], left], [point[1], corner], color=color, linewidth=1.2, zorder=2)
    axes.scatter(point[0], point[1], s=60, color=color, zorder=5)
    _write(axes, x, bottom + 11 if above else top - 11, name, color, TEXT, bold=True)


def _draw_start(axes: Axes, picture: Tensor, point: Points) -> None:
    x = style.MARGIN + END / 2
    left, top, right, bottom = _draw_picture(axes, picture, x, (TOP + BOTTOM) / 2, END, INK)
    near = min(max(point[1], top), bottom)
    axes.plot([right, point[0]], [near, point[1]], color=INK, linewidth=1.2, zorder=2)
    axes.scatter(point[0], point[1], s=60, color=INK, zorder=6)
    _write(axes, x, bottom + 11, "the same noise", INK, TEXT, bold=True)


def _draw_picture(
    axes: Axes, picture: Tensor, x: float, y: float, side: float, color: str = LINE
) -> tuple[float, float, float, float]:
    """A picture around a point, its longer side of this length; where it lies: left, top, right,
    bottom.
    """
    shown = to_pillow(picture[..., :3])
    factor = side / max(shown.size)
    wide, high = shown.width * factor, shown.height * factor
    sized = shown.resize((style.px(wide), style.px(high)), Image.Resampling.LANCZOS)
    left, top, right, bottom = x - wide / 2, y - high / 2, x + wide / 2, y + high / 2
    axes.imshow(np.asarray(sized), extent=(left, right, bottom, top), aspect="auto", zorder=4)
    edges = ([left, right, right, left, left], [top, top, bottom, bottom, top])
    axes.plot(*edges, color=color, linewidth=1 if color == LINE else 1.6, zorder=5)
    return left, top, right, bottom


def _write(
    axes: Axes, x: float, y: float, text: str, color: str, size: float, bold: bool = False
) -> None:
    axes.text(x, y, text, color=color, ha="center", va="center", fontsize=type_size(size),
              weight="bold" if bold else "normal", family="DejaVu Sans")  # fmt: skip
