"""Shares as bars: one line for each name, with its figure and what it counts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from graphengine.errors import GraphEngineError
from graphengine.figures import style

ROW = 30
"""Points from one bar to the next."""

NAMES, FIGURES = 84, 150
"""Points left of the bars for their names, and right of them for figures and notes."""


def bar_chart(
    names: Sequence[str],
    shares: Sequence[float | None],
    *,
    notes: Sequence[str] = (),
    title: str = "",
    note: str = "",
    width: float = style.PAGE,
) -> Tensor:
    """Shares from 0 to 1 as horizontal bars, as an image [1, H, W, 3].

        bar_chart(["kind", "colour"], [0.91, 0.66], notes=["273 of 300", "180 of 272"],
                  title="93.5 % right")

    `notes` stand after the figures, in quiet type. A share of `None` means that there is nothing to
    show; its row stays empty. Raises `GraphEngineError` when names, shares and notes are not of
    equal number, when there are none, or for a share outside 0 to 1.
    """
    _check(names, shares, notes)
    head = style.room(title, note) + (14 if title or note else 0)
    height = head + ROW * len(names) + style.MARGIN
    figure = style.new_figure(width, height, title, note)
    left, long = style.MARGIN + NAMES, width - 2 * style.MARGIN - NAMES - FIGURES
    axes = figure.add_axes(
        (left / width, style.MARGIN / height, long / width, ROW * len(names) / height)
    )
    style.dress(axes).grid(False)
    axes.set(xlim=(0, 1), ylim=(len(names) - 0.5, -0.5), xticks=[], yticks=[])
    for spine in axes.spines.values():
        spine.set_visible(False)
    rows = range(len(names))
    axes.barh(rows, [1.0] * len(names), height=0.62, color=style.SHADE)
    axes.barh(rows, [share or 0.0 for share in shares], height=0.62, color=style.ACCENTS[0])
    for row, (name, share) in enumerate(zip(names, shares)):
        write: dict[str, Any] = {"va": "center_baseline", "family": "DejaVu Sans"}
        size = style.type_size(style.TEXT)
        axes.text(-NAMES / long, row, name, ha="left", color=style.INK, fontsize=size, **write)
        figures = "–" if share is None else f"{100 * share:.1f} %"
        axes.text(1 + 62 / long, row, figures, ha="right", color=style.INK, fontsize=size,
                  weight="bold", **write)  # fmt: skip
        if notes:
            small = style.type_size(style.SMALL)
            axes.text(1 + 74 / long, row, notes[row], ha="left", color=style.MUTED,
                      fontsize=small, **write)  # fmt: skip
    return style.rendered(figure)


def _check(names: Sequence[str], shares: Sequence[float | None], notes: Sequence[str]) -> None:
    if not names:
        raise GraphEngineError("a bar chart needs something to show", "give it one share at least")
    for told, what in ((shares, "shares"), (notes or names, "notes")):
        if len(told) != len(names):
            raise GraphEngineError(
                f"{len(told)} {what} for {len(names)} bars", "give one for each name"
            )
    for name, share in zip(names, shares):
        if share is not None and not 0 <= share <= 1:
            raise GraphEngineError(f"the share of {name} is {share}, not 0 to 1")
