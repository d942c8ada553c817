from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from torch import nn

from graphengine.diffusion import Latent, Memory, decode_latent, encode_image
from graphengine.diffusion.vae import in_tiles, tile_starts
from graphengine.errors import Cancelled, ModelError
from graphengine.resource import Progress


def test_encoding_is_the_mean_of_diffusers(checkpoint, memory, pipeline):
    image = torch.rand(2, 32, 48, 3)
    with torch.no_grad():
        theirs = pipeline.vae.encode(image.permute(0, 3, 1, 2) * 2 - 1).latent_dist.mean
    ours = encode_image(checkpoint.vae, image, memory=memory).samples
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_decoding_is_that_of_diffusers(checkpoint, memory, pipeline):
    samples = torch.randn(2, 4, 6, 5)
    with torch.no_grad():
        theirs = (pipeline.vae.decode(samples).sample / 2 + 0.5).clamp(0, 1).permute(0, 2, 3, 1)
    ours = decode_latent(checkpoint.vae, Latent(samples), memory=memory)
    assert ours.shape == (2, 24, 20, 3)
    assert ours.dtype == torch.float32
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-5)


def test_items_are_the_same_bits_in_any_batch(checkpoint, memory):
    samples = torch.randn(3, 4, 6, 5)
    images = decode_latent(checkpoint.vae, Latent(samples), memory=memory)
    assert torch.equal(
        decode_latent(checkpoint.vae, Latent(samples[1:2]), memory=memory), images[1:2]
    )
    latents = encode_image(checkpoint.vae, images, memory=memory).samples
    assert torch.equal(encode_image(checkpoint.vae, images[2:], memory=memory).samples, latents[2:])


def test_sides_are_cut_evenly_to_whole_cells(checkpoint, memory):
    image = torch.rand(1, 35, 34, 4)
    inner = encode_image(checkpoint.vae, image[:, 1:33, 1:33, :3], memory=memory).samples
    assert torch.equal(encode_image(checkpoint.vae, image, memory=memory).samples, inner)


@pytest.mark.parametrize("shape", [(1, 3, 8, 3), (1, 8, 8, 1)])
def test_what_can_not_be_encoded(checkpoint, memory, shape):
    with pytest.raises(ModelError, match="at least 4 pixels a side and three channels"):
        encode_image(checkpoint.vae, torch.rand(shape), memory=memory)


def test_another_models_latent_is_refused(checkpoint, memory):
    with pytest.raises(ModelError, match="16 channels but the VAE has 4"):
        decode_latent(checkpoint.vae, Latent(torch.zeros(1, 16, 4, 4)), memory=memory)


def test_tiles_cover_and_overlap():
    for length in (1, 15, 16, 17, 40, 41, 100):
        starts = tile_starts(length, 16, 4)
        covered = {cell for start in starts for cell in range(start, min(start + 16, length))}
        assert covered == set(range(length))
        assert all(after - before <= 12 for before, after in pairwise(starts))
    assert tile_starts(16, 16, 4) == [0]


def local(unit):
    """Every cell for itself, larger or smaller by `unit`: tiles can not be seen."""
    return nn.Upsample(scale_factor=unit) if unit >= 1 else nn.AvgPool2d(round(1 / unit))


def test_tiles_of_a_local_work_leave_no_seam():
    item = torch.randn(1, 4, 23, 40)
    tiled = in_tiles(local(4), item, 4, 1, 4, 8, 2)
    torch.testing.assert_close(tiled, local(4)(item))
    item = torch.randn(1, 4, 92, 160)
    tiled = in_tiles(local(0.25), item, 4, 4, 1, 8, 2)
    torch.testing.assert_close(tiled, local(0.25)(item))


def test_seams_are_blended():
    """Two tiles that disagree meet in a ramp, without a jump."""
    values = iter([torch.zeros(1, 1, 4, 16), torch.ones(1, 1, 4, 16)])
    row = in_tiles(lambda piece: next(values), torch.zeros(1, 1, 4, 24), 1, 1, 1, 16, 8)[0, 0, 0]
    assert torch.equal(row[:8], torch.zeros(8))
    assert torch.equal(row[16:], torch.ones(8))
    assert row.diff().abs().max() < 0.13


def test_tiled_decoding_is_near_to_whole(checkpoint, memory):
    """Norms and attention of a tile see less than the whole; the eye sees no difference."""
    latent = Latent(torch.randn(1, 4, 90, 80))
    whole = decode_latent(checkpoint.vae, latent, memory=memory, tiling="never")
    tiled = decode_latent(checkpoint.vae, latent, memory=memory, tiling="always")
    assert (whole - tiled).abs().mean() < 0.01
    small = Latent(latent.samples[:, :, :32, :32])
    whole = decode_latent(checkpoint.vae, small, memory=memory, tiling="never")
    assert torch.equal(whole, decode_latent(checkpoint.vae, small, memory=memory, tiling="always"))


class FakeVae(nn.Module):
    """Four times the size, out of memory above so many cells."""

    def __init__(self, most=10**9, factor=1.0):
        super().__init__()
        self.most = most
        self.weight = nn.Parameter(torch.tensor(factor))
        self.sizes = []

    def decode(self, samples, return_dict):
        self.sizes.append(samples.shape[2])
        if samples[0, 0].numel() > self.most:
            raise torch.OutOfMemoryError("out of memory")
        return (local(4)(samples[:, :3]) * self.weight,)


class Listener(Progress):
    def __init__(self):
        self.notes, self.checks = [], 0

    def report(self, done, total, note="", preview=None, **figures):
        self.notes.append(note)

    def check(self):
        self.checks += 1


def test_large_pictures_are_worked_in_tiles(checkpoint):
    vae = FakeVae()
    memory = Memory(load=lambda *_: vae)
    decode_latent(checkpoint.vae, Latent(torch.zeros(1, 4, 130, 130)), memory=memory)
    assert set(vae.sizes) == {64}


def test_out_of_memory_ends_in_smaller_tiles(checkpoint):
    vae, listener = FakeVae(most=40 * 40), Listener()
    memory = Memory(load=lambda *_: vae)
    samples = torch.rand(2, 4, 70, 70)
    image = decode_latent(checkpoint.vae, Latent(samples), memory=memory, progress=listener)
    assert vae.sizes[:4] == [70, 70, 64, 64]
    assert set(vae.sizes[4:]) == {32}
    assert "now tiles of 32 cells" in listener.notes[-1]
    wanted = (local(4)(samples[:, :3]) / 2 + 0.5).permute(0, 2, 3, 1)
    torch.testing.assert_close(image, wanted)


def test_tiles_can_be_cancelled(checkpoint):
    class Impatient(Listener):
        def check(self):
            super().check()
            if self.checks > 2:
                raise Cancelled

    memory = Memory(load=lambda *_: FakeVae())
    latent = Latent(torch.zeros(1, 4, 200, 200))
    with pytest.raises(Cancelled):
        decode_latent(checkpoint.vae, latent, memory=memory, progress=Impatient())


def test_nonsense_is_never_a_picture(checkpoint):
    memory = Memory(load=lambda *_: FakeVae(factor=float("nan")))
    with pytest.raises(ModelError, match=r"VAE answered NaN.*float32"):
        decode_latent(checkpoint.vae, Latent(torch.ones(1, 4, 4, 4)), memory=memory)


def test_nothing_assumes_a_factor(checkpoint):
    vae = replace(checkpoint.vae, factor=4, digest="fake")
    memory = Memory(load=lambda *_: FakeVae())
    image = decode_latent(vae, Latent(torch.zeros(1, 4, 5, 7)), memory=memory, tiling="always")
    assert image.shape == (1, 20, 28, 3)
