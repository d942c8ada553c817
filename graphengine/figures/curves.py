"""What a training measured, step by step, as curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
from torch import Tensor

from graphengine.errors import GraphEngineError
from graphengine.figures import style

PANEL = 250
"""Points: the height of one panel."""


def loss_curves(
    losses: Mapping[str, Sequence[float]],
    *,
    title: str = "Loss",
    note: str = "",
    smooth: int = 0,
    logarithmic: bool = False,
    together: bool = False,
) -> Tensor:
    """Each of `losses` over the steps, one panel below the other, as an image [1, H, W, 3].

        loss_curves({"loss": [0.9, 0.7, 0.6], "mse": [1.0, 0.8, 0.7]}, title="Noise predictor")

    Single steps are faint; the line is their mean over `smooth` steps before and after (0: a
    fortieth of all). `together` draws all in one panel, for figures of one kind. Raises
    `GraphEngineError` when there is nothing to draw.
    """
    if not any(len(values) for values in losses.values()):
        raise GraphEngineError("there are no losses to draw", "train for one step at least")
    panels = 1 if together else len(losses)
    head = style.room(title, note) + 16
    height = head + PANEL * panels + style.MARGIN
    figure = style.new_figure(style.PAGE, height, title, note)
    left, right = style.MARGIN + 52, style.MARGIN
    for place, (name, values) in enumerate(losses.items()):
        if place < panels:
            bottom = style.MARGIN + 38 + PANEL * (panels - 1 - place)
            wide, high = style.PAGE - left - right, PANEL - 62
            axes = figure.add_axes(
                (left / style.PAGE, bottom / height, wide / style.PAGE, high / height)
            )
            last = place == panels - 1
            style.dress(axes, title="" if together else name, x="training step" if last else "")
            if logarithmic:
                axes.set_yscale("log")
        colour = style.ACCENTS[place % len(style.ACCENTS)]
        steps = np.arange(1, len(values) + 1)
        axes.plot(steps, values, color=colour, alpha=0.22, linewidth=0.9)
        axes.plot(steps, smoothed(values, smooth), color=colour, linewidth=2.0, label=name)
        axes.set_xlim(0, max(2, len(values)))
        if together:
            style.legend(axes, "upper right")
    return style.rendered(figure)


def smoothed(values: Sequence[float], reach: int = 0) -> list[float]:
    """The mean of each value and its neighbours up to `reach` away; 0: a fortieth of all."""
    reach = reach or math.ceil(len(values) / 40)
    sums = np.concatenate([[0.0], np.cumsum(np.asarray(values, dtype=np.float64))])
    places = np.arange(len(values))
    low, high = np.maximum(places - reach, 0), np.minimum(places + reach + 1, len(values))
    means: list[float] = ((sums[high] - sums[low]) / (high - low)).tolist()
    return means
