"""An autoencoder learns, goes on where it was cut short, and can be used by its description."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from graphengine import Cancelled, FileError, ModelError, Progress, diffusion
from graphengine.diffusion.loader import stamp
from graphengine.postcard.dataset import World
from graphengine.training import VaeRecipe, teach_autoencoder
from graphengine.training.autoencoder import crops, edges

TINY = VaeRecipe(channels=(8, 8, 16), batch=2, crop=16, rate=3e-3, warmup=2, ema=0.8)


class CancelAt(Progress):
    def __init__(self, at: int) -> None:
        self.at = at

    def report(self, done, total, note="", preview=None, **figures) -> None:
        if done == self.at and figures:
            raise Cancelled


def run(folder, memory, steps=4, progress=None, start=None, recipe=TINY, size=32):
    return teach_autoencoder(
        World(size, 20, 1), start, recipe, steps, folder / "vae", folder / "work",
        every=2, shown=2, memory=memory, digest=stamp, progress=progress,
    )  # fmt: skip


def test_it_learns_and_can_be_used(tmp_path, memory):
    taught = run(tmp_path, memory, 50)
    assert np.mean(taught.losses["psnr"][-10:]) > np.mean(taught.losses["psnr"][:5]) + 2
    assert (taught.vae.factor, taught.vae.channels) == (4, 4)
    pictures = World(32, 20, 1).pictures([0, 1])
    latent = diffusion.encode_image(taught.vae, pictures, memory=memory)
    assert latent.samples.shape == (2, 4, 8, 8)
    again = diffusion.decode_latent(taught.vae, latent, memory=memory)
    assert (again - pictures).square().mean() < (0.5 - pictures).square().mean(), "more than grey"
    more = run(tmp_path / "more", memory, 2, start=taught.vae)
    assert more.losses["psnr"][0] > taught.losses["psnr"][0] + 2, "it went on from there"


def test_a_training_cut_short_goes_on_to_the_bit(tmp_path, memory):
    whole = run(tmp_path / "whole", memory)
    with pytest.raises(Cancelled):
        run(tmp_path / "cut", memory, progress=CancelAt(3))
    rest = run(tmp_path / "cut", memory)
    assert rest.losses == whole.losses and torch.equal(rest.sheet, whole.sheet)
    name = "vae/diffusion_pytorch_model.safetensors"
    one, two = (load_file(tmp_path / side / name) for side in ("whole", "cut"))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_what_can_t_be(tmp_path, memory):
    with pytest.raises(ModelError, match="no whole cells of 4"):
        run(tmp_path, memory, size=30)
    (tmp_path / "vae").mkdir()
    with pytest.raises(FileError, match="already a VAE vae, which no training made"):
        run(tmp_path, memory)


def test_crops_start_at_whole_cells():
    y, x = torch.meshgrid(torch.arange(32), torch.arange(32), indexing="ij")
    picture = torch.stack([y, x, y], -1).float() / 31
    pieces = crops(picture.expand(50, -1, -1, -1), 8, 4, np.random.default_rng(0))
    corners = ((pieces[:, :2, 0, 0] + 1) / 2 * 31).round()
    assert pieces.shape == (50, 3, 8, 8)
    assert (corners % 4 == 0).all() and corners.max() == 24 and corners.min() == 0
    assert crops(picture[None], 0, 4, np.random.default_rng(0)).shape == (1, 3, 32, 32)


def test_edges_of_a_ramp_are_its_slopes():
    y, x = torch.meshgrid(torch.arange(5.0), torch.arange(5.0), indexing="ij")
    found = edges((2 * x + 3 * y)[None, None])
    assert found.shape == (1, 2, 4, 4)
    assert (found[:, 0] == 2).all() and (found[:, 1] == 3).all()
