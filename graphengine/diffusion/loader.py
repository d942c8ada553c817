"""Reading a checkpoint folder in the diffusers layout: descriptions from its JSON files, no
weights. Imports without torch.

    model_index.json   unet/   vae/   text_encoder/   tokenizer/   scheduler/

Weights are safetensors only: pickled files (.bin, .ckpt) can run code when they are read and are
refused.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from graphengine.diffusion.types import Betas, Model, TextEncoder, Vae
from graphengine.errors import FileError, ModelError

PIPELINES = (
    "StableDiffusionPipeline",
    "StableDiffusionImg2ImgPipeline",
    "StableDiffusionInpaintPipeline",
    "StableDiffusionDepth2ImgPipeline",
)
BASE = "_graphengine_base"
"""The key in model_index.json that names a checkpoint beside this one, from which the parts that
this one lacks are taken.
"""
CLASSES = {"unet": "UNet2DConditionModel", "vae": "AutoencoderKL", "text_encoder": "CLIPTextModel"}
TO_SAFETENSORS = (
    "save it again with diffusers: pipeline.save_pretrained(folder, safe_serialization=True)"
)


class Checkpoint(NamedTuple):
    """The three parts of a checkpoint."""

    model: Model
    text_encoder: TextEncoder
    vae: Vae


def load_checkpoint(folder: Path, digest: Callable[[Path], str] | None = None) -> Checkpoint:
    """Describe the parts of a Stable Diffusion checkpoint.

    `digest` gives the content digest of a folder; parts with equal digests share their weights in
    memory. Without it names, sizes and times of the files stand for the content. Raises `FileError`
    for what is missing or damaged and `ModelError` for kinds of model that can't be run, both with
    a remedy.
    """
    digest = digest or stamp
    index = _index(folder)
    home = _homes(folder, index)
    for part, wanted in CLASSES.items():
        given = index.get(part)
        if not isinstance(given, list) or len(given) != 2 or given[1] is None:
            raise FileError(
                f"{folder.name} has no {part}", f"model_index.json must name a {wanted}"
            )
        if given[1] != wanted:
            raise ModelError(
                f"{folder.name}: {part} is a {given[1]}, not a {wanted}",
                "use a Stable Diffusion 1.x or 2.x model",
            )
        check_weights(home(part))
    unet = read_config(home("unet"))
    vae = read_config(home("vae"))
    text = read_config(home("text_encoder"))
    width = unet.get("cross_attention_dim")
    if not isinstance(width, int) or unet.get("addition_embed_type"):
        raise ModelError(
            f"{folder.name}: a UNet of this kind can't be run yet",
            "use a Stable Diffusion 1.x or 2.x model",
        )
    tokenizer = home("tokenizer")
    if not tokenizer.is_dir():
        raise FileError(f"{folder.name} has no tokenizer folder", "copy it from the model's source")
    extra = unet.get("in_channels", 4) - vae["latent_channels"]
    if extra not in (0, 1, vae["latent_channels"] + 1):
        raise ModelError(
            f"{folder.name}: a UNet of {unet.get('in_channels', 4)} input channels can't be run",
            "ordinary models have as many as the latent (4), depth models 1 more, inpainting "
            "models mask and masked picture (9)",
        )
    prediction, betas = _training(home("scheduler").parent)
    autoencoder = Vae(
        folder=home("vae"),
        digest=digest(home("vae")),
        channels=vae["latent_channels"],
        factor=2 ** (len(vae["block_out_channels"]) - 1),
    )
    model = Model(
        folder=home("unet"),
        digest=digest(home("unet")),
        width=width,
        channels=vae["latent_channels"],
        prediction=prediction,
        betas=betas,
        latent_scale=vae.get("scaling_factor") or 1.0,
        latent_shift=vae.get("shift_factor") or 0.0,
        vae=autoencoder,
        extra_channels=extra,
    )
    encoder = TextEncoder(
        folder=home("text_encoder"),
        digest=f"{digest(home('text_encoder'))}+{digest(tokenizer)}",
        tokenizer=tokenizer,
        width=text["hidden_size"],
        layers=text["num_hidden_layers"],
        length=text["max_position_embeddings"],
    )
    return Checkpoint(model, encoder, autoencoder)


def _homes(folder: Path, index: dict[str, Any]) -> Callable[[str], Path]:
    """Where each part lies: here, or in the checkpoint that this one is based on."""
    base = index.get(BASE)
    if base is None:
        return lambda part: folder / part
    if not isinstance(base, str) or base in ("", ".", "..") or Path(base).name != base:
        raise FileError(
            f"{folder.name}: {BASE} is {base!r}", "give the name of a checkpoint in the same folder"
        )
    other = folder.parent / base
    if not other.is_dir():
        raise FileError(
            f"{folder.name} needs the checkpoint {base}, which is not there",
            f"put {base} into the same folder",
        )
    return lambda part: folder / part if (folder / part).is_dir() else other / part


def _index(folder: Path) -> dict[str, Any]:
    layout = "a checkpoint is a folder with model_index.json, as diffusers saves it"
    if not folder.exists():
        raise FileError(
            f"there is no checkpoint {folder.name}",
            "look at its name and at the checkpoints folder",
        )
    if not folder.is_dir():
        raise FileError(f"{folder.name} is a single file", layout)
    if not (folder / "model_index.json").is_file():
        if (folder / "config.json").is_file() and read_config(folder).get("model_type") == "dpt":
            raise ModelError(
                f"{folder.name} is a depth model, not a checkpoint",
                'load it with the node "depth.load"',
            )
        raise FileError(f"{folder.name} is no checkpoint: it has no model_index.json", layout)
    index = read_json(folder / "model_index.json")
    pipeline = index.get("_class_name")
    if pipeline not in PIPELINES:
        raise ModelError(
            f"{folder.name} is a {pipeline}, which can't be run yet",
            f"supported: {', '.join(PIPELINES)}",
        )
    return index


def _training(folder: Path) -> tuple[str, Betas]:
    """Prediction kind and betas, from the scheduler's configuration."""
    path = folder / "scheduler" / "scheduler_config.json"
    if not path.is_file():
        raise FileError(
            f"{folder.name} has no scheduler/scheduler_config.json",
            "copy it from the model's source",
        )
    config = read_json(path)
    if config.get("rescale_betas_zero_snr") or config.get("trained_betas") is not None:
        raise ModelError(f"{folder.name}: zero terminal SNR or a list of betas can't be run yet")
    betas = Betas(
        kind=config.get("beta_schedule", Betas.kind),
        start=config.get("beta_start", Betas.start),
        end=config.get("beta_end", Betas.end),
        count=config.get("num_train_timesteps", Betas.count),
    )
    return config.get("prediction_type", "epsilon"), betas


def read_config(part: Path) -> dict[str, Any]:
    """config.json of a component."""
    path = part / "config.json"
    if not path.is_file():
        raise FileError(
            f"{part.parent.name}/{part.name} has no config.json",
            "copy the whole folder from the model's source",
        )
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as cause:
        raise FileError(
            f"{path.parent.name}/{path.name} is no JSON: {cause}", "fetch the file again"
        ) from cause
    if not isinstance(data, dict):
        raise FileError(
            f"{path.parent.name}/{path.name} holds no JSON object", "fetch the file again"
        )
    return data


def check_weights(part: Path) -> None:
    """Look at the headers of a component's safetensors files: are they there, and whole? Raises
    `FileError`.
    """
    name = f"{part.parent.name}/{part.name}"
    files = sorted(part.glob("*.safetensors"))
    if files:
        for file in files:
            check_safetensors(file)
    elif any(part.glob("*.bin")) or any(part.glob("*.ckpt")):
        raise FileError(
            f"{name} holds pickled weights, which can run code when read", TO_SAFETENSORS
        )
    else:
        raise FileError(
            f"{name} holds no weights", "copy its .safetensors files from the model's source"
        )


def check_safetensors(file: Path) -> None:
    """Whether a file is safetensors and as long as its header says. Raises `FileError`."""
    name = f"{file.parent.name}/{file.name}"
    size = file.stat().st_size
    with file.open("rb") as stream:
        start = stream.read(8)
        length = int.from_bytes(start, "little")
        if start.startswith(b"version "):
            raise FileError(
                f"{name} is a Git LFS pointer, not the weights",
                "run `git lfs pull` in the model's folder",
            )
        if len(start) < 8 or length > size:
            raise FileError(f"{name} is no safetensors file, or cut off", "fetch the file again")
        try:
            header = json.loads(stream.read(length))
            ends = [
                entry["data_offsets"][1] for key, entry in header.items() if key != "__metadata__"
            ]
        except (ValueError, KeyError, TypeError, AttributeError, IndexError) as cause:
            raise FileError(f"{name} is no safetensors file", "fetch the file again") from cause
    whole = 8 + length + max(ends, default=0)
    if size != whole:
        raise FileError(f"{name} is cut off: {size} bytes of {whole}", "fetch the file again")


def variant(part: Path) -> str | None:
    """The variant ("fp16") of a component that has no plain weights; None if it has."""
    names = [
        file.name.removesuffix(".safetensors").split(".") for file in part.glob("*.safetensors")
    ]
    if any(len(name) == 1 for name in names):
        return None
    return next((name[1].split("-")[0] for name in names), None)


def stamp(folder: Path) -> str:
    """What stands for a folder's content when nobody digests it: names, sizes and times of its
    files.
    """
    files = ((file, file.stat()) for file in sorted(folder.rglob("*")) if file.is_file())
    told = [[str(file.resolve()), stat.st_size, stat.st_mtime_ns] for file, stat in files]
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()
