import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter

from graphengine.diffusion import (
    blur_mask,
    color_mask,
    combine_masks,
    feather_mask,
    grow_mask,
    image_from_mask,
    mask_from_image,
    read_mask,
    resize_mask,
    shape_mask,
    soften_mask,
    solid_mask,
    threshold_mask,
)
from graphengine.errors import GraphEngineError


def dot(side=9, value=1.0):
    mask = torch.zeros(1, side, side)
    mask[0, side // 2, side // 2] = value
    return mask


def test_a_rectangle_fills_its_share():
    mask = shape_mask("rectangle", 40, 20, 0.25, 0.5, 0.75, 1.0)
    wanted = torch.zeros(1, 20, 40)
    wanted[:, 10:20, 10:30] = 1
    assert torch.equal(mask, wanted)
    assert torch.equal(shape_mask("rectangle", 40, 20, 0.75, 1.0, 0.25, 0.5), wanted)
    assert shape_mask("rectangle", 40, 20, 0.5, 0.5, 0.5, 0.9).max() == 0


def test_an_ellipse_has_its_area_and_smooth_edges():
    mask = shape_mask("ellipse", 200, 100, 0, 0, 1, 1)
    assert mask.mean().item() == pytest.approx(torch.pi / 4, abs=0.005)
    assert mask[0, 50, 100] == 1 and mask[0, 0, 0] == 0
    assert ((mask > 0) & (mask < 1)).any()
    assert torch.equal(mask, mask.flip(2))


def test_growing_is_pillows_dilation():
    """Square growth against Pillow's rank filter, cross growth against the distance in the city."""
    mask = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (1, 20, 20), np.uint8) / 255)
    picture = Image.fromarray((mask[0] * 255).round().byte().numpy())
    theirs = np.asarray(picture.filter(ImageFilter.MaxFilter(5)), np.float32) / 255
    ours = grow_mask(mask.float(), 2, tapered=False)[0]
    torch.testing.assert_close(ours, torch.from_numpy(theirs))
    away = (torch.arange(9) - 4).abs()
    assert torch.equal(grow_mask(dot(), 3)[0], (away[:, None] + away <= 3).float())


def test_shrinking_undoes_growing_and_greys_move_along():
    assert torch.equal(grow_mask(grow_mask(dot(value=0.4), 2), -2), dot(value=0.4))
    assert grow_mask(dot(value=0.4), 2).sum().item() == pytest.approx(13 * 0.4)
    assert torch.equal(grow_mask(torch.ones(1, 5, 5), -2), torch.ones(1, 5, 5))
    assert torch.equal(grow_mask(dot(), 0), dot())


def test_blurring_is_a_gaussian():
    mask = blur_mask(dot(41), 3.0)[0]
    away = torch.arange(41) - 20.0
    wanted = torch.exp(-(away[:, None] ** 2 + away**2) / 18)
    torch.testing.assert_close(mask, wanted / wanted.sum(), rtol=0, atol=2e-5)
    torch.testing.assert_close(blur_mask(torch.ones(1, 8, 8), 2.0), torch.ones(1, 8, 8))
    assert torch.equal(blur_mask(dot(), 0.0), dot())


@pytest.mark.parametrize("pixels", [1, 2, 5, 8])
def test_softening_rises_inwards_and_not_at_the_border(pixels):
    mask = torch.zeros(1, 40, 40)
    mask[:, :, 10:] = 1
    row = soften_mask(mask, pixels)[0, 3]
    assert row[:10].max() == 0
    assert row[10] < 1
    assert row[10 + pixels + 1 :].min() > 0.9999
    assert (row.diff() >= -1e-6).all()
    assert torch.equal(soften_mask(mask, 0), mask)


def test_feathering_fades_to_the_borders():
    mask = feather_mask(torch.ones(1, 6, 8), 4, 0, 2, 0)[0]
    assert mask[0].tolist() == [0.25, 0.5, 0.75, 1, 1, 1, 1, 0.5]
    both = feather_mask(torch.ones(1, 6, 8), 0, 2, 0, 3)[0, :, 0]
    assert both.tolist() == pytest.approx([0.5, 1, 1, 1, 2 / 3, 1 / 3])


def test_thresholds_are_exclusive():
    mask = torch.tensor([[[0.0, 0.5, 0.51, 1.0]]])
    assert threshold_mask(mask, 0.5).flatten().tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize(
    ("operation", "wanted"),
    [
        ("add", [0.4, 1.0, 0.9]),
        ("subtract", [0.4, 0.2, 0.0]),
        ("multiply", [0.0, 0.48, 0.14]),
        ("and", [0, 1, 0]),
        ("or", [0, 1, 1]),
        ("xor", [0, 0, 1]),
    ],
)
def test_combining(operation, wanted):
    one, other = torch.tensor([[[0.4, 0.8, 0.2]]]), torch.tensor([[[0.0, 0.6, 0.7]]])
    assert combine_masks(one, other, operation).flatten().tolist() == pytest.approx(wanted)
    assert one.flatten().tolist() == pytest.approx([0.4, 0.8, 0.2])


def test_combining_at_a_place_and_in_another_size():
    black, white = torch.zeros(1, 4, 6), torch.ones(1, 3, 3)
    placed = combine_masks(black, white, "add", 4, 2)
    assert placed.sum() == 4 and placed[0, 2:, 4:].min() == 1
    assert combine_masks(black, white, "add", 9, 9).sum() == 0
    assert combine_masks(black, white, "add", stretch=True).min() == 1
    with pytest.raises(GraphEngineError, match="2 pictures or masks can't be matched with 3"):
        combine_masks(black.expand(3, 4, 6), black.expand(2, 4, 6))


def test_colours():
    image = torch.tensor([[255, 0, 0], [250, 4, 0], [0, 0, 255]]).reshape(1, 1, 3, 3) / 255
    assert color_mask(image, "#ff0000").flatten().tolist() == [1, 0, 0]
    assert color_mask(image, "#ff0000", 5 / 255).flatten().tolist() == [1, 1, 0]
    assert color_mask(image, "#0000FF").flatten().tolist() == [0, 0, 1]


def test_solid_and_as_pictures():
    mask = solid_mask(3, 2, 0.25)
    assert mask.shape == (1, 2, 3) and mask.unique().tolist() == [0.25]
    image = image_from_mask(mask)
    assert image.shape == (1, 2, 3, 3)
    assert torch.equal(mask_from_image(image, "blue"), mask)


def test_resizing():
    mask = torch.zeros(2, 10, 20)
    mask[:, :, 10:] = 1
    half = resize_mask(mask, 10, 0)
    assert half.shape == (2, 5, 10)
    assert half[0, 2].tolist() == pytest.approx([0] * 4 + [0.125, 0.875] + [1] * 4)


def test_a_file_as_a_mask(tmp_path):
    rgba = np.zeros((2, 3, 4), np.uint8)
    rgba[0] = (255, 255, 255, 255)
    rgba[1, 0] = (255, 0, 0, 0)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    assert read_mask(tmp_path / "a.png")[0, 0].tolist() == pytest.approx([1, 1, 1])
    assert read_mask(tmp_path / "a.png", "red")[0, 1].tolist() == [1, 0, 0]
    assert read_mask(tmp_path / "a.png", "alpha")[0].tolist() == [[0, 0, 0], [1, 1, 1]]
    Image.fromarray(rgba[..., 0]).save(tmp_path / "grey.png")
    assert read_mask(tmp_path / "grey.png")[0].tolist() == [[1, 1, 1], [1, 0, 0]]
