"""Masks: which part of a picture is meant. White is where something happens."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from graphengine import Artifact, Color, File, Files, Provenance, diffusion, node
from graphengine.diffusion import Channel, Combination, Image, Mask

from .image import SUFFIXES, save_pictures

Side = Annotated[int, Field(ge=1, le=16384, description="pixels")]
NewSide = Annotated[int, Field(ge=0, le=16384, description="pixels; 0 follows from the other side")]
Border = Annotated[int, Field(ge=0, le=16384, description="pixels")]
Share = Annotated[
    float, Field(ge=0, le=1, description="0 is the left or upper border, 1 the other")
]
Size = Annotated[Image | None, Field(description="the mask gets its size, whatever is said below")]


@node(category="mask", title="Load mask", aliases=("LoadImageMask",))
def load(
    file: Annotated[Path, File("input", SUFFIXES)],
    channel: Annotated[
        Channel, Field(description="alpha is 1 where the picture is transparent")
    ] = "brightness",
) -> Mask:
    """Read a picture as a mask, all frames of an animation."""
    return diffusion.read_mask(file, channel)


@node(category="mask", title="Mask from image", aliases=("ImageToMask",))
def from_image(image: Image, channel: Channel = "red") -> Mask:
    """Take one channel of pictures as a mask. White is where something happens."""
    return diffusion.mask_from_image(image, channel)


@node(category="mask", title="Mask from colour", aliases=("ImageColorToMask",))
def from_color(
    image: Image,
    color: Annotated[str, Color()] = "#ffffff",
    tolerance: Annotated[
        float, Field(ge=0, le=1, description="how far red, green and blue may be off")
    ] = 0.0,
) -> Mask:
    """White wherever pictures have a colour."""
    return diffusion.color_mask(image, color, tolerance)


@node(category="mask", title="Solid mask", aliases=("SolidMask",))
def solid(
    value: Annotated[float, Field(ge=0, le=1, description="1 is white")] = 1.0,
    width: Side = 512,
    height: Side = 512,
    image: Size = None,
) -> Mask:
    """A mask of one grey."""
    return diffusion.solid_mask(*_size(width, height, image), value)


@node(category="mask", title="Rectangle")
def rectangle(
    left: Share = 0.25,
    top: Share = 0.25,
    right: Share = 0.75,
    bottom: Share = 0.75,
    width: Side = 512,
    height: Side = 512,
    image: Size = None,
) -> Mask:
    """A white rectangle on black. Its sides are shares of the picture."""
    size = _size(width, height, image)
    return diffusion.shape_mask("rectangle", *size, left, top, right, bottom)


@node(category="mask", title="Ellipse")
def ellipse(
    left: Share = 0.25,
    top: Share = 0.25,
    right: Share = 0.75,
    bottom: Share = 0.75,
    width: Side = 512,
    height: Side = 512,
    image: Size = None,
) -> Mask:
    """A white ellipse on black. The sides of its box are shares of the picture."""
    size = _size(width, height, image)
    return diffusion.shape_mask("ellipse", *size, left, top, right, bottom)


@node(category="mask", title="Invert mask", aliases=("InvertMask",))
def invert(mask: Mask) -> Mask:
    """Swap black and white."""
    return 1 - mask


@node(category="mask", title="Grow mask", aliases=("GrowMask",))
def grow(
    mask: Mask,
    pixels: Annotated[int, Field(ge=-1024, le=1024, description="below 0 it shrinks")] = 6,
    tapered: Annotated[bool, Field(description="corners become slanted, not square")] = True,
) -> Mask:
    """Make the white part larger, or smaller."""
    return diffusion.grow_mask(mask, pixels, tapered)


@node(category="mask", title="Blur mask")
def blur(
    mask: Mask,
    radius: Annotated[float, Field(ge=0, le=256, description="standard deviation, pixels")] = 4.0,
) -> Mask:
    """Make edges soft to both sides."""
    return diffusion.blur_mask(mask, radius)


@node(category="mask", title="Soften mask")
def soften(
    mask: Mask,
    pixels: Annotated[int, Field(ge=0, le=512, description="width of the soft edge")] = 8,
) -> Mask:
    """Make edges soft inwards: what was black stays black."""
    return diffusion.soften_mask(mask, pixels)


@node(category="mask", title="Feather mask", aliases=("FeatherMask",))
def feather(
    mask: Mask, left: Border = 0, top: Border = 0, right: Border = 0, bottom: Border = 0
) -> Mask:
    """Let a mask fade towards the borders of the picture, over so many pixels at each."""
    return diffusion.feather_mask(mask, left, top, right, bottom)


@node(category="mask", title="Threshold", aliases=("ThresholdMask",))
def threshold(
    mask: Mask, value: Annotated[float, Field(ge=0, le=1, description="above it is white")] = 0.5
) -> Mask:
    """Make greys black or white."""
    return diffusion.threshold_mask(mask, value)


@node(category="mask", title="Combine masks", aliases=("MaskComposite",))
def combine(
    mask: Mask,
    other: Mask,
    operation: Annotated[
        Combination, Field(description="multiply intersects; and, or, xor round to black and white")
    ] = "add",
    x: Border = 0,
    y: Border = 0,
    stretch: Annotated[bool, Field(description="give the other mask the size of the first")] = True,
) -> Mask:
    """Join two masks: add, take away, intersect. `x` and `y` are where the other one begins."""
    return diffusion.combine_masks(mask, other, operation, x, y, stretch)


@node(category="mask", title="Resize mask")
def resize(mask: Mask, width: NewSide = 512, height: NewSide = 512) -> Mask:
    """Give masks another size."""
    return diffusion.resize_mask(mask, width, height)


@node(category="mask", title="Crop mask", aliases=("CropMask",))
def crop(mask: Mask, x: Border = 0, y: Border = 0, width: Side = 512, height: Side = 512) -> Mask:
    """Cut a part out of masks; less where they end."""
    return diffusion.crop_image(mask, x, y, width, height)


@node(category="mask", title="Mask to image", aliases=("MaskToImage",))
def to_image(mask: Mask) -> Image:
    """Show masks as grey pictures."""
    return diffusion.image_from_mask(mask)


@node(category="mask", title="Preview mask", aliases=("MaskPreview",), sink=True)
def preview(mask: Mask, *, files: Files, provenance: Provenance) -> list[Artifact]:
    """Show masks without keeping them."""
    image = diffusion.image_from_mask(mask)
    return save_pictures(image, "temp", "preview", files, provenance)


def _size(width: int, height: int, image: Image | None) -> tuple[int, int]:
    return (width, height) if image is None else (image.shape[2], image.shape[1])
