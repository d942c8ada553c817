"""MiDaS's loss against its formulas, rank agreement against scipy, and the training itself."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from graphengine.diffusion.depth_loader import Preprocessing
from graphengine.errors import ModelError
from graphengine.postcard.dataset import World
from graphengine.training import loop
from graphengine.training.depth import (
    DepthRecipe,
    DepthSet,
    agreement,
    depth_loss,
    depth_set,
    slope_loss,
    train_depth,
)
from graphengine.training.depth_network import new_estimator

SIDE = 32
HOW = Preprocessing(size=(SIDE, SIDE))


def random_maps(count=3, side=16, seed=0):
    return torch.rand(count, side, side, generator=torch.Generator().manual_seed(seed))


def test_the_loss_is_that_of_the_paper():
    """Equations 7 (median and mean distance), 5 (half the mean, the largest fifth left out) and 11
    (slopes at four scales).
    """
    answer, near = random_maps(1), random_maps(1, seed=1)

    def levelled(x):
        x = x.double().numpy().ravel()
        middle = np.sort(x)[(len(x) - 1) // 2]
        return (x - middle) / np.abs(x - middle).mean()

    off = (levelled(answer) - levelled(near)).reshape(16, 16)
    data = np.sort(np.abs(off).ravel())[: round(256 * 0.8)].mean() / 2
    slopes = sum(
        np.abs(np.diff(off[::s, ::s], axis=axis)).mean() for s in (1, 2, 4, 8) for axis in (0, 1)
    )
    found = depth_loss(answer, near, trim=0.2, slopes=0.5)
    torch.testing.assert_close(found.double(), torch.tensor(data + 0.5 * slopes))


def test_the_loss_minds_neither_scale_nor_shift():
    answer, near = random_maps(), random_maps(seed=1)
    one = depth_loss(answer, near)
    torch.testing.assert_close(depth_loss(answer * 7 + 3, near * 0.1 - 2), one)
    torch.testing.assert_close(depth_loss(near * 5 + 1, near), torch.tensor(0.0), atol=1e-5, rtol=0)
    assert one > 0.5 and depth_loss(-near, near) > one


def test_flat_answers_have_a_gradient_free_of_nan():
    answer = torch.full((2, 8, 8), 0.5, requires_grad=True)
    depth_loss(answer, random_maps(2, 8)).backward()
    assert bool(torch.isfinite(answer.grad).all())


def test_slopes_of_maps_of_a_single_row():
    assert slope_loss(torch.arange(4.0).view(1, 1, 4)) == 1 + 2


def test_agreement_is_spearmans():
    rng = np.random.default_rng(0)
    one = rng.integers(0, 6, (4, 9, 9)).astype(np.float32)  # many ties
    other = one * rng.integers(0, 2, one.shape) + rng.random(one.shape).astype(np.float32)
    wanted = [spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other, strict=True)]
    found = agreement(torch.from_numpy(one), torch.from_numpy(other))
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    assert agreement(torch.ones(1, 3, 3), torch.rand(1, 3, 3)).item() == 0


@pytest.fixture(scope="module")
def data():
    return depth_set(World(SIDE, 24, 5), range(24))


def test_a_data_set_with_depth_in_memory(data):
    world = World(SIDE, 24, 5)
    pictures, near = data.batch([3, 8])
    torch.testing.assert_close(pictures, world.pictures([3, 8]), atol=1 / 255, rtol=0)
    torch.testing.assert_close(near, world.depth([3, 8]), atol=1e-3, rtol=1e-3)


def learn(data, folder, steps, **more):
    torch.manual_seed(0)
    options = {"progress": None, **more}
    stop_at = options.pop("stop_at", None)
    recipe = options.pop("recipe", DepthRecipe(batch=4, rate=2e-3, warmup=5, ema=0.9))
    run = loop.Run("depth", folder, steps, 0, 5, stop_at)
    network = new_estimator(SIDE, width=16, layers=2)
    return train_depth(network, data, HOW, recipe, run, **options)


def test_a_network_learns_what_is_near(data, tmp_path):
    network, losses = learn(data, tmp_path, 40)
    first, last = (np.mean(losses["loss"][part]) for part in (slice(5), slice(-5, None)))
    assert last < 0.6 * first
    world = World(SIDE, 40, 6)
    with torch.no_grad():
        pixels = (world.pictures(range(20)).permute(0, 3, 1, 2) - 0.5) / 0.5
        answer = network.eval()(pixels).predicted_depth
    assert agreement(answer, world.depth(range(20))).mean() > 0.6


def test_an_interrupted_training_gives_the_same_bits(data, tmp_path):
    whole, losses = learn(data, tmp_path / "whole", 8)
    learn(data, tmp_path / "parts", 8, stop_at=5)
    parts, resumed = learn(data, tmp_path / "parts", 8)
    assert resumed == losses
    for one, other in zip(whole.parameters(), parts.parameters(), strict=True):
        assert torch.equal(one, other)


def test_data_that_cannot_be_learnt_from(data, tmp_path):
    for bad, words in (
        (DepthSet(data.pictures[:0], data.inverse_depth[:0]), "no pictures"),
        (DepthSet(data.pictures, data.inverse_depth[:3]), "24 pictures, but depth of 3"),
    ):
        with pytest.raises(ModelError, match=words):
            learn(bad, tmp_path, 2)


def test_nan_stops_and_is_told(data, tmp_path):
    broken = DepthSet(data.pictures, np.full_like(data.inverse_depth, np.nan))
    with pytest.raises(ModelError, match="step 1 of 2: the loss became NaN"):
        learn(broken, tmp_path, 2)


def test_networks_that_cannot_be():
    for size, width, layers in ((120, 64, 4), (128, 66, 4), (128, 64, 1)):
        with pytest.raises(ModelError, match=f"{size} pixels, {width} wide, of {layers} layers"):
            new_estimator(size, width, layers)
