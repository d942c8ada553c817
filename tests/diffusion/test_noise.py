import json
import math
from pathlib import Path

import pytest
import torch

from graphengine.diffusion import levels, noise_table
from graphengine.diffusion.brownian import brownian_noise
from graphengine.diffusion.noise import start_noise, step_noise, step_noise_of_batch
from graphengine.diffusion.step_noise import StepNoise
from graphengine.errors import ModelError

FILE = json.loads((Path(__file__).parent / "levels.json").read_text())
KNOWN, BROWNIAN = FILE["noise"], FILE["brownian"]


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
    assert torch.isfinite(next(step_noise(2**64 - 1, (4, 8, 8), 1))).all()


@pytest.mark.parametrize("seed", [-1, 2**64, 2**70])
def test_other_seeds_are_refused(seed):
    for draw in (
        lambda: start_noise(seed, (4, 8, 8), [0]),
        lambda: next(step_noise(seed, (4, 8, 8), 0)),
        lambda: next(step_noise(seed, (4, 8, 8), 1)),
        lambda: next(step_noise_of_batch(seed, (4, 8, 8), 0, 2)),
    ):
        with pytest.raises(ModelError, match=rf"seed {seed} is out of range.*18446744073709551615"):
            draw()


def test_independent_noise_takes_the_low_bits_of_a_seed():
    assert torch.equal(start_noise(2**32 + 42, (4, 8, 8), [0]), start_noise(42, (4, 8, 8), [0]))


SIGMAS = [14.6, 6.0, 2.5, 1.0, 0.3, 0.0]


def test_brownian_noise_is_that_of_the_field():
    table = noise_table()
    runs = [levels(table, "karras", 20)] * 3 + [levels(table, "normal", 8)] * 2
    for (seed, *way, values), known in zip(BROWNIAN, runs, strict=True):
        exact = [min(known, key=lambda level, sigma=sigma: abs(level - sigma)) for sigma in way]
        ours = brownian_noise(seed, (1, 4, 8, 8), known)(*exact).flatten()[: len(values)]
        torch.testing.assert_close(ours, torch.tensor(values), rtol=0, atol=1e-4)


def test_brownian_noise_is_of_one_path():
    """What is asked before changes nothing; a long way is the sum of its parts."""
    noise, again = (brownian_noise(5, (1, 4, 8, 8), SIGMAS) for _ in range(2))
    long = again(6.0, 1.0)
    parts = noise(6.0, 2.5) * math.sqrt(3.5) + noise(2.5, 1.0) * math.sqrt(1.5)
    torch.testing.assert_close(long * math.sqrt(5.0), parts, rtol=1e-4, atol=1e-4)
    assert torch.equal(long, noise(6.0, 1.0))
    assert float(long.std()) == pytest.approx(1, abs=0.15)


def test_brownian_noise_takes_all_bits_of_a_seed():
    one, other = (brownian_noise(seed, (1, 4, 8, 8), SIGMAS)(6.0, 1.0) for seed in (42, 2**32 + 42))
    assert not torch.equal(one, other)


def test_brownian_noise_of_items():
    noise = StepNoise("brownian", 42, (4, 8, 8), SIGMAS)
    whole = brownian_noise(42, (2, 4, 8, 8), SIGMAS)(6.0, 1.0)
    assert torch.equal(noise.of_batch(1, 2)(6.0, 1.0), whole[1:])
    assert torch.equal(noise.of_item(0)(6.0, 1.0), whole[:1])
    assert not torch.equal(noise.of_item(1)(6.0, 1.0), whole[1:])
