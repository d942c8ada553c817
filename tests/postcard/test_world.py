"""The postcard world: scenes, pictures, depth and captions."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from graphengine.postcard.caption import STATED, describe
from graphengine.postcard.render import SKY_DEPTH, render
from graphengine.postcard.world import (
    ATTRIBUTES,
    COLOURS,
    GROUNDS,
    KINDS,
    SIZE,
    SKIES,
    Scene,
    Thing,
    held_out,
    held_out_pair,
    random_scene,
    with_seed,
)


def a_scene(**changes: object) -> Scene:
    values: dict[str, object] = {
        "sky": "day", "ground": "grass", "relief": "flat", "weather": "clear", "light": "none",
        "birds": "none", "style": "plain", "things": (Thing("house", "red", "middle", "near"),),
        "seed": 3,
    }  # fmt: skip
    return Scene(**(values | changes))  # type: ignore[arg-type]


def test_same_seed_same_scene_picture_and_caption() -> None:
    one, two = (random_scene(np.random.default_rng(5)) for _ in range(2))
    assert one == two
    (picture, depth), (again, depth_again) = render(one), render(two)
    assert picture.tobytes() == again.tobytes()
    assert np.array_equal(depth, depth_again)
    assert describe(one, np.random.default_rng(1)) == describe(two, np.random.default_rng(1))


def test_the_seed_settles_what_is_unsaid() -> None:
    scene = a_scene(relief="hills")
    assert render(scene)[0].tobytes() != render(with_seed(scene, 4))[0].tobytes()


@pytest.mark.parametrize("kind", KINDS)
def test_every_object_renders_in_every_ground_and_changes_with_its_colour(kind: str) -> None:
    for ground in GROUNDS:
        red, blue = (
            np.asarray(
                render(a_scene(ground=ground, things=(Thing(kind, c, "middle", "near"),)))[0],
                dtype=np.float32,
            )
            for c in ("red", "blue")
        )
        assert red.shape == (SIZE, SIZE, 3)
        changed = np.abs(red - blue).max(axis=2) > 40
        assert changed.mean() > 0.01


def test_depth_recedes_from_the_lower_edge_to_the_sky() -> None:
    _, depth = render(a_scene())
    assert depth.dtype == np.float32 and depth.shape == (SIZE, SIZE)
    edge = depth[:, 0]  # the object stands in the middle, so this column is sky and ground
    assert (np.diff(edge) <= 0).all()
    assert edge[0] == SKY_DEPTH and edge[-1] == pytest.approx(1.0, rel=0.02)


@pytest.mark.parametrize("relief", ["hills", "mountains"])
def test_relief_lies_between_ground_and_sky(relief: str) -> None:
    _, depth = render(a_scene(relief=relief))
    levels = depth[(depth > 30.5) & (depth < SKY_DEPTH)]
    assert levels.size > 500


@pytest.mark.parametrize("kind", KINDS)
def test_an_object_is_nearer_than_the_ground_behind_it_and_the_far_one_is_farther(
    kind: str,
) -> None:
    empty = a_scene(things=())
    _, bare = render(empty)
    at: dict[str, float] = {}
    for size in ("near", "far"):
        _, depth = render(a_scene(things=(Thing(kind, "red", "middle", size),)))
        mask = depth != bare
        assert mask.sum() > 60
        assert (depth[mask] <= bare[mask] + 1e-4).mean() > 0.93  # its foot may reach below its base
        values = np.unique(depth[mask])
        assert len(values) == 1  # it stands upright at one distance
        at[size] = float(values[0])
    assert at["near"] < at["far"] < 30


def test_of_two_objects_the_near_one_hides_the_far_one() -> None:
    near, far = Thing("castle", "red", "middle", "near"), Thing("tree", "green", "middle", "far")
    one, other, alone = (render(a_scene(things=t))[1] for t in ((far, near), (near, far), (near,)))
    assert np.array_equal(one, other)
    counts = [int((d == d[100, 50]).sum()) for d in (one, alone)]  # pixels of the castle's wall
    assert counts[1] > 800 and counts[0] == pytest.approx(counts[1], rel=0.25)


def test_training_never_draws_a_held_out_combination_and_they_can_be_asked_for() -> None:
    rng = np.random.default_rng(0)
    assert not any(held_out(random_scene(rng, pairs=0.5)) for _ in range(1500))
    assert all(held_out(random_scene(rng, held=True)) for _ in range(100))
    some = [held_out(random_scene(rng, held=None)) for _ in range(600)]
    assert 0.1 < np.mean(some) < 0.5


def test_held_out_pairs_leave_every_part_in_training() -> None:
    colours = [(k, c) for k, c in product(KINDS, COLOURS) if held_out_pair(k, colour=c)]
    skies = [(k, s) for k, s in product(KINDS, SKIES) if held_out_pair(k, sky=s)]
    assert len(colours) == 10 and {k for k, _ in colours} == set(KINDS)
    assert len(skies) == 4 and {s for _, s in skies} == set(SKIES)
    rng = np.random.default_rng(1)
    seen = {name: set[str]() for name in ATTRIBUTES}
    for _ in range(600):
        for name, value in random_scene(rng).attributes().items():
            seen[name].add(value)
    assert seen == {name: set(values) for name, values in ATTRIBUTES.items()}


def test_captions_state_only_what_is_true_and_leave_some_of_it_unsaid() -> None:
    rng = np.random.default_rng(2)
    counts = dict.fromkeys(STATED, 0)
    for _ in range(800):
        scene = random_scene(rng, pairs=0.3)
        caption = describe(scene, rng)
        true = scene.attributes()
        if len(scene.things) > 1:
            second = scene.things[1]
            true |= {f"{n}2": getattr(second, n) for n in ("kind", "colour", "place", "size")}
        assert caption.text and caption.stated
        assert caption.stated.items() <= true.items()
        for name in caption.stated:
            counts[name] += 1
    assert all(0 < n < 800 for n in counts.values())


def test_caption_words_agree_with_what_it_says_it_states() -> None:
    rng = np.random.default_rng(3)
    for _ in range(800):
        caption = describe(random_scene(rng, pairs=0.0), rng)
        words = set(caption.text.replace(",", "").split())
        for colour in ("orange", "purple", "white"):
            plain = colour in words or (colour == "purple" and "violet" in words)
            assert plain == (caption.stated.get("colour") == colour)
        assert bool({"left"} & words) == (caption.stated.get("place") == "left")
        assert ("birds" in words) == ("birds" in caption.stated)
        assert bool({"moon", "moonlight"} & words) == (caption.stated.get("light") == "moon")


def test_everything_states_everything() -> None:
    rng = np.random.default_rng(4)
    scene = random_scene(rng, pairs=0.0)
    missing = set(ATTRIBUTES) - set(describe(scene, rng, everything=True).stated)
    assert missing <= {"light", "birds", "style", "weather"}
