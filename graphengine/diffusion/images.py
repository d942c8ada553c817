"""Pillow pictures and image tensors: float32 [batch, height, width, channels], 0 to 1."""

from __future__ import annotations

import io
import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import numpy as np
import torch
from PIL import Image, ImageOps, ImageSequence, PngImagePlugin
from torch import Tensor

from graphengine.diffusion.types import Channel, Crop, Method
from graphengine.errors import FileError, ModelError

WORKFLOW_KEY = "graphengine"
"""The PNG text chunk that holds the workflow."""

FILTERS = {
    "nearest": Image.Resampling.NEAREST,
    "area": Image.Resampling.BOX,
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "lanczos": Image.Resampling.LANCZOS,
}
LUMA = (0.299, 0.587, 0.114)
"""Weights of red, green and blue in brightness (ITU-R BT.601)."""


def read_image(path: Path) -> tuple[Tensor, Tensor]:
    """A picture file as image [frames, H, W, 3] and mask [frames, H, W], 1 where it is transparent.

    As `read_frames` reads it.
    """
    pixels = read_frames(path)
    return pixels[..., :3].contiguous(), 1 - pixels[..., 3]


def read_frames(path: Path) -> Tensor:
    """A picture file as [frames, H, W, 4], colours and opacity.

    Turned upright as its EXIF data says; of an animation all frames that have the size of the
    first. Raises `FileError` for what is no whole picture.
    """
    frames: list[Tensor] = []
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # remarks about odd EXIF data
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(path) as file:
                for frame in ImageSequence.Iterator(file):
                    pixels = from_pillow(ImageOps.exif_transpose(frame))
                    if not frames or pixels.shape == frames[0].shape:
                        frames.append(pixels)
    except FileNotFoundError as cause:
        raise FileError(
            f"there is no picture {path.name}", "look at its name and at the input folder"
        ) from cause
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as cause:
        raise FileError(
            f"{path.name} is too large a picture: {cause}", "scale it down first"
        ) from cause
    except (OSError, ValueError, SyntaxError) as cause:
        raise FileError(
            f"{path.name} is no picture, or damaged: {cause}", "save it again as PNG or JPEG"
        ) from cause
    return torch.cat(frames)


def from_pillow(picture: Image.Image) -> Tensor:
    """A Pillow image as [1, H, W, 4]: colours and opacity."""
    if picture.mode.startswith("I"):
        grey = np.asarray(picture, dtype=np.float32) / 65535
        pixels = np.stack([grey, grey, grey, np.ones_like(grey)], axis=-1)
    else:
        pixels = np.asarray(picture.convert("RGBA"), dtype=np.float32) / 255
    return torch.from_numpy(pixels.copy()).unsqueeze(0)


def to_pillow(image: Tensor) -> Image.Image:
    """One picture [H, W, 3 or 4] as a Pillow image of 8 bits. Raises `ModelError` for NaN."""
    if not bool(torch.isfinite(image).all()):
        raise ModelError(
            "the picture holds NaN or infinity", "run the model and the VAE in float32"
        )
    return Image.fromarray((image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())


def png_bytes(image: Tensor, workflow: Mapping[str, Any] | None = None) -> bytes:
    """One picture [H, W, 3 or 4] as a PNG file that carries its workflow as canonical JSON."""
    info = PngImagePlugin.PngInfo()
    if workflow:
        told = json.dumps(workflow, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        info.add_itxt(WORKFLOW_KEY, told)
    stream = io.BytesIO()
    to_pillow(image).save(stream, format="PNG", pnginfo=info)
    return stream.getvalue()


def resize(
    image: Tensor, width: int, height: int, method: Method = "lanczos", crop: Crop = "none"
) -> Tensor:
    """Pictures in another size, by Pillow's filters in float32, clamped to 0 to 1.

    A side of 0 follows from the other one and keeps the proportions; both 0 change nothing.
    `crop="center"` first cuts the pictures to the proportions of the new size; "none" stretches
    them.
    """
    old_height, old_width = image.shape[1:3]
    if not width and not height:
        return image
    width = width or max(1, round(old_width * height / old_height))
    height = height or max(1, round(old_height * width / old_width))
    box = (0.0, 0.0, float(old_width), float(old_height))
    if crop == "center":
        kept_width = min(old_width, old_height * width / height)
        kept_height = min(old_height, old_width * height / width)
        left, top = (old_width - kept_width) / 2, (old_height - kept_height) / 2
        box = (left, top, left + kept_width, top + kept_height)
    planes = image.permute(0, 3, 1, 2).reshape(-1, old_height, old_width)
    scaled = [_resize_plane(plane, width, height, FILTERS[method], box) for plane in planes]
    result = torch.stack(scaled).reshape(len(image), image.shape[3], height, width)
    return result.permute(0, 2, 3, 1).clamp(0, 1).contiguous()


def _resize_plane(
    plane: Tensor,
    width: int,
    height: int,
    method: Image.Resampling,
    box: tuple[float, float, float, float],
) -> Tensor:
    picture = Image.fromarray(plane.contiguous().cpu().numpy().astype(np.float32))
    return torch.from_numpy(np.array(picture.resize((width, height), method, box=box)))


def mask_from_image(image: Tensor, channel: Channel = "red") -> Tensor:
    """One channel of pictures as a mask [batch, H, W]. Transparent is 1, as `read_image` has it.

    Raises `ValueError` for the opacity of pictures that have none.
    """
    if channel == "alpha":
        if image.shape[3] < 4:
            raise ValueError("the picture has no transparency: take red, green, blue or brightness")
        return 1 - image[..., 3]
    if channel == "brightness":
        return (image[..., :3] * torch.tensor(LUMA)).sum(-1)
    return image[..., get_args(Channel).index(channel) - 1].clone()
