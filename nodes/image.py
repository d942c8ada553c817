"""Pictures: loaded, resized, shown and saved."""

from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from graphengine import Artifact, File, Files, Provenance, diffusion, node
from graphengine.diffusion import Crop, Image, Mask, Method

SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".gif", ".bmp", ".tif", ".tiff")
Side = Annotated[int, Field(ge=0, le=16384, description="pixels; 0 follows from the other side")]


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


@node(category="image", title="Save image", aliases=("SaveImage",), sink=True)
def save(
    image: Image,
    prefix: Annotated[str, Field(min_length=1, description="a number follows it")] = "graphengine",
    *,
    files: Files,
    provenance: Provenance,
) -> list[Artifact]:
    """Save pictures as PNG files that carry their workflow, and can be run again."""
    return _write(image, "output", prefix, files, provenance)


@node(category="image", title="Preview image", aliases=("PreviewImage",), sink=True)
def preview(image: Image, *, files: Files, provenance: Provenance) -> list[Artifact]:
    """Show pictures without keeping them."""
    return _write(image, "temp", "preview", files, provenance)


def _write(
    image: Image, folder: str, prefix: str, files: Files, provenance: Provenance
) -> list[Artifact]:
    pictures = [diffusion.png_bytes(picture, provenance.workflow) for picture in image]
    return [files.write(folder, prefix, ".png", data, "image/png") for data in pictures]
