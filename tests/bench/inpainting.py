"""How well is a part of a picture painted anew? `python tests/bench/inpainting.py --write`.

Scenes that training never saw are rendered, a box around the object is masked, and an object of
another kind and colour is asked for. The judge (`graphengine.postcard.judge`) reads whether it is
there. Measured for the ordinary model with a noise mask and for the inpainting model.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from graphengine import diffusion
from graphengine.diffusion import Checkpoint, Conditioning, Latent, Memory
from graphengine.figures import labelled_grid
from graphengine.postcard import export, judge
from graphengine.postcard.caption import describe, held_captions
from graphengine.postcard.judge import SEED, score
from graphengine.postcard.render import render
from graphengine.postcard.world import COLOURS, KINDS, SIZE, Scene, Thing

HERE = Path(__file__).parent
ASKED = ("kind", "colour", "place", "size")
"""What is asked for inside of the mask; all else lies outside of it, too, and is kept."""

BOX = {"near": (44.0, 8.0, 128.0), "far": (27.0, 22.0, 98.0)}
"""Half the width, top and bottom of the box that holds any object, in pixels, by its size."""


@dataclass(frozen=True)
class Task:
    """A picture [1, H, W, 3], the mask of its object [1, H, W], and the scene that is asked for."""

    picture: Tensor
    mask: Tensor
    wanted: Scene
    text: str


def pixels(scene: Scene) -> Tensor:
    """A scene's picture, [1, H, W, 3], 0 to 1."""
    return torch.from_numpy(np.asarray(render(scene)[0], dtype=np.float32) / 255)[None]


def box(thing: Thing) -> Tensor:
    """The mask of the place where an object stands, with room for any other."""
    half, top, bottom = BOX[thing.size]
    away = 32.0 if thing.size == "near" else 38.0
    x = SIZE / 2 + {"left": -away, "middle": 0.0, "right": away}[thing.place]
    sides = (max(x - half, 0), top, min(x + half, SIZE), bottom)
    return diffusion.shape_mask("rectangle", SIZE, SIZE, *(side / SIZE for side in sides))


def tasks(count: int) -> list[Task]:
    """Scenes whose combinations were held out, each with another object asked for in its place."""
    rng = np.random.default_rng([SEED, 7])
    made = []
    for scene, _ in held_captions(count, SEED):
        [thing] = scene.things
        kind = str(rng.choice([kind for kind in KINDS if kind != thing.kind]))
        colour = str(rng.choice([colour for colour in COLOURS if colour != thing.colour]))
        other = replace(scene, things=(replace(thing, kind=kind, colour=colour),))
        text = describe(other, rng, everything=True).text
        made.append(Task(pixels(scene), box(thing), other, text))
    return made


Prepare = Callable[[Task, Checkpoint, Memory], Latent]


def with_ordinary(task: Task, checkpoint: Checkpoint, memory: Memory) -> Latent:
    """The latent of a task for an ordinary model."""
    return diffusion.encode_for_inpainting(checkpoint.vae, task.picture, task.mask, memory=memory)


def with_inpainting(task: Task, checkpoint: Checkpoint, memory: Memory) -> Latent:
    """The latent of a task for an inpainting model."""
    model, _, vae = checkpoint
    return diffusion.prepare_inpainting(model, vae, task.picture, task.mask, memory=memory)


WAYS: dict[str, tuple[str, Prepare]] = {
    "ordinary model": ("postcard", with_ordinary),
    "inpainting model": ("postcard-inpaint", with_inpainting),
}


def paint(todo: list[Task], checkpoint: Checkpoint, prepare: Prepare, guidance: float) -> Tensor:
    """The pictures with the asked object, [n, H, W, 3]; picture i from the noise of seed i."""
    memory = Memory()

    def encode(text: str) -> Conditioning:
        return diffusion.encode_prompt(checkpoint.text_encoder, text, memory=memory)

    nothing = encode("")
    done = []
    for i, task in enumerate(todo):
        latent = diffusion.ksampler(
            checkpoint.model, encode(task.text), nothing, prepare(task, checkpoint, memory),
            seed=i, steps=20, cfg=guidance, sampler="dpmpp_2m", schedule="karras", memory=memory,
        )  # fmt: skip
        painted = diffusion.decode_latent(checkpoint.vae, latent, memory=memory)
        done.append(diffusion.paste_painted(task.picture, painted, task.mask))
    return torch.cat(done)


def seam(picture: Tensor, mask: Tensor) -> float:
    """The mean step between neighbours on both sides of a mask's edge, in 8 bits."""
    steps = []
    for axis in (1, 2):
        inside = (mask > 0.5).diff(dim=axis)
        steps.append(picture.diff(dim=axis).abs().mean(-1)[inside])
    return float(torch.cat(steps).mean()) * 255


def sheet(todo: list[Task], painted: dict[str, Tensor], count: int) -> Tensor:
    """Pictures before and after, the mask greyed, two scenes a row."""
    shown, captions = [], []
    for i, task in enumerate(todo[:count]):
        veil = task.mask[..., None] * 0.5
        shown += [torch.lerp(task.picture, torch.ones(1), veil)]
        shown += [pictures[i : i + 1] for pictures in painted.values()]
        thing = task.wanted.things[0]
        captions += [f"{thing.colour} {thing.kind}?", *painted]
    title = "Another object is asked for where the picture is pale"
    return labelled_grid(shown, columns=2 * (1 + len(painted)), title=title, captions=captions)


def main() -> None:
    """Runs the whole measurement and prints it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scenes", type=int, default=60)
    parser.add_argument("--guidance", type=float, default=3.0)
    parser.add_argument("--checkpoints", type=Path, default=export.MODEL.parent)
    parser.add_argument("--sheet", type=Path, default=HERE / "inpainting.webp")
    parser.add_argument("--write", action="store_true", help="also write the table and the sheet")
    args = parser.parse_args()

    reader = judge.load()
    todo = tasks(args.scenes)
    stated = [{name: task.wanted.attributes()[name] for name in ASKED} for task in todo]
    painted = {
        way: paint(todo, diffusion.load_checkpoint(args.checkpoints / name), prepare, args.guidance)
        for way, (name, prepare) in WAYS.items()
    }
    truth = torch.cat([pixels(task.wanted) for task in todo])
    marks = {way: score(reader.read(made), stated) for way, made in painted.items()}
    marks["render of what was asked"] = score(reader.read(truth), stated)
    before = [task.picture for task in todo]
    lines = [
        "# Inpainting, measured",
        "",
        f"{len(todo)} scenes that training never saw; the object is masked by a box and one of "
        "another kind and colour is asked for, at the same place and in the same size. 20 steps of "
        f"DPM-Solver++(2M) on Karras' schedule, guidance {args.guidance:g}; the judge network reads "
        "the pictures.",
        "",
        "| asked inside of the mask | " + " | ".join(marks) + " |",
        "| --- |" + " ---: |" * len(marks),
    ]
    for name in ASKED:
        row = [f"{100 * mark.share_of(name):.1f} %" for mark in marks.values()]
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    total = [f"**{100 * mark.share:.1f} %**" for mark in marks.values()]
    lines += ["| all | " + " | ".join(total) + " |", ""]
    lines += ["| step across the mask's edge | of 255 |", "| --- | ---: |"]
    for what, pictures in {"picture before": torch.cat(before), **painted}.items():
        steps = [seam(pictures[i : i + 1], task.mask) for i, task in enumerate(todo)]
        lines.append(f"| {what} | {np.mean(steps):.2f} |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        (HERE / "inpainting.md").write_text(text)
        picture = diffusion.to_pillow(sheet(todo, painted, 16)[0])
        picture.save(args.sheet, optimize=True)


if __name__ == "__main__":
    main()
