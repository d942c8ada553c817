"""What a training leaves behind: a checkpoint folder in the diffusers layout, or a LoRA file.

Only what a training made itself is ever replaced.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from graphengine.diffusion.loader import Checkpoint
from graphengine.diffusion.types import Betas
from graphengine.errors import FileError

TOLD = "training.json"
"""The file that tells how a checkpoint was trained, and that it may be replaced."""
PIPELINES = {
    0: "StableDiffusionPipeline",
    1: "StableDiffusionDepth2ImgPipeline",
    5: "StableDiffusionInpaintPipeline",
}
"""What diffusers calls a model that reads so many channels beside the latent."""


def check_free(folder: Path, kind: str = "checkpoint") -> None:
    """Raises `FileError` where something lies that no training made."""
    if folder.exists() and not (folder / TOLD).is_file():
        raise FileError(
            f"there is already a {kind} {folder.name}, which no training made",
            "give the training another name",
        )


def write_checkpoint(
    folder: Path,
    unet: Any,
    base: Checkpoint,
    prediction: str,
    told: Mapping[str, Any],
) -> None:
    """Writes a U-Net as a checkpoint with all other parts of `base`, float32 safetensors.

    It can be loaded by its name, and by diffusers. `told` is kept beside it. What an earlier
    training left there is replaced; another checkpoint raises `FileError`.
    """
    check_free(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / TOLD, dict(told))
    parts = {
        "vae": base.vae.folder,
        "text_encoder": base.text_encoder.folder,
        "tokenizer": base.text_encoder.tokenizer,
    }
    for name, source in parts.items():
        if source != folder / name:
            shutil.copytree(source, folder / name, dirs_exist_ok=True)
    _scheduler(base.model.betas, prediction).save_pretrained(folder / "scheduler")
    save_part(unet, folder / "unet")
    extra = unet.config.in_channels - base.vae.channels
    write_json(folder / "model_index.json", _index(PIPELINES[extra]))


def save_part(module: Any, folder: Path) -> None:
    """Writes a module of diffusers beside `folder` and then puts it in its place."""
    partial = folder.with_name(f"{folder.name}.{os.getpid()}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    module.save_pretrained(partial, safe_serialization=True)
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)


def _scheduler(betas: Betas, prediction: str) -> Any:
    from diffusers import DDIMScheduler

    make: Any = DDIMScheduler
    return make(
        num_train_timesteps=betas.count,
        beta_start=betas.start,
        beta_end=betas.end,
        beta_schedule=betas.kind,
        prediction_type=prediction,
        clip_sample=False,
        set_alpha_to_one=False,
        steps_offset=1,
    )


def _index(pipeline: str) -> dict[str, Any]:
    return {
        "_class_name": pipeline,
        "feature_extractor": [None, None],
        "requires_safety_checker": False,
        "safety_checker": [None, None],
        "scheduler": ["diffusers", "DDIMScheduler"],
        "text_encoder": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "CLIPTokenizer"],
        "unet": ["diffusers", "UNet2DConditionModel"],
        "vae": ["diffusers", "AutoencoderKL"],
    }


def write_json(path: Path, data: Mapping[str, Any]) -> None:
    """Writes JSON data whole, or not at all."""
    partial = path.with_suffix(f".{os.getpid()}.partial")
    partial.write_text(json.dumps(data, indent=2, sort_keys=True) + "\n", encoding="utf-8")
    os.replace(partial, path)


def weight_files(folder: Path) -> list[Path]:
    """The files that make a trained checkpoint what it is: weights, configurations and index."""
    kinds = (".safetensors", ".json")
    return sorted(file for file in folder.rglob("*") if file.suffix in kinds and file.is_file())
