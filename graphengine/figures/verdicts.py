"""A contact sheet of pictures under examination: what was asked of each, and what is missing."""

from __future__ import annotations

from collections.abc import Sequence

from PIL import Image, ImageDraw
from torch import Tensor

from graphengine.diffusion.images import to_pillow
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.style import font, line_height, px, wrapped

GAP = 14
"""Points between pictures."""

RIGHT, WRONG = style.ACCENTS[6], style.ACCENTS[1]
CAPTION_LINES = 6


def marked_sheet(
    pictures: Sequence[Tensor],
    captions: Sequence[str],
    misses: Sequence[Sequence[str]],
    *,
    columns: int = 5,
    title: str = "",
    note: str = "",
) -> Tensor:
    """Pictures above the captions they were made from, as an image [1, H, W, 3].

    `pictures`: single ones, [H, W, 3] of 0 to 1. `misses`: for each, what is not as asked, a short
    line for each thing ("red, not purple"); without any it gets a tick. Raises `GraphEngineError`
    when the three are not of equal number, or there are none.
    """
    if not pictures or not len(pictures) == len(captions) == len(misses):
        told = f"{len(pictures)} pictures, {len(captions)} captions, {len(misses)} verdicts"
        raise GraphEngineError(f"a sheet of {told}", "give as many of each, and one at least")
    margin, gap = px(style.MARGIN), px(GAP)
    side = (px(style.PAGE) - 2 * margin - gap * (columns - 1)) // columns
    cells = [
        _cell(to_pillow(picture), caption, missed, side)
        for picture, caption, missed in zip(pictures, captions, misses)
    ]
    rows = [cells[start : start + columns] for start in range(0, len(cells), columns)]
    heights = [max(cell.height for cell in row) for row in rows]
    head = px(style.room(title, note)) + (px(14) if title or note else 0)
    size = (px(style.PAGE), head + sum(heights) + gap * (len(rows) - 1) + margin)
    sheet = Image.new("RGB", size, style.PAPER)
    pen = ImageDraw.Draw(sheet)
    top = margin - px(5)
    pen.text((margin, top), title, fill=style.INK, font=font(style.TITLE, "bold"))
    top += px(28) if title else 0
    pen.text((margin, top), note, fill=style.MUTED, font=font(style.TEXT))
    top = head
    for row, height in zip(rows, heights):
        for column, cell in enumerate(row):
            sheet.paste(cell, (margin + column * (side + gap), top))
        top += height + gap
    return style.image_of(sheet)


def _cell(picture: Image.Image, caption: str, missed: Sequence[str], side: int) -> Image.Image:
    """One picture with its text, as wide as `side` and as high as need be."""
    factor = side / max(picture.size)
    way = Image.Resampling.BICUBIC if factor >= 1 else Image.Resampling.LANCZOS
    shown = picture.resize((round(picture.width * factor), round(picture.height * factor)), way)
    told = wrapped(caption, style.SMALL, side, most=CAPTION_LINES)
    verdicts = [f"✗ {miss}" for miss in missed] or ["✓ as asked"]
    marks = [line for verdict in verdicts for line in wrapped(verdict, style.SMALL, side, "bold")]
    step, color = line_height(style.SMALL), WRONG if missed else RIGHT
    height = shown.height + px(5) + (len(told) + len(marks)) * step
    cell = Image.new("RGB", (side, height), style.PAPER)
    cell.paste(shown, ((side - shown.width) // 2, 0))
    pen = ImageDraw.Draw(cell)
    if missed:
        pen.rectangle((0, 0, side - 1, shown.height - 1), outline=WRONG, width=px(1.5))
    top = shown.height + px(5)
    for line in told:
        pen.text((0, top), line, fill=style.MUTED, font=font(style.SMALL))
        top += step
    for line in marks:
        pen.text((0, top), line, fill=color, font=font(style.SMALL, "bold"))
        top += step
    return cell
