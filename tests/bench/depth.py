"""Does postcard's depth model see depth, and does its depth-to-image follow it?
`python tests/bench/depth.py --write`.

First the network that estimates depth is asked about scenes that it never saw, whose depth is known
exactly. Then pictures are drawn that follow the estimated depth of others, with prompts that ask
for another colour and another time of day; their depth is estimated again, and the judge reads off
what was asked for.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import Tensor

from graphengine import diffusion
from graphengine.diffusion import DepthEstimator, Memory
from graphengine.figures import labelled_grid
from graphengine.postcard import depth, export, judge
from graphengine.postcard.caption import Caption, describe
from graphengine.postcard.marks import score
from graphengine.postcard.render import render
from graphengine.postcard.world import COLOURS, SKIES, Scene, held_out, random_scene

HERE = Path(__file__).parent
CHECKPOINT = export.MODEL.with_name("postcard-depth")
SEED = 4711
ASKED = ("colour", "sky")


def picture(scene: Scene) -> tuple[Tensor, np.ndarray]:
    """A scene as image [1, 128, 128, 3], 0 to 1, and its inverse depth [128, 128]."""
    drawn, far = render(scene)
    return torch.from_numpy(np.asarray(drawn, dtype=np.float32) / 255)[None], 1 / far


def agreed(one: np.ndarray | Tensor, other: np.ndarray | Tensor) -> float:
    """Spearman's rank correlation of two maps."""
    return float(spearmanr(np.ravel(one), np.ravel(other)).statistic)


def seen(estimator: DepthEstimator, image: Tensor, memory: Memory) -> Tensor:
    """The depth of one picture [1, 128, 128, 3], as large as the picture."""
    return diffusion.depth_mask(diffusion.estimate_depth(estimator, image, memory=memory))[0]


def estimates(estimator: DepthEstimator, count: int, memory: Memory) -> dict[str, list[float]]:
    """How well estimated and true depth of unseen scenes agree: of all pixels, and of those below
    the sky alone; by what stands there.
    """
    rng = np.random.default_rng([SEED, 1])
    found: dict[str, list[float]] = {"all": [], "without sky": []}
    for _ in range(count):
        scene = random_scene(rng, held=True)
        image, near = picture(scene)
        estimated = seen(estimator, image, memory).numpy()
        land = near > near.min()
        found["all"].append(agreed(estimated, near))
        found["without sky"].append(agreed(estimated[land], near[land]))
        for name in (scene.things[0].kind, scene.sky, scene.style):
            found.setdefault(name, []).append(found["all"][-1])
    return found


@dataclass
class Followed:
    """One picture drawn to follow the depth of another."""

    scene: Scene
    caption: Caption
    source: Tensor
    drawn: Tensor
    kept: float
    true: float


def other_looks(count: int) -> Iterator[tuple[Scene, Caption]]:
    """Scenes, and captions of the same scenes in another colour at another time of day, both stated.

    No combinations that were held out of training: here it is depth that is measured.
    """
    rng = np.random.default_rng([SEED, 2])
    made = 0
    while made < count:
        scene = random_scene(rng, held=False, pairs=0.0)
        thing = scene.things[0]
        sky = str(rng.choice([sky for sky in SKIES if sky != scene.sky]))
        colour = str(rng.choice([colour for colour in COLOURS if colour != thing.colour]))
        look = replace(
            scene, sky=sky, things=(replace(thing, colour=colour),), light="none", weather="clouds"
        )
        caption = describe(look, rng)
        if not held_out(look) and {"kind", *ASKED} <= caption.stated.keys():
            made += 1
            yield scene, caption


def follow(
    checkpoint: Path, estimator: DepthEstimator, count: int, cfg: float, memory: Memory
) -> list[Followed]:
    """Pictures drawn from noise, to follow the estimated depth of rendered ones."""
    model, text_encoder, vae = diffusion.load_checkpoint(checkpoint)
    negative = diffusion.encode_prompt(text_encoder, "", memory=memory)
    made = []
    for seed, (scene, caption) in enumerate(other_looks(count)):
        source, near = picture(scene)
        map_of_source = diffusion.estimate_depth(estimator, source, memory=memory)
        latent = diffusion.ksampler(
            model,
            diffusion.encode_prompt(text_encoder, caption.text, memory=memory),
            negative,
            diffusion.condition_on_depth(diffusion.empty_latent(vae, 128, 128), map_of_source),
            seed=seed,
            steps=20,
            cfg=cfg,
            sampler="dpmpp_2m",
            schedule="karras",
            memory=memory,
        )
        drawn = diffusion.decode_latent(vae, latent, memory=memory)
        again = seen(estimator, drawn, memory)
        kept = agreed(again, diffusion.depth_mask(map_of_source)[0])
        made.append(Followed(scene, caption, source, drawn, kept, agreed(again, near)))
    return made


def sheet(made: list[Followed], estimator: DepthEstimator, memory: Memory) -> Tensor:
    """Pictures, their depth, what was drawn to follow it, and the depth of that."""
    rows, labels = [], []
    for item in made:
        for image in (item.source, item.drawn):
            found = diffusion.estimate_depth(estimator, image, memory=memory)
            rows += [image, diffusion.depth_picture(found, "magma")]
        labels.append(item.caption.text)
    return labelled_grid(
        rows,
        columns=4,
        title="postcard follows depth",
        note="the prompt changes colour and time of day",
        column_labels=["picture", "its depth", "drawn to follow it", "depth of that"],
        row_labels=labels,
        cell=150,
    )


def table(found: dict[str, list[float]]) -> list[str]:
    """Mean and worst agreement, a line each."""
    return [
        f"| {name} | {len(values)} | {np.mean(values):.3f} | {np.min(values):.3f} |"
        for name, values in found.items()
    ]


def main() -> None:
    """Runs the measurements and prints them as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--estimator", type=Path, default=depth.MODEL)
    parser.add_argument("--checkpoint", type=Path, default=CHECKPOINT)
    parser.add_argument("--scenes", type=int, default=200, help="for the estimates")
    parser.add_argument("--pictures", type=int, default=50, help="that follow depth")
    parser.add_argument("--cfg", type=float, default=5.0)
    parser.add_argument("--sheet", type=Path, help="also write a sheet of the first pictures")
    parser.add_argument("--write", action="store_true", help="also write the tables")
    args = parser.parse_args()

    memory = Memory()
    estimator = diffusion.load_depth_estimator(args.estimator)
    found = estimates(estimator, args.scenes, memory)
    lines = [
        "# Depth, measured",
        "",
        "Rank correlation (Spearman) of the estimated with the exact inverse depth of scenes whose "
        "combinations of attributes were held out of training, pixel by pixel.",
        "",
        f"- mean over {args.scenes} scenes: **{np.mean(found['all']):.3f}**",
        "",
        "| scenes | number | mean | worst |",
        "| --- | ---: | ---: | ---: |",
        *table(found),
    ]
    if args.checkpoint.is_dir() and args.pictures:
        made = follow(args.checkpoint, estimator, args.pictures, args.cfg, memory)
        stated = [{name: item.caption.stated[name] for name in ("kind", *ASKED)} for item in made]
        marks = score(judge.load().read(torch.cat([item.drawn for item in made])), stated)
        right, asked = (sum(part[name] for name in ASKED) for part in (marks.right, marks.asked))
        lines += [
            "",
            "## Depth to image",
            "",
            f"{len(made)} pictures drawn from noise and the estimated depth of a rendered scene, 20 "
            f"steps of dpmpp_2m on Karras' schedule, guidance {args.cfg:g}; the prompt asks for "
            "another colour and another time of day.",
            "",
            f"- depth of the picture drawn, and of the one it follows, both estimated: "
            f"**{np.mean([item.kept for item in made]):.3f}**",
            f"- depth of the picture drawn, estimated, and of the scene, exact: "
            f"{np.mean([item.true for item in made]):.3f}",
            f"- colour and time of day as asked: **{100 * right / asked:.1f} %**",
            "",
            "| attribute | asked | drawn right |",
            "| --- | ---: | ---: |",
            *(
                f"| {name} | {marks.asked[name]} | {100 * marks.share_of(name):.1f} % |"
                for name in ("kind", *ASKED)
            ),
        ]
        if args.sheet:
            image = sheet(made[:6], estimator, memory)[0]
            args.sheet.write_bytes(diffusion.png_bytes(image))
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        (HERE / "depth.md").write_text(text)


if __name__ == "__main__":
    main()
