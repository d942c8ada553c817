"""The objects of the postcard world, each drawn from a few flat shapes, and the canvas they use.

A sprite is drawn in its own units: x to the right, y up from its base, about one unit tall.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from PIL import Image, ImageDraw

RGB = tuple[int, int, int]
Colour = tuple[int, ...]
Point = tuple[float, float]

PAINT: Final[dict[str, RGB]] = {
    "red": (218, 46, 44),
    "orange": (244, 132, 24),
    "yellow": (252, 212, 36),
    "green": (40, 150, 66),
    "blue": (38, 92, 214),
    "purple": (136, 58, 178),
    "white": (248, 248, 244),
}
CREAM: Final[RGB] = (250, 242, 220)
DARK: Final[RGB] = (62, 52, 62)
WOOD: Final[RGB] = (124, 82, 52)
GLASS: Final[RGB] = (150, 205, 235)
GLOW: Final[RGB] = (255, 226, 110)


def mix(a: RGB, b: RGB, t: float) -> RGB:
    """The colour a share `t` of the way from `a` to `b`."""
    red, green, blue = (round(x + (y - x) * t) for x, y in zip(a, b, strict=True))
    return (red, green, blue)


def shade(colour: RGB, factor: float) -> RGB:
    """The colour made darker by a factor."""
    return mix((0, 0, 0), colour, factor)


class Canvas:
    """A picture and a depth map drawn together, `scale` times too large."""

    def __init__(self, size: int, scale: int, background: float) -> None:
        self.size, self.scale = size, scale
        self.image = Image.new("RGB", (size * scale, size * scale))
        self._pen = ImageDraw.Draw(self.image, "RGBA")
        self._depth = Image.new("F", (size * scale, size * scale), background)
        self._depth_pen = ImageDraw.Draw(self._depth)

    def polygon(self, points: Sequence[Point], colour: Colour, depth: float | None) -> None:
        """A filled polygon; with no depth it is a mark on what is already there."""
        flat = [(x * self.scale, y * self.scale) for x, y in points]
        self._pen.polygon(flat, fill=colour)
        if depth is not None:
            self._depth_pen.polygon(flat, fill=depth)

    def ellipse(
        self, x: float, y: float, rx: float, ry: float, colour: Colour, depth: float | None
    ) -> None:
        """A filled ellipse about a centre."""
        s = self.scale
        box = ((x - rx) * s, (y - ry) * s, (x + rx) * s, (y + ry) * s)
        self._pen.ellipse(box, fill=colour)
        if depth is not None:
            self._depth_pen.ellipse(box, fill=depth)

    def line(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        """An open line: a mark, which has no depth of its own."""
        flat = [(x * self.scale, y * self.scale) for x, y in points]
        self._pen.line(flat, fill=colour, width=max(1, round(width * self.scale)), joint="curve")

    def fill_rows(self, top: int, depth: np.ndarray) -> None:
        """Sets the depth of whole rows (given in drawn, not final, pixels) from `top` down."""
        rows = np.repeat(depth[:, None], self.size * self.scale, axis=1)
        self._depth.paste(Image.fromarray(rows), (0, top))

    def finish(self) -> tuple[Image.Image, np.ndarray]:
        """The picture scaled down, and the depth at the centre of each of its pixels."""
        image = self.image.resize((self.size, self.size), Image.Resampling.BOX)
        middle = self.scale // 2
        depth = np.asarray(self._depth, dtype=np.float32)
        return image, depth[middle :: self.scale, middle :: self.scale].copy()


@dataclass(frozen=True)
class Brush:
    """Draws in a sprite's own units at one place and depth of the canvas."""

    canvas: Canvas
    x: float
    y: float
    unit: float
    depth: float
    lit: bool
    tint: Callable[[RGB], RGB]

    def poly(self, points: Sequence[Point], colour: RGB, *, glow: bool = False) -> None:
        """A polygon; a glowing one keeps its colour at night."""
        at = [(self.x + px * self.unit, self.y - py * self.unit) for px, py in points]
        self.canvas.polygon(at, colour if glow else self.tint(colour), self.depth)

    def rect(self, x0: float, y0: float, x1: float, y1: float, colour: RGB) -> None:
        """An upright rectangle."""
        self.poly([(x0, y0), (x1, y0), (x1, y1), (x0, y1)], colour)

    def disc(self, x: float, y: float, rx: float, ry: float, colour: RGB) -> None:
        """An ellipse."""
        u = self.unit
        self.canvas.ellipse(
            self.x + x * u, self.y - y * u, rx * u, ry * u, self.tint(colour), self.depth
        )

    def window(self, x0: float, y0: float, x1: float, y1: float) -> None:
        """A window, lit after sunset."""
        pane = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
        self.poly(pane, GLOW if self.lit else GLASS, glow=self.lit)


def house(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.rect(0.24, 0.6, 0.38, 1.0, shade(c, 0.6))
    b.rect(-0.5, 0, 0.5, 0.56, c)
    b.rect(0.3, 0, 0.5, 0.56, shade(c, 0.82))
    b.poly([(-0.62, 0.52), (-0.36, 0.92), (0.36, 0.92), (0.62, 0.52)], DARK)
    b.rect(-0.09, 0, 0.1, 0.34, WOOD)
    b.window(-0.4, 0.18, -0.19, 0.4)
    b.window(0.19, 0.18, 0.4, 0.4)


def lighthouse(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    other = CREAM if colour != "white" else (206, 210, 216)
    bands = 5
    for i in range(bands):
        y0, y1 = i / bands, (i + 1) / bands
        w0, w1 = 0.25 - 0.1 * y0, 0.25 - 0.1 * y1
        paint = c if i % 2 == 0 else other
        b.poly([(-w0, y0), (w0, y0), (w1, y1), (-w1, y1)], paint)
        b.poly([(w0 * 0.4, y0), (w0, y0), (w1, y1), (w1 * 0.4, y1)], shade(paint, 0.84))
    b.rect(-0.22, 1.0, 0.22, 1.06, DARK)
    b.poly([(-0.11, 1.06), (0.11, 1.06), (0.11, 1.2), (-0.11, 1.2)], GLOW, glow=True)
    b.poly([(-0.18, 1.2), (0.18, 1.2), (0.0, 1.36)], DARK)
    b.poly([(-0.08, 0), (0.08, 0), (0.08, 0.17), (-0.08, 0.17)], DARK)


def tree(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.poly([(-0.1, 0), (0.1, 0), (0.06, 0.5), (-0.06, 0.5)], WOOD)
    b.disc(0.1, 0.72, 0.4, 0.36, shade(c, 0.84))
    b.disc(-0.2, 0.68, 0.3, 0.29, c)
    b.disc(0.18, 0.7, 0.3, 0.29, c)
    b.disc(0.0, 0.88, 0.34, 0.32, c)
    b.disc(-0.1, 0.98, 0.13, 0.1, mix(c, (255, 255, 255), 0.25))


def sailboat(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.rect(-0.035, 0.2, 0.03, 1.2, WOOD)
    b.poly([(0.07, 0.3), (0.56, 0.3), (0.07, 1.16)], CREAM)
    b.poly([(-0.07, 0.3), (-0.46, 0.3), (-0.07, 1.0)], c)
    b.poly([(-0.66, 0.24), (0.68, 0.24), (0.5, -0.03), (-0.46, -0.03)], c)
    b.poly([(-0.56, 0.08), (0.58, 0.08), (0.5, -0.03), (-0.46, -0.03)], shade(c, 0.75))


def tent(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.poly([(-0.2, 0.78), (0.34, 0.78), (0.72, 0.0), (0.1, 0.0)], shade(c, 0.72))
    b.poly([(-0.68, 0), (-0.2, 0.8), (0.28, 0)], c)
    b.poly([(-0.34, 0), (-0.2, 0.5), (-0.02, 0)], DARK)


def castle(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.rect(-0.36, 0, 0.36, 0.56, shade(c, 0.86))
    for i in range(3):
        x = -0.26 + 0.2 * i
        b.rect(x, 0.56, x + 0.11, 0.64, shade(c, 0.86))
    for x in (-0.58, 0.28):
        b.rect(x, 0, x + 0.3, 0.82, c)
        b.rect(x + 0.2, 0, x + 0.3, 0.82, shade(c, 0.8))
        b.poly([(x - 0.06, 0.82), (x + 0.36, 0.82), (x + 0.15, 1.2)], DARK)
        b.window(x + 0.09, 0.48, x + 0.19, 0.64)
    b.disc(0.0, 0.24, 0.13, 0.12, DARK)
    b.rect(-0.13, 0, 0.13, 0.24, DARK)


def windmill(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.poly([(-0.3, 0), (0.3, 0), (0.18, 0.78), (-0.18, 0.78)], c)
    b.poly([(0.08, 0), (0.3, 0), (0.18, 0.78), (0.06, 0.78)], shade(c, 0.82))
    b.poly([(-0.22, 0.76), (0.22, 0.76), (0.0, 1.0)], DARK)
    b.rect(-0.09, 0, 0.09, 0.24, DARK)
    b.window(-0.07, 0.38, 0.07, 0.52)
    for i in range(4):
        a = math.radians(32 + 90 * i)
        ux, uy = math.cos(a), math.sin(a)

        def at(r: float, s: float, ux: float = ux, uy: float = uy) -> Point:
            return (r * ux - s * uy, 0.8 + r * uy + s * ux)

        b.poly([at(0.12, 0.0), at(0.12, 0.15), at(0.62, 0.15), at(0.62, 0.0)], CREAM)
        b.poly([at(0.0, -0.025), at(0.0, 0.025), at(0.64, 0.025), at(0.64, -0.025)], WOOD)
    b.disc(0, 0.8, 0.06, 0.06, WOOD)


def car(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.poly([(-0.44, 0.4), (-0.28, 0.68), (0.26, 0.68), (0.46, 0.4)], c)
    b.poly([(-0.34, 0.4), (-0.23, 0.61), (-0.03, 0.61), (-0.03, 0.4)], GLASS)
    b.poly([(0.04, 0.4), (0.04, 0.61), (0.21, 0.61), (0.34, 0.4)], GLASS)
    b.poly([(-0.72, 0.12), (-0.7, 0.38), (0.6, 0.42), (0.76, 0.32), (0.76, 0.12)], c)
    b.rect(-0.72, 0.1, 0.76, 0.18, shade(c, 0.72))
    b.disc(0.69, 0.29, 0.05, 0.05, GLOW)
    for x in (-0.42, 0.42):
        b.disc(x, 0.12, 0.17, 0.17, DARK)
        b.disc(x, 0.12, 0.07, 0.07, (205, 205, 210))


def balloon(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.poly([(-0.3, 0.52), (0.3, 0.52), (0.1, 0.24), (-0.1, 0.24)], shade(c, 0.8))
    b.disc(0, 0.76, 0.42, 0.42, c)
    b.disc(0.17, 0.76, 0.25, 0.4, shade(c, 0.84))
    b.disc(0, 0.76, 0.2, 0.42, mix(c, CREAM, 0.55) if colour != "white" else (214, 218, 226))
    b.poly([(-0.09, 0.24), (-0.075, 0.24), (-0.075, 0.12), (-0.09, 0.12)], DARK)
    b.poly([(0.075, 0.24), (0.09, 0.24), (0.09, 0.12), (0.075, 0.12)], DARK)
    b.rect(-0.12, -0.04, 0.12, 0.13, WOOD)


def mushroom(b: Brush, colour: str) -> None:
    c = PAINT[colour]
    b.poly([(-0.2, 0), (0.2, 0), (0.15, 0.5), (-0.15, 0.5)], CREAM)
    b.poly([(0.05, 0), (0.2, 0), (0.15, 0.5), (0.04, 0.5)], shade(CREAM, 0.86))
    dome = [(0.62 * math.cos(t), 0.42 + 0.6 * math.sin(t)) for t in np.linspace(0, math.pi, 25)]
    b.poly(dome, c)
    b.disc(0, 0.42, 0.62, 0.09, shade(c, 0.78))
    dots = (255, 255, 250) if colour != "white" else (196, 170, 140)
    for x, y, r in ((-0.3, 0.66, 0.1), (0.08, 0.82, 0.12), (0.36, 0.6, 0.08)):
        b.disc(x, y, r, r * 0.9, dots)


SPRITES: Final[dict[str, Callable[[Brush, str], None]]] = {
    "house": house,
    "lighthouse": lighthouse,
    "tree": tree,
    "sailboat": sailboat,
    "tent": tent,
    "castle": castle,
    "windmill": windmill,
    "car": car,
    "balloon": balloon,
    "mushroom": mushroom,
}
"""Each object's drawing function."""
