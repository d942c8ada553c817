"""Low-rank additions to a model's weights (LoRA, Hu et al. 2021, arXiv:2106.09685), merged into
them when the model is loaded. This module imports without torch.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from graphengine.diffusion.loader import check_safetensors
from graphengine.diffusion.types import Lora, Model
from graphengine.errors import FileError, ModelError


def with_lora(model: Model, file: Path, digest: str, strength: float = 1.0) -> Model:
    """The model with an addition on top of those that it has. `digest` is that of the file.

    Raises `FileError` for what is no safetensors file. Whether it fits is seen when it is loaded.
    """
    if file.suffix != ".safetensors" or not file.is_file():
        raise FileError(f"{file.name} is no LoRA file", "give a .safetensors file")
    check_safetensors(file)
    if not strength:
        return model
    told = f"{model.digest}+{digest}*{strength!r}"
    return replace(
        model,
        digest=hashlib.sha256(told.encode()).hexdigest(),
        loras=(*model.loras, Lora(file, digest, strength)),
    )


def merge_lora(unet: Any, lora: Lora) -> None:
    """Adds a LoRA to a live U-Net's weights. Files of diffusers and of kohya are read, by diffusers;
    what they hold for a text encoder is left out.

    Raises `ModelError` if it was made for a U-Net of another shape, or for none.
    """
    from diffusers.loaders import lora_pipeline

    reader: Any = lora_pipeline.StableDiffusionLoraLoaderMixin
    fits = "take one that was made for models of this kind"
    try:
        state, alphas = reader.lora_state_dict(
            str(lora.file.parent), weight_name=lora.file.name, local_files_only=True
        )
        mine = {name: tensor for name, tensor in state.items() if name.startswith("unet.")}
        if not mine:
            raise ModelError(f"{lora.file.name} adds nothing to a U-Net", fits)
        unet.load_lora_adapter(mine, prefix="unet", network_alphas=alphas, adapter_name="lora")
        unet.fuse_lora(lora_scale=lora.strength)
        unet.unload_lora()
    except (ValueError, RuntimeError, KeyError, OSError) as cause:
        raise ModelError(f"{lora.file.name} can't be added to this model: {cause}", fits) from cause
