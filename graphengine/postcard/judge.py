"""The judge: a small network that reads off a picture what it shows, for measuring how well a model
draws what it is told.

    judge = load()                      # the one that ships
    read = judge.read(pictures)         # [{"kind": "house", "colour": "red", ...}, ...]
    marks = score(read, stated)         # against `Caption.stated`; marks.share is 0 to 1

It has learnt from rendered scenes of one object, with every combination of attributes, a little
blurred and noised; it has never seen a picture that a model made.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from graphengine.errors import FileError
from graphengine.postcard.data import Array, to_tensor
from graphengine.postcard.marks import Marks as Marks
from graphengine.postcard.marks import score as score
from graphengine.postcard.render import render
from graphengine.postcard.world import ATTRIBUTES, SIZE, Scene, random_scene
from graphengine.resource import Progress
from graphengine.training import loop

JUDGE = Path(__file__).parent / "judges" / "postcard"
"""The folder of the judge that ships."""

WEIGHTS, CONFIG = "judge.safetensors", "config.json"
SEED = 2024


class Judge(nn.Module):
    """Reads every attribute off a picture: [b, 3, 128, 128], -1 to 1, to logits for each attribute.

    `widths`: channels at 64, 32, 16 and 8 cells a side. `cells`: channels of the 8x8 map that the
    answer is read from, through `hidden` units. Where things stand counts, so nothing is pooled.
    """

    def __init__(
        self,
        widths: Sequence[int] = (24, 48, 96, 128),
        cells: int = 16,
        hidden: int = 96,
        attributes: Mapping[str, Sequence[str]] = ATTRIBUTES,
    ) -> None:
        super().__init__()
        self.config: dict[str, Any] = {
            "widths": list(widths),
            "cells": cells,
            "hidden": hidden,
            "attributes": {name: list(values) for name, values in attributes.items()},
        }
        a, b, c, d = widths
        self.trunk = nn.Sequential(
            nn.AvgPool2d(2),
            *_block(3, a, 1), *_block(a, b, 2), *_block(b, b, 1),
            *_block(b, c, 2), *_block(c, c, 1), *_block(c, d, 2),
            nn.Conv2d(d, cells, 1), nn.Flatten(), nn.Dropout(0.2),
            nn.Linear(cells * (SIZE // 16) ** 2, hidden), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ModuleDict({n: nn.Linear(hidden, len(v)) for n, v in attributes.items()})

    @property
    def attributes(self) -> dict[str, list[str]]:
        """What it reads, and the values each may have."""
        values: dict[str, list[str]] = self.config["attributes"]
        return values

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits [b, values] of each attribute."""
        h = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return {name: head(h) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pictures: Tensor | Sequence[Image.Image]) -> list[dict[str, str]]:
        """The likeliest value of each attribute of each picture.

        `pictures`: Pillow's, or [n, height, width, channels] of 0 to 1. Of another size than
        128x128 they are resized first.
        """
        self.eval()
        read: list[dict[str, str]] = []
        for i in range(0, len(pictures), 64):
            found = {n: v.argmax(1).tolist() for n, v in self(_input(pictures[i : i + 64])).items()}
            count = len(next(iter(found.values())))
            read += [
                {n: values[found[n][j]] for n, values in self.attributes.items()}
                for j in range(count)
            ]
        return read


def _block(inner: int, outer: int, stride: int) -> list[nn.Module]:
    return [nn.Conv2d(inner, outer, 3, stride, 1, bias=False), nn.BatchNorm2d(outer), nn.ReLU()]


def _input(pictures: Tensor | Sequence[Image.Image]) -> Tensor:
    """Pictures as the network takes them."""
    if isinstance(pictures, Tensor):
        x = pictures[..., :3].permute(0, 3, 1, 2).float() * 2 - 1
    else:
        x = torch.cat([to_tensor(np.asarray(p.convert("RGB"))[None]) for p in pictures])
    if x.shape[2:] != (SIZE, SIZE):
        x = F.interpolate(x, (SIZE, SIZE), mode="bilinear", antialias=True, align_corners=False)
    return x


def load(folder: Path = JUDGE) -> Judge:
    """A judge from a folder with its weights and `config.json`. Raises `FileError`."""
    try:
        config = json.loads((folder / CONFIG).read_text())
        judge = Judge(**config)
        judge.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError, TypeError, ValueError) as cause:
        hint = f"a judge is a folder with {WEIGHTS} and {CONFIG}"
        raise FileError(f"{str(folder)!r} is no judge: {cause}", hint) from cause
    return judge.eval().requires_grad_(False)


def save(judge: Judge, folder: Path) -> int:
    """Writes a judge in half precision; gives the size of its weights in bytes."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        name: (t.half() if t.is_floating_point() else t).contiguous()
        for name, t in judge.state_dict().items()
    }
    save_file(tensors, folder / WEIGHTS, {"format": "pt"})
    (folder / CONFIG).write_text(json.dumps(judge.config, indent=2) + "\n")
    return (folder / WEIGHTS).stat().st_size


def scene(index: int) -> Scene:
    """Scene `index` of the judge's own set: one object, every combination."""
    return random_scene(np.random.default_rng([SEED, index]), held=None, pairs=0.0)


def pictures_of(path: Path, count: int) -> Array:
    """The first `count` pictures of that set, uint8 [count, 128, 128, 3], rendered once."""
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_suffix(".partial.npy")
        np.save(partial, np.stack([np.asarray(render(scene(i))[0]) for i in range(count)]))
        partial.rename(path)
    pictures: Array = np.load(path, mmap_mode="r")
    if len(pictures) < count:
        raise FileError(f"{path} holds {len(pictures)} pictures, not {count}", "delete it")
    return pictures[:count]


def train(
    out: Path,
    *,
    scenes: int = 16_000,
    steps: int = 1_600,
    batch: int = 64,
    rate: float = 2e-3,
    progress: Progress | None = None,
    stop_at: int | None = None,
) -> Judge:
    """Teaches a judge on rendered scenes; its state lies in `out`, and a later call goes on from it."""
    torch.manual_seed(SEED)
    judge = Judge()
    optimizer = loop.adamw(judge, rate, 0.05)
    pictures = pictures_of(out / "judge.npy", scenes)
    table = [scene(i).attributes() for i in range(scenes)]
    labels = {
        n: torch.tensor([values.index(row[n]) for row in table]) for n, values in ATTRIBUTES.items()
    }

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(SEED, "judge-data", step)
        chosen = np.sort(rng.choice(scenes, batch, replace=False))
        x = _worn(to_tensor(pictures[chosen]), rng)
        judge.train()
        with loop.autocast(x.device):
            logits = judge(x)
        loss = torch.zeros(())
        right = torch.zeros(())
        for name, answer in logits.items():
            wanted = labels[name][torch.from_numpy(chosen)]
            loss = loss + F.cross_entropy(answer.float(), wanted)
            right += (answer.argmax(1) == wanted).float().mean() / len(logits)
        loop.descend(optimizer, loss, loop.cosine(step, steps, rate, min(50, steps)))
        return {"loss": loss.detach(), "right": right}

    loop.train(
        loop.Run("judge", out, steps, SEED, save_every=200, stop_at=stop_at),
        {"model": judge, "optimizer": optimizer},
        step_fn,
        progress=progress,
    )
    return judge.eval()


def _worn(x: Tensor, rng: np.random.Generator) -> Tensor:
    """Pictures a little blurred and noised at random, so that a model's are not too strange."""
    if rng.random() < 0.5:
        x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
    return x + float(rng.uniform(0, 0.12)) * torch.randn_like(x)
