"""Puts the trained parts into one folder, in the layout diffusers gives Stable Diffusion."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline
from PIL import Image, ImageDraw

from graphengine.diffusion.loader import BASE
from graphengine.postcard.unet import scheduler

MODEL = Path(__file__).parent / "checkpoints" / "postcard"
"""The folder of the shipped model."""


def assemble(vae: Any, encoder: Any, tokenizer: Any, unet: Any) -> Any:
    """A pipeline of the parts, with no safety checker and no feature extractor."""
    make: Any = StableDiffusionPipeline
    return make(
        vae=vae,
        text_encoder=encoder,
        tokenizer=tokenizer,
        unet=unet,
        scheduler=scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def export(pipe: Any, folder: Path, tokenizer: Path) -> int:
    """Writes the pipeline in half precision and gives the size of its weights in bytes.

    The vocabulary and the merges are copied from the folder `tokenizer`, as older readers want them.
    """
    pipe.to(torch.float16).save_pretrained(folder, safe_serialization=True)
    for name in ("vocab.json", "merges.txt"):
        shutil.copyfile(tokenizer / name, folder / "tokenizer" / name)
    return sum(f.stat().st_size for f in folder.rglob("*.safetensors"))


PIPELINES = {5: "StableDiffusionDepth2ImgPipeline", 9: "StableDiffusionInpaintPipeline"}
"""What diffusers calls a model that reads so many channels."""


def export_relative(unet: Any, folder: Path, base: Path = MODEL) -> int:
    """Writes a depth or inpainting U-Net as a checkpoint that takes all other parts from `base`.

    The base lies beside it and is named in model_index.json. Gives the size of its weights in bytes.
    """
    unet.register_to_config(_name_or_path=base.name)  # not where the base lay on this machine
    unet.to(torch.float16).save_pretrained(folder / "unet", safe_serialization=True)
    index = json.loads((base / "model_index.json").read_text())
    index |= {"_class_name": PIPELINES[unet.config.in_channels], BASE: base.name}
    (folder / "model_index.json").write_text(json.dumps(index, indent=2, sort_keys=True) + "\n")
    return sum(f.stat().st_size for f in folder.rglob("*.safetensors"))


def load(folder: Path = MODEL, dtype: torch.dtype = torch.float32) -> Any:
    """The shipped model as a `StableDiffusionPipeline`."""
    kind: Any = StableDiffusionPipeline
    pipe = kind.from_pretrained(folder, torch_dtype=dtype)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def generate(
    pipe: Any,
    prompts: list[str],
    *,
    negative: str = "",
    guidance: float = 5.0,
    steps: int = 20,
    seed: int = 0,
    batch: int = 25,
) -> list[Image.Image]:
    """One picture for each prompt; picture `i` starts from the noise of seed `seed + i`."""
    pictures: list[Image.Image] = []
    for i in range(0, len(prompts), batch):
        part = prompts[i : i + batch]
        seeds = range(seed + i, seed + i + len(part))
        pictures += pipe(
            part,
            negative_prompt=[negative] * len(part),
            guidance_scale=guidance,
            num_inference_steps=steps,
            generator=[torch.Generator().manual_seed(s) for s in seeds],
        ).images
    return pictures


def sheet(pictures: list[Image.Image], captions: list[str], columns: int = 8) -> Image.Image:
    """A contact sheet: pictures in rows, each above its caption."""
    side, text = 128, 46
    rows = -(-len(pictures) // columns)
    out = Image.new("RGB", (columns * (side + 6) + 6, rows * (side + text + 6) + 6), "white")
    draw = ImageDraw.Draw(out)
    for i, (picture, caption) in enumerate(zip(pictures, captions, strict=True)):
        x, y = 6 + i % columns * (side + 6), 6 + i // columns * (side + text + 6)
        out.paste(picture, (x, y))
        draw.multiline_text(
            (x, y + side + 1),
            _wrapped(draw, caption, side),
            fill=(40, 40, 40),
            font_size=9,
            spacing=0,
        )
    return out


def _wrapped(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".strip()
        if draw.textlength(longer, font_size=9) > width:
            lines.append(word)
        else:
            lines[-1] = longer
    return "\n".join(lines[:4])
