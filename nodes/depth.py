"""Depth: how near everything in a picture is, and pictures that follow it."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from graphengine import File, Files, Progress, diffusion, figures, node
from graphengine.diffusion import (
    DepthColours,
    DepthEstimator,
    DepthMap,
    Image,
    Latent,
    Mask,
    Memory,
    load_depth_estimator,
)


@node(category="depth", title="Load depth model")
def load(
    name: Annotated[
        Path, File("depth"), Field(description="a folder such as Intel/dpt-hybrid-midas")
    ],
    *,
    files: Files,
) -> DepthEstimator:
    """Read a MiDaS (DPT) model that tells how near everything in a picture is.

    A folder in transformers' layout, or a checkpoint folder that holds a depth_estimator, with
    safetensors weights.
    """
    return load_depth_estimator(name, files.digest)


@node(category="depth", title="Depth model of a checkpoint")
def of_checkpoint(name: Annotated[Path, File("checkpoints")], *, files: Files) -> DepthEstimator:
    """Take the depth model out of a checkpoint that was trained to follow depth.

    Stable Diffusion 2's depth checkpoint has one in its folder depth_estimator.
    """
    return load_depth_estimator(name, files.digest)


@node(category="depth", title="Estimate depth")
def estimate(
    estimator: DepthEstimator, image: Image, *, memory: Memory, progress: Progress
) -> DepthMap:
    """Tell how near everything in pictures is. Pictures of any size."""
    return diffusion.estimate_depth(estimator, image, memory=memory, progress=progress)


@node(category="depth", title="Depth from image")
def from_image(image: Image) -> DepthMap:
    """Take pictures for depth: near things are bright. For depth that was painted or rendered."""
    return diffusion.depth_from_image(image)


@node(category="depth", title="Show depth")
def picture(
    depth: DepthMap,
    colours: Annotated[
        DepthColours, Field(description="grey, or one of matplotlib's colour maps")
    ] = "grey",
) -> Image:
    """Depth as pictures of the pictures' size: near things are bright, each over its own range."""
    return diffusion.depth_picture(depth, colours)


@node(category="depth", title="Mask from depth")
def mask(depth: DepthMap) -> Mask:
    """Depth as a mask: white is nearest, black farthest. Changes what is near, keeps what is far."""
    return diffusion.depth_mask(depth)


@node(category="depth", title="Follow depth")
def condition(latent: Latent, depth: DepthMap) -> Latent:
    """Put depth beside a latent, for a depth model to follow while it draws.

    Start from an empty latent to keep the depth alone, or from an encoded picture with denoise
    below 1 to keep some of its colours too. Ordinary models can't read depth.
    """
    return diffusion.condition_on_depth(latent, depth)


@node(category="depth", title="Sheet of depth")
def sheet(
    image: Image,
    depth: DepthMap,
    drawn: list[Image],
    prompts: list[str],
    title: Annotated[str, Field(description="stands over everything")] = "",
    note: Annotated[str, Field(description="stands under the title")] = "",
    colours: DepthColours = "magma",
) -> Image:
    """Put a picture, its depth, and what was drawn to follow it side by side, with the prompts."""
    pictures = [image[0], diffusion.depth_picture(depth, colours)[0]]
    pictures += [picture for batch in drawn for picture in batch]
    captions = ["picture", "its depth", *prompts]
    each = (len(pictures) - 2) // max(1, len(prompts))
    if each > 1:  # several pictures of each prompt
        captions = captions[:2] + [prompt for prompt in prompts for _ in range(each)]
    return figures.labelled_grid(pictures, title=title, note=note, captions=captions)
