"""The world of postcards: what a scene may hold, and how one is drawn at random.

A scene is a handful of independent attributes. Some *combinations* never occur in training
(`held_out`), so a model that draws them well has learnt the parts, not the pictures.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

SIZE: Final = 128

KINDS: Final = (
    "house", "lighthouse", "tree", "sailboat", "tent",
    "castle", "windmill", "car", "balloon", "mushroom",
)  # fmt: skip
COLOURS: Final = ("red", "orange", "yellow", "green", "blue", "purple", "white")
PLACES: Final = ("left", "middle", "right")
SIZES: Final = ("near", "far")
SKIES: Final = ("day", "sunset", "night", "overcast")
GROUNDS: Final = ("grass", "sand", "snow", "sea")
RELIEFS: Final = ("flat", "hills", "mountains")
WEATHERS: Final = ("clear", "clouds", "rain", "snowfall")
LIGHTS: Final = ("none", "sun", "moon")
BIRDS: Final = ("none", "birds")
STYLES: Final = ("plain", "watercolour")

ATTRIBUTES: Final[dict[str, tuple[str, ...]]] = {
    "kind": KINDS,
    "colour": COLOURS,
    "place": PLACES,
    "size": SIZES,
    "sky": SKIES,
    "ground": GROUNDS,
    "relief": RELIEFS,
    "weather": WEATHERS,
    "light": LIGHTS,
    "birds": BIRDS,
    "style": STYLES,
}
"""Every attribute of the scene and of its first object, with the values it may take."""


@dataclass(frozen=True)
class Thing:
    """One object: what it is, its colour, where it stands and how far away."""

    kind: str
    colour: str
    place: str
    size: str


@dataclass(frozen=True)
class Scene:
    """All there is to know about a picture; `seed` settles what no caption mentions."""

    sky: str
    ground: str
    relief: str
    weather: str
    light: str
    birds: str
    style: str
    things: tuple[Thing, ...]
    seed: int

    def attributes(self) -> dict[str, str]:
        """The value of each of `ATTRIBUTES`; kind, colour, place and size are the first object's."""
        first = self.things[0]
        return {
            name: getattr(first if name in ("kind", "colour", "place", "size") else self, name)
            for name in ATTRIBUTES
        }


def held_out_pair(kind: str, *, colour: str | None = None, sky: str | None = None) -> bool:
    """Whether this object in this colour, or under this sky, is kept from training.

    One colour of each object (10 of 70 pairs) and one object under each sky (4 of 40).
    """
    k = KINDS.index(kind)
    if colour is not None and (3 * k + COLOURS.index(colour)) % 7 == 4:
        return True
    return sky is not None and (k + 3 * SKIES.index(sky)) % 10 == 8


def held_out(scene: Scene) -> bool:
    """Whether the scene holds any combination that training never sees."""
    return any(held_out_pair(t.kind, colour=t.colour, sky=scene.sky) for t in scene.things)


def _pick(rng: np.random.Generator, values: tuple[str, ...], p: list[float] | None = None) -> str:
    return values[int(rng.choice(len(values), p=p))]


def _draw(rng: np.random.Generator, pairs: float) -> Scene:
    sky = _pick(rng, SKIES, [0.3, 0.24, 0.24, 0.22])
    if sky == "overcast":
        weather = _pick(rng, WEATHERS, [0.1, 0.3, 0.3, 0.3])
    else:
        weather = _pick(rng, ("clear", "clouds"), [0.6, 0.4])
    shines = sky != "overcast" and rng.random() < 0.6
    light = ("moon" if sky == "night" else "sun") if shines else "none"
    kinds, places = rng.permutation(len(KINDS)), rng.permutation(len(PLACES))
    count = 2 if rng.random() < pairs else 1
    things: list[Thing] = []
    for i in range(count):
        size = _pick(rng, SIZES, [0.6, 0.4])
        if i == 1:  # a pair stands at two distances, so that one never hides the other's base
            size = "far" if things[0].size == "near" else "near"
        things.append(Thing(KINDS[kinds[i]], _pick(rng, COLOURS), PLACES[places[i]], size))
    return Scene(
        sky=sky,
        ground=_pick(rng, GROUNDS),
        relief=_pick(rng, RELIEFS),
        weather=weather,
        light=light,
        birds=_pick(rng, BIRDS, [0.7, 0.3]),
        style=_pick(rng, STYLES, [0.82, 0.18]),
        things=tuple(things),
        seed=int(rng.integers(2**31)),
    )


def random_scene(
    rng: np.random.Generator, *, held: bool | None = False, pairs: float = 0.1
) -> Scene:
    """A random scene: never held out (the training set), always (`held=True`), or either (`None`).

    `pairs` is how often a second object stands in the scene.
    """
    while True:
        scene = _draw(rng, pairs)
        if held is None or held_out(scene) is held:
            return scene


def with_seed(scene: Scene, seed: int) -> Scene:
    """The same scene with other unsaid details."""
    return replace(scene, seed=seed)
