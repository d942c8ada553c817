"""Noise schedules as curves and as a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from graphengine.diffusion.trace import Levels
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.style import ACCENTS, SMALL, TEXT, dress, legend, type_size

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ROW, MOST_ROWS = 17, 30
"""Points of a row of the table; longer tables show every second row, or third."""

CHART = 250


def schedule_figure(schedules: Mapping[str, Levels]) -> Tensor:
    """Schedules over each other, [1, H, W, 3]: levels and timesteps by step, and a table of both.

    `schedules` maps the name that stands in the legend to the levels; up to eight can be told
    apart. Raises `GraphEngineError` for none or more.
    """
    if not 0 < len(schedules) <= len(ACCENTS):
        raise GraphEngineError(
            f"{len(schedules)} schedules can't be drawn over each other",
            f"give 1 to {len(ACCENTS)}",
        )
    rows = table_rows(schedules)
    stride = -(-(len(rows) - 1) // MOST_ROWS)
    shown = [*rows[:-1:stride], rows[-1]]
    title = "Noise schedules" if len(schedules) > 1 else "Noise schedule"
    note = "How much noise (σ) a run starts each step with, and the timestep of training that is."
    head = style.room(title, note) + 28
    below = head + CHART + 62
    high = below + (len(shown) + 2) * ROW + style.MARGIN
    figure = style.new_figure(style.PAGE, high, title, note)
    wide, gap = 340, 52
    for place, (name, what) in enumerate(
        (("Noise level σ", "sigmas"), ("Timestep t", "timesteps"))
    ):
        left = style.MARGIN + 20 + place * (wide + gap)
        box = (left / style.PAGE, 1 - (head + CHART) / high, wide / style.PAGE, CHART / high)
        axes = dress(figure.add_axes(box), title=name, x="step")
        for color, (label, told) in zip(ACCENTS, schedules.items()):
            line = getattr(told, what)
            dots = "o" if len(line) <= 40 else ""
            axes.plot(range(1, len(line) + 1), line, color=color, marker=dots, markersize=3.5,
                      linewidth=1.6, label=label, clip_on=False)  # fmt: skip
        if what == "sigmas":
            _level_axis(axes)
        axes.set_ylim(bottom=0)
    legend(figure.axes[0], "upper right")
    box = (0, style.MARGIN / high, 1, 1 - (below + style.MARGIN) / high)
    _draw_table(figure.add_axes(box), schedules, shown)
    return style.rendered(figure)


def _level_axis(axes: Axes) -> None:
    """Levels from 0 to the largest: even up to 0.1 and logarithmic from there."""
    axes.set_yscale("symlog", linthresh=0.1, linscale=0.4)
    ticks = [0, 0.1, 1, 10]
    axes.set_yticks(ticks, [f"{tick:g}" for tick in ticks], minor=False)
    axes.set_yticks([], minor=True)


def table_rows(schedules: Mapping[str, Levels]) -> list[list[str]]:
    """The levels and timesteps of each schedule, a row for each step and one for the end: step, then
    sigma and timestep of one schedule after the other. Empty where a schedule has ended.
    """
    most = max(len(told.sigmas) for told in schedules.values())
    rows = []
    for step in range(most):
        row = [str(step + 1) if step + 1 < most else "end"]
        for told in schedules.values():
            row.append(f"{told.sigmas[step]:.4f}" if step < len(told.sigmas) else "")
            row.append(f"{told.timesteps[step]:.2f}" if step < len(told.timesteps) else "")
        rows.append(row)
    return rows


def schedule_text(schedules: Mapping[str, Levels]) -> str:
    """The table as plain text with aligned columns."""
    heads = ["step", *(f"{what} {name}" for name in schedules for what in ("sigma", "timestep"))]
    rows = [heads, *table_rows(schedules)]
    widths = [max(map(len, column)) for column in zip(*rows)]
    lines = ("  ".join(cell.rjust(width) for cell, width in zip(row, widths)) for row in rows)
    return "\n".join(line.rstrip() for line in lines) + "\n"


def schedule_csv(schedules: Mapping[str, Levels]) -> str:
    """The table as CSV, with all digits."""
    stream = io.StringIO()
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["schedule", "step", "sigma", "timestep", "alpha_bar"])
    for name, told in schedules.items():
        times = [*told.timesteps, ""]
        for step, (sigma, abar, time) in enumerate(zip(told.sigmas, told.alpha_bars, times)):
            writer.writerow([name, step + 1, repr(sigma), time, repr(abar)])
    return stream.getvalue()


def _draw_table(axes: Axes, schedules: Mapping[str, Levels], rows: list[list[str]]) -> None:
    """Rows of numbers under the names of the schedules, in points of the page."""
    axes.set_axis_off()
    high = (len(rows) + 2) * ROW
    axes.set_xlim(0, style.PAGE)
    axes.set_ylim(high, 0)
    first, right = style.MARGIN + 36, style.PAGE - style.MARGIN
    each = min((right - first) / len(schedules), 200)

    def write(x: float, y: float, text: str, color: str = style.MUTED, **more: str) -> None:
        options = {"family": "DejaVu Sans", "ha": "right", **more}
        axes.text(x, y, text, color=color, va="center", fontsize=type_size(SMALL), **options)  # type: ignore[arg-type]

    write(first, ROW * 1.5, "step")
    for place, name in enumerate(schedules):
        end = first + (place + 1) * each
        color = ACCENTS[place]
        axes.text(end, ROW / 2, name, color=color, ha="right", va="center", weight="bold",
                  fontsize=type_size(TEXT), family="DejaVu Sans")  # fmt: skip
        write(end - each / 2 + 8, ROW * 1.5, "σ")
        write(end, ROW * 1.5, "t")
    wide = first + each * len(schedules)
    axes.plot([style.MARGIN, wide], [ROW * 2] * 2, color=style.LINE, linewidth=1)
    for line, row in enumerate(rows):
        y = ROW * (line + 2.5)
        if line % 2:
            axes.axhspan(y - ROW / 2, y + ROW / 2, style.MARGIN / style.PAGE, wide / style.PAGE,
                         color=style.SHADE, linewidth=0)  # fmt: skip
        write(first, y, row[0])
        for place in range(len(schedules)):
            end = first + (place + 1) * each
            write(end - each / 2 + 8, y, row[1 + 2 * place], style.INK)
            write(end, y, row[2 + 2 * place])
