"""Descriptions into live modules, with diffusers and transformers. Called by `Memory.use`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from graphengine.diffusion.depth_loader import DepthEstimator
from graphengine.diffusion.loader import check_weights, variant
from graphengine.diffusion.lora import merge_lora
from graphengine.diffusion.text import ClipText
from graphengine.diffusion.types import Model, TextEncoder, Vae, Weights
from graphengine.errors import FileError, ModelError

UNREAD = "neck.fusion_stage.layers.0.residual_layer1."
"""Weights that transformers has a place for in a depth model, but never reads; the published ones
lack them.
"""


def load_weights(weights: Weights, dtype: torch.dtype | None) -> nn.Module:
    """The module of a description, on the CPU, in `dtype` (as stored if None), ready for inference.

    Raises `FileError` when files can't be read and `ModelError` when weights are missing from them.
    """
    check_weights(weights.folder)
    name = f"{weights.folder.parent.name}/{weights.folder.name}"
    try:
        module, told = _load(weights, dtype)
    except (OSError, ValueError, RuntimeError, KeyError) as cause:
        if isinstance(cause, torch.OutOfMemoryError):
            raise
        raise FileError(f"{name} can't be loaded: {cause}", "fetch the model again") from cause
    missing = sorted(key for key in told["missing_keys"] if not key.startswith(UNREAD))
    if missing:
        few = ", ".join(missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise ModelError(f"{name} lacks {len(missing)} weights: {few}", "fetch the model again")
    if isinstance(weights, Model):
        for lora in weights.loras:
            merge_lora(module, lora)
    return module.eval().requires_grad_(False)


def _load(weights: Weights, dtype: torch.dtype | None) -> tuple[nn.Module, dict[str, Any]]:
    kind, options = _kind(weights, dtype or stored_dtype(weights.folder))
    with quiet():
        module, told = kind.from_pretrained(
            weights.folder,
            local_files_only=True,
            use_safetensors=True,
            variant=variant(weights.folder),
            output_loading_info=True,
            **options,
        )
    if isinstance(weights, TextEncoder):
        from transformers import CLIPTokenizer

        tokenizer = CLIPTokenizer.from_pretrained(weights.tokenizer, local_files_only=True)
        return ClipText(module, tokenizer), told
    return module, told


def _kind(weights: Weights, dtype: torch.dtype) -> tuple[Any, dict[str, Any]]:
    """The class that holds such weights, and what it is to be told besides."""
    if isinstance(weights, TextEncoder):
        from transformers import CLIPTextModel

        return CLIPTextModel, {"dtype": dtype}
    if isinstance(weights, DepthEstimator):
        from transformers import DPTForDepthEstimation

        return DPTForDepthEstimation, {"dtype": dtype}
    import diffusers

    options = {"torch_dtype": dtype, "low_cpu_mem_usage": False}
    if isinstance(weights, Model):
        return diffusers.UNet2DConditionModel, options
    if isinstance(weights, Vae):
        return diffusers.AutoencoderKL, options
    raise ModelError(f"there is no way to load a {type(weights).__name__}")


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars on the terminal: `Progress` tells what is going on."""
    from transformers.utils import logging

    bars: Any = logging
    shown = bars.is_progress_bar_enabled()
    bars.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            bars.enable_progress_bar()


def stored_dtype(folder: Path) -> torch.dtype:
    """The type of the first floating-point tensor in a component's files."""
    from safetensors import safe_open

    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as stored:
            for key in stored.keys():  # noqa: SIM118 - no mapping
                dtype: torch.dtype = stored.get_tensor(key).dtype
                if dtype.is_floating_point:
                    return dtype
    return torch.float32
