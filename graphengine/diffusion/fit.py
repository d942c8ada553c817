"""Whether texts, latent and model go together, before any weights are loaded."""

from __future__ import annotations

from graphengine.diffusion.guidance import Guider
from graphengine.diffusion.types import Latent, Model, kind_of
from graphengine.errors import ModelError


def check_fit(model: Model, guider: Guider, latent: Latent) -> None:
    """Whether text and latent are what the model was trained for. Raises `ModelError` that names
    both families.
    """
    for side, text in [(name, part) for name, whole in guider.sides for part in whole.parts]:
        if text.width != model.width:
            raise ModelError(
                f"the text encoder of the {side} text is {text.family}-sized ({text.width} wide) "
                f"but the model is {model.family} ({model.width})",
                "use the text encoder of the model's own checkpoint",
            )
        if text.mask is not None and len(text.mask) not in (1, len(latent.samples)):
            raise ModelError(
                f"the {side} text has {len(text.mask)} masks for {len(latent.samples)} pictures",
                "give one mask for all, or one for each",
            )
    channels = latent.samples.shape[1]
    if channels != model.channels:
        raise ModelError(
            f"the latent has {channels} channels but the model works with {model.channels}",
            "make it with the VAE of the model's own checkpoint",
        )
    check_beside(model, latent)


def check_beside(model: Model, latent: Latent) -> None:
    """Whether a latent brings what an inpainting or depth model reads beside it, and nothing that
    an ordinary one can't read. Raises `ModelError`.
    """
    brought = 0 if latent.beside is None else latent.beside.shape[1]
    name = model.folder.parent.name
    if brought != model.extra_channels:
        other = kind_of(model.channels, brought)
        given = (
            f"the latent was prepared for {other}"
            if brought
            else "nothing stands beside the latent"
        )
        raise ModelError(
            f"{name} is {model.kind}, but {given}",
            f"{_remedy(model, brought)}, or take {other.rsplit(' (')[0]}",
        )
    if latent.beside is not None and len(latent.beside) not in (1, len(latent.samples)):
        raise ModelError(
            f"a batch of {len(latent.samples)} latents with {len(latent.beside)} conditions beside",
            "prepare one for all, or one for each",
        )


def _remedy(model: Model, brought: int) -> str:
    """How a latent for a model of this kind is made."""
    if model.extra_channels == 1:
        return 'prepare the latent with the node "depth.condition"'
    if model.extra_channels:
        return 'prepare the latent with the node "inpaint.prepare"'
    if brought == 1:
        return 'leave out the node "depth.condition"'
    return 'mark what shall change with the node "latent.set_mask" instead'
