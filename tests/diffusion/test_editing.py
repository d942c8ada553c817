import numpy as np
import pytest
import torch
from PIL import Image, ImageChops, ImageOps

from graphengine.diffusion import (
    blend_images,
    blur_image,
    composite_images,
    crop_image,
    flip_image,
    grayscale_image,
    invert_image,
    join_alpha,
    join_images,
    pad_image,
    select_images,
    sharpen_image,
    solid_image,
    split_alpha,
    turn_image,
)
from graphengine.errors import GraphEngineError


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [Image.fromarray(rng.integers(0, 256, (6, 9, 3), dtype=np.uint8)) for _ in range(2)]


def tensor_of(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)[None]


def assert_alike(ours, theirs):
    torch.testing.assert_close(ours, tensor_of(theirs), rtol=0, atol=1.01 / 255)


def test_turning_and_mirroring_is_pillows(pictures):
    one = pictures[0]
    image = tensor_of(one)
    way = Image.Transpose
    for angle, theirs in (("90", way.ROTATE_270), ("180", way.ROTATE_180), ("270", way.ROTATE_90)):
        assert torch.equal(turn_image(image, angle), tensor_of(one.transpose(theirs)))
    assert torch.equal(flip_image(image), tensor_of(ImageOps.mirror(one)))
    assert torch.equal(flip_image(image, vertical=True), tensor_of(ImageOps.flip(one)))


def test_negative_and_greys_are_pillows(pictures):
    image = tensor_of(pictures[0])
    assert_alike(invert_image(image), ImageOps.invert(pictures[0]))
    assert_alike(grayscale_image(image), pictures[0].convert("L").convert("RGB"))
    clear = torch.cat([image, torch.full((1, 6, 9, 1), 0.3)], -1)
    assert torch.equal(invert_image(clear)[..., 3], clear[..., 3])
    assert torch.equal(grayscale_image(clear)[..., 3], clear[..., 3])


@pytest.mark.parametrize(
    ("mode", "theirs"),
    [
        ("multiply", ImageChops.multiply),
        ("screen", ImageChops.screen),
        ("overlay", ImageChops.overlay),
        ("difference", ImageChops.difference),
        ("lighten", ImageChops.lighter),
        ("darken", ImageChops.darker),
        ("normal", lambda below, above: above),
    ],
)
def test_blending_is_pillows(pictures, mode, theirs):
    below, above = map(tensor_of, pictures)
    assert_alike(blend_images(below, above, 1.0, mode), theirs(*pictures))
    half = Image.blend(pictures[0], theirs(*pictures), 0.5)
    assert_alike(blend_images(below, above, 0.5, mode), half)
    assert torch.equal(blend_images(below, above, 0.0, mode), below)


def test_blending_other_sizes():
    mixed = blend_images(torch.zeros(2, 4, 4, 3), torch.ones(1, 8, 8, 4), 0.25)
    assert torch.equal(mixed, torch.full((2, 4, 4, 3), 0.25))


def test_blur_and_sharpening():
    image = torch.zeros(1, 31, 31, 3)
    image[0, 15, 15] = 1
    soft = blur_image(image, 2.0)
    assert soft.sum().item() == pytest.approx(3, rel=1e-4)
    assert soft[0, 15, 17, 0] / soft[0, 15, 15, 0] == pytest.approx(np.exp(-0.5), rel=1e-4)
    half = image * 0.5
    assert sharpen_image(half, 2.0, 1.0)[0, 15, 15, 0] > 0.9
    assert sharpen_image(half, 2.0, 0.0).equal(half)


def test_cutting_ends_at_the_border():
    image = torch.rand(1, 6, 9, 3)
    assert torch.equal(crop_image(image, 2, 1, 3, 4), image[:, 1:5, 2:5])
    assert crop_image(image, 7, 4, 99, 99).shape == (1, 2, 2, 3)
    assert crop_image(image[..., 0], 7, 4, 99, 99).shape == (1, 2, 2)
    with pytest.raises(GraphEngineError, match="starts at 9, 0 lies outside of 9 x 6"):
        crop_image(image, 9, 0, 1, 1)


def test_joining_fits_the_first():
    joined = join_images([torch.zeros(1, 4, 6, 3), torch.ones(2, 8, 8, 4)])
    assert joined.shape == (3, 4, 6, 4)
    assert joined[0, 0, 0].tolist() == [0, 0, 0, 1]
    with pytest.raises(GraphEngineError, match="no pictures"):
        join_images([])


def test_selecting():
    image = torch.arange(4.0).reshape(4, 1, 1, 1)
    assert select_images(image, 1, 2).flatten().tolist() == [1, 2]
    assert select_images(image, 3, 9).flatten().tolist() == [3]
    with pytest.raises(GraphEngineError, match="no picture 4 in a batch of 4"):
        select_images(image, 4, 1)


def test_padding_in_grey_and_its_mask():
    image = torch.rand(2, 6, 8, 3)
    padded, mask = pad_image(image, 3, 1, 0, 2, feather=0)
    assert padded.shape == (2, 9, 11, 3) and mask.shape == (2, 9, 11)
    assert torch.equal(padded[:, 1:7, 3:], image)
    assert padded[:, 0].unique().tolist() == padded[:, :, :3].unique().tolist() == [0.5]
    assert torch.equal(mask == 0, (padded != 0.5).any(-1))


def test_padding_feathers_into_the_picture_from_new_borders_only():
    _, mask = pad_image(torch.rand(1, 20, 20, 3), 4, 0, 0, 0, feather=4)
    assert mask[0, 10].tolist() == [1] * 4 + [1, 0.5625, 0.25, 0.0625] + [0] * 16
    _, corner = pad_image(torch.rand(1, 20, 20, 3), 0, 0, 5, 5, feather=4)
    assert torch.equal(corner[0], corner[0].T)
    assert corner[0, 0, 17] == 0.25 and corner[0, 10, 10] == 0
    _, small = pad_image(torch.rand(1, 4, 4, 3), 1, 1, 1, 1, feather=40)
    assert small[0, 2:4, 2:4].max() < 1


@pytest.mark.parametrize("borders", [(2, 1, 0, 3), (20, 0, 13, 30)])
@pytest.mark.parametrize(("fill", "theirs"), [("edge", "edge"), ("mirror", "reflect")])
def test_padding_continues_the_picture_as_numpy_does(borders, fill, theirs):
    image = torch.rand(1, 6, 5, 3)
    left, top, right, bottom = borders
    padded, _ = pad_image(image, *borders, fill=fill)
    wanted = np.pad(image[0].numpy(), ((top, bottom), (left, right), (0, 0)), mode=theirs)
    assert torch.equal(padded[0], torch.from_numpy(wanted))


def test_a_picture_of_one_pixel_is_mirrored_too():
    padded, _ = pad_image(torch.full((1, 1, 1, 3), 0.3), 2, 2, 2, 2, fill="mirror")
    assert torch.equal(padded, torch.full((1, 5, 5, 3), 0.3))


def test_compositing_keeps_bits_where_the_mask_is_black():
    image, source = torch.rand(1, 6, 8, 3), torch.rand(1, 6, 8, 3)
    mask = torch.zeros(1, 6, 8)
    mask[:, :3] = 1
    mask[:, 3] = 0.5
    result = composite_images(image, source, mask)
    assert torch.equal(result[:, 4:], image[:, 4:])
    assert torch.equal(result[:, :3], source[:, :3])
    torch.testing.assert_close(result[:, 3], (image[:, 3] + source[:, 3]) / 2)


@pytest.mark.parametrize("place", [(2, 1), (-2, -1), (6, 5), (99, 0), (-99, 3), (0, 0)])
def test_compositing_at_a_place_is_pillows(pictures, place):
    theirs = pictures[0].copy()
    theirs.paste(pictures[1], place)
    ours = composite_images(*map(tensor_of, pictures), None, *place)
    assert torch.equal(ours, tensor_of(theirs))


def test_compositing_fits_sizes_counts_and_channels():
    image, source = torch.zeros(2, 4, 4, 4), torch.ones(1, 2, 2, 3)
    placed = composite_images(image, source)
    assert placed.shape == (2, 4, 4, 4) and placed.sum() == 2 * 4 * 4
    stretched = composite_images(image[..., :3], source, torch.ones(1, 9, 3), stretch=True)
    assert stretched.min() == 1
    assert image.max() == 0


def test_transparency_taken_off_and_put_on():
    image, mask = torch.rand(1, 4, 4, 3), torch.rand(1, 4, 4)
    joined = join_alpha(image, mask)
    assert joined.shape == (1, 4, 4, 4)
    colours, back = split_alpha(joined)
    assert torch.equal(colours, image)
    torch.testing.assert_close(back, mask)
    assert split_alpha(image)[1].max() == 0
    assert join_alpha(image, torch.ones(1, 2, 2))[..., 3].max() == 0


def test_one_colour():
    image = solid_image("#ff8000", 3, 2, 2)
    assert image.shape == (2, 2, 3, 3)
    assert image[1, 1, 1].tolist() == pytest.approx([1, 128 / 255, 0])
