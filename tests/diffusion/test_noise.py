import json
from pathlib import Path

import torch

from graphengine.diffusion.noise import start_noise, step_noise, step_noise_of_batch

KNOWN = json.loads((Path(__file__).parent / "levels.json").read_text())["noise"]


def test_seeds_give_the_noise_of_the_field():
    for seed, values in KNOWN:
        ours = start_noise(seed, (4, 8, 8), [0]).flatten()[: len(values)]
        torch.testing.assert_close(ours, torch.tensor(values), rtol=1e-5, atol=1e-5)


def test_items_are_slices_of_one_draw():
    whole = torch.randn(4, 4, 8, 8, generator=torch.Generator().manual_seed(7))
    assert torch.equal(start_noise(7, (4, 8, 8), range(4)), whole)
    assert torch.equal(start_noise(7, (4, 8, 8), [3, 1, 1]), whole[[3, 1, 1]])


def test_sizes_that_are_no_multiple_of_sixteen_keep_their_items():
    three = start_noise(7, (4, 5, 5), range(3))
    assert torch.equal(start_noise(7, (4, 5, 5), [2]), three[2:])


def test_step_noise_starts_as_the_start_noise():
    assert torch.equal(next(step_noise(9, (4, 8, 8), 0)), start_noise(9, (4, 8, 8), [0]))
    assert torch.equal(
        next(step_noise_of_batch(9, (4, 8, 8), 1, 2))[0], start_noise(9, (4, 8, 8), [1])[0]
    )


def test_the_largest_seed_is_fine():
    assert torch.isfinite(start_noise(2**64 - 1, (4, 8, 8), [0])).all()
    assert torch.isfinite(start_noise(2**64, (4, 8, 8), [0])).all()
