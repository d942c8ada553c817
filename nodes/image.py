"""Pictures: loaded, changed, put together, shown and saved."""

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from graphengine import Artifact, Color, File, Files, Provenance, diffusion, node
from graphengine.diffusion import Blend, Crop, Fill, Image, Mask, Method, Turn

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
Side = Annotated[int, Field(ge=0, le=16384, description="pixels; 0 follows from the other side")]
Whole = Annotated[int, Field(ge=1, le=16384, description="pixels")]
Border = Annotated[int, Field(ge=0, le=16384, description="pixels")]
Place = Annotated[int, Field(ge=-16384, le=16384, description="pixels; may lie outside")]


class Loaded(NamedTuple):
    """A picture, and where it is transparent."""

    image: Image
    mask: Mask


@node(category="image", title="Load image", aliases=("LoadImage",))
def load(file: Annotated[Path, File("input", SUFFIXES)]) -> Loaded:
    """Read a picture, all frames of an animation. The mask is 1 where it is transparent."""
    return Loaded(*diffusion.read_image(file))


@node(category="image", title="Resize image", aliases=("ImageScale",))
def resize(
    image: Image,
    width: Side = 512,
    height: Side = 512,
    method: Method = "lanczos",
    crop: Annotated[Crop, Field(description="center cuts to the new proportions first")] = "none",
) -> Image:
    """Give pictures another size."""
    return diffusion.resize(image, width, height, method, crop)


class Padded(NamedTuple):
    """Pictures with new borders, and where those are."""

    image: Image
    mask: Mask


class Size(NamedTuple):
    """How large pictures are, in pixels, and how many."""

    width: int
    height: int
    batch: int


@node(category="image", title="Pad for outpainting", aliases=("ImagePadForOutpaint",))
def pad(
    image: Image,
    left: Border = 0,
    top: Border = 0,
    right: Border = 0,
    bottom: Border = 0,
    feather: Annotated[
        int, Field(ge=0, le=4096, description="pixels of the picture over which the mask fades")
    ] = 40,
    fill: Annotated[
        Fill, Field(description="grey, or the picture continued: its edge drawn out, or mirrored")
    ] = "grey",
) -> Padded:
    """Give pictures borders to paint on, and the mask of what is new."""
    return Padded(*diffusion.pad_image(image, left, top, right, bottom, feather, fill))


@node(category="image", title="Composite", aliases=("ImageCompositeMasked",))
def composite(
    image: Image,
    source: Image,
    mask: Annotated[
        Mask | None, Field(description="white shows the source, black keeps the picture")
    ] = None,
    x: Place = 0,
    y: Place = 0,
    stretch: Annotated[bool, Field(description="give the source the size of the picture")] = False,
) -> Image:
    """Lay one picture on another. What hangs over is cut; the mask is stretched over the source."""
    return diffusion.composite_images(image, source, mask, x, y, stretch)


@node(category="image", title="Blend", aliases=("ImageBlend",))
def blend(
    image: Image,
    other: Image,
    amount: Annotated[float, Field(ge=0, le=1, description="of the other picture")] = 0.5,
    mode: Blend = "normal",
) -> Image:
    """Mix two pictures."""
    return diffusion.blend_images(image, other, amount, mode)


@node(category="image", title="Crop image", aliases=("ImageCrop",))
def crop(
    image: Image, x: Border = 0, y: Border = 0, width: Whole = 512, height: Whole = 512
) -> Image:
    """Cut a part out of pictures; less where they end."""
    return diffusion.crop_image(image, x, y, width, height)


@node(category="image", title="Flip image", aliases=("ImageFlip",))
def flip(
    image: Image, vertical: Annotated[bool, Field(description="upside down")] = False
) -> Image:
    """Mirror pictures, left for right."""
    return diffusion.flip_image(image, vertical)


@node(category="image", title="Rotate image", aliases=("ImageRotate",))
def rotate(
    image: Image, angle: Annotated[Turn, Field(description="degrees, clockwise")] = "90"
) -> Image:
    """Turn pictures by quarters."""
    return diffusion.turn_image(image, angle)


@node(category="image", title="Invert image", aliases=("ImageInvert",))
def invert(image: Image) -> Image:
    """Make the negative of pictures."""
    return diffusion.invert_image(image)


@node(category="image", title="Greyscale")
def grayscale(image: Image) -> Image:
    """Take the colour out of pictures."""
    return diffusion.grayscale_image(image)


@node(category="image", title="Blur image", aliases=("ImageBlur",))
def blur(
    image: Image,
    radius: Annotated[float, Field(ge=0, le=256, description="standard deviation, pixels")] = 2.0,
) -> Image:
    """Blur pictures."""
    return diffusion.blur_image(image, radius)


@node(category="image", title="Sharpen image", aliases=("ImageSharpen",))
def sharpen(
    image: Image,
    radius: Annotated[float, Field(ge=0, le=256, description="standard deviation, pixels")] = 1.0,
    strength: Annotated[float, Field(ge=0, le=10)] = 0.5,
) -> Image:
    """Sharpen pictures."""
    return diffusion.sharpen_image(image, radius, strength)


@node(category="image", title="Solid colour", aliases=("EmptyImage",))
def solid(
    color: Annotated[str, Color()] = "#808080",
    width: Whole = 512,
    height: Whole = 512,
    batch: Annotated[int, Field(ge=1, le=4096, description="how many pictures")] = 1,
) -> Image:
    """A picture of one colour."""
    return diffusion.solid_image(color, width, height, batch)


@node(category="image", title="Batch images", aliases=("ImageBatch",))
def batch(**images: Image) -> Image:
    """Put pictures into one batch, in the size of the first."""
    return diffusion.join_images(list(images.values()))


@node(category="image", title="Select from batch", aliases=("ImageFromBatch",))
def select(
    image: Image,
    index: Annotated[int, Field(ge=0, le=4095, description="counts from 0")] = 0,
    count: Annotated[int, Field(ge=1, le=4096, description="how many pictures")] = 1,
) -> Image:
    """Take pictures out of a batch."""
    return diffusion.select_images(image, index, count)


@node(category="image", title="Repeat image", aliases=("RepeatImageBatch",))
def repeat(
    image: Image, times: Annotated[int, Field(ge=1, le=4096, description="how often")] = 2
) -> Image:
    """Repeat pictures as a batch."""
    return image.repeat(times, 1, 1, 1)


@node(category="image", title="Image size", aliases=("GetImageSize",))
def size(image: Image) -> Size:
    """How large pictures are, and how many."""
    count, height, width = image.shape[:3]
    return Size(width, height, count)


@node(category="image", title="Split transparency", aliases=("SplitImageWithAlpha",))
def split_alpha(image: Image) -> Loaded:
    """Take pictures apart into colours and the mask of what is transparent."""
    return Loaded(*diffusion.split_alpha(image))


@node(category="image", title="Join transparency", aliases=("JoinImageWithAlpha",))
def join_alpha(image: Image, mask: Mask) -> Image:
    """Make pictures transparent where a mask is white; it is stretched over them."""
    return diffusion.join_alpha(image, mask)


@node(category="image", title="Save image", aliases=("SaveImage",), sink=True)
def save(
    image: Image,
    prefix: Annotated[str, Field(min_length=1, description="a number follows it")] = "graphengine",
    *,
    files: Files,
    provenance: Provenance,
) -> list[Artifact]:
    """Save pictures as PNG files that carry their workflow, and can be run again."""
    return save_pictures(image, "output", prefix, files, provenance)


@node(category="image", title="Preview image", aliases=("PreviewImage",), sink=True)
def preview(image: Image, *, files: Files, provenance: Provenance) -> list[Artifact]:
    """Show pictures without keeping them."""
    return save_pictures(image, "temp", "preview", files, provenance)


def save_pictures(
    image: Image, folder: str, prefix: str, files: Files, provenance: Provenance
) -> list[Artifact]:
    pictures = [diffusion.png_bytes(picture, provenance.workflow) for picture in image]
    return [files.write(folder, prefix, ".png", data, "image/png") for data in pictures]
