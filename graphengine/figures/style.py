"""One look for all figures: colours, fonts and sizes, for Pillow and for matplotlib alike.

Sizes are given in *points of the page*, as the figure is seen where a page shows it some 800 wide;
`SCALE` pixels are drawn for each, so that it stays sharp on a dense screen. Nothing here touches
matplotlib's global state: figures are made by `new_figure` and drawn by its Agg canvas.

    figure = new_figure(800, 400, title="Noise levels")
    axes = dress(figure.add_subplot(), x="step", y="sigma")
    axes.plot(levels, color=ACCENTS[0])
    picture = rendered(figure)                                   # [1, 800, 1600, 3]
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from PIL import Image, ImageFont

from graphengine.diffusion.images import from_pillow

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from torch import Tensor

PAGE = 800
"""Points: how wide a figure is that fills the page."""

SCALE = 2
"""Pixels a point."""

MARGIN = 24
"""Points of empty paper around a figure."""

PAPER, INK, MUTED, LINE, SHADE = "#ffffff", "#1c2333", "#667085", "#dfe3ea", "#f4f6f9"
"""Background; text; text beside it; frames and grid lines; quiet areas."""

ACCENTS = ("#3b5bdb", "#e8590c", "#0c8599", "#c2255c", "#e0a100", "#6741d9", "#2f9e44", "#868e96")
"""Colours for lines and bars, in this order; the first two go best together."""

SEQUENTIAL, DIVERGING = "magma", "RdBu_r"
"""matplotlib's colour maps for amounts, and for what has a middle."""

TITLE, HEADING, TEXT, SMALL = 20, 14, 12, 11
"""Points: sizes of text."""

Place = Literal["best", "upper right", "upper left", "lower left", "lower right", "center right"]
Face = Literal["plain", "bold", "mono"]
FACES = {"plain": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf", "mono": "DejaVuSansMono.ttf"}


def px(points: float) -> int:
    """Points as whole pixels."""
    return round(points * SCALE)


@lru_cache(maxsize=64)
def font(size: float = TEXT, face: Face = "plain") -> ImageFont.FreeTypeFont:
    """DejaVu Sans for Pillow, `size` in points; the files are those that matplotlib ships."""
    import matplotlib

    path = Path(matplotlib.get_data_path(), "fonts", "ttf", FACES[face])
    return ImageFont.truetype(path, px(size), layout_engine=ImageFont.Layout.BASIC)


def line_height(size: float) -> int:
    """Pixels from one line of text to the next."""
    return px(size * 1.35)


def wrapped(
    text: str, size: float, width: int, face: Face = "plain", most: int | None = None
) -> list[str]:
    """A text as lines no wider than `width` pixels; a word that is too wide is cut where it must
    be. At most `most` lines, the last one then ending in an ellipsis.
    """
    lines = [line for part in text.split("\n") for line in _wrapped(part, size, width, face)]
    if most is None or len(lines) <= most:
        return lines
    last = lines[most - 1]
    while last and font(size, face).getlength(last + "…") > width:
        last = last[:-1]
    return [*lines[: most - 1], last.rstrip(" ,.;:") + "…"]


def _wrapped(text: str, size: float, width: int, face: Face) -> list[str]:
    lines, line = list[str](), ""
    measure = font(size, face).getlength
    for word in filter(None, text.split(" ")):  # a no-break space holds words together
        joined = f"{line} {word}" if line else word
        if measure(joined) <= width:
            line = joined
            continue
        if line:
            lines.append(line)
        while measure(word) > width and len(word) > 1:
            fits = next(
                n for n in range(len(word) - 1, 0, -1) if n == 1 or measure(word[:n]) <= width
            )
            lines.append(word[:fits])
            word = word[fits:]
        line = word
    return [*lines, line]


def image_of(picture: Image.Image) -> Tensor:
    """A Pillow picture as an image tensor [1, H, W, 3]."""
    return from_pillow(picture)[..., :3].contiguous()


def new_figure(width: float = PAGE, height: float = 400, title: str = "", note: str = "") -> Figure:
    """An empty matplotlib figure, `width` by `height` points, with a title and a quieter line under
    it in the left corner at the top. `room(title, note)` says how many points they take.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width / 100, height / 100), dpi=100 * SCALE, facecolor=PAPER)
    left = MARGIN / width
    for text, top, size, color, weight in (
        (title, MARGIN - 4, TITLE, INK, "bold"),
        (note, MARGIN + (28 if title else 0), TEXT, MUTED, "normal"),
    ):
        if text:
            figure.text(left, 1 - top / height, text, va="top", color=color, weight=weight,
                        fontsize=type_size(size), family="DejaVu Sans")  # fmt: skip
    return figure


def room(title: str = "", note: str = "") -> float:
    """Points that title and note of `new_figure` take at the top, margin included."""
    return MARGIN + (28 if title else 0) + (20 if note else 0)


def type_size(points: float) -> float:
    """A size of text in points of the page as matplotlib counts it, 72 to the inch."""
    return points * 0.72


def dress(axes: Axes, title: str = "", x: str = "", y: str = "", grid: bool = True) -> Axes:
    """Axes in our look: no box, quiet grid lines, a heading on the left, names of both axes."""
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(LINE)
    axes.set_facecolor(PAPER)
    axes.set_axisbelow(True)
    axes.grid(grid, color=LINE, linewidth=0.7)
    axes.tick_params(colors=MUTED, labelsize=type_size(SMALL), length=0, pad=5, which="both")
    labels = [*axes.get_xticklabels(), *axes.get_yticklabels()]
    for label in [axes.xaxis.label, axes.yaxis.label, *labels]:
        label.set_fontfamily("DejaVu Sans")
    for write, name in ((axes.set_xlabel, x), (axes.set_ylabel, y)):
        write(name, color=MUTED, fontsize=type_size(TEXT), labelpad=6)
    if title:
        axes.set_title(title, loc="left", color=INK, weight="bold", pad=9,
                       fontsize=type_size(HEADING), family="DejaVu Sans")  # fmt: skip
    return axes


def legend(axes: Axes, place: Place = "best") -> None:
    """What the labelled lines and bars of `axes` are, in our look; `place` as matplotlib names it."""
    drawn = axes.legend(
        loc=place, frameon=False, labelcolor=INK, fontsize=type_size(TEXT), handlelength=1.4
    )
    for text in drawn.get_texts():
        text.set_fontfamily("DejaVu Sans")


def rendered(figure: Figure) -> Tensor:
    """A matplotlib figure as an image tensor [1, H, W, 3], `SCALE` pixels a point."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    canvas.draw()
    return image_of(Image.fromarray(np.asarray(canvas.buffer_rgba())))
