"""A picture on its way into noise: the strip, and below it how much of each there is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from graphengine.diffusion.trace import Levels
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.grid import labelled_grid
from graphengine.figures.strip import level
from graphengine.figures.style import ACCENTS, INK, MUTED, TEXT, dress, type_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FORMULA = "xₜ\u00a0=\u00a0√ᾱₜ\u00a0·\u00a0x₀\u00a0+\u00a0√(1\u00a0−\u00a0ᾱₜ)\u00a0·\u00a0ε"
HEIGHT = 250


def forward_figure(pictures: Tensor, told: Levels, table: Sequence[float]) -> Tensor:
    """A picture noised to some timesteps, [1, H, W, 3]: decoded with timestep, abar and sigma, and
    below, over all timesteps, what picture and noise are multiplied with.

    `pictures`: [n, H, W, 3]; `told`: the level and timestep of each; `table`: the model's levels,
    one for each timestep. Raises `GraphEngineError` when pictures and levels are not of one number.
    """
    if len(pictures) != len(told.sigmas):
        raise GraphEngineError(
            f"{len(pictures)} pictures for {len(told.sigmas)} timesteps", "give one for each"
        )
    labels = ["x₀" if t < 0 else f"t = {t:.0f}" for t in told.timesteps]
    values = [
        f"ᾱ {abar:.3f}\nσ {level(sigma)}" for sigma, abar in zip(told.sigmas, told.alpha_bars)
    ]
    strip = labelled_grid(
        pictures,
        columns=min(len(pictures), 7),
        title="A picture on its way into noise",
        note=f"{FORMULA}: the latent x₀ and one and the same noise ε, mixed as in training and decoded.",
        captions=[f"{label}\n{value}" for label, value in zip(labels, values)],
    )
    figure = style.new_figure(strip.shape[2] / style.SCALE, HEIGHT)
    wide = strip.shape[2] / style.SCALE
    left, foot = style.MARGIN + 32, 52
    box = (left / wide, foot / HEIGHT, 1 - (left + style.MARGIN) / wide, 1 - (foot + 12) / HEIGHT)
    _draw_shares(dress(figure.add_axes(box), x="timestep t"), told, table)
    return torch.cat([strip, style.rendered(figure)], dim=1)


def _draw_shares(axes: Axes, told: Levels, table: Sequence[float]) -> None:
    """Two curves that cross, and a dot on each for every picture."""
    sigmas = torch.tensor(table, dtype=torch.float64)
    abars = 1 / (1 + sigmas**2)
    for color, curve, name, place, up in (
        (ACCENTS[0], abars.sqrt(), "picture √ᾱₜ", 0.17, 0.08),
        (ACCENTS[1], (1 - abars).sqrt(), "noise √(1 − ᾱₜ)", 0.72, -0.09),
    ):
        axes.plot(range(len(curve)), curve.tolist(), color=color, linewidth=2)
        at = int(place * (len(curve) - 1))
        axes.text(at, float(curve[at]) + up, name, color=color, ha="left", va="center", weight="bold",
                  fontsize=type_size(TEXT), family="DejaVu Sans", zorder=6,
                  bbox={"color": style.PAPER, "pad": 1.5})  # fmt: skip
    for sigma, t in zip(told.sigmas, told.timesteps):
        abar, dot = 1 / (1 + sigma**2), max(t, 0.0)
        axes.plot([dot, dot], [0, 1], color=MUTED, linewidth=0.8, linestyle=(0, (2, 2)), zorder=1)
        axes.scatter([dot], [abar**0.5], s=22, color=ACCENTS[0], clip_on=False, zorder=5)
        axes.scatter([dot], [(1 - abar) ** 0.5], s=22, color=ACCENTS[1], clip_on=False, zorder=5)
    axes.set_xlim(0, len(table) - 1)
    axes.set_ylim(0, 1.02)
    axes.xaxis.label.set_color(INK)
