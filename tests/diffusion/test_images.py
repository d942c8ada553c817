import json

import numpy as np
import pytest
import torch
from PIL import Image

from graphengine.diffusion import mask_from_image, png_bytes, read_image, resize, to_pillow
from graphengine.errors import FileError, ModelError


@pytest.fixture
def picture():
    """Noise of middle values: Pillow's 8 bits cut off what overshoots, our floats need not."""
    pixels = np.random.default_rng(0).integers(96, 160, (20, 30, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


def tensor_of(picture):
    return torch.from_numpy(np.asarray(picture, dtype=np.float32) / 255)


def test_png_and_back(tmp_path, picture):
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(tensor_of(picture)))
    image, mask = read_image(path)
    assert torch.equal(image[0], tensor_of(picture))
    assert torch.equal(mask, torch.zeros(1, 20, 30))


def test_png_carries_its_workflow(tmp_path, picture):
    workflow = {"title": "Ein Haus am Meer, größer", "nodes": {"a": {"type": "t"}}}
    path = tmp_path / "a.png"
    path.write_bytes(png_bytes(tensor_of(picture), workflow))
    with Image.open(path) as file:
        text = file.text["graphengine"]
    assert json.loads(text) == workflow
    assert text == json.dumps(workflow, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_values_are_rounded_and_clamped():
    image = torch.tensor([-1.0, 0.0, 0.4999 / 255, 0.5001 / 255, 1.0, 2.0]).reshape(1, 2, 3)
    assert np.asarray(to_pillow(image)).flatten().tolist() == [0, 0, 0, 1, 255, 255]


def test_nonsense_is_never_saved():
    with pytest.raises(ModelError, match="NaN"):
        png_bytes(torch.full((2, 2, 3), torch.nan))


def test_transparency_is_the_mask(tmp_path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:2, :, 3] = 255
    Image.fromarray(rgba).save(tmp_path / "a.png")
    image, mask = read_image(tmp_path / "a.png")
    assert image.shape == (1, 4, 4, 3)
    assert mask[0, :, 0].tolist() == [0, 0, 1, 1]


@pytest.mark.parametrize("mode", ["L", "P", "1", "LA", "CMYK", "I;16"])
def test_modes_become_colours(tmp_path, picture, mode):
    if mode == "I;16":
        made = Image.fromarray(np.full((20, 30), 32768, np.uint16))
    else:
        made = picture.convert("RGB").convert(mode)
    name = "a.tif" if mode == "CMYK" else "a.png"
    made.save(tmp_path / name)
    image, mask = read_image(tmp_path / name)
    assert image.shape == (1, 20, 30, 3)
    assert mask.shape == (1, 20, 30)
    if mode == "I;16":
        assert image[0, 0, 0, 0] == pytest.approx(0.5, abs=1e-4)


def test_exif_turns_upright(tmp_path, picture):
    exif = Image.Exif()
    exif[0x0112] = 6
    picture.save(tmp_path / "a.png", exif=exif)
    image, _ = read_image(tmp_path / "a.png")
    assert torch.equal(image[0], torch.rot90(tensor_of(picture), -1))


def test_frames_are_a_batch(tmp_path):
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "lime", "blue")]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    image, mask = read_image(tmp_path / "a.gif")
    assert image[:, 0, 0].tolist() == [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
    assert mask.shape == (3, 8, 8)


@pytest.mark.parametrize(
    ("mode", "key"), [("P", 3), ("L", 77), ("RGB", (9, 8, 7)), ("1", 1)], ids=str
)
def test_one_colour_that_stands_for_transparency(tmp_path, mode, key):
    """A PNG of any kind may name a colour, or a place of its palette, that is transparent."""
    made = Image.new(mode, (4, 2), 0)
    if mode == "P":
        made.putpalette([9, 9, 9] * 3 + [200, 100, 50] + [9, 9, 9] * 4)
    made.putpixel((1, 0), key)
    made.save(tmp_path / "a.png", transparency=key)
    image, mask = read_image(tmp_path / "a.png")
    assert image.shape == (1, 2, 4, 3)
    assert mask[0].tolist() == [[0, 1, 0, 0], [0, 0, 0, 0]]


def test_greys_of_16_bits_keep_their_steps(tmp_path):
    steps = np.arange(0, 4096, dtype=np.uint16).reshape(64, 64)
    for name in ("a.png", "a.tif"):
        Image.fromarray(steps).save(tmp_path / name)
        image, mask = read_image(tmp_path / name)
        torch.testing.assert_close(image[0, ..., 1] * 65535, torch.from_numpy(steps).float())
        assert mask.max() == 0


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_of_every_kind_and_of_photographs(tmp_path, picture, orientation):
    turn = {1: None, 2: 0, 3: 3, 4: 1, 5: 5, 6: 4, 7: 6, 8: 2}[orientation]
    upright = picture if turn is None else picture.transpose(Image.Transpose(turn))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.webp", exif=exif, lossless=True)
    image, _ = read_image(tmp_path / "a.webp")
    assert torch.equal(image[0], tensor_of(upright))


@pytest.mark.parametrize("kind", ["png", "jpg", "webp", "gif", "bmp", "tif"])
def test_a_damaged_file_is_told_wherever_it_is_cut(tmp_path, picture, kind):
    """Cut off anywhere, or with bytes that are not its own: a FileError, or a picture."""
    picture.save(tmp_path / f"whole.{kind}")
    data = (tmp_path / f"whole.{kind}").read_bytes()
    rng = np.random.default_rng(0)
    path = tmp_path / f"hurt.{kind}"
    for place in range(0, len(data), max(1, len(data) // 60)):
        for hurt in (data[:place], data[:place] + rng.bytes(9) + data[place + 9 :]):
            path.write_bytes(hurt)
            try:
                assert read_image(path)[0].shape[0] >= 1
            except FileError as error:
                assert path.name in str(error) and error.hint


def test_what_is_no_picture(tmp_path, picture):
    (tmp_path / "text.png").write_text("hello")
    picture.save(tmp_path / "whole.png")
    data = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(data[: len(data) // 2])
    for name in ("text.png", "cut.png", "none.png"):
        with pytest.raises(FileError, match=name):
            read_image(tmp_path / name)


@pytest.mark.parametrize("method", ["nearest", "area", "bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("size", [(15, 10), (45, 31), (30, 20)])
def test_resizing_is_pillows(picture, method, size):
    filters = {"area": "BOX"}
    theirs = picture.resize(size, Image.Resampling[filters.get(method, method.upper())])
    ours = resize(tensor_of(picture)[None], *size, method)[0]
    assert (ours - tensor_of(theirs)).abs().max() < 1.1 / 255  # its 8 bits are rounded twice


def test_resizing_keeps_proportions():
    image = torch.rand(2, 20, 30, 4)
    assert resize(image, 15, 0).shape == (2, 10, 15, 4)
    assert resize(image, 0, 40).shape == (2, 40, 60, 4)
    assert resize(image, 0, 0) is image
    assert resize(image, 1, 0).shape == (2, 1, 1, 4)


def test_cropping_keeps_the_middle():
    image = torch.zeros(1, 10, 30, 3)
    image[:, :, 10:20] = 1
    assert resize(image, 10, 10, "bilinear", "center").min() == 1
    assert resize(image, 10, 10, "bilinear", "none").min() == 0
    assert resize(image.transpose(1, 2), 10, 10, "bilinear", "center").min() == 1


def test_masks_from_channels():
    image = torch.tensor([0.1, 0.2, 0.3, 0.4]).reshape(1, 1, 1, 4)
    values = {"red": 0.1, "green": 0.2, "blue": 0.3, "alpha": 0.6, "brightness": 0.1815}
    for channel, value in values.items():
        assert mask_from_image(image, channel).item() == pytest.approx(value, abs=1e-6)
    with pytest.raises(ValueError, match="no transparency"):
        mask_from_image(image[..., :3], "alpha")
