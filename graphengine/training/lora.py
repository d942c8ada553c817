"""Low-rank adaptation (Hu et al. 2021, arXiv:2106.09685): a small addition to a network's weights
is learnt, the weights themselves stay.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
"""The projections of a U-Net's attention."""
CONVOLUTIONS = ("conv1", "conv2", "conv_shortcut", "proj_in", "proj_out", "time_emb_proj")
"""What else may be adapted: the convolutions between them, which make textures."""
NAME = "taught"


@dataclass(frozen=True)
class LoraShape:
    """Which weights get an addition of which rank."""

    rank: int = 8
    convolutions: bool = False


def add_lora(unet: Any, shape: LoraShape) -> nn.Module:
    """Puts an addition that is zero at first on a U-Net, in place, and freezes all else.

    Gives the addition's weights as a module of its own, to be taught and kept.
    """
    from peft import LoraConfig

    unet.requires_grad_(False)
    targets = [*ATTENTION, *(CONVOLUTIONS if shape.convolutions else ())]
    config = LoraConfig(
        r=shape.rank, lora_alpha=shape.rank, init_lora_weights=True, target_modules=targets
    )
    unet.add_adapter(config, adapter_name=NAME)
    added = {n.replace(".", "/"): p for n, p in unet.named_parameters() if p.requires_grad}
    return nn.ParameterDict(added)


def write_lora(unet: Any, file: Path) -> None:
    """Writes a U-Net's addition as a file that diffusers' `load_lora_weights` reads."""
    from peft.utils import get_peft_model_state_dict
    from safetensors.torch import save_file

    state = get_peft_model_state_dict(unet, adapter_name=NAME)
    tensors = {f"unet.{name}": tensor.contiguous().cpu() for name, tensor in state.items()}
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{os.getpid()}-{file.name}")
    save_file(tensors, partial, {"format": "pt"})
    os.replace(partial, file)
