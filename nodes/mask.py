"""Masks: which part of a picture is meant."""

from graphengine import diffusion, node
from graphengine.diffusion import Channel, Image, Mask


@node(category="mask", title="Mask from image", aliases=("ImageToMask",))
def from_image(image: Image, channel: Channel = "red") -> Mask:
    """Take one channel of pictures as a mask. White is where something happens."""
    return diffusion.mask_from_image(image, channel)
