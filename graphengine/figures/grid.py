"""A sheet of pictures in rows and columns, with a title, names for rows and columns, and captions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from graphengine.diffusion.images import to_pillow
from graphengine.errors import GraphEngineError
from graphengine.figures import style
from graphengine.figures.style import Face, line_height, px, wrapped

LARGEST_FACTOR = 6
"""Small pictures are not scaled up more than so often."""

ROW_LABEL = 110
"""Points: the widest a label of a row gets; longer ones go on in the next line."""

CAPTION_LINES = 4


def labelled_grid(
    pictures: Tensor | Sequence[Tensor | None],
    columns: int | None = None,
    *,
    title: str = "",
    note: str = "",
    column_labels: Sequence[str] = (),
    row_labels: Sequence[str] = (),
    columns_are: str = "",
    rows_are: str = "",
    captions: Sequence[str] = (),
    cell: float | None = None,
    gap: float = 10,
    sharp: bool = False,
) -> Tensor:
    """Pictures on a sheet, row by row, as an image [1, H, W, 3], 0 to 1.

        labelled_grid(batch)                                     # [n, H, W, 3], near to a square
        labelled_grid([a, b, None, d], columns=2)                # any sizes; None stays empty
        labelled_grid(batch, title="Guidance", note="the same seed", columns_are="CFG",
                      column_labels=["1", "5"], row_labels=["no negative", "rain"])
        labelled_grid(batch, captions=["seed 1", "seed 2"])      # one under each picture

    `pictures`: a batch [n, H, W, 1, 3 or 4] or a list of single ones ([1, H, W, c] or [H, W, c]).
    `columns`: how many side by side; follows from the labels if there are any. `title` stands over
    everything, `note` under it in quiet type. `column_labels` and `row_labels` name columns and
    rows; `columns_are` and `rows_are` say what those labels are. `captions`: one for each picture;
    all text wraps. `cell`: points a side of the largest picture; by default the sheet is as wide as
    the page (800 points, two pixels each).
    `sharp` scales up without smoothing, by whole factors: for maps whose cells shall be seen.

    Raises `GraphEngineError` when there is no picture or when labels or captions don't fit in
    number, and `ModelError` for NaN.
    """
    sheets = [None if one is None else _pillow(one) for one in pictures]
    if not any(sheets):
        raise GraphEngineError("a grid needs a picture", "give it one at least")
    columns = columns or len(column_labels) or _columns(len(sheets), len(row_labels))
    rows = -(-len(sheets) // columns)
    for told, count, what in (
        (column_labels, columns, "columns"),
        (row_labels, rows, "rows"),
        (captions, len(sheets), "pictures"),
    ):
        if told and len(told) != count:
            raise GraphEngineError(
                f"{len(told)} labels for {count} {what} of a grid", "give one for each, or none"
            )
    layout = _Layout(sheets, columns, rows, cell, gap, row_labels, rows_are, sharp)
    scaled = [None if one is None else layout.scaled(one) for one in sheets]
    text = _Text(layout, title, note, column_labels, row_labels, columns_are, rows_are, captions)
    return style.image_of(_drawn(layout, text, scaled))


def _pillow(picture: Tensor) -> Image.Image:
    """One picture of 1, 3 or 4 channels as RGB; what is transparent shows the paper."""
    pixels = picture[0] if picture.dim() == 4 else picture
    if pixels.shape[2] == 1:
        pixels = pixels.expand(-1, -1, 3)
    if pixels.shape[2] == 4:
        opacity = pixels[..., 3:]
        pixels = pixels[..., :3] * opacity + (1 - opacity) * torch.ones(3)
    return to_pillow(pixels)


def _columns(count: int, rows: int) -> int:
    """So many columns that the sheet is near to a square, rather wide than high."""
    if rows:
        return -(-count // rows)
    return math.isqrt(count - 1) + 1 if count else 1


class _Layout:
    """Where the cells lie, in pixels: `step` from one to the next, `left` of the first."""

    def __init__(
        self,
        pictures: Sequence[Image.Image | None],
        columns: int,
        rows: int,
        cell: float | None,
        gap: float,
        row_labels: Sequence[str],
        rows_are: str,
        sharp: bool,
    ) -> None:
        there = [picture for picture in pictures if picture]
        self.columns, self.rows, self.gap, self.sharp = columns, rows, px(gap), sharp
        self.margin = px(style.MARGIN)
        labels = [_Lines.of(text, style.TEXT, px(ROW_LABEL), "bold") for text in row_labels]
        self.label = max(map(_widest, labels), default=0)
        self.name = line_height(style.TEXT) + px(4) if rows_are else 0
        self.left = self.margin + self.name + self.label + (px(12) if row_labels else 0)
        wide, high = (max(sides) for sides in zip(*(picture.size for picture in there)))
        if cell is not None:
            self.factor = px(cell) / max(wide, high)
        else:
            free = px(style.PAGE) - self.left - self.margin - self.gap * (columns - 1)
            fits = free / columns / wide
            self.factor = min(int(fits) if sharp and fits >= 1 else fits, LARGEST_FACTOR)
        self.width: int = max(1, int(wide * self.factor))
        self.height: int = max(1, int(high * self.factor))

    @property
    def right(self) -> int:
        """Where the last column ends."""
        return self.left + self.columns * (self.width + self.gap) - self.gap

    def scaled(self, picture: Image.Image) -> Image.Image:
        size = tuple(max(1, int(side * self.factor)) for side in picture.size)
        up = Image.Resampling.NEAREST if self.sharp else Image.Resampling.BICUBIC
        way = up if self.factor >= 1 else Image.Resampling.LANCZOS
        return picture.resize((size[0], size[1]), way)


class _Text:
    """All the words of a sheet, broken into lines, and how high they are."""

    def __init__(
        self,
        layout: _Layout,
        title: str,
        note: str,
        column_labels: Sequence[str],
        row_labels: Sequence[str],
        columns_are: str,
        rows_are: str,
        captions: Sequence[str],
    ) -> None:
        full = max(layout.right, px(style.PAGE) // 2) - layout.margin
        self.title = _Lines.of(title, style.TITLE, full, "bold")
        self.note = _Lines.of(note, style.TEXT, full)
        self.columns_are, self.rows_are = columns_are, rows_are
        self.columns = [
            _Lines.of(text, style.TEXT, layout.width, "bold", 3) for text in column_labels
        ]
        self.rows = [_Lines.of(text, style.TEXT, layout.label, "bold", 6) for text in row_labels]
        self.captions = [
            _Lines.of(text, style.SMALL, layout.width, most=CAPTION_LINES) for text in captions
        ]
        self.caption_heights = [
            max(
                (lines.height for lines in self.captions[start : start + layout.columns]), default=0
            )
            for start in range(0, layout.rows * layout.columns, layout.columns)
        ]


@dataclass(frozen=True)
class _Lines:
    """Text broken into lines of one size."""

    lines: list[str]
    size: float
    face: Face

    @classmethod
    def of(
        cls, text: str, size: float, width: int, face: Face = "plain", most: int | None = None
    ) -> _Lines:
        return cls(wrapped(text, size, width, face, most) if text else [], size, face)

    @property
    def height(self) -> int:
        return len(self.lines) * line_height(self.size)

    def draw(
        self, pen: ImageDraw.ImageDraw, x: float, top: float, anchor: str, color: str = style.INK
    ) -> None:
        """Lines from `top` downwards; `anchor` "l", "m" or "r" says which end of them is at x."""
        letters = style.font(self.size, self.face)
        for place, line in enumerate(self.lines):
            middle = top + (place + 0.5) * line_height(self.size)
            pen.text((x, middle), line, fill=color, font=letters, anchor=f"{anchor}m")


def _drawn(layout: _Layout, text: _Text, pictures: Sequence[Image.Image | None]) -> Image.Image:
    head, tops = _tops(layout, text)
    bottom = tops[-1] + layout.height + _below(text, layout.rows - 1) + layout.margin
    wide = max(
        layout.right,
        layout.margin + _widest(text.title),
        layout.margin + _widest(text.note),
    )
    sheet = Image.new("RGB", (wide + layout.margin, bottom), style.PAPER)
    pen = ImageDraw.Draw(sheet)
    text.title.draw(pen, layout.margin, layout.margin - px(5), "l")
    text.note.draw(pen, layout.margin, layout.margin + text.title.height, "l", style.MUTED)
    _draw_names(sheet, layout, text, head, tops)
    for place, picture in enumerate(pictures):
        row, column = divmod(place, layout.columns)
        left = layout.left + column * (layout.width + layout.gap)
        if picture:
            spare = (layout.width - picture.width) // 2, (layout.height - picture.height) // 2
            x, y = left + spare[0], tops[row] + spare[1]
            sheet.paste(picture, (x, y))
            frame = (x - 1, y - 1, x + picture.width, y + picture.height)
            pen.rectangle(frame, outline=style.LINE, width=1)
        if text.captions:
            top = tops[row] + layout.height + px(4)
            middle = left + layout.width / 2
            text.captions[place].draw(pen, middle, top, "m", style.MUTED)
    return sheet


def _tops(layout: _Layout, text: _Text) -> tuple[int, list[int]]:
    """Where the labels of the columns begin, and where each row of pictures does."""
    head = layout.margin + text.title.height + text.note.height
    if text.title.lines or text.note.lines:
        head += px(12)
    top = head
    if text.columns_are:
        top += line_height(style.TEXT)
    if text.columns:
        top += max(label.height for label in text.columns) + px(4)
    tops = []
    for row in range(layout.rows):
        tops.append(top)
        top += layout.height + _below(text, row) + layout.gap
    return head, tops


def _below(text: _Text, row: int) -> int:
    """Pixels that captions take under a row."""
    height = text.caption_heights[row]
    return height + px(6) if height else 0


def _widest(text: _Lines) -> int:
    letters = style.font(text.size, text.face)
    return int(max((letters.getlength(line) for line in text.lines), default=0)) + 1


def _draw_names(
    sheet: Image.Image, layout: _Layout, text: _Text, head: int, tops: Sequence[int]
) -> None:
    """The labels of columns and rows, and what they are."""
    pen = ImageDraw.Draw(sheet)
    middle = (layout.left + layout.right) / 2
    if text.columns_are:
        name = _Lines([text.columns_are], style.TEXT, "plain")
        name.draw(pen, middle, head, "m", style.MUTED)
    for column, label in enumerate(text.columns):
        x = layout.left + column * (layout.width + layout.gap) + layout.width / 2
        label.draw(pen, x, tops[0] - px(4) - label.height, "m")
    for row, label in enumerate(text.rows):
        top = tops[row] + (layout.height - label.height) / 2
        label.draw(pen, layout.left - px(12), top, "r")
    if text.rows_are:
        letters = style.font(style.TEXT)
        size = int(letters.getlength(text.rows_are)) + 2, line_height(style.TEXT)
        turned = Image.new("RGB", size, style.PAPER)
        ImageDraw.Draw(turned).text(
            (size[0] / 2, size[1] / 2), text.rows_are, fill=style.MUTED, font=letters, anchor="mm"
        )
        turned = turned.rotate(90, expand=True)
        top = (tops[0] + tops[-1] + layout.height - turned.height) // 2
        sheet.paste(turned, (layout.margin, max(0, top)))
