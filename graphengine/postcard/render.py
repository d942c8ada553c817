"""Draws a scene: a flat cartoon of 128x128 and, by the same painter's algorithm, its exact depth.

Everything is drawn at three times the size and scaled down; coordinates here are in final pixels.
Depth is in units of the distance to the ground at the lower edge of the picture: 1 there, growing
as 1 / (y - horizon) on the ground plane, `SKY_DEPTH` in the sky.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from PIL import Image, ImageFilter

from graphengine.postcard.sprites import RGB, SPRITES, Brush, Canvas, mix, shade
from graphengine.postcard.world import SIZE, Scene, Thing

SKY_DEPTH: Final = 100.0
MOUNTAIN_DEPTH: Final = 60.0
HILL_DEPTH: Final = 40.0
GROUND_LIMIT: Final = 30.0

_SKIES: Final[dict[str, tuple[RGB, RGB, RGB]]] = {
    "day": ((70, 150, 230), (135, 195, 245), (205, 235, 252)),
    "sunset": ((92, 70, 140), (235, 110, 95), (255, 200, 125)),
    "night": ((14, 18, 52), (26, 34, 84), (48, 60, 122)),
    "overcast": ((130, 138, 150), (160, 167, 177), (190, 196, 203)),
}
_GROUNDS: Final[dict[str, tuple[RGB, RGB]]] = {
    "grass": ((150, 205, 95), (78, 155, 60)),
    "sand": ((248, 222, 155), (226, 178, 100)),
    "snow": ((250, 252, 255), (214, 226, 242)),
    "sea": ((85, 165, 215), (28, 92, 160)),
}
_TINTS: Final[dict[str, tuple[RGB, float]]] = {
    "day": ((255, 255, 255), 0.0),
    "sunset": ((225, 110, 80), 0.22),
    "night": ((18, 26, 74), 0.6),
    "overcast": ((135, 142, 152), 0.3),
}


def tint(colour: RGB, sky: str, strength: float = 1.0) -> RGB:
    """The colour as this sky lights it."""
    towards, amount = _TINTS[sky]
    return mix(colour, towards, amount * strength)


def _gradient(top: int, bottom: int, stops: list[RGB], width: int) -> Image.Image:
    """A vertical gradient of `bottom - top` rows through the stops."""
    rows = np.linspace(0.0, len(stops) - 1.0, bottom - top)
    table = np.array(stops, dtype=np.float64)
    channels = [np.interp(rows, np.arange(len(stops)), table[:, c]) for c in range(3)]
    strip = np.stack(channels, axis=1).round().astype(np.uint8)[:, None, :]
    return Image.fromarray(np.repeat(strip, width, axis=1))


def ground_depth(y: float, horizon: float) -> float:
    """Depth of the ground plane at row `y`, below the horizon."""
    return min((SIZE - horizon) / max(y - horizon, 1e-3), GROUND_LIMIT)


def _sky(canvas: Canvas, scene: Scene, rng: np.random.Generator, horizon: float) -> None:
    s = canvas.scale
    rows = int(horizon * s) + s
    canvas.image.paste(_gradient(0, rows, list(_SKIES[scene.sky]), SIZE * s), (0, 0))
    if scene.sky == "night":
        for i in range(14):  # a loose lattice: stars spread evenly, and few
            x, y = (i * 0.618034 % 1) * SIZE, 3 + (i * 0.381966 * 1.7 % 1) * (horizon - 26)
            x, y = x + rng.uniform(-3, 3), y + rng.uniform(-2, 2)
            canvas.ellipse(x, y, 0.9, 0.9, (245, 245, 225, 210), None)


def _light(canvas: Canvas, scene: Scene, rng: np.random.Generator, horizon: float) -> float | None:
    """Draws sun or moon and tells where it stands, so that no cloud hides it."""
    if scene.light == "none":
        return None
    # Away from the first object, so that nothing tall hides it.
    taken = {t.place for t in scene.things}
    free = [x for place, x in (("left", 26), ("middle", 64), ("right", 102)) if place not in taken]
    x = float(rng.choice(free)) + rng.uniform(-6, 6)
    low = scene.sky == "sunset"
    y = horizon - 22 + rng.uniform(-3, 3) if low else 19 + rng.uniform(-3, 3)
    if scene.light == "moon":
        for r, a in ((15.0, 26), (12.0, 40)):
            canvas.ellipse(x, y, r, r, (200, 210, 250, a), None)
        canvas.ellipse(x, y, 8.5, 8.5, (250, 244, 214, 255), None)
        for dx, dy, r in ((-2.5, -2.0, 2.0), (3.0, 1.5, 1.6), (-1.0, 3.8, 1.2)):
            canvas.ellipse(x + dx, y + dy, r, r, (226, 218, 186, 255), None)
        return x
    core = (255, 226, 130, 255) if low else (255, 226, 70, 255)
    radius = 12.5 if low else 9.5
    for r, a in ((radius + 6.5, 45), (radius + 3.5, 70)):
        canvas.ellipse(x, y, r, r, (255, 240, 170, a), None)
    canvas.ellipse(x, y, radius, radius, core, None)
    return None if low else x


def _clouds(canvas: Canvas, scene: Scene, rng: np.random.Generator, light: float | None) -> None:
    if scene.weather == "clear":
        return
    colour = {
        "day": (255, 255, 255),
        "sunset": (255, 190, 170),
        "night": (92, 102, 156),
        "overcast": (108, 115, 127),
    }[scene.sky]
    heavy = scene.sky == "overcast"
    slots = (20, 64, 108)
    spare = int(rng.integers(3))
    for i, x0 in enumerate(slots):
        if not heavy and light is None and i == spare:
            continue
        if light is not None and abs(x0 - light) < 22:
            continue
        x, y = x0 + rng.uniform(-7, 7), (13 if heavy else 17) + rng.uniform(-6, 6)
        w = rng.uniform(0.85, 1.15) * (1.25 if heavy else 1.0)
        for dx, dy, rx, ry in (
            (-9, 1, 7, 4.6), (0, -2.5, 8.5, 7), (8, 0.5, 7.5, 5.2), (0, 3, 15, 3.4),
        ):  # fmt: skip
            canvas.ellipse(x + dx * w, y + dy * w, rx * w, ry * w, (*colour, 255), None)


def _relief(canvas: Canvas, scene: Scene, rng: np.random.Generator, horizon: float) -> None:
    if scene.relief == "mountains":
        rock = tint((108, 116, 150), scene.sky, 0.75)
        snow = tint((246, 248, 252), scene.sky, 0.7)
        for x0, tall in ((8, 25), (116, 27), (42, 31), (84, 28)):
            x = x0 + rng.uniform(-7, 7)
            h = tall + rng.uniform(-4, 4)
            w, top = h * 1.05, horizon - h
            canvas.polygon([(x - w, horizon), (x, top), (x + w, horizon)], rock, MOUNTAIN_DEPTH)
            dark = shade(rock, 0.82)
            canvas.polygon(
                [(x, top), (x + w, horizon), (x + w * 0.25, horizon)], dark, MOUNTAIN_DEPTH
            )
            c = 0.34
            canvas.polygon(
                [
                    (x, top),
                    (x + w * c, top + h * c),
                    (x + w * c * 0.45, top + h * c * 0.78),
                    (x, top + h * c * 1.15),
                    (x - w * c * 0.45, top + h * c * 0.78),
                    (x - w * c, top + h * c),
                ],
                snow,
                MOUNTAIN_DEPTH,
            )
    elif scene.relief == "hills":
        base = {"grass": (96, 165, 100), "sand": (216, 176, 120), "snow": (196, 212, 232)}.get(
            scene.ground, (112, 165, 120)
        )
        for i, lift in enumerate((15.0, 9.0)):
            colour = tint(mix(base, _SKIES[scene.sky][2], 0.4 - 0.25 * i), scene.sky, 0.85)
            phase, wave = rng.uniform(0, 6.28), rng.uniform(0.05, 0.065)
            points = [
                (x, horizon - lift - 5 * math.sin(phase + wave * x)) for x in range(-2, SIZE + 3, 3)
            ]
            points += [(SIZE + 2, horizon + 1), (-2, horizon + 1)]
            canvas.polygon(points, colour, HILL_DEPTH - i)


def _ground(canvas: Canvas, scene: Scene, rng: np.random.Generator, horizon: float) -> None:
    s = canvas.scale
    far, near = (tint(c, scene.sky) for c in _GROUNDS[scene.ground])
    top = round(horizon * s)
    canvas.image.paste(_gradient(top, SIZE * s, [far, near], SIZE * s), (0, top))
    y = (np.arange(top, SIZE * s) + 0.5) / s
    depth = np.minimum((SIZE - horizon) / np.maximum(y - horizon, 1e-3), GROUND_LIMIT)
    canvas.fill_rows(top, depth.astype(np.float32))
    span = SIZE - horizon
    if scene.ground == "sea":
        crest = tint((235, 245, 252), scene.sky, 0.8)
        for i in range(7):
            x, t = (i * 0.618034 % 1) * SIZE, 0.12 + 0.84 * i / 7
            x, y0, w = x + rng.uniform(-8, 8), horizon + span * t, 5 + 8 * t
            canvas.polygon(
                [(x - w, y0), (x, y0 - 0.9), (x + w, y0), (x, y0 + 0.9)], (*crest, 150), None
            )
    elif scene.ground == "sand":
        line = (*shade(near, 0.86), 130)
        for i, t in enumerate((0.3, 0.62, 0.9)):
            phase = rng.uniform(0, 6.28)
            pts = [
                (x, horizon + span * t + 2 * math.sin(phase + 0.05 * x))
                for x in range(-2, SIZE + 3, 4)
            ]
            canvas.line(pts, line, 0.8 + 0.3 * i)
    elif scene.ground == "snow":
        drift = tint((255, 255, 255), scene.sky, 0.85)
        for i, t in enumerate((0.25, 0.55, 0.85)):
            x = ((0.2 + 0.62 * i) % 1) * SIZE + rng.uniform(-10, 10)
            canvas.ellipse(x, horizon + span * t, 16 + 12 * t, 1.5 + 2.5 * t, (*drift, 200), None)
    else:
        tuft = (*shade(near, 0.82), 200)
        petals = [tint(c, scene.sky, 0.6) for c in ((255, 255, 255), (255, 220, 90))]
        for i in range(8):
            x, t = (i * 0.618034 % 1) * SIZE + rng.uniform(-5, 5), 0.22 + 0.72 * i / 8
            y0, r = horizon + span * t, 0.9 + 1.1 * t
            canvas.polygon(
                [
                    (x - 2 * r, y0),
                    (x - r, y0 - 2.4 * r),
                    (x, y0),
                    (x + r, y0 - 2 * r),
                    (x + 2 * r, y0),
                ],
                tuft,
                None,
            )
            canvas.ellipse(x + 5, y0 + 1, r * 0.75, r * 0.75, (*petals[i % 2], 255), None)


def _thing(
    canvas: Canvas, scene: Scene, thing: Thing, rng: np.random.Generator, horizon: float
) -> None:
    span = SIZE - horizon
    near = thing.size == "near"
    aside = {"left": -1.0, "middle": 0.0, "right": 1.0}[thing.place]
    x = SIZE / 2 + aside * (32.0 if near else 38.0) + rng.uniform(-4, 4)
    y = horizon + span * ((0.74 if near else 0.26) + rng.uniform(-0.05, 0.05))
    unit = (53.0 if near else 29.0) * rng.uniform(0.94, 1.06)
    depth = ground_depth(y, horizon)
    if thing.kind == "balloon":
        canvas.ellipse(x, y, unit * 0.3, unit * 0.07, (20, 30, 50, 50), None)
        y -= unit * 0.42
    elif thing.kind == "sailboat":
        if scene.ground != "sea":
            pond = tint((70, 150, 205), scene.sky)
            canvas.ellipse(x, y, unit * 0.74, unit * 0.14, (*pond, 255), None)
    else:
        if scene.ground == "sea":
            beach = tint((236, 205, 140), scene.sky)
            canvas.ellipse(x, y + unit * 0.02, unit * 0.74, unit * 0.15, (*beach, 255), None)
        canvas.ellipse(x + unit * 0.06, y, unit * 0.5, unit * 0.08, (20, 30, 50, 60), None)
    brush = Brush(
        canvas, x, y, unit, depth, lit=scene.sky in ("night", "sunset"),
        tint=lambda c: tint(c, scene.sky, 0.5),
    )  # fmt: skip
    SPRITES[thing.kind](brush, thing.colour)


def _fall(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    """Rain or snow: a fixed pattern in one of four positions, between the scene and the viewer."""
    if scene.weather not in ("rain", "snowfall"):
        return
    offset = float(rng.integers(4)) * 7.0
    for i in range(44):
        x = ((i * 0.618034) % 1) * (SIZE + 16) - 8
        y = (i * SIZE / 44 + offset) % SIZE
        if scene.weather == "rain":
            canvas.line([(x + 2.6, y - 4.5), (x - 2.6, y + 4.5)], (222, 234, 250, 165), 1.0)
        else:
            canvas.ellipse(x, y, 1.6, 1.6, (255, 255, 255, 235), None)


def _birds(canvas: Canvas, scene: Scene, rng: np.random.Generator) -> None:
    if scene.birds == "none":
        return
    x0, y0 = rng.uniform(40, 88), rng.uniform(32, 40)
    ink = (225, 228, 245, 255) if scene.sky == "night" else (44, 46, 66, 255)
    for dx, dy in ((0, 0), (-13, 4), (12, 5)):
        x, y = x0 + dx, y0 + dy
        canvas.line(
            [(x - 5, y - 2.4), (x - 2, y - 3), (x, y), (x + 2, y - 3), (x + 5, y - 2.4)], ink, 1.1
        )


@functools.cache
def _vignette() -> np.ndarray:
    """How much of the picture shows, 0..1 [128, 128, 1]: all but a soft, wavy frame."""
    y, x = np.mgrid[0:SIZE, 0:SIZE].astype(np.float32) + 0.5
    wave = 1.2 * np.sin(x * 0.13) * np.cos(y * 0.11) + 0.8 * np.sin(0.17 * (x - y))
    edge = np.minimum(np.minimum(x, SIZE - x), np.minimum(y, SIZE - y)) + wave
    shown: np.ndarray = np.clip((edge - 2.0) / 8.0, 0.0, 1.0)[..., None]
    return shown


def _watercolour(image: Image.Image) -> Image.Image:
    """Washed-out colours that run into white paper."""
    soft = np.asarray(image.filter(ImageFilter.GaussianBlur(0.8)), dtype=np.float32)
    paper = np.array((252, 248, 238), dtype=np.float32)
    washed = paper * (soft * 0.72 + 255 * 0.28) / 255
    out = paper + (washed - paper) * _vignette()
    return Image.fromarray(out.round().clip(0, 255).astype(np.uint8))


def render(scene: Scene) -> tuple[Image.Image, np.ndarray]:
    """The picture (128x128 RGB) and its depth (128x128 float32, larger is farther)."""
    rng = np.random.default_rng(scene.seed)
    canvas = Canvas(SIZE, 3, SKY_DEPTH)
    horizon = 70.0 + rng.uniform(-4, 4)
    _sky(canvas, scene, rng, horizon)
    light = _light(canvas, scene, rng, horizon)
    _clouds(canvas, scene, rng, light)
    _birds(canvas, scene, rng)
    _relief(canvas, scene, rng, horizon)
    _ground(canvas, scene, rng, horizon)
    for thing in sorted(scene.things, key=lambda t: t.size != "far"):
        _thing(canvas, scene, thing, rng, horizon)
    _fall(canvas, scene, rng)
    image, depth = canvas.finish()
    return (_watercolour(image) if scene.style == "watercolour" else image), depth
