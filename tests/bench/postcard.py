"""How well does postcard draw what it is told? `python tests/bench/postcard.py --write`.

A small network (the judge) learns to read attributes off rendered scenes, then reads them off
pictures that postcard makes from captions whose combinations of attributes it never saw.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import DPMSolverMultistepScheduler
from PIL import Image
from torch import Tensor, nn

from graphengine.postcard import export, vae
from graphengine.postcard.caption import Caption, describe
from graphengine.postcard.data import to_tensor
from graphengine.postcard.render import render
from graphengine.postcard.world import ATTRIBUTES, Scene, held_out_pair, random_scene
from graphengine.training import loop

HERE = Path(__file__).parent
SEED = 2024


class Judge(nn.Module):
    """Reads every attribute off a picture: [b, 3, 128, 128] -> logits for each attribute."""

    def __init__(self) -> None:
        super().__init__()

        def block(a: int, b: int, stride: int) -> list[nn.Module]:
            return [nn.Conv2d(a, b, 3, stride, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]

        self.trunk = nn.Sequential(
            nn.AvgPool2d(2), *block(3, 24, 1), *block(24, 48, 2), *block(48, 48, 1),
            *block(48, 96, 2), *block(96, 96, 1), *block(96, 128, 2), nn.Conv2d(128, 48, 1),
            nn.Flatten(), nn.Dropout(0.2), nn.Linear(48 * 64, 256), nn.ReLU(),
        )  # fmt: skip
        self.heads = nn.ModuleDict({n: nn.Linear(256, len(v)) for n, v in ATTRIBUTES.items()})

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        """Logits [b, values] of each attribute."""
        h = self.trunk(x.contiguous(memory_format=torch.channels_last))
        return {name: head(h) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, pictures: list[Image.Image]) -> list[dict[str, str]]:
        """The likeliest value of each attribute of each picture."""
        self.eval()
        out: list[dict[str, str]] = []
        for i in range(0, len(pictures), 64):
            pixels = np.stack([np.asarray(p.convert("RGB")) for p in pictures[i : i + 64]])
            found = {n: v.argmax(1).tolist() for n, v in self(to_tensor(pixels)).items()}
            out += [{n: ATTRIBUTES[n][found[n][j]] for n in ATTRIBUTES} for j in range(len(pixels))]
        return out


def judge_scene(index: int) -> Scene:
    """Scene `index` of the judge's own set, which holds every combination."""
    return random_scene(np.random.default_rng([SEED, index]), held=None, pairs=0.0)


def judge_pixels(index: int) -> Any:
    """Its picture, uint8 [128, 128, 3]."""
    return np.asarray(render(judge_scene(index))[0])


def train_judge(work: Path, count: int, steps: int) -> Judge:
    """The judge, trained on `count` rendered scenes, a little blurred and noised at random."""
    torch.manual_seed(SEED)
    judge = Judge()
    optimizer = loop.adamw(judge, 2e-3, 0.05)
    path = work / "judge.npy"
    work.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        np.save(path, np.stack([judge_pixels(i) for i in range(count)]))
    pictures = np.load(path, mmap_mode="r")
    table = [judge_scene(i).attributes() for i in range(count)]
    labels = {
        n: torch.tensor([values.index(row[n]) for row in table]) for n, values in ATTRIBUTES.items()
    }

    def step_fn(step: int) -> dict[str, Tensor]:
        rng = loop.step_rng(SEED, "judge-data", step)
        chosen = np.sort(rng.choice(count, 64, replace=False))
        x = to_tensor(pictures[chosen])
        if rng.random() < 0.5:
            x = F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, 1)
        x = x + float(rng.uniform(0, 0.12)) * torch.randn_like(x)
        judge.train()
        with torch.autocast("cpu", torch.bfloat16):
            logits = judge(x)
        loss = torch.zeros(())
        for name, out in logits.items():
            loss = loss + F.cross_entropy(out.float(), labels[name][torch.from_numpy(chosen)])
        loop.descend(optimizer, loss, loop.cosine(step, steps, 2e-3, 50))
        return {"loss": loss}

    parts = {"model": judge, "optimizer": optimizer}
    run = loop.Run("judge", work, steps, SEED, save_every=200)
    loop.train(run, parts, step_fn, progress=loop.Lines("judge", 100))
    judge.eval()
    return judge


def held_captions(count: int, seed: int) -> list[tuple[Scene, Caption]]:
    """Scenes of one object held out of training, with captions that state what is held out."""
    rng = np.random.default_rng([seed, 1])
    made: list[tuple[Scene, Caption]] = []
    while len(made) < count:
        scene = random_scene(rng, held=True, pairs=0.0)
        caption = describe(scene, rng)
        said = caption.stated
        if "kind" in said and held_out_pair(
            said["kind"], colour=said.get("colour"), sky=said.get("sky")
        ):
            made.append((scene, caption))
    return made


def score(
    read: list[dict[str, str]], wanted: list[dict[str, str]]
) -> tuple[float, dict[str, tuple[int, int]]]:
    """The share of wanted attributes read, and (right, asked) for each."""
    table = dict.fromkeys(ATTRIBUTES, (0, 0))
    for found, want in zip(read, wanted, strict=True):
        for name, value in want.items():
            right, asked = table[name]
            table[name] = (right + (found[name] == value), asked + 1)
    right, asked = (sum(v[i] for v in table.values()) for i in (0, 1))
    return right / asked, table


NEGATIONS = {
    "a few clouds": ("weather", "clouds"),
    "mountains": ("relief", "mountains"),
    "birds": ("birds", "birds"),
    "the sun": ("light", "sun"),
}


def negation(
    pipe: Any, judge: Judge, count: int, guidance: float
) -> list[tuple[str, float, float]]:
    """How often an attribute the prompt leaves open appears, without and with its negation."""
    rows = []
    for words, (name, value) in NEGATIONS.items():
        rng = np.random.default_rng([SEED, 2])
        prompts: list[str] = []
        while len(prompts) < count:
            scene = random_scene(rng, held=False, pairs=0.0)
            caption = describe(scene, rng)
            day = caption.stated.get("sky") in ("day", "sunset")
            if name not in caption.stated and "kind" in caption.stated and day:
                prompts.append(caption.text)
        shares = []
        for negative in ("", words):
            made = export.generate(pipe, prompts, negative=negative, guidance=guidance, seed=5000)
            shares.append(sum(r[name] == value for r in judge.read(made)) / count)
        rows.append((words, shares[0], shares[1]))
    return rows


def seconds_for_one(pipe: Any, guidance: float) -> float:
    """Seconds for one picture of 20 steps with guidance, once loaded; the better of three."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        export.generate(pipe, ["a red house by the sea at sunset"], guidance=guidance)
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Runs the whole measurement and prints it as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", type=Path, default=export.MODEL)
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()) / "postcard-bench")
    parser.add_argument("--captions", type=int, default=300)
    parser.add_argument("--guidance", type=float, default=5.0)
    parser.add_argument("--judge-scenes", type=int, default=16_000)
    parser.add_argument("--judge-steps", type=int, default=1_500)
    parser.add_argument("--judge-only", action="store_true", help="only train the judge")
    parser.add_argument("--write", action="store_true", help="also write the tables and the sheet")
    args = parser.parse_args()

    judge = train_judge(args.work, args.judge_scenes, args.judge_steps)
    if args.judge_only:
        return
    held = held_captions(args.captions, SEED)
    real, _ = zip(*(render(scene) for scene, _ in held), strict=True)
    judged, own = score(judge.read(list(real)), [scene.attributes() for scene, _ in held])

    pipe = export.load(args.model)
    kind: Any = DPMSolverMultistepScheduler
    pipe.scheduler = kind.from_config(
        pipe.scheduler.config, algorithm_type="dpmsolver++", use_karras_sigmas=True
    )
    decibels = vae.psnr(pipe.vae, np.stack([np.asarray(p) for p in real[:200]]))
    prompts, stated = [c.text for _, c in held], [c.stated for _, c in held]
    pictures = export.generate(pipe, prompts, guidance=args.guidance)
    total, table = score(judge.read(pictures), stated)

    about = (
        f"{len(held)} captions whose combinations of attributes were held out of training, 20 steps "
        f"of DPM-Solver++(2M) on Karras' schedule, guidance {args.guidance:g}, read by a judge "
        "network trained on rendered scenes."
    )
    lines = [
        "# postcard, measured",
        "",
        about,
        "",
        f"- stated attributes drawn right: **{100 * total:.1f} %**",
        f"- the judge itself, on renders of the same scenes: {100 * judged:.1f} %",
        f"- autoencoder on 200 of those renders: {decibels:.2f} dB PSNR",
        f"- one picture, {os.cpu_count()} CPU cores, float32: {seconds_for_one(pipe, args.guidance):.2f} s",
        "",
        "| attribute | stated | drawn right | judge on renders |",
        "| --- | ---: | ---: | ---: |",
    ]
    for name, (right, asked) in table.items():
        good, seen = own[name]
        lines.append(
            f"| {name} | {asked} | {100 * right / max(1, asked):.1f} % | {100 * good / seen:.1f} % |"
        )
    lines += ["", "| guidance | stated attributes right (first 60 captions) |", "| ---: | ---: |"]
    for guidance in (1.0, 2.0, 3.0, 5.0, 7.0):
        some = export.generate(pipe, prompts[:60], guidance=guidance)
        lines.append(f"| {guidance:g} | {100 * score(judge.read(some), stated[:60])[0]:.1f} % |")
    lines += [
        "",
        "| negative prompt | seen without it | seen with it |",
        "| --- | ---: | ---: |",
    ]
    for words, before, after in negation(pipe, judge, 40, args.guidance):
        lines.append(f"| {words} | {100 * before:.0f} % | {100 * after:.0f} % |")
    text = "\n".join(lines) + "\n"
    print(text)
    if args.write:
        (HERE / "postcard.md").write_text(text)
        export.sheet(pictures[:32], prompts[:32]).save(args.model / "sheet.png", optimize=True)


if __name__ == "__main__":
    main()
