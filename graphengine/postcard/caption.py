"""Says in English what a scene shows, in one of many ways, leaving some of it unsaid."""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np

from graphengine.postcard.world import ATTRIBUTES, Scene, Thing, held_out_pair, random_scene

_KINDS: Final[dict[str, tuple[str, ...]]] = {
    "house": ("house", "house", "cottage"),
    "lighthouse": ("lighthouse",),
    "tree": ("tree",),
    "sailboat": ("sailboat", "sailing boat", "boat", "yacht"),
    "tent": ("tent",),
    "castle": ("castle", "castle", "fortress"),
    "windmill": ("windmill", "windmill", "mill"),
    "car": ("car", "car", "automobile"),
    "balloon": ("hot-air balloon", "balloon"),
    "mushroom": ("mushroom", "toadstool"),
}
_COLOURS: Final[dict[str, tuple[str, ...]]] = {
    "red": ("red", "red", "scarlet", "crimson"),
    "orange": ("orange",),
    "yellow": ("yellow", "yellow", "golden"),
    "green": ("green", "green", "emerald"),
    "blue": ("blue",),
    "purple": ("purple", "purple", "violet"),
    "white": ("white",),
}
_PLACES: Final[dict[str, tuple[str, ...]]] = {
    "left": ("on the left", "on the left", "at the left", "to the left"),
    "middle": ("in the middle", "in the middle", "in the centre", "in the center"),
    "right": ("on the right", "on the right", "at the right", "to the right"),
}
_SIZE_ADJECTIVES: Final[dict[str, tuple[str, ...]]] = {
    "near": ("big", "large", "nearby"),
    "far": ("small", "distant", "tiny"),
}
_SIZE_PHRASES: Final[dict[str, tuple[str, ...]]] = {
    "near": ("up close", "close by", "in the foreground"),
    "far": ("far away", "in the distance", "far off"),
}
_PHRASES: Final[dict[str, dict[str, tuple[str, ...]]]] = {
    "sky": {
        "day": ("by day", "under a blue sky", "in the daytime", "on a bright day"),
        "sunset": ("at sunset", "at sunset", "at dusk", "under an evening sky"),
        "night": ("at night", "at night", "by night", "under a dark night sky"),
        "overcast": ("on a grey day", "under an overcast sky", "under a gray sky"),
    },
    "ground": {
        "grass": ("on the grass", "in a green meadow", "on a lawn", "in a grassy field"),
        "sand": ("on sand", "in the desert", "on a sandy plain"),
        "snow": ("in the snow", "on snowy ground", "in a snowy field"),
        "sea": ("on the sea", "by the sea", "on the water", "surrounded by water"),
    },
    "relief": {
        "flat": ("an open horizon", "a flat horizon", "nothing on the horizon"),
        "hills": ("hills behind", "rolling hills", "hills in the background"),
        "mountains": ("mountains behind", "mountains", "mountains in the background"),
    },
    "weather": {
        "clear": ("a clear sky", "a cloudless sky", "clear weather"),
        "clouds": ("clouds", "a few clouds", "a cloudy sky"),
        "rain": ("rain", "falling rain", "rainy weather"),
        "snowfall": ("falling snow", "snowfall", "snowflakes in the air"),
    },
    "light": {
        "sun": ("the sun", "the sun shining", "sunshine"),
        "moon": ("the moon", "a full moon", "moonlight"),
    },
    "birds": {"birds": ("birds", "flying birds", "a flock of birds", "birds in the sky")},
}
_STYLES: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "plain": (("a cartoon of", "a flat drawing of"), ("cartoon", "flat drawing")),
    "watercolour": (
        ("a watercolour of", "a watercolour painting of", "a watercolor of"),
        ("watercolour", "in watercolour", "watercolor painting"),
    ),
}
_SAID: Final[dict[str, float]] = {
    "kind": 1.0, "colour": 0.9, "place": 0.8, "size": 0.75, "sky": 0.88, "ground": 0.88,
    "relief": 0.8, "weather": 0.8, "light": 0.85, "birds": 0.92, "style": 0.25,
}  # fmt: skip


class Caption(NamedTuple):
    """A caption, and the attributes it states: those of `ATTRIBUTES`, the second object's after 2."""

    text: str
    stated: dict[str, str]


def _one(rng: np.random.Generator, options: tuple[str, ...]) -> str:
    return options[int(rng.integers(len(options)))]


def _a(words: str) -> str:
    return ("an " if words[0] in "aeiou" else "a ") + words


def _noun(rng: np.random.Generator, said: dict[str, str]) -> str:
    """The object's phrase: 'a small red house on the left'."""
    words, after = [], []
    if "size" in said:
        if rng.random() < 0.5:
            words.append(_one(rng, _SIZE_ADJECTIVES[said["size"]]))
        else:
            after.append(_one(rng, _SIZE_PHRASES[said["size"]]))
    if "colour" in said:
        words.append(_one(rng, _COLOURS[said["colour"]]))
    words.append(_one(rng, _KINDS[said["kind"]]) if "kind" in said else "thing")
    if "place" in said:
        after.insert(int(rng.integers(len(after) + 1)), _one(rng, _PLACES[said["place"]]))
    return " ".join([_a(" ".join(words)), *after])


def _stated(rng: np.random.Generator, scene: Scene, everything: bool) -> dict[str, str]:
    """Which attributes to state. A few captions are short, and a few are no more than a list."""
    kind_of = rng.random()
    values = scene.attributes()
    stated = {}
    for name, usual in _SAID.items():
        chance = usual
        if everything:
            chance = 1.0 if name != "style" else usual
        elif kind_of < 0.06:
            chance = 0.2
        elif kind_of < 0.2:
            chance = max(0.3, float(name == "kind"))
        if name == "style" and values[name] == "watercolour":
            chance = max(chance, 0.97)
        if rng.random() < chance:
            stated[name] = values[name]
    for name in ("light", "birds"):
        if stated.get(name) == "none":
            del stated[name]
    if scene.sky == "overcast" and scene.weather == "clear":
        stated.pop("weather", None)
    return stated


def describe(scene: Scene, rng: np.random.Generator, *, everything: bool = False) -> Caption:
    """A caption of the scene. With `everything`, all that a caption can state is stated."""
    stated = _stated(rng, scene, everything)
    if not stated:
        stated = {"kind": scene.things[0].kind}
    nouns = []
    if any(name in stated for name in ("kind", "colour", "place", "size")):
        nouns.append(_noun(rng, stated))
        if len(scene.things) > 1:
            said = _second(rng, scene.things[1])
            nouns.append(_noun(rng, said))
            stated |= {f"{name}2": value for name, value in said.items()}
    phrases = [
        _one(rng, options[stated[name]]) for name, options in _PHRASES.items() if name in stated
    ]
    where = [p for p in phrases if p.split()[0] in _PREPOSITIONS]
    what = [p for p in phrases if p not in where]
    rng.shuffle(where)
    rng.shuffle(what)
    text = " and ".join(nouns)
    if style := stated.get("style"):
        before, after = _STYLES[style]
        if nouns and rng.random() < 0.6:
            text = f"{_one(rng, before)} {text}"
        else:
            what.insert(int(rng.integers(len(what) + 1)), _one(rng, after))
    return Caption(_assemble(rng, text, where, what), stated)


def random_captions(count: int, seed: int) -> list[tuple[Scene, Caption]]:
    """Scenes of one object as they are in training, with a caption each."""
    rng = np.random.default_rng([seed, 2])
    scenes = [random_scene(rng, pairs=0.0) for _ in range(count)]
    return [(scene, describe(scene, rng)) for scene in scenes]


def held_captions(count: int, seed: int) -> list[tuple[Scene, Caption]]:
    """Scenes of one object held out of training, with captions that state what is held out."""
    rng = np.random.default_rng([seed, 1])
    made: list[tuple[Scene, Caption]] = []
    while len(made) < count:
        scene = random_scene(rng, held=True, pairs=0.0)
        caption = describe(scene, rng)
        said = caption.stated
        if "kind" in said and held_out_pair(
            said["kind"], colour=said.get("colour"), sky=said.get("sky")
        ):
            made.append((scene, caption))
    return made


_PREPOSITIONS: Final = frozenset(("by", "under", "in", "on", "at", "surrounded"))


def _second(rng: np.random.Generator, thing: Thing) -> dict[str, str]:
    said = {"kind": thing.kind}
    for name in ("colour", "place", "size"):
        if rng.random() < _SAID[name]:
            said[name] = getattr(thing, name)
    return said


def _assemble(rng: np.random.Generator, noun: str, where: list[str], what: list[str]) -> str:
    form = rng.random()
    if form < 0.35:  # a list, as prompts often are
        parts = [*where, *what]
        rng.shuffle(parts)
        return ", ".join([noun, *parts] if noun else parts)
    front = ""
    if noun and where and form > 0.8:
        front = where.pop() + ", "
    text = " ".join(([noun] if noun else []) + where)
    if what and text:
        link = " with " if form < 0.7 else ", "
        head, last = what[:-1], what[-1]
        text += link + (", ".join(head) + " and " + last if head else last)
    elif what:
        text = ", ".join(what)
    return front + text


def vocabulary() -> list[str]:
    """Every phrase a caption may hold, for tests and for the tokenizer."""
    tables = [_KINDS, _COLOURS, _PLACES, _SIZE_ADJECTIVES, _SIZE_PHRASES, *_PHRASES.values()]
    phrases = {p for table in tables for options in table.values() for p in options}
    return sorted(phrases | {p for both in _STYLES.values() for group in both for p in group})


STATED: Final = (*ATTRIBUTES, "kind2", "colour2", "place2", "size2")
"""The names that may be in `Caption.stated`."""
