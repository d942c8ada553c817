"""A prompt as its text encoder reads it: tokens as chips, and the numbers that they become."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from PIL import Image, ImageDraw
from torch import Tensor

from graphengine.diffusion.tokens import PromptTokens, Token
from graphengine.figures import style
from graphengine.figures.style import font, line_height, px, wrapped

Chunk = tuple[Token, ...]

MAP_HEIGHT = 192
"""Points: how high an embedding is drawn, whatever its width."""

LABEL_HEIGHT = 64
"""Points above the embedding for the tokens' names, which stand upright there."""

COLUMN, TEXT_SHARE = 20, 0.7
"""Points of a column with a name at most, and how much of the width such columns may take."""

STRONGEST = 0.6
"""The difference of a weight from 1 that gives its full colour."""

TYPICAL = 0.99
"""The share of all numbers of the embedding that its colours tell apart; start tokens go beyond."""

PLAIN, HEAVY, LIGHT, ODD = "#eef1f6", "#ff922b", "#4dabf7", "#f8d7da"
"""Fills of chips: weight 1; far more; far less; bytes and unknown letters."""


def tokens_figure(
    tokens: PromptTokens, embedding: Tensor, text: str = "", most: int = 2, title: str = ""
) -> Tensor:
    """The first `most` chunks of a prompt as an image [1, H, W, 3].

    Of each: its tokens as chips with their ids beneath, pieces of one word side by side, coloured
    by weight; then the `embedding` [1, chunks * length, width], a column for each token, blue
    where it is below 0 and red above.
    """
    shown = tokens.chunks[:most]
    parts = [_head(tokens, text, title or "What the model reads")]
    scale = float(embedding.abs().flatten().float().quantile(TYPICAL)) or 1.0
    start = 0
    for number, chunk in enumerate(shown, 1):
        numbers = embedding[0, start : start + len(chunk)]
        parts.append(_chips(tokens, chunk, number))
        parts.append(_embedding(chunk, numbers, scale))
        start += len(chunk)
    if len(tokens.chunks) > len(shown):
        left = len(tokens.chunks) - len(shown)
        words = f"… and {left} more {'chunk' if left == 1 else 'chunks'}, not drawn here"
        parts.append(_lines([(words, style.HEADING, style.MUTED)]))
    width, height = px(style.PAGE), sum(part.height for part in parts) + px(style.MARGIN)
    sheet = Image.new("RGB", (width, height), style.PAPER)
    top = 0
    for part in parts:
        sheet.paste(part, (0, top))
        top += part.height
    return style.image_of(sheet)


def _head(tokens: PromptTokens, text: str, title: str) -> Image.Image:
    chunks = len(tokens.chunks)
    inner = px(style.PAGE - 2 * style.MARGIN)
    told = f"“{' '.join(text.split())}”" if text.strip() else "an empty prompt"
    lines = [(title, style.TITLE, style.INK)]
    lines += [(line, style.TEXT, style.MUTED) for line in wrapped(told, style.TEXT, inner, most=3)]
    facts = f"{_count(len(tokens.words), 'word')} · {_count(tokens.count, 'token')}"
    facts += f" · {_count(chunks, 'chunk')} of {len(tokens.chunks[0])} places"
    lines.append((facts, style.TEXT, style.MUTED))
    if any(token.kind == "bytes" for chunk in tokens.chunks for token in chunk):
        told = "Red chips are single bytes, in hex: together they spell a letter that has no token"
        lines.append((told, style.TEXT, style.MUTED))
    if tokens.lost:
        lost = f"The vocabulary has no token for letters of: {' '.join(tokens.lost[:20])}"
        lines += [
            (line, style.TEXT, "#c92a2a") for line in wrapped(lost, style.TEXT, inner, most=2)
        ]
    return _lines(lines, px(style.MARGIN) - px(5))


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _lines(lines: Sequence[tuple[str, float, str]], top: int = 0) -> Image.Image:
    """Lines of text on a strip as wide as the page; the size of a title makes them bold."""
    height = top + sum(line_height(size) for _, size, _ in lines) + px(10)
    strip = Image.new("RGB", (px(style.PAGE), height), style.PAPER)
    pen = ImageDraw.Draw(strip)
    for text, size, color in lines:
        letters = font(size, "bold" if size >= style.HEADING else "plain")
        middle = top + line_height(size) / 2
        pen.text((px(style.MARGIN), middle), text, fill=color, font=letters, anchor="lm")
        top += line_height(size)
    return strip


class _Chip(NamedTuple):
    """A token on its chip. `joined`: it goes on with the word of the chip before."""

    text: str
    id: str
    note: str
    fill: str
    ink: str
    joined: bool

    @property
    def width(self) -> int:
        wide = (
            font(style.TEXT).getlength(self.text) + px(12),
            font(style.SMALL - 2, "mono").getlength(self.id),
            font(style.SMALL - 2).getlength(self.note),
        )
        return int(max(*wide, px(18)))


CHIP, ROW, NOTED_ROW = 22, 44, 58
"""Points: the height of a chip, and from one row of them to the next, without and with weights."""


def _chips(tokens: PromptTokens, chunk: Chunk, number: int) -> Image.Image:
    chips = [_chip(chunk, place) for place, token in enumerate(chunk) if token.kind != "padding"]
    padding = sum(token.kind == "padding" for token in chunk)
    if padding:
        id = str(chunk[-1].id)
        chips.append(_Chip(f"{padding} × padding", id, "", style.PAPER, style.MUTED, False))
    left, right = px(style.MARGIN), px(style.PAGE - style.MARGIN)
    places, x, row = [], left, 0
    for place, chip in enumerate(chips):
        x += 0 if place == 0 else px(1.5) if chip.joined else px(7)
        if x + chip.width > right:
            x, row = left, row + 1
        places.append((x, row))
        x += chip.width
    top = line_height(style.HEADING) + px(8)
    height = px(NOTED_ROW if any(chip.note for chip in chips) else ROW)
    strip = Image.new("RGB", (px(style.PAGE), top + (row + 1) * height + px(6)), style.PAPER)
    pen = ImageDraw.Draw(strip)
    many = len(tokens.chunks)
    name = f"Chunk {number} of {many}" if many > 1 else "Tokens and their ids"
    heading = font(style.HEADING, "bold")
    pen.text((left, 0), name, fill=style.INK, font=heading)
    if number > 1:
        told = "a program that reads one chunk only has stopped before this"
        x = left + int(heading.getlength(name)) + px(10)
        pen.text((x, px(1.5)), told, fill=style.MUTED, font=font(style.TEXT))
    for chip, (x, row) in zip(chips, places):
        _draw_chip(pen, chip, x, top + row * height)
    return strip


def _chip(chunk: Chunk, place: int) -> _Chip:
    token = chunk[place]
    joined = token.word is not None and token.word == chunk[place - 1].word
    note = "" if token.weight == 1 else f"×{token.weight:.3g}"
    if token.kind in ("start", "end"):
        return _Chip(token.kind, str(token.id), "", style.INK, style.PAPER, False)
    fill = ODD if token.kind in ("bytes", "unknown") else fill_of(token.weight)
    text = "?" if token.kind == "unknown" else token.text
    return _Chip(text, str(token.id), note, fill, style.INK, joined)


def fill_of(weight: float) -> str:
    """The colour of a chip, `#rrggbb`: plain at weight 1, then towards heavy or light."""
    share = min(abs(weight - 1) / STRONGEST, 1.0)
    share = share and 0.25 + 0.75 * share
    ends = [tuple(bytes.fromhex(c[1:])) for c in (PLAIN, HEAVY if weight > 1 else LIGHT)]
    return "#" + "".join(f"{round(a + (b - a) * share):02x}" for a, b in zip(*ends))


def _draw_chip(pen: ImageDraw.ImageDraw, chip: _Chip, x: int, y: int) -> None:
    box = (x, y, x + chip.width, y + px(CHIP))
    outline = style.LINE if chip.fill == style.PAPER else chip.fill
    pen.rounded_rectangle(box, radius=px(5), fill=chip.fill, outline=outline, width=2)
    middle = x + chip.width / 2
    inside = (middle, y + px(CHIP) / 2)
    pen.text(inside, chip.text, fill=chip.ink, font=font(style.TEXT), anchor="mm")
    mono, small = font(style.SMALL - 2, "mono"), font(style.SMALL - 2, "bold")
    pen.text((middle, y + px(CHIP + 8)), chip.id, fill=style.MUTED, font=mono, anchor="mm")
    pen.text((middle, y + px(CHIP + 20)), chip.note, fill=style.INK, font=small, anchor="mm")


def _embedding(chunk: Chunk, numbers: Tensor, scale: float) -> Image.Image:
    """The numbers of a chunk [length, width], each token a column under its name."""
    left, inner = px(style.MARGIN), px(style.PAGE - 2 * style.MARGIN)
    head = line_height(style.TEXT) + px(6)
    top = head + px(LABEL_HEIGHT) + px(4)
    strip = Image.new("RGB", (px(style.PAGE), top + px(MAP_HEIGHT) + px(26)), style.PAPER)
    pen = ImageDraw.Draw(strip)
    told = f"Embedding: {len(chunk)} tokens × {numbers.shape[1]} numbers"
    pen.text((left, 0), told, fill=style.MUTED, font=font(style.TEXT))
    _legend(strip, px(style.PAGE - style.MARGIN), scale)
    padding = sum(token.kind == "padding" for token in chunk)
    text = len(chunk) - padding
    step = _column(text, padding, inner)
    edge = round(text * step) if padding else inner
    colors = _colored(numbers.float().T / scale)
    strip.paste(_scaled(colors.crop((0, 0, text, colors.height)), edge), (left, top))
    for place, token in enumerate(chunk[:text]):
        middle = left + (place + 0.5) * step
        _upright(strip, token.text or token.kind, middle, head + px(LABEL_HEIGHT), step)
    if padding:
        rest = colors.crop((text, 0, len(chunk), colors.height))
        strip.paste(_scaled(rest, inner - edge), (left + edge, top))
        _bracket(pen, left + edge, left + inner, head + px(LABEL_HEIGHT))
    pen.rectangle((left - 1, top - 1, left + inner, top + px(MAP_HEIGHT)), outline=style.LINE)
    return strip


def _column(text: int, padding: int, inner: int) -> float:
    """Pixels of a column with a name; those of padding are narrower where there is much of it."""
    return max(inner / (text + padding), min(px(COLUMN), inner * TEXT_SHARE / text))


def _scaled(colors: Image.Image, width: int) -> Image.Image:
    way = Image.Resampling.NEAREST if px(MAP_HEIGHT) >= colors.height else Image.Resampling.BOX
    return colors.resize((width, px(MAP_HEIGHT)), way)


def _colored(numbers: Tensor) -> Image.Image:
    """Numbers [h, w] from -1 to 1 as colours, a pixel each."""
    from matplotlib import colormaps

    shares = ((numbers.clamp(-1, 1) + 1) / 2).cpu().numpy()
    return Image.fromarray(colormaps[style.DIVERGING](shares, bytes=True)[..., :3])


def _legend(strip: Image.Image, right: int, scale: float) -> None:
    """A bar of the colours with the numbers at its ends."""
    pen, letters = ImageDraw.Draw(strip), font(style.SMALL, "plain")
    high, low = f"+{scale:.2g}", f"−{scale:.2g}"
    middle, wide, tall = line_height(style.TEXT) // 2, px(100), px(9)
    bar = right - int(letters.getlength(high)) - px(6) - wide
    pen.text((right, middle), high, fill=style.MUTED, font=letters, anchor="rm")
    ramp = _colored(torch.linspace(-1, 1, wide).expand(tall, wide))
    strip.paste(ramp, (bar, middle - tall // 2))
    pen.text((bar - px(6), middle), low, fill=style.MUTED, font=letters, anchor="rm")


def _upright(strip: Image.Image, text: str, middle: float, bottom: int, step: float) -> None:
    """A token's name that reads upwards over its column."""
    size = min(style.TEXT, step / style.SCALE * 0.95)
    (text,) = wrapped(text, size, px(LABEL_HEIGHT), most=1) or [""]
    letters = font(size)
    wide, tall = int(letters.getlength(text)) + 2, line_height(size)
    name = Image.new("L", (wide, tall))
    ImageDraw.Draw(name).text((0, tall / 2), text, fill=255, font=letters, anchor="lm")
    turned = name.rotate(90, expand=True)
    ink = Image.new("RGB", turned.size, style.INK)
    strip.paste(ink, (round(middle - tall / 2), bottom - wide), turned)


def _bracket(pen: ImageDraw.ImageDraw, left: float, right: float, bottom: float) -> None:
    """A line over the columns of padding, with the word in the middle."""
    letters = font(style.SMALL)
    y, drop = bottom - px(3), px(5)
    pen.line([(left, y + drop), (left, y), (right, y), (right, y + drop)], style.LINE, px(1))
    if right - left > letters.getlength("padding"):
        middle = ((left + right) / 2, y - px(8))
        pen.text(middle, "padding", fill=style.MUTED, font=letters, anchor="mm")
